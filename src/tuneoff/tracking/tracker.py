"""Bring a study's MLflow runs and TensorBoard files up to date with its record."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ..core.errors import StudyError
from ..core.record.state import SearchRecord
from ..core.store.protocol import Store
from ..core.store.study_store import (
    CellResult,
    Delivered,
    StudyResult,
    read_delivered,
    read_evaluation,
    read_study,
    write_delivered,
)
from ..core.study import Cell, Study
from . import tensorboard
from .delivery import brief
from .mlflow.runs import tracking_uri
from .mlflow.view import MlflowView
from .trial_facts import search_key, trial_key


@dataclass(frozen=True)
class Counts:
    """Numbers of results that a call has sent."""

    trials: int = 0  # sent to MLflow
    event_files: int = 0  # trials written for TensorBoard
    evaluations: int = 0
    searches: int = 0  # marked as finished or failed in MLflow

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.trials + other.trials,
            self.event_files + other.event_files,
            self.evaluations + other.evaluations,
            self.searches + other.searches,
        )

    def __str__(self) -> str:
        text = f"Sent {self.trials} trials and {self.evaluations} evaluations; wrote {self.event_files} event files."
        if not self.searches:
            return text
        return f"{text} Marked {counted(self.searches, 'search', 'searches')} as ended."


@dataclass(frozen=True)
class Unsent:
    """Numbers of results in the store that may be missing on the MLflow server."""

    trials: int = 0
    searches: int = 0  # ended searches that the server may still show as running
    evaluations: int = 0

    @property
    def total(self) -> int:
        return self.trials + self.searches + self.evaluations

    def __str__(self) -> str:
        absent = [
            counted(count, noun, plural)
            for count, noun, plural in ((self.trials, "trial", "trials"), (self.evaluations, "evaluation", "evaluations"))
            if count
        ]
        parts = [f"{' and '.join(absent)} may be missing"] if absent else []
        if self.searches:
            parts.append(f"{counted(self.searches, 'ended search', 'ended searches')} may still be marked as running")
        return "; ".join(parts) or "only the note, figures and status of the study's own run may be outdated"


def counted(count: int, noun: str, plural: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{count} {noun if count == 1 else plural}"


class Tracker:
    """Sends a study's results to MLflow and TensorBoard. Both can be rebuilt from the record at any time.

    A sequence of calls::

        tracker = Tracker(store, study, study_id, uri)   sends nothing and does not import MLflow
        tracker.prepare()                                once, before the fan-out: schema, experiment, study run
        tracker.deliver(cell, searches)                  repeatedly in a tuner step: the trials that have ended
        tracker.deliver_evaluation(cell)                 in the evaluator step
        tracker.finish()                                 at the end: failed cells, the study run's note, figures and status

    Every call may be repeated, in this process or another one. Two processes may deliver different cells at the same time. The
    tracker asks the server for its content once per process and cell, and again after an error. Errors of the server are raised
    unchanged (see Delivery) and never affect the record. Searches must be complete, as `read_search` reads them. Only one thread
    at a time may use a tracker.
    """

    def __init__(self, store: Store, study: Study, study_id: str, uri: str) -> None:
        self._store = store
        self._study = study
        self._study_id = study_id
        self._mlflow = MlflowView(store, study, study_id, uri)
        self._files: dict[str, set[str]] = {}
        self._ended: set[str] = set()
        self._noted: dict[str, Delivered | None] = {}
        self._level: dict[str, SearchRecord] = {}
        """The state of each search that was last sent. An identical object means that nothing has to be sent."""

    @property
    def waiting(self) -> int:
        """The number of trials passed to `deliver` that may not be complete on the server."""
        return len(self._ended - self._mlflow.delivered)

    def prepare(self) -> str:
        """Create or find the server's schema, the experiment and the study run. Return the id of the experiment."""
        return self._mlflow.prepare()

    def deliver(self, cell: Cell, searches: Iterable[SearchRecord], reasons: Iterable[str] = ()) -> int:
        """Send the ended trials of a cell that the server lacks.

        TensorBoard's files are written first, so that they do not wait for a server.

        Args:
            cell: The cell of the searches.
            searches: The complete searches of the cell.
            reasons: The reasons why the cell failed, if it failed.

        Returns:
            The number of trials that were new to MLflow.
        """
        records, why = tuple(searches), tuple(reasons)
        if not why and all(self._level.get(search_key(self._study_id, s)) is s for s in records):
            return 0
        self._level.clear()  # if sending fails, the content of the server is unknown
        sent = self._deliver_noted(cell, records, why).trials
        self._level = {search_key(self._study_id, s): s for s in records}
        return sent

    def deliver_evaluation(self, cell: Cell) -> bool:
        """Send the cell's evaluation if the store has one. Return whether the server lacked any part of it."""
        evaluation = read_evaluation(self._store, cell)
        if evaluation is None:
            return False
        sent = self._mlflow.deliver_evaluation(cell, evaluation)
        with suppress(OSError, StudyError):  # this note is only informative, so it may be outdated
            before = self._noted_of(cell) or Delivered(trials=0, trouble=None, time=time.time())
            self._keep(cell, before.model_copy(update={"evaluated_at": evaluation.evaluated_at}))
        return sent

    def finish(self) -> None:
        """Mark the searches of failed cells, and update the study run's note, figures and status."""
        result = read_study(self._store)
        for cell in result.cells:
            if cell.failures:
                self._mlflow.deliver(cell.cell, cell.searches, [f.reason for f in cell.failures])
        self._mlflow.finish(result)

    def sync_cell(self, cell: CellResult) -> Counts:
        """Send the missing trials, event files and evaluation of a cell."""
        counts = self._deliver_noted(cell.cell, cell.searches, tuple(f.reason for f in cell.failures))
        return counts + Counts(evaluations=int(self.deliver_evaluation(cell.cell)))

    def sync(self, result: StudyResult) -> Counts:
        """Send everything in `result` that MLflow and TensorBoard lack. TensorBoard's files do not wait for the server."""
        marked, files = self._mlflow.marked, 0
        with suppress(ImportError):  # if the tracking packages are missing, the message about MLflow must come first
            files = sum(self._write_event_files(cell.cell, cell.searches) for cell in result.cells)
        self.prepare()
        counts = sum((self.sync_cell(cell) for cell in result.cells), Counts(event_files=files))
        self.finish()
        return counts + Counts(searches=self._mlflow.marked - marked)

    def missing(self, result: StudyResult) -> int:
        """Return the number of recorded ended trials that are not complete on the server."""
        return self._mlflow.missing(result)

    def unsent_trials(self, searches: Iterable[SearchRecord]) -> int:
        """Count the ended trials that this tracker has not seen complete on the server.

        Does not contact the server. May be called from any thread.
        """
        keys = (trial_key(self._study_id, search, t.trial.id) for search in searches for t in search.told)
        return sum(key not in self._mlflow.delivered for key in keys)

    def unsent(self, result: StudyResult) -> Unsent:
        """Return what may be missing on the server, by this tracker and the notes in the store, without contacting the server."""
        total = Unsent()
        for cell in result.cells:
            noted = self._noted.get(cell.cell.name) or cell.delivered or Delivered(trials=0, trouble=None, time=0.0)
            trials = sum(len(s.told) for s in cell.searches)
            ended = sum(bool(s.trials) and bool(s.ended or cell.failures) for s in cell.searches)
            settled = sum(search_key(self._study_id, s) in self._mlflow.settled for s in cell.searches)
            made = cell.evaluation.evaluated_at if cell.evaluation else None
            known = made in (None, noted.evaluated_at, self._mlflow.evaluated.get(cell.cell.name))
            total = Unsent(
                total.trials + max(0, min(self.unsent_trials(cell.searches), trials - noted.trials)),
                total.searches + max(0, ended - max(settled, noted.searches)),
                total.evaluations + (not known),
            )
        return total

    def _deliver_noted(self, cell: Cell, searches: tuple[SearchRecord, ...], reasons: tuple[str, ...]) -> Counts:
        trouble: str | None = None
        try:
            return self._deliver(cell, searches, reasons)
        except Exception as error:
            trouble = brief(error)
            raise
        finally:
            self._note(cell, searches, trouble)

    def _note(self, cell: Cell, searches: tuple[SearchRecord, ...], trouble: str | None) -> None:
        """Note in the store what the server has, if that changed. `tuneoff status` reads it without contacting the server."""
        trials = sum(len(search.told) for search in searches) - self.unsent_trials(searches)
        settled = sum(search_key(self._study_id, search) in self._mlflow.settled for search in searches)
        with suppress(OSError, StudyError):  # this note is only informative, so it may be outdated
            before = self._noted_of(cell)
            if trouble and not trials and before:
                trials, settled = before.trials, before.searches  # the server has not answered, so its last known content counts
            evaluated_at = before.evaluated_at if before else None
            now = Delivered(trials=trials, trouble=trouble, time=time.time(), searches=settled, evaluated_at=evaluated_at)
            self._keep(cell, now)

    def _noted_of(self, cell: Cell) -> Delivered | None:
        """Return the note of the cell, which is read from the store only once."""
        if cell.name not in self._noted:
            self._noted[cell.name] = read_delivered(self._store, cell)
        return self._noted[cell.name]

    def _keep(self, cell: Cell, now: Delivered) -> None:
        """Write the note of the cell if its content has changed."""
        before = self._noted_of(cell)
        if before is None or before.model_copy(update={"time": now.time}) != now:
            write_delivered(self._store, cell, now)
            self._noted[cell.name] = now

    def _deliver(self, cell: Cell, searches: tuple[SearchRecord, ...], reasons: tuple[str, ...]) -> Counts:
        for search in searches:
            self._ended |= {trial_key(self._study_id, search, t.trial.id) for t in search.told}
        files = self._write_event_files(cell, searches)
        return Counts(self._mlflow.deliver(cell, searches, reasons), files)

    def _write_event_files(self, cell: Cell, searches: tuple[SearchRecord, ...]) -> int:
        """Write the missing TensorBoard files. Return the number of trials written."""
        if cell.dataset not in self._files:
            self._files[cell.dataset] = tensorboard.written(self._store, cell.dataset)
        already = self._files[cell.dataset]
        return sum(tensorboard.write_tensorboard(self._store, self._study, self._study_id, s, already) for s in searches)


def open_tracker(store: Store, uri: str | None = None) -> tuple[Tracker, StudyResult]:
    """Return a tracker of the study in `store`, and the content of the store.

    Raises:
        StudyError: The store holds no study, or no MLflow server is named for it.
    """
    result = read_study(store)
    return Tracker(store, result.study, result.id, uri or tracking_uri(result.study, store.uri)), result


def sync_study(store: Store, uri: str | None = None) -> Counts:
    """Send everything in the store that MLflow and TensorBoard lack. `uri` names a server other than the study's own."""
    tracker, result = open_tracker(store, uri)
    return tracker.sync(result)


def backlog(store: Store, uri: str | None = None) -> int:
    """Return the number of ended trials in the store that the MLflow server lacks."""
    tracker, result = open_tracker(store, uri)
    return tracker.missing(result)
