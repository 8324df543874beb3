"""Encode a space for ConfigSpace, which SMAC and DEHB use. It supports conditions and logarithmic scales."""

from __future__ import annotations

from typing import Any

from ..core.encoding import Axes, Axis
from ..core.space import Config, Space, Value


def encode(space: Space, seed: int) -> Any:
    """Return the space as a ConfigurationSpace. Categories and steps are encoded by index, which keeps types and steps exact."""
    import ConfigSpace

    theirs = ConfigSpace.ConfigurationSpace(seed=seed)
    axes = {axis.name: axis for axis in Axes(space).axes}
    theirs.add([_hyperparameter(axes[name]) for name in space.order()])
    for name in space.order():
        clauses = [_clause(theirs, name, axes[other], values) for other, values in (space[name].when or {}).items()]
        if clauses:
            theirs.add(clauses[0] if len(clauses) == 1 else ConfigSpace.AndConjunction(*clauses))
    return theirs


def decode(space: Space, configuration: Any) -> dict[str, Value]:
    """Return the values of a ConfigSpace Configuration as plain Python objects."""
    return Axes(space).decode(dict(configuration))


def key(config: Config) -> tuple[tuple[str, str], ...]:
    """Return a hashable key of a configuration. It does not depend on the order of the parameters."""
    return tuple(sorted((name, repr(value)) for name, value in config.items()))


def _hyperparameter(axis: Axis) -> Any:
    from ConfigSpace import CategoricalHyperparameter, UniformFloatHyperparameter, UniformIntegerHyperparameter

    if axis.kind == "choice":
        return CategoricalHyperparameter(axis.name, axis.places)
    kind = UniformFloatHyperparameter if axis.kind == "float" else UniformIntegerHyperparameter
    return kind(axis.name, axis.low, axis.high, log=axis.log)


def _clause(theirs: Any, name: str, other: Axis, values: list[Any]) -> Any:
    from ConfigSpace import EqualsCondition, InCondition

    places = [other.place(value) for value in values]
    if len(places) == 1:
        return EqualsCondition(theirs[name], theirs[other.name], places[0])
    return InCondition(theirs[name], theirs[other.name], places)
