"""What both views say of a trial, in the same words: its key, its objective, its times."""

from __future__ import annotations

import math

from ..core.problem import Outcome
from ..core.record.state import SearchRecord, TrialRecord
from ..core.study import Study

Point = tuple[str, float, float, int]
"""One value of a metric: its name, the value, when (seconds since 1970), and the step."""


def search_key(study_id: str, search: SearchRecord) -> str:
    """Unique to a search wherever it is shown."""
    return f"{study_id}/{search.dataset}/{search.method}/{search.seed}"


def trial_key(study_id: str, search: SearchRecord, trial: int) -> str:
    """Unique to a trial wherever it is shown."""
    return f"{search_key(study_id, search)}/{trial}"


def trial_name(search: SearchRecord, trial: int) -> str:
    """What people read; the part that tells trials apart comes first, because both pages cut names short."""
    return f"{search.method} {search.seed}/{trial} {search.dataset}"


def objective_of(study: Study, outcome: Outcome) -> float | None:
    """The value of the study's metric at the epoch that counted, in the metric's own direction; None where there is none."""
    return None if outcome.loss is None else study.objective.sign * outcome.loss


def best_val_accuracy(record: TrialRecord) -> float | None:
    """The largest validation accuracy of the epochs trained in this trial; None where there is none."""
    values = [epoch.metrics.get("val_accuracy", math.nan) for epoch in record.curve]
    return max((v for v in values if math.isfinite(v)), default=None)


def begun(record: TrialRecord) -> float:
    """When the trial's training began, in seconds since 1970."""
    return record.started_at if record.started_at is not None else record.asked_at


def ended(record: TrialRecord) -> float:
    """When the trial had its outcome, in seconds since 1970; never before it began."""
    return max(record.told_at or 0.0, begun(record))


def epoch_ends(record: TrialRecord) -> list[float]:
    """When each recorded epoch ended, in seconds since 1970, reckoned from the epochs' own seconds: the same at every reading."""
    times: list[float] = []
    seconds = 0.0
    for epoch in record.curve:
        seconds += epoch.seconds
        times.append(min(begun(record) + seconds, ended(record)))
    return times
