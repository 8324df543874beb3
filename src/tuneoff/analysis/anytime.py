"""Anytime performance curves: mean regret and mean rank at each share of the common budget, with bootstrap bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .best_so_far import FOREMOST, Axis, Floats
from .common_budget import CommonBudget
from .stats.bootstrap import CURVE_DRAWS, interval, means
from .stats.significance import ranks

Flags = npt.NDArray[np.bool_]
POINTS = 100
"""Number of evenly spaced shares of the common budget at which several data sets are read. A single data set is read at its own
budgets."""


@dataclass(frozen=True)
class Trace:
    """One method's mean over blocks at each share of the budget, with its 95 % bootstrap interval.

    All arrays have shape (shares,). A value is NaN at a share where any block has no finite value. With more than ten methods,
    only the ten with the best mean at the full budget have an interval, because a figure with more bands is unreadable.
    """

    method: str
    mean: Floats
    low: Floats | None
    high: Floats | None


@dataclass(frozen=True)
class Anytime:
    """The curves of one clock (trials, epochs or seconds), over one data set or several."""

    scope: str
    clock: Axis
    full: tuple[float, ...]  # the full common budget of each data set, in units of the clock
    shares: Floats  # ascending, in (0, 1]
    regret: tuple[Trace, ...]
    rank: tuple[Trace, ...]


def anytime(scope: str, found: Sequence[CommonBudget]) -> Anytime:
    """Return the anytime curves over all blocks (a block is a data set with a seed).

    Methods are ranked within each block at each share. An unknown value counts as the worst.

    Args:
        scope: The name of the comparison.
        found: One course for each data set, all on the same clock and with the same methods.
    """
    alone = len(found) == 1
    shares = found[0].budgets / found[0].full if alone else np.arange(1, POINTS + 1) / POINTS
    seeds = [len(c.seeds) for c in found]
    regret = np.concatenate([_read(c, shares) for c in found])  # (blocks, shares, methods)
    blocks, points, methods = regret.shape
    flat = np.where(np.isnan(regret), np.inf, regret).reshape(-1, methods)
    ranked = ranks(flat).reshape(blocks, points, methods)
    return Anytime(
        scope=scope,
        clock=found[0].clock,
        full=tuple(c.full for c in found),
        shares=shares,
        regret=_traces(found[0].methods, regret, seeds),
        rank=_traces(found[0].methods, ranked, seeds),
    )


def _read(budget: CommonBudget, shares: Floats) -> Floats:
    """Return the regret at the last budget within each share, shape (seeds, shares, methods); inf before the first budget."""
    indices = np.array([budget.within(s * budget.full * (1 + 1e-12)) for s in shares])
    values = budget.regret[:, :, np.maximum(indices, 0)].transpose(1, 2, 0)
    return np.where((indices < 0)[None, :, None], np.inf, values)


def _traces(methods: Sequence[str], values: Floats, seeds: Sequence[int]) -> tuple[Trace, ...]:
    """Return one trace for each method from values of shape (blocks, shares, methods); `seeds` counts those of each data set."""
    finite: Flags = np.asarray(np.isfinite(values).all(axis=0))  # (shares, methods)
    mean = np.where(finite, means(np.where(finite, values, 0.0), seeds), np.nan)
    banded = set(np.argsort(np.where(finite[-1], mean[-1], np.inf), kind="stable")[:FOREMOST])
    return tuple(
        Trace(method, mean[:, i], *(_band(values[:, :, i], finite[:, i], seeds) if i in banded else (None, None)))
        for i, method in enumerate(methods)
    )


def _band(values: Floats, finite: Flags, seeds: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the lower and upper bound at each share from values of shape (blocks, shares); NaN where `finite` is False."""
    low, high = (np.full(len(finite), np.nan) for _ in range(2))
    if finite.any():
        low[finite], high[finite] = interval(values[:, finite], seeds, CURVE_DRAWS)
    return low, high
