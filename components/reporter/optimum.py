"""The best that there is on a study's table: what its report and its figures count regret from."""

from __future__ import annotations

from ..core.errors import StudyError
from ..core.study import Study, counted_epoch
from ..core.table import read_table


def known_best(study: Study) -> tuple[dict[str, float] | None, tuple[str, ...]]:
    """The best value of the metric by data set; None without a table, and, with a note, where it cannot be read any more."""
    if study.objective.replay is None:
        return None, ()
    try:
        table = read_table(study.objective.replay.table)
    except (StudyError, ImportError) as error:
        return None, (f"regret is to the best that was found, not to the best there is, since {error}",)
    goal = study.objective
    counted = (counted_epoch(training.curve, goal) for training in table)
    best = min((goal.sign * epoch.metrics[goal.metric] for epoch in counted if epoch is not None), default=None)
    return None if best is None else {dataset.name: goal.sign * best for dataset in study.datasets}, ()
