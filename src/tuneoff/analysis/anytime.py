"""Anytime curves of one clock: mean regret and mean rank at each share of the common budget, with confidence bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .best_so_far import FOREMOST, Axis, Floats
from .common_budget import Course
from .stats.bootstrap import CURVE_DRAWS, interval, means
from .stats.significance import ranks

Flags = npt.NDArray[np.bool_]
POINTS = 100
"""Several data sets are read at so many shares of their common budgets, evenly apart; one alone at its own budgets."""


@dataclass(frozen=True)
class Trace:
    """A mean over blocks at each share, and its 95 % bootstrap interval; NaN where a block has no value or is not known.

    With more than ten methods, those beyond the ten of the best means at the end have no interval: nobody could see so many.
    """

    method: str
    mean: Floats
    low: Floats | None
    high: Floats | None


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
    return Anytime(
        scope=scope,
        clock=found[0].clock,
        full=tuple(c.full for c in found),
        shares=shares,
        regret=_traces(found[0].methods, values, seeds),
        rank=_traces(found[0].methods, ranked, seeds),
    )


def _read(course: Course, shares: Floats) -> Floats:
    """Regrets at the last budget within each share, infinite before the first; shape (seeds, shares, methods)."""
    places = np.array([course.within(s * course.full * (1 + 1e-12)) for s in shares])
    values = course.regret[:, :, np.maximum(places, 0)].transpose(1, 2, 0)
    return np.where((places < 0)[None, :, None], np.inf, values)


def _traces(methods: Sequence[str], values: Floats, seeds: Sequence[int]) -> tuple[Trace, ...]:
    known: Flags = np.asarray(np.isfinite(values).all(axis=0))  # (shares, methods)
    mean = np.where(known, means(np.where(known, values, 0.0), seeds), np.nan)
    banded = set(np.argsort(np.where(known[-1], mean[-1], np.inf), kind="stable")[:FOREMOST])
    return tuple(
        Trace(method, mean[:, i], *(_band(values[:, :, i], known[:, i], seeds) if i in banded else (None, None)))
        for i, method in enumerate(methods)
    )


def _band(values: Floats, known: Flags, seeds: Sequence[int]) -> tuple[Floats, Floats]:
    low, high = (np.full(len(known), np.nan) for _ in range(2))
    if known.any():
        low[known], high[known] = interval(values[:, known], seeds, CURVE_DRAWS)
    return low, high
