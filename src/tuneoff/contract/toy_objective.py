"""A toy objective that costs nothing: a bowl over any space with a known optimum, and a learning curve over the epochs."""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Mapping

from ..core.encoding import Axes, Axis
from ..core.problem import Checkpoint, Epoch, Status, TrainingFailed, Trial
from ..core.space import Categorical, Config, Float, Int, Space, Value

MIXED = Space.model_validate(
    {
        "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "grid_points": 3},
        "share": {"type": "float", "low": 1e-3, "high": 1.0, "grid_points": 3},
        "dropout": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
        "units": {"type": "int", "low": 8, "high": 64, "step": 8},
        "width": {"type": "int", "low": 1, "high": 1000, "log": True, "grid_points": 2},
        "size": {"type": "int", "low": 1, "high": 1000, "grid_points": 2},
        "depth": {"type": "int", "low": 1, "high": 3, "grid_points": 2},
        "flag": {"type": "categorical", "values": [True, False]},
        "kind": {"type": "categorical", "values": ["1", 1, 1.5]},
    }
)
"""Every kind of parameter; each range without steps spans three decades, so that a lost or an invented log scale shows."""
CONDITIONAL = Space.model_validate(
    {
        "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
        "momentum": {"type": "float", "low": 0.1, "high": 0.9, "grid_points": 3, "when": {"optimizer": ["SGD"]}},
        "nesterov": {"type": "categorical", "values": [True, False], "when": {"optimizer": ["SGD"]}},
        "beta": {"type": "int", "low": 1, "high": 4, "step": 1, "when": {"optimizer": ["Adam"]}},
    }
)
SMOOTH = Space.model_validate(
    {
        "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "grid_points": 5},
        "share": {"type": "float", "low": 0.0, "high": 1.0, "grid_points": 5},
        "units": {"type": "int", "low": 8, "high": 128, "step": 8},
        "kind": {"type": "categorical", "values": ["a", "b", "c"]},
    }
)
"""Where methods are compared with random search."""
LISTS = Space.model_validate(
    {
        "blocks": {"type": "categorical", "values": [1, 2, 3]},
        "activation": {"type": "categorical", "values": ["relu", "tanh", "gelu"]},
        "size": {"type": "categorical", "values": [16, 32, 64]},
        "flag": {"type": "categorical", "values": [True, False]},
    }
)
"""Lists alone, 54 points: a sampler that can count them may draw in a way of its own, or walk through them in their order."""
TINY = Space.model_validate(
    {"a": {"type": "categorical", "values": ["x", "y", "z"]}, "b": {"type": "int", "low": 1, "high": 2, "step": 1}}
)
"""Six points."""
OPTIMUM = 0.7
"""Where the bowl is lowest, on every parameter's own scale from 0 to 1."""


class Bowl:
    """An objective; trials end as `ends` says by their numbers, all others are completed.

    Its loss is the mean squared distance from the optimum, and what is left to learn after so many epochs.
    """

    device = "bowl"
    peak_memory_bytes = None

    def __init__(self, space: Space, ends: Mapping[int, Status] | None = None) -> None:
        self._space = space
        self._ends = ends or {}

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        end = self._ends.get(trial.id)
        if end is Status.FAILED:
            raise TrainingFailed("ValueError: no such layer")
        for number in range(trial.first_epoch + 1, trial.proposal.target_epoch + 1):
            seconds = 0.01 * (1 + trial.id % 3)  # so that of trials in flight a later one may be told first
            yield Epoch(number, self.metrics(trial.proposal.config, number, end is Status.DIVERGED), seconds)

    def metrics(self, config: Config, epoch: int, diverging: bool) -> dict[str, float]:
        loss = math.nan if diverging else self.loss(config) + self._unlearnt(config) * math.exp(-epoch / 3)
        return {"loss": loss, "accuracy": 1 - loss, "val_loss": loss, "val_accuracy": 1 - loss}

    def loss(self, config: Config) -> float:
        """The loss after endless training; 0 at the optimum, at most about a half."""
        return sum((share(self._space[name], value) - OPTIMUM) ** 2 for name, value in config.items()) / len(config)

    def _unlearnt(self, config: Config) -> float:
        """Configurations learn at different speeds, so that the first epochs tell something, and not all."""
        name, value = next(iter(config.items()))
        return 0.1 + 0.1 * share(self._space[name], value)


def share(parameter: Categorical | Int | Float, value: Value) -> float:
    """Where the value lies between the parameter's lowest (0) and highest (1), on its own scale."""
    if isinstance(parameter, Categorical):
        return parameter.index(value) / max(1, len(parameter.values) - 1)
    number = float(value)
    if parameter.log:
        return math.log(number / parameter.low) / math.log(parameter.high / parameter.low)
    return (number - parameter.low) / (parameter.high - parameter.low)


def drawn(space: Space, rng: random.Random) -> dict[str, Value]:
    """A random configuration: what every method is compared with."""
    axes = Axes(space)
    return axes.decode({axis.name: _place(axis, rng) for axis in axes.axes})


def _place(axis: Axis, rng: random.Random) -> float:
    if axis.kind == "choice" or (axis.kind == "int" and not axis.log):
        return rng.choice(axis.places)
    if axis.log:
        place = axis.low * (axis.high / axis.low) ** rng.random()
        return float(place) if axis.kind == "float" else round(place)
    return rng.uniform(axis.low, axis.high)
