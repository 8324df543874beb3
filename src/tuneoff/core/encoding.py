"""A space as frameworks without conditions know it: one axis a parameter; categories and steps go by their index.

What an inactive parameter is worth to such a framework is its axis's lowest place.
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
    """A choice of the places 0 … high, whole numbers or real numbers from low to high (both included)."""

    name: str
    kind: Literal["choice", "int", "float"]
    low: float
    high: float
    log: bool
    parameter: Categorical | Int | Float

    @property
    def places(self) -> list[int]:
        """All places of a choice or of whole numbers."""
        return list(range(int(self.low), int(self.high) + 1))

    @property
    def line(self) -> tuple[float, float]:
        """The axis as real numbers alone: whole places are half a place wide to both sides, a log scale goes by the logarithm."""
        margin = 0.0 if self.kind == "float" else 0.5
        low, high = self.low - margin, self.high + margin
        return (math.log(low), math.log(high)) if self.log else (low, high)

    def on_line(self, point: float) -> Any:
        """The place at this point of the line."""
        place = min(max(math.exp(point) if self.log else float(point), self.low), self.high)
        return place if self.kind == "float" else round(place)

    def value(self, place: Any) -> Any:
        """The parameter's value at a place that the framework names."""
        if isinstance(self.parameter, Categorical):
            return self.parameter.values[int(place)]
        if self.parameter.step is None:
            return place
        return self.parameter.low + int(place) * self.parameter.step

    def place(self, value: Value | None) -> Any:
        """The place of a value; the lowest for None, an inactive parameter's."""
        if value is None:
            return int(self.low) if self.kind != "float" else self.low
        if isinstance(self.parameter, Categorical):
            return self.parameter.index(value)
        if self.parameter.step is None:
            return value
        return round((float(value) - self.parameter.low) / self.parameter.step)


@dataclass(frozen=True)
class Axes:
    """All axes of a space, in its order."""

    space: Space

    @cached_property
    def axes(self) -> list[Axis]:
        return [_axis(name, parameter) for name, parameter in self.space.items()]

    def decode(self, places: Mapping[str, Any]) -> dict[str, Value]:
        """The configuration at these places, by name: inactive parameters removed, plain values, on their steps."""
        return self.space.activate({axis.name: axis.value(places[axis.name]) for axis in self.axes if axis.name in places})

    def encode(self, config: Config) -> dict[str, Any]:
        """The places of a configuration, inactive parameters at their lowest."""
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
