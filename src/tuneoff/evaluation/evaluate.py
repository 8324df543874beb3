"""Evaluate the incumbent of a cell on the test split. No other code opens the test data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core import layout
from ..core.errors import Settled
from ..core.record.state import SearchRecord, TrialRecord, read_search
from ..core.store.protocol import Store
from ..core.store.stop_request import Stopped
from ..core.store.study_store import Evaluation, claim, read_evaluation, write_failure
from ..core.study import Cell, Study
from ..objectives import Incumbent, objective_of
from ..systems.evaluate import SystemEvaluation
from ..tracking import Tracker, attempt


def evaluate(
    study: Study,
    cell: Cell,
    data: Path,
    store: Store,
    tracking_uri: str,
    report: Callable[[str], None] = print,
    stopping: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Evaluate the cell's incumbent on the test split, as the study's kind of objective does it.

    An evaluation that is on record and still holds is not repeated.

    Args:
        data: The folder of the prepared data set.
        report: Receives a line for each step of the evaluation.
        stopping: Tells whether the user has asked the study to stop.

    Raises:
        CellFailed: The cell has no incumbent, or the incumbent cannot be evaluated.
        Stopped: `stopping` returned true before the end.
    """
    failure = layout.failure("evaluator", cell.dataset, cell.method.label)
    kind = objective_of(study)
    try:
        study_id = claim(store, study)
        store.delete(failure)  # left by an earlier attempt
        if stopping():
            raise Stopped(f"{cell.name}: stopped before its evaluation")
        search, best = incumbent(store, study, cell)
        evaluator = SystemEvaluation() if search.is_system else kind.evaluation
        evaluation = read_evaluation(store, cell)
        if evaluation is None or not _still_holds(evaluation, search, best, evaluator.still_holds(study, evaluation)):
            evaluation = evaluator.evaluate(study, Incumbent(cell, search, best), data, store, report, stopping)
        if kind.tracked_while_running:
            tracker = Tracker(store, study, study_id, tracking_uri)
            attempt(lambda: tracker.deliver_evaluation(cell), report)
    except Stopped:
        raise
    except Exception as error:
        write_failure(store, failure, "evaluator", error)
        raise
    store.delete(failure)
    return evaluation


def incumbent(store: Store, study: Study, cell: Cell) -> tuple[SearchRecord, TrialRecord]:
    """Return the best trial of all the cell's searches (the first of equals) and the search that found it.

    Raises:
        Settled: No trial of the cell has a finite objective.
    """
    searches = [read_search(store, cell.dataset, cell.method.label, seed) for seed in study.seeds]
    found = [(s, s.incumbent) for s in searches]
    scored = [(s, t, t.trial.outcome.loss) for s, t in found if t is not None and t.trial.outcome is not None]
    if not scored:
        raise Settled(f"{cell.name} has no incumbent: no trial reached a finite objective.")
    search, trial, _ = min(scored, key=lambda entry: entry[2] if entry[2] is not None else np.inf)
    return search, trial


def _still_holds(evaluation: Evaluation, search: SearchRecord, best: TrialRecord, same_settings: bool) -> bool:
    return same_settings and (evaluation.seed, evaluation.trial) == (search.seed, best.trial.id)
