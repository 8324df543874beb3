"""Best-so-far curves: step functions of the spent budget, with their median and quartiles over seeds.

- A curve changes only when the method receives the result of a trial (the trial is "told"). Nothing is interpolated.
- Three axes count the budget that was spent when a trial was told: configurations with a result, epochs trained, and seconds. The
  seconds are those of training plus the method's own. They are summed over trials, so they exceed the wall-clock time if trials
  run in parallel.
- An axis ends at the most that any search on the data set spent. A search that has ended keeps its last value up to that end.
- A search that has not ended (running, interrupted or failed) is known only up to the budget that it has spent. It is drawn as a
  single curve that stops there, and is not part of the median and the quartiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..core.problem import Epoch
from ..core.record.state import SearchRecord
from ..core.space import Model
from ..core.study import ObjectiveSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Axis = Literal["trials", "epochs", "seconds"]
AXES: tuple[Axis, ...] = ("trials", "epochs", "seconds")
MILESTONES = tuple(i / 10 for i in range(1, 11))
"""Shares of an axis at which the tables list the curves."""
FOREMOST = 10
"""Largest number of methods that a reader can distinguish in a figure. With more, the best FOREMOST methods are drawn with strong
lines and labels, and the others with thin lines."""
EARLY = 0.05
"""Initial share of an axis that is ignored when the range of a figure's vertical axis is chosen."""


@dataclass(frozen=True)
class Progress:
    """The best-so-far curve of one search.

    Every array has shape (told trials,), in the order in which the trials were told. `trials`, `epochs` and `seconds` are
    cumulative. `objective` and `best` are in the metric's own direction, and NaN for a trial without a score or before the first
    score. `incumbent` is the number of the best trial so far, -1 before the first score.
    """

    dataset: str
    method: str
    seed: int
    ended: bool
    trial: Ints
    trials: Floats
    epochs: Floats
    seconds: Floats
    objective: Floats
    best: Floats
    incumbent: Ints

    def spent(self, axis: Axis) -> Floats:
        """Return the budget that had been spent on this axis when each trial was told, shape (told trials,)."""
        return {"trials": self.trials, "epochs": self.epochs, "seconds": self.seconds}[axis]


@dataclass(frozen=True)
class Band:
    """Median and quartiles over the ended searches of a cell: step functions that change at each `x` and are constant between."""

    dataset: str
    method: str
    axis: Axis
    seeds: int  # number of ended searches
    end: float  # the end of the axis
    x: Floats  # budgets, ascending
    median: Floats
    lower: Floats  # first quartile
    upper: Floats  # third quartile

    def at(self, x: float) -> tuple[float, float, float] | None:
        """Return the first quartile, median and third quartile at budget `x`; None before the first value."""
        index = int(np.searchsorted(self.x, x, side="right")) - 1
        if index < 0 or not np.isfinite(self.median[index]):
            return None
        return float(self.lower[index]), float(self.median[index]), float(self.upper[index])


@dataclass(frozen=True)
class CurveSet:
    """The content of a data set's best-so-far figures: every band with a value, and every search that has not ended."""

    metric: str
    bands: tuple[Band, ...]
    unfinished: tuple[Progress, ...]
    ends: Mapping[Axis, float]  # the end of each axis on which something was spent
    reach: tuple[float, float]  # range of the vertical axis, shared by all figures
    foremost: frozenset[str] | None = None  # methods with the best final medians; None if few enough to tell all apart


class Milestone(Model):
    """The median and quartiles of a cell at a share of the axis; None where too few seeds have a value to define it."""

    method: str
    seeds: int
    share: float
    x: float
    lower: float | None
    median: float | None
    upper: float | None


class Learning(Model):
    """The learning curves of a cell's best trial, including its parents' epochs, and of its retrainings; one value per epoch."""

    method: str
    seed: int
    trial: int
    epochs: list[int]
    metrics: dict[str, list[float | None]]
    retrainings: list[dict[str, list[float]]]


def progress(search: SearchRecord, goal: ObjectiveSettings) -> Progress:
    """Return the best-so-far curve of a search. If two trials have the same objective, the earlier one stays the incumbent."""
    told = sorted(search.told, key=lambda t: t.told_as)
    outcomes = [t.trial.outcome for t in told if t.trial.outcome]
    losses = np.array([np.nan if o.loss is None else o.loss for o in outcomes], dtype=float)
    trained = np.array([o.trained_epochs for o in outcomes], dtype=float)
    seconds = np.array([o.seconds for o in outcomes], dtype=float)
    best, best_index = _running_minimum(losses)
    numbers = np.array([t.trial.id for t in told], dtype=np.int64)
    return Progress(
        dataset=search.dataset,
        method=search.method,
        seed=search.seed,
        ended=search.ended is not None,
        trial=numbers,
        trials=_distinct_so_far([t.trial.config_id for t in told]),
        epochs=np.cumsum(trained),
        seconds=np.cumsum(seconds) + _method_seconds(search, numbers, [t.told_as for t in told]),
        objective=goal.sign * losses,
        best=goal.sign * best,
        incumbent=np.where(best_index >= 0, numbers[best_index], -1) if len(told) else best_index,
    )


def progress_frame(curves: Sequence[Progress]) -> pd.DataFrame:
    """Return the curves as a table with one row for each told trial."""
    lengths = [len(c.trial) for c in curves]

    def column(name: str, kind: str) -> pd.Series[float]:
        parts = [getattr(c, name) for c in curves]
        return pd.Series(np.concatenate(parts) if parts else np.array([]), dtype=kind)

    def key(name: str, kind: str) -> pd.Series[float]:
        return pd.Series(np.repeat([getattr(c, name) for c in curves], lengths), dtype=kind)

    frame = pd.DataFrame({"dataset": key("dataset", "str"), "method": key("method", "str"), "seed": key("seed", "int64")})
    for name in ("trial", "incumbent"):
        frame[name] = column(name, "int64")
    for name in ("trials", "epochs", "seconds", "objective", "best"):
        frame[name] = column(name, "float64")
    frame["ended"] = key("ended", "bool")
    frame["incumbent"] = frame["incumbent"].where(frame["incumbent"] >= 0).astype("Int64")
    return frame.astype({"trials": "int64", "epochs": "int64"})


def axis_end(curves: Sequence[Progress], axis: Axis) -> float:
    """Return the largest budget that any of the searches spent on the axis; 0 if none has a trial."""
    return max((float(c.spent(axis)[-1]) for c in curves if len(c.trial)), default=0.0)


def band(curves: Sequence[Progress], axis: Axis, end: float, goal: ObjectiveSettings) -> Band | None:
    """Return the median and quartiles over the ended searches of one cell.

    Quartiles are interpolated linearly between the values of two seeds (numpy's default). A search without a value yet counts as
    worse than all others, so a late first value cannot worsen the median.

    Args:
        curves: The searches of one cell, ended or not.
        axis: The axis.
        end: The end of the axis.
        goal: The study's objective.

    Returns:
        The band; None if no search with a trial has ended.
    """
    ended = [c for c in curves if c.ended and len(c.trial)]
    if not ended:
        return None
    x = np.unique(np.concatenate([c.spent(axis) for c in ended]))
    losses = np.sort(np.stack([_held(c.spent(axis), goal.sign * c.best, x) for c in ended]), axis=0)
    low, median, high = (goal.sign * _quantile(losses, q) for q in (0.25, 0.5, 0.75))
    lower, upper = (high, low) if goal.sign < 0 else (low, high)
    keep = _changes(lower, median, upper)
    first = ended[0]
    return Band(first.dataset, first.method, axis, len(ended), end, x[keep], median[keep], lower[keep], upper[keep])


def curve_set(curves: Sequence[Progress], bands: Sequence[Band], goal: ObjectiveSettings) -> CurveSet | None:
    """Return the content of the figures of one data set; None if no trial has a score yet."""
    ends = {axis: end for axis in AXES if (end := axis_end(curves, axis)) > 0}
    shown = tuple(b for b in bands if b.axis in ends and np.isfinite(b.median).any())
    unfinished = tuple(c for c in curves if not c.ended and len(c.trial) and np.isfinite(c.best[-1]))
    if not (shown or unfinished):
        return None
    return CurveSet(goal.metric, shown, unfinished, ends, _reach(shown, unfinished, ends, goal), _foremost(shown, goal))


def _foremost(bands: Sequence[Band], goal: ObjectiveSettings) -> frozenset[str] | None:
    ends = {b.method: goal.sign * b.median[-1] for b in bands if np.isfinite(b.median[-1])}
    return foremost(list(ends), list(ends.values()))


def foremost(methods: Sequence[str], losses: Sequence[float]) -> frozenset[str] | None:
    """Return the FOREMOST methods with the smallest losses; None if there are at most that many methods."""
    if len(methods) <= FOREMOST:
        return None
    return frozenset(methods[i] for i in np.argsort(losses, kind="stable")[:FOREMOST])


def milestones(bands: Sequence[Band]) -> list[Milestone]:
    """Return the bands' values at each tenth of their axis."""
    rows = []
    for b in bands:
        for share in MILESTONES:
            values = b.at(share * b.end)
            lower, median, upper = (v if np.isfinite(v) else None for v in values) if values else (None, None, None)
            rows.append(
                Milestone(method=b.method, seeds=b.seeds, share=share, x=share * b.end, lower=lower, median=median, upper=upper)
            )
    return rows


def lineage(search: SearchRecord, trial: int) -> tuple[Epoch, ...]:
    """Return the epochs of a trial and of all its ancestors (the trials that it continues), in the order of epoch numbers."""
    records = {t.trial.id: t for t in search.trials}
    chain = []
    number: int | None = trial
    while number is not None:
        chain.append(records[number])
        number = records[number].trial.proposal.parent
    epochs = {epoch.number: epoch for record in reversed(chain) for epoch in record.curve}
    return tuple(epochs[i] for i in sorted(epochs))


def _reach(
    bands: Sequence[Band], unfinished: Sequence[Progress], ends: Mapping[Axis, float], goal: ObjectiveSettings
) -> tuple[float, float]:
    """Return the vertical range of the figures, lower end first.

    It spans the values after the start of each axis, with a small margin. Its worse end is the best of the axes' worst values.
    """
    worst, best = [], []
    for axis, end in ends.items():
        parts = [_late(b.x, end, b.median, b.lower, b.upper) for b in bands if b.axis == axis]
        parts += [_late(c.spent(axis), end, c.best) for c in unfinished]
        losses = goal.sign * np.concatenate(parts) if parts else np.array([])
        if len(losses):
            worst.append(float(losses.max()))
            best.append(float(losses.min()))
    low, high = sorted((goal.sign * min(worst), goal.sign * min(best)))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _late(at: Floats, end: float, *values: Floats) -> Floats:
    """Return the finite values after the first EARLY share of the axis; the last values if none lie there."""
    late = at >= EARLY * end
    late[-1] = True
    stacked = np.concatenate([v[late] for v in values])
    return np.asarray(stacked[np.isfinite(stacked)])


def _running_minimum(losses: Floats) -> tuple[Floats, Ints]:
    """Return the smallest loss so far (NaN before the first) and its index (-1 before the first), each of shape (losses,)."""
    filled = np.where(np.isfinite(losses), losses, np.inf)
    best = np.minimum.accumulate(filled) if len(filled) else filled
    improved = np.isfinite(filled) & (filled < np.concatenate([[np.inf], best[:-1]])) if len(filled) else np.array([], dtype=bool)
    index = np.maximum.accumulate(np.where(improved, np.arange(len(losses)), -1)) if len(losses) else np.array([], dtype=np.int64)
    return np.where(np.isfinite(best), best, np.nan), index.astype(np.int64)


def _distinct_so_far(ids: Sequence[int]) -> Floats:
    """Return the number of distinct ids up to and including each position."""
    seen: set[int] = set()
    counts = []
    for i in ids:
        seen.add(i)
        counts.append(len(seen))
    return np.array(counts, dtype=float)


def _method_seconds(search: SearchRecord, numbers: Ints, told_as: Sequence[int]) -> Floats:
    """Return the method's own seconds at each telling: the sum over all asks until then, including the trial's own ask."""
    if not len(numbers):
        return np.array([])
    asked_as = np.array([t.asked_as for t in search.trials])
    spent = np.cumsum([t.ask_seconds for t in search.trials])
    order = {t.trial.id: i for i, t in enumerate(search.trials)}
    own = np.array([order[int(n)] for n in numbers])
    earlier = np.searchsorted(asked_as, np.array(told_as), side="left") - 1
    return np.asarray(np.maximum.accumulate(spent[np.maximum(own, earlier)]), dtype=float)


def _held(at: Floats, losses: Floats, x: Floats) -> Floats:
    """Return the value at each `x` of the step function that changes at `at`; infinite before the first step."""
    index = np.searchsorted(at, x, side="right") - 1
    values = np.where(np.isfinite(losses), losses, np.inf)
    return np.where(index >= 0, values[np.maximum(index, 0)], np.inf)


def _quantile(ordered: Floats, share: float) -> Floats:
    """Return the linearly interpolated quantile of each column of sorted values; infinite if a contributing value is infinite."""
    rank = share * (len(ordered) - 1)
    below, fraction = int(rank), rank - int(rank)
    if fraction == 0:
        return np.asarray(ordered[below])
    finite = np.isfinite(ordered[below + 1])
    above = np.where(finite, ordered[below + 1], 0.0)
    start = np.where(finite, ordered[below], 0.0)
    return np.where(finite, start + fraction * (above - start), np.inf)


def _changes(*values: Floats) -> npt.NDArray[np.bool_]:
    """Return a mask of the positions where any of the step functions takes a new value."""
    stacked = np.stack(values)
    return np.concatenate([[True], (stacked[:, 1:] != stacked[:, :-1]).any(axis=0)])
