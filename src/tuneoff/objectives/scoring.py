"""Compute scores from predicted classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.problem import Trial
from ..core.store.study_store import ClassScore
from ..core.study import ObjectiveSettings, counted_epoch

Array = np.ndarray[Any, Any]


def confusion_of(labels: Array, predicted: Array, classes: int) -> Array:
    """Return the confusion matrix as counts. Rows are true classes, columns are predicted classes."""
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    return confusion


def accuracy_of(confusion: Array) -> float:
    """Return the share of images on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def class_scores(names: Sequence[str], confusions: Sequence[Array]) -> list[ClassScore]:
    """Return the accuracy of each class: the mean over the confusion matrices."""
    images = confusions[0].sum(axis=1)
    right = np.mean([np.diag(c) for c in confusions], axis=0)
    return [
        ClassScore(name=name, accuracy=float(right[k] / images[k]) if images[k] else 0.0, images=int(images[k]))
        for k, name in enumerate(names)
    ]


def counted_metrics(goal: ObjectiveSettings, trial: Trial) -> dict[str, float]:
    """Return the metrics of the counted epoch of a trial, or {} if the trial was collected without its curve."""
    epoch = counted_epoch(trial.outcome.curve, goal) if trial.outcome else None
    return {} if epoch is None else {name: value for name, value in epoch.metrics.items() if math.isfinite(value)}
