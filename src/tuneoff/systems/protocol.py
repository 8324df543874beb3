"""The contract of an AutoML system that trains its own models: its task, its trials and its verbs."""

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
    """The task of a system. It may open only the train and validation parts of the data (see core.prepared_data)."""

    data: Path  # the folder of a prepared data set
    goal: ObjectiveSettings
    seconds: float
    seed: int
    threads: int
    folder: Path  # an empty folder for the system's files; it is deleted after the search


@dataclass(frozen=True)
class SystemTrial:
    """One model that a system trained. `config` is the system's configuration; nothing else is derived from it.

    A model without epochs has a curve with one entry: the validation metrics, and the training metrics if they are known.
    """

    config: Mapping[str, Value]
    curve: tuple[Epoch, ...]
    seconds: float
    status: Status = Status.COMPLETED
    reason: str | None = None


class System(Protocol):
    """The contract of a system. It is built from its settings, in its own process with seeded random states."""

    def run(self, work: Work) -> Iterator[SystemTrial]:
        """Search for about `work.seconds`. Yield each trial when it has ended."""
        ...

    def save(self, trial: int, folder: Path) -> None:
        """Save the model of the n-th trial, the best one, in this empty folder. It is called after `run`."""
        ...

    @staticmethod
    def predict(folder: Path, images: npt.NDArray[np.float32]) -> Probabilities:
        """Return the kept model's probabilities (N, classes) for images (N, H, W, C). Called in another process than `run`."""
        ...


def scored(metrics: Mapping[str, float], seconds: float) -> tuple[Epoch, ...]:
    """Return the curve of a model without epochs."""
    return (Epoch(1, metrics, seconds),)


def plain_config(config: Mapping[str, Any]) -> dict[str, Value]:
    """Return a system's configuration as the record holds it: plain values, texts for other types, no entry for None."""
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
    """Return probabilities (N, classes) from the columns of the labels that the system has seen."""
    whole = np.zeros((len(probabilities), classes), dtype=float)
    whole[:, np.asarray(labels, dtype=int)] = probabilities
    return whole


def scores(probabilities: Probabilities, labels: npt.NDArray[Any]) -> tuple[float, float]:
    """Return accuracy, and cross-entropy as Keras computes it (probabilities are clipped to at least 1e-7)."""
    labels = np.asarray(labels)
    accuracy = float(np.mean(np.argmax(probabilities, axis=1) == labels))
    return accuracy, float(-np.mean(np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0))))
