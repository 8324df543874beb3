"""The data of a parallel-coordinates plot, and a summary of the trials by hyperparameter value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.space import Categorical, Float, Int, Model, Space, Value
from ..core.study import ObjectiveSettings
from ..core.text import bare, setting
from .importance import code
from .trial_rows import TrialRow, ranked

MOST_AXES = 12
MOST_LINES = 400
ALWAYS_DRAWN = 40
"""Number of best trials that are always drawn."""
INACTIVE = -0.1
"""Position of an inactive hyperparameter on its axis; active values lie between 0 and 1."""
FIFTHS = 5
BINS = 4


@dataclass(frozen=True)
class ParallelAxis:
    """One axis: tick positions in [0, 1] (or INACTIVE) with their labels, and the position of each trial."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    positions: tuple[float, ...]
    categorical: bool


@dataclass(frozen=True)
class Parallel:
    """Trials as lines over the axes. `fifths` holds each line's quintile by objective: 0 is the best, 4 the worst."""

    metric: str
    axes: tuple[ParallelAxis, ...]
    objective: ParallelAxis
    rows: tuple[TrialRow, ...]  # the drawn trials, the worst first
    fifths: tuple[int, ...]
    objectives: tuple[float, float]  # the worst and the best objective drawn
    trials: int  # trials with an objective, drawn or not
    axes_left_out: int


class ValueRow(Model):
    """A summary of the trials in which a hyperparameter had one value or lay in one range."""

    parameter: str
    value: str
    trials: int
    median: float  # of the objective
    best: float


def parallel(
    rows: Sequence[TrialRow], space: Space, goal: ObjectiveSettings, names: Sequence[str] | None = None
) -> Parallel | None:
    """Return the plot of the trials that have an objective; None if no trial has one.

    Of more than 400 trials, the best 40 and an even selection of the others are drawn. Of more than 12 hyperparameters, the first
    12 are drawn.

    Args:
        rows: The trials.
        space: The search space.
        goal: The study's objective.
        names: The hyperparameters in order of preference; by default the order of the space.
    """
    best_first = ranked(rows, goal)
    if not best_first:
        return None
    fifth = {(r.method, r.seed, r.trial): min(i * FIFTHS // len(best_first), FIFTHS - 1) for i, r in enumerate(best_first)}
    drawn = tuple(reversed(_thinned(best_first)))
    shown = [n for n in space if n in list(names or space)[:MOST_AXES]]
    objectives = [r.objective for r in drawn if r.objective is not None]
    return Parallel(
        metric=goal.metric,
        objective=_objective_axis(objectives, goal.metric),
        axes=tuple(_axis(name, space, drawn) for name in shown),
        rows=drawn,
        fifths=tuple(fifth[r.method, r.seed, r.trial] for r in drawn),
        objectives=(objectives[0], objectives[-1]),
        trials=len(best_first),
        axes_left_out=len(space) - len(shown),
    )


def by_value(
    rows: Sequence[TrialRow], space: Space, goal: ObjectiveSettings, names: Sequence[str] | None = None
) -> list[ValueRow]:
    """Return the median and best objective for each value of each hyperparameter; ranges are divided into four equal parts.

    The arguments are those of `parallel`.
    """
    scored = ranked(rows, goal)
    shown = [n for n in space if n in list(names or space)[:MOST_AXES]]
    table = []
    for name in shown:
        groups: dict[tuple[float, str], list[float]] = {}
        group_of: dict[tuple[type, object], tuple[float, str]] = {}  # a cache: many trials share few values
        for row in scored:
            value = row.config.get(name)
            if (key := (type(value), value)) not in group_of:
                group_of[key] = _group(space[name], value)
            groups.setdefault(group_of[key], []).append(row.objective or 0.0)
        for (_, label), objectives in sorted(groups.items()):
            median = statistics.median(objectives)
            table.append(ValueRow(parameter=name, value=label, trials=len(objectives), median=median, best=objectives[0]))
    return table


def _thinned(best_first: Sequence[TrialRow]) -> list[TrialRow]:
    if len(best_first) <= MOST_LINES:
        return list(best_first)
    rest, wanted = best_first[ALWAYS_DRAWN:], MOST_LINES - ALWAYS_DRAWN
    return [*best_first[:ALWAYS_DRAWN], *[rest[i * len(rest) // wanted] for i in range(wanted)]]


def _axis(name: str, space: Space, rows: Sequence[TrialRow]) -> ParallelAxis:
    parameter = space[name]
    values = [r.config.get(name) for r in rows]
    if isinstance(parameter, Categorical):
        last = max(len(parameter.values) - 1, 1)
        half = 0.5 if len(parameter.values) == 1 else 0.0
        positions = [INACTIVE if v is None else half + parameter.index(v) / last for v in values]
        every = math.ceil(len(parameter.values) / 12)
        ticks = [(half + i / last, setting(v)) for i, v in enumerate(parameter.values) if i % every == 0]
    else:
        low, high = (code(space, name, v) for v in (parameter.low, parameter.high))
        positions = [INACTIVE if v is None else (code(space, name, v) - low) / (high - low) for v in values]
        levels = dict.fromkeys(_level(parameter, i / 4) for i in range(5))
        ticks = [((code(space, name, v) - low) / (high - low), setting(v)) for v in levels]
    if any(v is None for v in values):
        ticks.append((INACTIVE, "inactive"))
    return ParallelAxis(name, tuple(ticks), tuple(positions), isinstance(parameter, Categorical))


def _objective_axis(objectives: Sequence[float], metric: str) -> ParallelAxis:
    """Return the last axis, from the worst objective (the first of `objectives`) to the best (the last)."""
    worst, best = objectives[0], objectives[-1]
    if worst == best:
        return ParallelAxis(metric, ((0.5, bare(best, metric)),), (0.5,) * len(objectives), False)
    ticks = tuple((i / 4, bare(worst + (best - worst) * i / 4, metric)) for i in range(5))
    return ParallelAxis(metric, ticks, tuple((o - worst) / (best - worst) for o in objectives), False)


def _level(parameter: Int | Float, share: float) -> float:
    """Return the value at a share of the range on the parameter's own scale; rounded for an integer parameter."""
    if parameter.log:
        level = float(parameter.low * (parameter.high / parameter.low) ** share)
    else:
        level = parameter.low + share * (parameter.high - parameter.low)
    return round(level) if isinstance(parameter, Int) else level


def _group(parameter: Categorical | Int | Float, value: Value | None) -> tuple[float, str]:
    """Return a sort key and the label of the value or range that a value belongs to."""
    if value is None:
        return -1.0, "inactive"
    if isinstance(parameter, Categorical):
        return float(parameter.index(value)), setting(value)
    if isinstance(parameter, Int) and parameter.high - parameter.low < 2 * BINS:
        return float(value), setting(value)
    bounds = [_level(parameter, i / BINS) for i in range(BINS + 1)]
    index = next((i for i in range(BINS) if float(value) < bounds[i + 1]), BINS - 1)
    return float(index), f"{setting(bounds[index])} – {setting(bounds[index + 1])}"
