"""Anytime curves of one clock: mean regret and mean rank at each share of the common budget, with confidence bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .courses import Course
from .curves import Axis, Floats
from .resampling import interval, means
from .significance import ranks

POINTS = 100
"""Several data sets are read at so many shares of their common budgets, evenly apart; one alone at its own budgets."""


@dataclass(frozen=True)
class Trace:
    """A mean over blocks at each share, and its 95 % bootstrap interval; NaN where a block has no value or is not known."""

    method: str
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Anytime:
    """What the figures of one clock show, over one data set or several."""

    scope: str
    clock: Axis
    full: tuple[float, ...]  # the full common budget of each data set
    shares: Floats
    regret: tuple[Trace, ...]
    rank: tuple[Trace, ...]


def anytime(scope: str, found: Sequence[Course]) -> Anytime:
    """Curves over the blocks of these courses, one a data set, all of one clock and with the same methods.

    Ranks are those among the methods at the same share, where an unknown value counts as the worst.
    """
    alone = len(found) == 1
    shares = found[0].budgets / found[0].full if alone else np.arange(1, POINTS + 1) / POINTS
    seeds = [len(c.seeds) for c in found]
    values = np.concatenate([_read(c, shares) for c in found])  # (blocks, shares, methods)
    blocks, points, methods = values.shape
    flat = np.where(np.isnan(values), np.inf, values).reshape(-1, methods)
    ranked = ranks(flat).reshape(blocks, points, methods)
    names = found[0].methods
    return Anytime(
        scope=scope,
        clock=found[0].clock,
        full=tuple(c.full for c in found),
        shares=shares,
        regret=tuple(_trace(name, values[:, :, i], seeds) for i, name in enumerate(names)),
        rank=tuple(_trace(name, ranked[:, :, i], seeds) for i, name in enumerate(names)),
    )


def _read(course: Course, shares: Floats) -> Floats:
    """Regrets at these shares, shape (seeds, shares, methods): those of the last budget within each, infinite before the first."""
    places = np.array([course.within(s * course.full * (1 + 1e-12)) for s in shares])
    values = course.regret[:, :, np.maximum(places, 0)].transpose(1, 2, 0)
    return np.where((places < 0)[None, :, None], np.inf, values)


def _trace(method: str, values: Floats, seeds: Sequence[int]) -> Trace:
    known = np.isfinite(values).all(axis=0)
    mean, low, high = (np.full(values.shape[1], np.nan) for _ in range(3))
    if known.any():
        mean[known] = means(values[:, known], seeds)
        low[known], high[known] = interval(values[:, known], seeds)
    return Trace(method, mean, low, high)
