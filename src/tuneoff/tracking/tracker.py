"""One study's MLflow runs and TensorBoard files, brought level with its record."""

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
    """What a call has sent."""

    trials: int = 0  # to MLflow
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
    """What the MLflow server is not known to have, of all that the store holds."""

    trials: int = 0
    searches: int = 0  # ended, and perhaps still shown as running
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
        parts = [f"{' and '.join(absent)} not known to be there"] if absent else []
        if self.searches:
            parts.append(f"{counted(self.searches, 'ended search', 'ended searches')} perhaps still marked as running")
        return "; ".join(parts) or "only the note, figures and status of the study's own run may be old"


def counted(count: int, noun: str, plural: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun if count == 1 else plural}"


class Tracker:
    """Sends a study's results to MLflow and TensorBoard; both can be rebuilt from the record at any time.

    A sequence of calls::

        tracker = Tracker(store, study, study_id, uri)   nothing is sent yet, MLflow is not imported yet
        tracker.prepare()                                once, before the fan-out: schema, experiment, study run
        tracker.deliver(cell, searches)                  in a tuner step, again and again: the trials that have ended
        tracker.deliver_evaluation(cell)                 in the evaluator step
        tracker.finish()                                 at the end: failed cells, the study run's note, figures and status

    Every call may be repeated, in this process or another; two processes may deliver different cells at the same time. What the
    server has is asked of it once a process and cell, and again after an error. Errors of the server are raised as they come
    (see Delivery); the record is not touched by any of them. Searches have to come whole, as `read_search` reads them.
    One thread at a time may use a tracker.
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
        """What was sent of each search, to see without comparing that nothing has happened since."""

    @property
    def waiting(self) -> int:
        """Trials that `deliver` was given and that are not known to be whole on the server."""
        return len(self._ended - self._mlflow.delivered)

    def prepare(self) -> str:
        """Make the server's schema, the experiment and the study run, or find them; returns the experiment's id."""
        return self._mlflow.prepare()

    def deliver(self, cell: Cell, searches: Iterable[SearchRecord], reasons: Iterable[str] = ()) -> int:
        """Send the ended trials of a cell that are not there yet; returns how many were new to MLflow.

        TensorBoard's files are written first, so that they do not wait for a server. `reasons` say why the cell failed.
        """
        found, why = tuple(searches), tuple(reasons)
        if not why and all(self._level.get(search_key(self._study_id, s)) is s for s in found):
            return 0
        self._level.clear()  # should sending fail, nobody knows what is there
        sent = self._deliver_noted(cell, found, why).trials
        self._level = {search_key(self._study_id, s): s for s in found}
        return sent

    def deliver_evaluation(self, cell: Cell) -> bool:
        """Send the cell's evaluation, where the store has one; returns whether the server lacked anything of it."""
        evaluation = read_evaluation(self._store, cell)
        if evaluation is None:
            return False
        sent = self._mlflow.deliver_evaluation(cell, evaluation)
        with suppress(OSError, StudyError):  # the view of a view may be late
            before = self._noted_of(cell) or Delivered(trials=0, trouble=None, time=time.time())
            self._keep(cell, before.model_copy(update={"evaluated_at": evaluation.evaluated_at}))
        return sent

    def finish(self) -> None:
        """Mark searches of failed cells, and bring the study run's note, figures and status level with the store."""
        result = read_study(self._store)
        for cell in result.cells:
            if cell.failures:
                self._mlflow.deliver(cell.cell, cell.searches, [f.reason for f in cell.failures])
        self._mlflow.finish(result)

    def sync_cell(self, cell: CellResult) -> Counts:
        """Bring a cell level: trials, event files and evaluation."""
        counts = self._deliver_noted(cell.cell, cell.searches, tuple(f.reason for f in cell.failures))
        return counts + Counts(evaluations=int(self.deliver_evaluation(cell.cell)))

    def sync(self, result: StudyResult) -> Counts:
        """Bring MLflow and TensorBoard level with all of `result`. TensorBoard's files do not wait for the server."""
        marked, files = self._mlflow.marked, 0
        with suppress(ImportError):  # without the packages for tracking, the sentence on MLflow comes first
            files = sum(self._write_event_files(cell.cell, cell.searches) for cell in result.cells)
        self.prepare()
        counts = sum((self.sync_cell(cell) for cell in result.cells), Counts(event_files=files))
        self.finish()
        return counts + Counts(searches=self._mlflow.marked - marked)

    def missing(self, result: StudyResult) -> int:
        """How many ended trials of the record are not whole on the server."""
        return self._mlflow.missing(result)

    def unsent_trials(self, searches: Iterable[SearchRecord]) -> int:
        """Count the ended trials that this tracker has not seen whole on the server. Asks no server; any thread may call it."""
        keys = (trial_key(self._study_id, search, t.trial.id) for search in searches for t in search.told)
        return sum(key not in self._mlflow.delivered for key in keys)

    def unsent(self, result: StudyResult) -> Unsent:
        """Return what the server is not known to have, by this tracker and by the notes in the store. Asks no server."""
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
        """Leave in the store what the server has, where that has changed: for `tuneoff status`, which asks no server."""
        trials = sum(len(search.told) for search in searches) - self.unsent_trials(searches)
        settled = sum(search_key(self._study_id, search) in self._mlflow.settled for search in searches)
        with suppress(OSError, StudyError):  # the view of a view may be late
            before = self._noted_of(cell)
            if trouble and not trials and before:
                trials, settled = before.trials, before.searches  # a server that has not answered yet has what it had
            evaluated_at = before.evaluated_at if before else None
            now = Delivered(trials=trials, trouble=trouble, time=time.time(), searches=settled, evaluated_at=evaluated_at)
            self._keep(cell, now)

    def _noted_of(self, cell: Cell) -> Delivered | None:
        """Return the cell's note, read from the store once."""
        if cell.name not in self._noted:
            self._noted[cell.name] = read_delivered(self._store, cell)
        return self._noted[cell.name]

    def _keep(self, cell: Cell, now: Delivered) -> None:
        """Write the cell's note where it says something new."""
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
        """Write TensorBoard's files that are missing; returns how many trials that were."""
        if cell.dataset not in self._files:
            self._files[cell.dataset] = tensorboard.written(self._store, cell.dataset)
        already = self._files[cell.dataset]
        return sum(tensorboard.write_tensorboard(self._store, self._study, self._study_id, s, already) for s in searches)


def open_tracker(store: Store, uri: str | None = None) -> tuple[Tracker, StudyResult]:
    """A tracker of the study in `store`, and what the store holds; StudyError where there is no study, or no server for it."""
    result = read_study(store)
    return Tracker(store, result.study, result.id, uri or tracking_uri(result.study, store.uri)), result


def sync_study(store: Store, uri: str | None = None) -> Counts:
    """Bring MLflow and TensorBoard level with everything in the store; `uri` names another server than the study's own."""
    tracker, result = open_tracker(store, uri)
    return tracker.sync(result)


def backlog(store: Store, uri: str | None = None) -> int:
    """How many ended trials of the store's study its MLflow server lacks."""
    tracker, result = open_tracker(store, uri)
    return tracker.missing(result)
