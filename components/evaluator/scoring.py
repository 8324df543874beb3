"""Compute confusion matrices and accuracies from predicted classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.problem import Trial
from ..core.stored import ClassScore
from ..core.study import Goal, counted_epoch

Array = np.ndarray[Any, Any]


def confusion_of(labels: Array, predicted: Array, classes: int) -> Array:
    """Return the confusion matrix (classes, classes) of counts: rows are true classes, columns predicted classes."""
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    return confusion


def accuracy_of(confusion: Array) -> float:
    """Return the accuracy: the share of the images that lie on the diagonal of the confusion matrix."""
    return float(np.trace(confusion) / confusion.sum())


def class_scores(names: Sequence[str], confusions: Sequence[Array]) -> list[ClassScore]:
    """Return the accuracy of each class, averaged over the confusion matrices."""
    images = confusions[0].sum(axis=1)
    right = np.mean([np.diag(c) for c in confusions], axis=0)
    return [
        ClassScore(name=name, accuracy=float(right[k] / images[k]) if images[k] else 0.0, images=int(images[k]))
        for k, name in enumerate(names)
    ]


def counted_metrics(goal: Goal, trial: Trial) -> dict[str, float]:
    """Return the finite metrics of the epoch that counted for the trial; {} if the trial was recorded without its curve."""
    epoch = counted_epoch(trial.outcome.curve, goal) if trial.outcome else None
    return {} if epoch is None else {name: value for name, value in epoch.metrics.items() if math.isfinite(value)}
