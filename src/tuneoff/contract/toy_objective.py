"""A toy objective without training: a bowl with a known optimum over any space, and a learning curve over the epochs."""

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
"""A space with every kind of parameter. Ranges without steps span three decades, so that a wrong log scale is noticed."""
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
"""The space of the comparison with random search."""
LISTS = Space.model_validate(
    {
        "blocks": {"type": "categorical", "values": [1, 2, 3]},
        "activation": {"type": "categorical", "values": ["relu", "tanh", "gelu"]},
        "size": {"type": "categorical", "values": [16, 32, 64]},
        "flag": {"type": "categorical", "values": [True, False]},
    }
)
"""A space of lists with 54 points. A sampler that can count the points may visit them in their order."""
TINY = Space.model_validate(
    {"a": {"type": "categorical", "values": ["x", "y", "z"]}, "b": {"type": "int", "low": 1, "high": 2, "step": 1}}
)
"""A space with six points."""
OPTIMUM = 0.7
"""The position of the minimum of the bowl, on each parameter's scale from 0 to 1."""


class Bowl:
    """A toy objective. Its loss is the mean squared distance from the optimum plus a term that shrinks with the epochs.

    Args:
        space: The search space.
        ends: The status of trials by number. Trials without an entry are completed.
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
            seconds = 0.01 * (1 + trial.id % 3)  # a later trial in flight may then end first
            yield Epoch(number, self.metrics(trial.proposal.config, number, end is Status.DIVERGED), seconds)

    def metrics(self, config: Config, epoch: int, diverging: bool) -> dict[str, float]:
        loss = math.nan if diverging else self.loss(config) + self._remaining(config) * math.exp(-epoch / 3)
        return {"loss": loss, "accuracy": 1 - loss, "val_loss": loss, "val_accuracy": 1 - loss}

    def loss(self, config: Config) -> float:
        """Return the loss after infinite training. It is 0 at the optimum and at most about 0.5."""
        return sum((share(self._space[name], value) - OPTIMUM) ** 2 for name, value in config.items()) / len(config)

    def _remaining(self, config: Config) -> float:
        """Return the additional loss before training. It varies by configuration, so first epochs are only partly informative."""
        name, value = next(iter(config.items()))
        return 0.1 + 0.1 * share(self._space[name], value)


def share(parameter: Categorical | Int | Float, value: Value) -> float:
    """Return the position of a value between the lowest (0) and highest (1) value of the parameter, on its scale."""
    if isinstance(parameter, Categorical):
        return parameter.index(value) / max(1, len(parameter.values) - 1)
    number = float(value)
    if parameter.log:
        return math.log(number / parameter.low) / math.log(parameter.high / parameter.low)
    return (number - parameter.low) / (parameter.high - parameter.low)


def drawn(space: Space, rng: random.Random) -> dict[str, Value]:
    """Return a random configuration."""
    axes = Axes(space)
    return axes.decode({axis.name: _place(axis, rng) for axis in axes.axes})


def _place(axis: Axis, rng: random.Random) -> float:
    if axis.kind == "choice" or (axis.kind == "int" and not axis.log):
        return rng.choice(axis.places)
    if axis.log:
        place = axis.low * (axis.high / axis.low) ** rng.random()
        return float(place) if axis.kind == "float" else round(place)
    return rng.uniform(axis.low, axis.high)
