"""A system that trains models of its own: what it is told, what it says of each of its trials, and its whole contract."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..core.problem import Epoch, Status
from ..core.space import Value
from ..core.study import ObjectiveSettings

Probabilities = npt.NDArray[np.floating[Any]]
LONGEST_VALUE = 500


@dataclass(frozen=True)
class Work:
    """What a system is to do. Of the data it may open the train and validation parts alone (see core.prepared)."""

    data: Path  # a prepared data set's folder
    goal: ObjectiveSettings
    seconds: float
    seed: int
    threads: int
    folder: Path  # an empty folder for the system's own files; gone after the search


@dataclass(frozen=True)
class SystemTrial:
    """One model that a system trained. `config` is the system's own: nothing else is told from it.

    A model without epochs has a curve of one: val_accuracy and val_loss, and whatever else is known of loss and accuracy.
    """

    config: Mapping[str, Value]
    curve: tuple[Epoch, ...]
    seconds: float
    status: Status = Status.COMPLETED
    reason: str | None = None


class System(Protocol):
    """The whole contract of a system; it is built from its settings, in a process of its own with seeded random states."""

    def run(self, work: Work) -> Iterator[SystemTrial]:
        """Search for about `work.seconds`; each trial is yielded when it has ended."""
        ...

    def save(self, trial: int, folder: Path) -> None:
        """After `run`: keep the model of its n-th trial, the best by the goal (of equals the first), in this empty folder."""
        ...

    @staticmethod
    def predict(folder: Path, images: npt.NDArray[np.float32]) -> Probabilities:
        """What the kept model says of images (N, H, W, C): (N, classes). Called in another process than `run`."""
        ...


def scored(metrics: Mapping[str, float], seconds: float) -> tuple[Epoch, ...]:
    """The curve of a model without epochs."""
    return (Epoch(1, metrics, seconds),)


def plain_config(config: Mapping[str, Any]) -> dict[str, Value]:
    """A system's configuration as the record holds it: plain values, texts for all else, nothing for None."""
    return {str(name): _plain(value) for name, value in config.items() if value is not None}


def _plain(value: Any) -> Value:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | str):
        return value if not isinstance(value, str) else value[:LONGEST_VALUE]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    try:
        return json.dumps(value)[:LONGEST_VALUE]
    except (TypeError, ValueError):
        return str(value)[:LONGEST_VALUE]


def whole_columns(probabilities: Probabilities, labels: npt.NDArray[Any], classes: int) -> Probabilities:
    """(N, classes) from the columns of those labels alone that a system has seen."""
    whole = np.zeros((len(probabilities), classes), dtype=float)
    whole[:, np.asarray(labels, dtype=int)] = probabilities
    return whole


def scores(probabilities: Probabilities, labels: npt.NDArray[Any]) -> tuple[float, float]:
    """Accuracy, and cross-entropy as Keras has it (probabilities no closer to 0 than 1e-7)."""
    labels = np.asarray(labels)
    accuracy = float(np.mean(np.argmax(probabilities, axis=1) == labels))
    return accuracy, float(-np.mean(np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0))))
