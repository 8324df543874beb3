"""Tidy data of a study: one row for each trial, and the mean and spread of a few values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from ..core.metrics import ACCURACY, LOSS, VAL_ACCURACY, VAL_LOSS, names_of
from ..core.record.state import SearchRecord, TrialRecord
from ..core.space import Model, Value
from ..core.store.study_store import StudyResult
from ..core.study import ObjectiveSettings, counted_epoch

METRICS = names_of((ACCURACY, VAL_ACCURACY, LOSS, VAL_LOSS))


class Spread(Model):
    """The mean, the sample standard deviation (divisor n - 1; None for a single value) and the range of a few values."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


class TrialRow(Model):
    """One trial.

    Accuracies are shares of 1, times (`…_at`) are seconds since 1970, durations are seconds. The metrics are those of the counted
    epoch: the best or the last one, as the study's objective says.
    """

    dataset: str
    method: str  # the label
    seed: int
    trial: int
    config_id: int  # the first trial of its lineage
    parent: int | None
    inherit: str | None  # what the trial inherits from its parent
    status: str
    reason: str | None
    config: dict[str, Value]
    first_epoch: int  # epochs that the parent had trained
    target_epoch: int
    epochs: int  # epochs reached, including the parent's
    trained_epochs: int  # epochs trained in this trial, summed over the models of all folds
    objective: float | None  # the study's metric, in its own direction
    counted_epoch: int | None  # the epoch whose metrics are listed
    accuracy: float | None
    val_accuracy: float | None
    loss: float | None
    val_loss: float | None
    seconds: float | None  # training time
    method_seconds: float  # time that the method took to propose this trial
    device: str | None
    peak_memory_bytes: int | None
    attempts: int
    asked_at: float
    started_at: float | None
    told_at: float | None
    own_models: bool = False  # a system that trains its own models ran the trial; `config` is its own, not of the search space


def spread(values: Iterable[float]) -> Spread:
    """Return the mean and spread of finite values; every field is None if there are no values."""
    numbers = list(values)
    if not numbers:
        return Spread(n=0, mean=None, sd=None, low=None, high=None)
    sd = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Spread(n=len(numbers), mean=statistics.fmean(numbers), sd=sd, low=min(numbers), high=max(numbers))


def trial_rows(result: StudyResult) -> list[TrialRow]:
    """Return every recorded trial, by cell, seed and number."""
    goal = result.study.objective
    return [trial_row(search, t, goal) for cell in result.cells for search in cell.searches for t in search.trials]


def trial_row(search: SearchRecord, record: TrialRecord, goal: ObjectiveSettings) -> TrialRow:
    """Return a recorded trial as a row; a metric that is not finite becomes None."""
    trial, outcome = record.trial, record.trial.outcome
    loss = outcome.loss if outcome else None
    epoch = counted_epoch(record.curve, goal) if loss is not None else None
    metrics = {m: _finite(epoch.metrics.get(m)) if epoch else None for m in METRICS}
    return TrialRow(
        dataset=search.dataset,
        method=search.method,
        seed=search.seed,
        trial=trial.id,
        config_id=trial.config_id,
        parent=trial.proposal.parent,
        inherit=None if trial.proposal.parent is None else trial.proposal.inherit.value,
        status=record.status,
        reason=outcome.reason if outcome else None,
        config=dict(trial.proposal.config),
        first_epoch=trial.first_epoch,
        target_epoch=trial.proposal.target_epoch,
        epochs=trial.first_epoch + len(record.curve),
        trained_epochs=outcome.trained_epochs if outcome else len(record.curve),
        objective=None if loss is None else goal.sign * loss,
        counted_epoch=epoch.number if epoch else None,
        **metrics,
        seconds=outcome.seconds if outcome else None,
        method_seconds=record.ask_seconds,
        device=(outcome.device or None) if outcome else None,
        peak_memory_bytes=outcome.peak_memory_bytes if outcome else None,
        attempts=record.attempts,
        asked_at=record.asked_at,
        started_at=record.started_at,
        told_at=record.told_at,
        own_models=search.is_system,
    )


def ranked(rows: Iterable[TrialRow], goal: ObjectiveSettings) -> list[TrialRow]:
    """Return the trials that have an objective, the best first; ties are ordered by seed and trial number."""
    scored = [r for r in rows if r.objective is not None]
    return sorted(scored, key=lambda r: (goal.sign * (r.objective or 0.0), r.seed, r.trial))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
