"""The grid of a search space: as a space that holds only the grid's values, and as the list of its configurations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .space import Categorical, Float, Int, Space, Value

MAX_CONFIGURATIONS = 1_000_000


def on_grid(space: Space) -> Space:
    """Return the space that holds only the grid's points.

    A range with an even grid becomes a range with a step, so methods still see its order. Any other range, a logarithmic one
    included, becomes a choice, which has no order.

    Raises:
        ValueError: A range has neither step nor grid_points, or a condition holds nowhere on the grid.
    """
    space.grid_levels()
    parameters = {name: _on_grid(parameter) for name, parameter in space.items()}
    conditioned = {}
    for name, parameter in parameters.items():
        when = {other: [v for v in values if parameters[other].contains(v)] for other, values in (parameter.when or {}).items()}
        if empty := next((other for other, values in when.items() if not values), None):
            raise ValueError(f"{name}.when names only values of {empty} that are not on its grid")
        conditioned[name] = parameter.model_copy(update={"when": when or None})
    return Space(conditioned)


def _on_grid(parameter: Categorical | Int | Float) -> Categorical | Int | Float:
    if isinstance(parameter, Categorical) or (parameter.grid_points is None and parameter.step is not None):
        return parameter
    values = parameter.levels()
    assert values is not None
    gridded = as_parameter(values, ordered=not parameter.log)
    return gridded.model_copy(update={"when": parameter.when})


def as_parameter(values: Sequence[Value], ordered: bool = True) -> Categorical | Int | Float:
    """Return the parameter with exactly these values: a range with a step if they are evenly spaced numbers, else a choice."""
    if ordered and len(values) > 1:
        low, high = values[0], values[-1]
        if all(type(v) is int for v in values) and (high - low) % (len(values) - 1) == 0:  # type: ignore[operator]
            step = (high - low) // (len(values) - 1)  # type: ignore[operator]
            if step > 0 and list(range(low, high + 1, step)) == list(values):  # type: ignore[arg-type,operator]
                return Int(type="int", low=low, high=high, step=step)  # type: ignore[arg-type]
        if all(type(v) is float for v in values) and low < high:  # type: ignore[operator]
            stepped = Float(type="float", low=low, high=high, step=round((high - low) / (len(values) - 1), 12) or None)  # type: ignore[arg-type,operator]
            if stepped.levels() == list(values):
                return stepped
    return Categorical(type="categorical", values=list(values))


def configurations(space: Space) -> list[dict[str, Value]]:
    """Return every configuration of the grid once. The last parameter changes fastest.

    Raises:
        ValueError: The grid has more than `MAX_CONFIGURATIONS` points.
    """
    size = space.grid_size()
    if size > MAX_CONFIGURATIONS:
        raise ValueError(f"the grid has {size:,} points, but at most {MAX_CONFIGURATIONS:,} are allowed")
    levels = space.grid_levels()
    points = itertools.product(*levels.values())
    if not space.conditional:
        return [dict(zip(levels, point, strict=True)) for point in points]
    active = (space.activate(dict(zip(levels, point, strict=True))) for point in points)
    return list({tuple(config.items()): config for config in active}.values())
