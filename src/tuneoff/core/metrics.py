"""Metrics as data: their names, directions and how they are written. Other modules refer to these and name no metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric that the epochs of a trial report."""

    name: str
    title: str
    """The name in running text."""
    direction: Literal["max", "min"]
    is_share: bool
    """Whether the value is a share of 1, which is written in per cent."""


LOSS = Metric("loss", "loss", "min", is_share=False)
ACCURACY = Metric("accuracy", "accuracy", "max", is_share=True)
VAL_LOSS = Metric("val_loss", "validation loss", "min", is_share=False)
VAL_ACCURACY = Metric("val_accuracy", "validation accuracy", "max", is_share=True)
TEST_LOSS = Metric("test_loss", "test loss", "min", is_share=False)
TEST_ACCURACY = Metric("test_accuracy", "test accuracy", "max", is_share=True)

CLASSIFICATION = (LOSS, ACCURACY, VAL_LOSS, VAL_ACCURACY)
"""What a classifier reports after each epoch: on the training split and on the validation split."""
TESTED = (TEST_LOSS, TEST_ACCURACY)
"""What tables of recorded trainings may have in addition."""
KNOWN = {metric.name: metric for metric in (*CLASSIFICATION, *TESTED)}


def names_of(metrics: tuple[Metric, ...]) -> tuple[str, ...]:
    """Return the names of the metrics, in their order."""
    return tuple(metric.name for metric in metrics)


def direction_of(metric: str) -> Literal["max", "min"]:
    """Return the direction in which a metric improves. An unknown metric is minimised."""
    return KNOWN[metric].direction if metric in KNOWN else "min"
