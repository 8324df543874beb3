"""The evaluation of a search on a table: the recorded test score of its incumbent, at the epoch that counted."""

from __future__ import annotations

import math
import time

from ..core import layout
from ..core.errors import CellFailed
from ..core.problem import Epoch
from ..core.record import SearchRecord, TrialRecord
from ..core.storage import Store
from ..core.stored import Evaluation, Retraining
from ..core.study import Cell, Study, counted_epoch
from ..core.table import Recorded, read_table, sources
from .scoring import counted_metrics


def evaluate_recorded(study: Study, cell: Cell, store: Store, search: SearchRecord, best: TrialRecord) -> Evaluation:
    """Read the incumbent's test score. CellFailed where the table has none of it."""
    assert study.objective.replay is not None
    table = read_table(study.objective.replay.table)
    source = sources(table, search.seed, (t.trial for t in search.trials))[best.trial.id]
    counted = counted_epoch(best.curve, study.objective)
    assert counted is not None
    place = counted.number - source.offset
    score = _test(source.training, place)
    if score is None:
        raise CellFailed(
            f"{cell.name}: the table {table.source} has no test score of its incumbent, {dict(best.trial.proposal.config)}."
        )
    curve = source.training.curve[:place]
    evaluation = Evaluation(
        dataset=cell.dataset,
        method=cell.method.label,
        seed=search.seed,
        trial=best.trial.id,
        config=dict(best.trial.proposal.config),
        epochs=place,
        validation=counted_metrics(study.objective, best.trial),
        retrainings=[
            Retraining(
                seed=source.training.seed,
                test_accuracy=score["test_accuracy"],
                test_loss=score["test_loss"],
                curves={name: [e.metrics[name] for e in curve if name in e.metrics] for name in ("loss", "accuracy")},
                seconds=0.0,
            )
        ],
        confusion=[],
        classes=[],
        evaluated_at=time.time(),
        retrained=False,
        recorded=True,
    )
    folder = layout.evaluation(cell.dataset, cell.method.label)
    store.write(folder + "evaluation.json", evaluation.model_dump_json(indent=1).encode())
    return evaluation


def _test(training: Recorded, place: int) -> dict[str, float] | None:
    epoch: Epoch = training.curve[place - 1]
    found = {name: epoch.metrics.get(name, math.nan) for name in ("test_accuracy", "test_loss")}
    return found if all(map(math.isfinite, found.values())) else None
