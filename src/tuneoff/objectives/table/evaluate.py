"""Evaluate a search of a table study: read the recorded test score of its incumbent at the counted epoch."""

from __future__ import annotations

import math
import time

from ...core.record.state import SearchRecord, TrialRecord
from ...core.store.protocol import Store
from ...core.store.study_store import Evaluation, Retraining, write_evaluation
from ...core.study import Cell, Study, counted_epoch
from ...core.table import TESTED, RecordedTraining, read_table, sources
from ..scoring import counted_metrics
from . import table_path


def evaluate_recorded(study: Study, cell: Cell, store: Store, search: SearchRecord, best: TrialRecord) -> Evaluation:
    """Write and return the evaluation of a table study's cell. It has no score if the table has no test scores."""
    table = read_table(table_path(study))
    source = sources(table, search.seed, (t.trial for t in search.trials))[best.trial.id]
    counted = counted_epoch(best.curve, study.objective)
    assert counted is not None
    last_epoch = counted.number - source.offset
    evaluation = Evaluation(
        dataset=cell.dataset,
        method=cell.method.label,
        seed=search.seed,
        trial=best.trial.id,
        config=dict(best.trial.proposal.config),
        epochs=last_epoch,
        validation=counted_metrics(study.objective, best.trial),
        retrainings=_scored(source.training, last_epoch),
        confusion=[],
        classes=[],
        evaluated_at=time.time(),
        retrained=False,
        recorded=True,
    )
    write_evaluation(store, evaluation)
    return evaluation


def _scored(training: RecordedTraining, last_epoch: int) -> list[Retraining]:
    """Return the training up to epoch number `last_epoch` with its test score, or [] if the table has no test score."""
    curve = training.curve[:last_epoch]
    accuracy, loss = (curve[-1].metrics.get(name, math.nan) for name in TESTED[::-1])
    if not math.isfinite(accuracy) or not math.isfinite(loss):
        return []
    curves = {name: [e.metrics[name] for e in curve if name in e.metrics] for name in ("loss", "accuracy")}
    return [Retraining(seed=training.seed, test_accuracy=accuracy, test_loss=loss, curves=curves, seconds=0.0)]
