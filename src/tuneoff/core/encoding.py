"""Encode a search space for frameworks without conditional parameters: one axis per parameter.

Categories and steps are encoded by their index. An inactive parameter is encoded as the lowest place of its axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from .space import Categorical, Config, Float, Int, Space, Value


@dataclass(frozen=True)
class Axis:
    """One axis of an encoded space. Its places are the indices 0 … high of a choice, or integers or reals from low to high.

    Both ends are included.
    """

    name: str
    kind: Literal["choice", "int", "float"]
    low: float
    high: float
    log: bool
    parameter: Categorical | Int | Float

    @property
    def places(self) -> list[int]:
        """Return all places of a choice or of an integer axis."""
        return list(range(int(self.low), int(self.high) + 1))

    @property
    def line(self) -> tuple[float, float]:
        """Return the bounds of the axis as a continuous line.

        An integer place is one unit wide, half of it on each side. A logarithmic axis uses the logarithm.
        """
        margin = 0.0 if self.kind == "float" else 0.5
        low, high = self.low - margin, self.high + margin
        return (math.log(low), math.log(high)) if self.log else (low, high)

    def on_line(self, point: float) -> Any:
        """Return the place at this point of `line`."""
        place = min(max(math.exp(point) if self.log else float(point), self.low), self.high)
        return place if self.kind == "float" else round(place)

    def value(self, place: Any) -> Any:
        """Return the parameter's value at a place."""
        if isinstance(self.parameter, Categorical):
            return self.parameter.values[int(place)]
        if self.parameter.step is None:
            return place
        return self.parameter.low + int(place) * self.parameter.step

    def place(self, value: Value | None) -> Any:
        """Return the place of a value. None stands for an inactive parameter and gives the lowest place."""
        if value is None:
            return int(self.low) if self.kind != "float" else self.low
        if isinstance(self.parameter, Categorical):
            return self.parameter.index(value)
        if self.parameter.step is None:
            return value
        return round((float(value) - self.parameter.low) / self.parameter.step)


@dataclass(frozen=True)
class Axes:
    """All axes of a space, in the order of its parameters."""

    space: Space

    @cached_property
    def axes(self) -> list[Axis]:
        return [_axis(name, parameter) for name, parameter in self.space.items()]

    def decode(self, places: Mapping[str, Any]) -> dict[str, Value]:
        """Return the configuration at these places, which are given by parameter name. Inactive parameters are left out."""
        return self.space.activate({axis.name: axis.value(places[axis.name]) for axis in self.axes if axis.name in places})

    def encode(self, config: Config) -> dict[str, Any]:
        """Return the places of a configuration by parameter name. Inactive parameters get their lowest place."""
        return {axis.name: axis.place(config.get(axis.name)) for axis in self.axes}


def _axis(name: str, parameter: Categorical | Int | Float) -> Axis:
    match parameter:
        case Categorical():
            return Axis(name, "choice", 0, len(parameter.values) - 1, False, parameter)
        case Float(step=None):
            return Axis(name, "float", parameter.low, parameter.high, parameter.log, parameter)
        case Int(step=None):
            return Axis(name, "int", parameter.low, parameter.high, parameter.log, parameter)
        case Float():
            return Axis(name, "int", 0, parameter.steps, False, parameter)
        case Int():
            return Axis(name, "int", 0, (parameter.high - parameter.low) // (parameter.step or 1), False, parameter)
