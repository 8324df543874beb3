"""One study's MLflow runs and TensorBoard files, brought level with its record."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ..errors import StudyError
from ..record import SearchRecord
from ..storage import Store
from ..stored import CellResult, Delivered, StudyResult, read_delivered, read_evaluation, read_study, write_delivered
from ..study import Cell, Study
from . import tensorboard_view
from .delivery import brief
from .facts import search_key, trial_key
from .mlflow_runs import tracking_uri
from .mlflow_view import MlflowView


@dataclass(frozen=True)
class Counts:
    """What a call has sent."""

    trials: int = 0  # to MLflow
    event_files: int = 0  # trials written for TensorBoard
    evaluations: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.trials + other.trials, self.event_files + other.event_files, self.evaluations + other.evaluations)


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
        return evaluation is not None and self._mlflow.deliver_evaluation(cell, evaluation)

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

    def missing(self, result: StudyResult) -> int:
        """How many ended trials of the record are not whole on the server."""
        return self._mlflow.missing(result)

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
        keys = (trial_key(self._study_id, search, t.trial.id) for search in searches for t in search.told)
        trials = sum(key in self._mlflow.delivered for key in keys)
        with suppress(OSError, StudyError):  # the view of a view may be late
            if cell.name not in self._noted:
                self._noted[cell.name] = read_delivered(self._store, cell)
            before = self._noted[cell.name]
            if trouble and not trials and before:
                trials = before.trials  # a server that has not answered yet has what it had
            if before is None or (before.trials, before.trouble) != (trials, trouble):
                now = Delivered(trials=trials, trouble=trouble, time=time.time())
                write_delivered(self._store, cell, now)
                self._noted[cell.name] = now

    def _deliver(self, cell: Cell, searches: tuple[SearchRecord, ...], reasons: tuple[str, ...]) -> Counts:
        for search in searches:
            self._ended |= {trial_key(self._study_id, search, t.trial.id) for t in search.told}
        if cell.dataset not in self._files:
            self._files[cell.dataset] = tensorboard_view.written(self._store, cell.dataset)
        already = self._files[cell.dataset]
        files = sum(tensorboard_view.write_tensorboard(self._store, self._study, self._study_id, s, already) for s in searches)
        return Counts(self._mlflow.deliver(cell, searches, reasons), files)


def open_tracker(store: Store, uri: str | None = None) -> tuple[Tracker, StudyResult]:
    """A tracker of the study in `store`, and what the store holds; StudyError where there is no study, or no server for it."""
    result = read_study(store)
    return Tracker(store, result.study, result.id, uri or tracking_uri(result.study, store.uri)), result


def sync_study(store: Store, uri: str | None = None) -> Counts:
    """Bring MLflow and TensorBoard level with everything in the store; `uri` names another server than the study's own."""
    tracker, result = open_tracker(store, uri)
    tracker.prepare()
    counts = sum((tracker.sync_cell(cell) for cell in result.cells), Counts())
    tracker.finish()
    return counts


def backlog(store: Store, uri: str | None = None) -> int:
    """How many ended trials of the store's study its MLflow server lacks."""
    tracker, result = open_tracker(store, uri)
    return tracker.missing(result)
