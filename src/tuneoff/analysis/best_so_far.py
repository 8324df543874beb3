"""Best-so-far curves: step functions over what a search has spent, their median and quartiles over seeds.

Rules. A curve changes only where a trial was told; nothing is interpolated between trials. Three axes count what was spent when
a trial was told: configurations told of, epochs trained, and seconds of training plus the method's own (a sum over trials, not
the wall clock, where trials run side by side). A search that has ended keeps its last value to the end of the axis, which is the
most that any search on the data set spent. A search that has not ended (running, cut off, failed) is known only as far as it got:
it is drawn alone, never held, and stands outside the median and the quartiles.
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
"""Shares of an axis at which the tables give the curves."""
FOREMOST = 10
"""So many methods can be told apart in a figure; with more, the best so many are drawn strong and named, the others thin."""
EARLY = 0.05
"""The first share of an axis that does not decide how far a figure's vertical axis reaches."""


@dataclass(frozen=True)
class Progress:
    """One search's curve: a value for each told trial, in the order in which they were told; every array has that length.

    `objective` and `best` are in the metric's own direction; NaN where a trial has none, or nothing has been found yet.
    `incumbent` is the number of the best trial so far, -1 before there is one.
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
        """What had been spent on this axis when each trial was told."""
        return {"trials": self.trials, "epochs": self.epochs, "seconds": self.seconds}[axis]


@dataclass(frozen=True)
class Band:
    """Median and quartiles over the ended searches of a cell: step functions that change at `x` and hold until the next."""

    dataset: str
    method: str
    axis: Axis
    seeds: int
    end: float  # where the axis ends
    x: Floats
    median: Floats
    lower: Floats  # first quartile
    upper: Floats  # third quartile

    def at(self, x: float) -> tuple[float, float, float] | None:
        """First quartile, median and third quartile at x; None before the first value."""
        place = int(np.searchsorted(self.x, x, side="right")) - 1
        if place < 0 or not np.isfinite(self.median[place]):
            return None
        return float(self.lower[place]), float(self.median[place]), float(self.upper[place])


@dataclass(frozen=True)
class CurveSet:
    """What a data set's figures of best-so-far show: the bands that have a value, and each search that has not ended."""

    metric: str
    bands: tuple[Band, ...]
    unfinished: tuple[Progress, ...]
    ends: Mapping[Axis, float]  # where each axis ends, without those on which nothing was spent
    reach: tuple[float, float]  # of the vertical axis, one for all figures
    foremost: frozenset[str] | None = None  # the methods of the best medians at the end, where they are too many to tell apart


class Milestone(Model):
    """The curves of a cell at a share of the axis; a quartile is None where fewer than that share of the seeds have a value."""

    method: str
    seeds: int
    share: float
    x: float
    lower: float | None
    median: float | None
    upper: float | None


class Learning(Model):
    """How a cell's best trial learned, its parents' epochs included, and how its retrainings did; one value per epoch."""

    method: str
    seed: int
    trial: int
    epochs: list[int]
    metrics: dict[str, list[float | None]]
    retrainings: list[dict[str, list[float]]]


def progress(search: SearchRecord, goal: ObjectiveSettings) -> Progress:
    """The search's best-so-far curve. Equal objectives leave the earlier trial the incumbent."""
    told = sorted(search.told, key=lambda t: t.told_as)
    outcomes = [t.trial.outcome for t in told if t.trial.outcome]
    losses = np.array([np.nan if o.loss is None else o.loss for o in outcomes], dtype=float)
    trained = np.array([o.trained_epochs for o in outcomes], dtype=float)
    seconds = np.array([o.seconds for o in outcomes], dtype=float)
    best, place = _running_minimum(losses)
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
        incumbent=np.where(place >= 0, numbers[place], -1) if len(told) else place,
    )


def progress_frame(curves: Sequence[Progress]) -> pd.DataFrame:
    """The curves as a table, one row a told trial."""
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
    """The most that any of the searches spent; 0 without any."""
    return max((float(c.spent(axis)[-1]) for c in curves if len(c.trial)), default=0.0)


def band(curves: Sequence[Progress], axis: Axis, end: float, goal: ObjectiveSettings) -> Band | None:
    """Median and quartiles over the ended searches among these curves of one cell; None where none has ended with a trial.

    Quartiles lie between two seeds' values by linear interpolation (numpy's default). A search without a value yet counts as
    worse than any, so that a late first value cannot make the median fall back.
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
    """What the figures of one data set show; None where nothing has been found yet."""
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
    """The methods of the smallest losses; None where all of them can be told apart."""
    if len(methods) <= FOREMOST:
        return None
    return frozenset(methods[i] for i in np.argsort(losses, kind="stable")[:FOREMOST])


def milestones(bands: Sequence[Band]) -> list[Milestone]:
    """The bands at each tenth of their axis."""
    found = []
    for b in bands:
        for share in MILESTONES:
            values = b.at(share * b.end)
            lower, median, upper = (v if np.isfinite(v) else None for v in values) if values else (None, None, None)
            found.append(
                Milestone(method=b.method, seeds=b.seeds, share=share, x=share * b.end, lower=lower, median=median, upper=upper)
            )
    return found


def lineage(search: SearchRecord, trial: int) -> tuple[Epoch, ...]:
    """A trial's epochs with those of the trials that it continues before them, by epoch number."""
    records = {t.trial.id: t for t in search.trials}
    chain = []
    place: int | None = trial
    while place is not None:
        chain.append(records[place])
        place = records[place].trial.proposal.parent
    epochs = {epoch.number: epoch for record in reversed(chain) for epoch in record.curve}
    return tuple(epochs[number] for number in sorted(epochs))


def _reach(
    bands: Sequence[Band], unfinished: Sequence[Progress], ends: Mapping[Axis, float], goal: ObjectiveSettings
) -> tuple[float, float]:
    """From the worst that any figure must show after its start to the best, and a little air: the lower end first."""
    worst, best = [], []
    for axis, end in ends.items():
        parts = [_late(b.x, end, b.median, b.lower, b.upper) for b in bands if b.axis == axis]
        parts += [_late(c.spent(axis), end, c.best) for c in unfinished]
        losses = goal.sign * np.concatenate(parts) if parts else np.array([])
        if len(losses):
            worst.append(float(losses.max()))
            best.append(float(losses.min()))
    low, high = sorted((goal.sign * min(worst), goal.sign * min(best)))
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - air, high + air


def _late(at: Floats, end: float, *values: Floats) -> Floats:
    """The finite values after the axis's first twentieth, or the last ones."""
    late = at >= EARLY * end
    late[-1] = True
    stacked = np.concatenate([v[late] for v in values])
    return np.asarray(stacked[np.isfinite(stacked)])


def _running_minimum(losses: Floats) -> tuple[Floats, Ints]:
    """The smallest loss so far (NaN before the first) and its place (-1 before the first)."""
    filled = np.where(np.isfinite(losses), losses, np.inf)
    best = np.minimum.accumulate(filled) if len(filled) else filled
    new = np.isfinite(filled) & (filled < np.concatenate([[np.inf], best[:-1]])) if len(filled) else np.array([], dtype=bool)
    place = np.maximum.accumulate(np.where(new, np.arange(len(losses)), -1)) if len(losses) else np.array([], dtype=np.int64)
    return np.where(np.isfinite(best), best, np.nan), place.astype(np.int64)


def _distinct_so_far(ids: Sequence[int]) -> Floats:
    seen: set[int] = set()
    counts = []
    for i in ids:
        seen.add(i)
        counts.append(len(seen))
    return np.array(counts, dtype=float)


def _method_seconds(search: SearchRecord, numbers: Ints, told_as: Sequence[int]) -> Floats:
    """The method's own seconds when each trial was told: those of all asks before, its own included."""
    if not len(numbers):
        return np.array([])
    asked_as = np.array([t.asked_as for t in search.trials])
    spent = np.cumsum([t.ask_seconds for t in search.trials])
    order = {t.trial.id: i for i, t in enumerate(search.trials)}
    own = np.array([order[int(n)] for n in numbers])
    earlier = np.searchsorted(asked_as, np.array(told_as), side="left") - 1
    return np.asarray(np.maximum.accumulate(spent[np.maximum(own, earlier)]), dtype=float)


def _held(at: Floats, losses: Floats, x: Floats) -> Floats:
    """A step function's value at each x: infinity before its first."""
    place = np.searchsorted(at, x, side="right") - 1
    values = np.where(np.isfinite(losses), losses, np.inf)
    return np.where(place >= 0, values[np.maximum(place, 0)], np.inf)


def _quantile(ordered: Floats, share: float) -> Floats:
    """Linear quantiles down the columns of sorted values; infinity where a value that counts is infinite."""
    rank = share * (len(ordered) - 1)
    below, part = int(rank), rank - int(rank)
    if part == 0:
        return np.asarray(ordered[below])
    finite = np.isfinite(ordered[below + 1])
    above = np.where(finite, ordered[below + 1], 0.0)
    start = np.where(finite, ordered[below], 0.0)
    return np.where(finite, start + part * (above - start), np.inf)


def _changes(*values: Floats) -> npt.NDArray[np.bool_]:
    """Where any of the step functions takes a new value."""
    stacked = np.stack(values)
    return np.concatenate([[True], (stacked[:, 1:] != stacked[:, :-1]).any(axis=0)])
