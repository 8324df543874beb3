"""The search space: named hyperparameters, their ranges, and the conditions under which they are active."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

Value = str | bool | int | float
"""The value of a hyperparameter. It is always a plain Python object, never a numpy scalar."""
Config = Mapping[str, Value]
"""A configuration: one value for each active hyperparameter, and no other entries."""

_Scalar = Annotated[str | bool | int | float, Field(union_mode="smart")]
_NAME = r"[A-Za-z][A-Za-z0-9_]{0,62}"


def key_of(config: Config) -> str:
    """Return a configuration as text. Equal configurations give equal texts, in any order of their entries."""
    return json.dumps(sorted(config.items()))


class Model(BaseModel):
    """The base of all validated data. Unknown fields are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Conditional(Model):
    when: dict[str, Annotated[list[_Scalar], Field(max_length=1000)]] | None = Field(
        default=None,
        description="Active only where each of these other parameters is active and has one of these values.",
    )


class Categorical(_Conditional):
    """A choice from a list of values without order."""

    type: Literal["categorical"]
    values: list[_Scalar] = Field(min_length=1, max_length=1000, description="The values to choose from.")

    @model_validator(mode="after")
    def _distinct(self) -> Categorical:
        if len({(type(v), v) for v in self.values}) < len(self.values):
            raise ValueError("values must be distinct")
        if odd := next((v for v in self.values if isinstance(v, str) and not v.isprintable()), None):
            raise ValueError(f"the value {odd!r} is not taken: texts are one line without control characters")
        return self

    def contains(self, value: object) -> bool:
        return any(value == v and type(value) is type(v) for v in self.values)

    def index(self, value: Value) -> int:
        """Return the index of a value in `values`. True and 1 are different values.

        Raises:
            ValueError: The value is not in `values`.
        """
        return [(type(v), v) for v in self.values].index((type(value), value))

    def levels(self) -> list[Value]:
        """Return the values that a grid takes."""
        return list(self.values)

    def grid_size(self) -> int:
        """Return the number of values that a grid takes."""
        return len(self.values)

    def nearest(self, value: Any) -> Value:
        """Return the value as one of `values`. Scalar types of frameworks become plain Python objects."""
        plain = _plain(value)
        for v in self.values:
            if plain == v and (isinstance(plain, bool) == isinstance(v, bool)):
                return v
        raise ValueError(f"{value!r} is none of {self.values}")


class _Range(_Conditional):
    low: float
    high: float
    log: bool = Field(default=False, description="Search on a logarithmic scale.")
    grid_points: int | None = Field(default=None, ge=1, le=1000, description="The number of values that a grid takes.")

    @model_validator(mode="after")
    def _ordered(self) -> _Range:
        if not self.low < self.high:
            raise ValueError(f"low must be smaller than high, and {self.low:g} is not smaller than {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale needs low > 0, and low is {self.low:g}")
        if not math.isfinite(self.high / self.low if self.log else self.high - self.low):
            raise ValueError(
                f"a range from {self.low:g} to {self.high:g} is too wide to be counted in: bring low and high nearer"
            )
        step = getattr(self, "step", None)
        if step is not None and self.log:
            raise ValueError("log and step exclude each other: leave one of them out")
        if step is not None and step > (self.high - self.low) * (1 + 1e-9):
            raise ValueError(f"step {step:g} is larger than high - low = {self.high - self.low:g}")
        return self

    def _spread(self, points: int) -> list[float]:
        if points == 1:
            return [math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2]
        shares = [i / (points - 1) for i in range(points)]
        if self.log:
            return [float(f"{self.low * (self.high / self.low) ** s:.12g}") for s in shares]
        return [float(f"{self.low + s * (self.high - self.low):.12g}") for s in shares]


class Int(_Range):
    """An integer between low and high, both included."""

    type: Literal["int"]
    low: int
    high: int
    step: int | None = Field(default=None, ge=1, description="Only low, low + step, low + 2 step, … are allowed.")

    def contains(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        return (value - self.low) % (self.step or 1) == 0

    def levels(self) -> list[Value] | None:
        """Return the values that a grid takes, or None if the study gives neither step nor grid_points."""
        if self.grid_points is not None:
            return list(dict.fromkeys(self.nearest(v) for v in self._spread(self.grid_points)))
        if self.step is not None:
            return list(range(self.low, self.high + 1, self.step))
        return None

    def grid_size(self) -> int | None:
        """Return the number of values in `levels` without listing them."""
        if self.grid_points is None and self.step is not None:
            return (self.high - self.low) // self.step + 1
        levels = self.levels()
        return None if levels is None else len(levels)

    def nearest(self, value: Any) -> int:
        step = self.step or 1
        steps = round((float(value) - self.low) / step)
        return self.low + step * min(max(steps, 0), (self.high - self.low) // step)


class Float(_Range):
    """A real number between low and high, both included."""

    type: Literal["float"]
    step: float | None = Field(default=None, gt=0, description="Only low, low + step, low + 2 step, … are allowed.")

    @property
    def steps(self) -> int:
        """Return the number of steps between low and high (0 without a step)."""
        return math.floor((self.high - self.low) / self.step + 1e-9) if self.step else 0

    def contains(self, value: object) -> bool:
        if not isinstance(value, float) or not self.low <= value <= self.high:
            return False
        return self.step is None or value == self.nearest(value)

    def levels(self) -> list[Value] | None:
        """Return the values that a grid takes, or None if the study gives neither step nor grid_points."""
        if self.grid_points is not None:
            return list(dict.fromkeys(self.nearest(v) for v in self._spread(self.grid_points)))
        if self.step is not None:
            return [self._at(i) for i in range(self.steps + 1)]
        return None

    def grid_size(self) -> int | None:
        """Return the number of values in `levels` without listing them."""
        if self.grid_points is None and self.step is not None:
            return self.steps + 1
        levels = self.levels()
        return None if levels is None else len(levels)

    def _at(self, index: int) -> float:
        assert self.step is not None
        return min(max(round(self.low + index * self.step, 12), self.low), self.high)

    def nearest(self, value: Any) -> float:
        number = float(value)
        if self.step is None:
            return min(max(number, self.low), self.high)
        return self._at(min(max(round((number - self.low) / self.step), 0), self.steps))


Parameter = Annotated[Categorical | Int | Float, Field(discriminator="type")]


class Space(RootModel[dict[str, Parameter]]):
    """Hyperparameters by name, in the order of the study file. A condition may name only parameters of the same space."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _consistent(self) -> Space:
        if not self.root:
            raise ValueError("a space needs at least one parameter")
        if len(self.root) > 500:
            raise ValueError(f"a space may have at most 500 parameters, and this one has {len(self.root)}")
        for name, parameter in self.root.items():
            self._check(name, parameter)
        self.order()
        return self

    def _check(self, name: str, parameter: Categorical | Int | Float) -> None:
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"the parameter name {name!r} must be a letter followed by letters, digits or _ (at most 63)")
        for other, values in (parameter.when or {}).items():
            self.check_condition(name, other, values)

    def check_condition(self, name: str, other: str, values: list[Value]) -> None:
        """Raise ValueError if the parameter `name` cannot depend on these values of `other`."""
        if other not in self.root:
            raise ValueError(f"{name}.when names {other!r}, which is none of the space's parameters: {', '.join(self.root)}")
        if other == name:
            raise ValueError(f"{name}.when names {name!r} itself")
        for value in values:
            if not self.root[other].contains(value):
                raise ValueError(f"{name}.when asks for {other} = {value!r}, which {other} never takes")

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.root)

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, name: str) -> Categorical | Int | Float:
        return self.root[name]

    def items(self) -> Iterator[tuple[str, Categorical | Int | Float]]:
        yield from self.root.items()

    @property
    def conditional(self) -> bool:
        """Return whether any parameter is conditional."""
        return any(p.when for p in self.root.values())

    def order(self) -> list[str]:
        """Return the names in an order in which each follows the names of its condition.

        Raises:
            ValueError: The conditions form a circle; the message names it.
        """
        done: list[str] = []
        left = list(self.root)
        while left:
            ready = [n for n in left if all(o in done for o in self.root[n].when or {})]
            if not ready:
                raise ValueError(f"the conditions of {', '.join(left)} form a circle")
            done += ready
            left = [n for n in left if n not in ready]
        return done

    def activate(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Return `values` as a configuration: plain numbers on the nearest legal value, without inactive parameters.

        Raises:
            ValueError: An active parameter has no value, or a category is unknown.
        """
        config: dict[str, Value] = {}
        for name in self.order():
            parameter = self.root[name]
            if not all(config.get(o) in v for o, v in (parameter.when or {}).items()):
                continue
            if name not in values:
                raise ValueError(f"{name} is active and has no value")
            config[name] = parameter.nearest(values[name])
        return {name: config[name] for name in self.root if name in config}

    def grid_levels(self) -> dict[str, list[Value]]:
        """Return the grid values of each parameter.

        Raises:
            ValueError: A range has neither step nor grid_points; the message names it.
        """
        levels: dict[str, list[Value]] = {}
        for name, parameter in self.root.items():
            levels[name] = _known(name, parameter.levels())
        return levels

    def grid_size(self) -> int:
        """Return the number of combinations in the full product, with inactive parameters counted."""
        return math.prod(_known(name, parameter.grid_size()) for name, parameter in self.root.items())


_T = TypeVar("_T")


def _known(name: str, of_a_grid: _T | None) -> _T:
    if of_a_grid is None:
        raise ValueError(f"{name} is a range without step or grid_points")
    return of_a_grid


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and not isinstance(value, str) else value


PAPER_SPACE = Space.model_validate(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.4, "grid_points": 5},
        "activation": {"type": "categorical", "values": ["relu", "sigmoid"]},
        "filters1": {"type": "categorical", "values": [16, 32, 64, 128]},
        "filters2": {"type": "categorical", "values": [16, 32, 64, 128]},
        "neurons": {"type": "categorical", "values": [64, 128, 256]},
        "optimizer": {"type": "categorical", "values": ["SGD", "RMSprop", "Adam"]},
        "learning_rate": {"type": "categorical", "values": [0.001, 0.01]},
    }
)
"""The seven hyperparameters of Molnár and Poleczki: 5·2·4·4·3·3·2 = 2880 grid points."""
