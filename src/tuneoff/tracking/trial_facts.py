"""Facts of a trial that MLflow and TensorBoard both show: its key, name, objective and times."""

from __future__ import annotations

import math

from ..core.problem import Outcome
from ..core.record.state import SearchRecord, TrialRecord
from ..core.study import Study

Point = tuple[str, float, float, int]
"""One value of a metric: name, value, time (seconds since 1970) and step."""


def search_key(study_id: str, search: SearchRecord) -> str:
    """Return the unique key of a search."""
    return f"{study_id}/{search.dataset}/{search.method}/{search.seed}"


def trial_key(study_id: str, search: SearchRecord, trial: int) -> str:
    """Return the unique key of a trial."""
    return f"{search_key(study_id, search)}/{trial}"


def trial_name(search: SearchRecord, trial: int) -> str:
    """Return the display name of a trial. The distinguishing part comes first because both pages shorten names."""
    return f"{search.method} {search.seed}/{trial} {search.dataset}"


def objective_of(study: Study, outcome: Outcome) -> float | None:
    """Return the value of the study's metric at the counted epoch, in the metric's own direction; None if it has no value."""
    return None if outcome.loss is None else study.objective.sign * outcome.loss


def best_val_accuracy(record: TrialRecord) -> float | None:
    """Return the largest validation accuracy of the epochs trained in this trial; None if it has no finite value."""
    values = [epoch.metrics.get("val_accuracy", math.nan) for epoch in record.curve]
    return max((v for v in values if math.isfinite(v)), default=None)


def begun(record: TrialRecord) -> float:
    """Return the time at which the trial's training began, in seconds since 1970."""
    return record.started_at if record.started_at is not None else record.asked_at


def ended(record: TrialRecord) -> float:
    """Return the time of the trial's outcome, in seconds since 1970. It is never earlier than the beginning."""
    return max(record.told_at or 0.0, begun(record))


def epoch_ends(record: TrialRecord) -> list[float]:
    """Return the end of each recorded epoch, in seconds since 1970, computed from recorded durations and so reproducible."""
    times: list[float] = []
    seconds = 0.0
    for epoch in record.curve:
        seconds += epoch.seconds
        times.append(min(begun(record) + seconds, ended(record)))
    return times
