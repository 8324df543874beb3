"""The bootstrap over blocks: how a mean over seeds would vary with other seeds.

Blocks are drawn with replacement within each data set, as often as it has seeds; every data set weighs the same. A mean is a
product with the drawn weights, so that whole curves of many methods are drawn at once. B. Efron, Bootstrap methods: another look
at the jackknife, Ann. Statist. 7 (1979); the intervals are percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..best_so_far import Floats

DRAWS = 2000
CURVE_DRAWS = 1000
"""Of curves, which have an interval at each of many budgets."""
LEVEL = 0.95


@lru_cache(maxsize=16)
def weights(seeds: tuple[int, ...], draws: int = DRAWS) -> Floats:
    """What each block weighs in each draw, shape (draws, blocks), rows of sum 1; `seeds` of each data set. Always the same."""
    random = np.random.default_rng(0)
    drawn = [random.multinomial(n, np.full(n, 1 / n), size=draws) / (n * len(seeds)) for n in seeds]
    return np.concatenate(drawn, axis=1)


def means(values: Floats, seeds: Sequence[int]) -> Floats:
    """The mean over blocks, every data set weighing the same; values of shape (blocks, …)."""
    even = np.concatenate([np.full(n, 1 / (n * len(seeds))) for n in seeds])
    return np.tensordot(even, values, axes=1)


def interval(values: Floats, seeds: Sequence[int], draws: int = DRAWS) -> tuple[Floats, Floats]:
    """The 95 % interval of the mean over blocks of values of shape (blocks, columns)."""
    drawn = weights(tuple(seeds), draws) @ values
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def chances_of_best(values: Floats, seeds: Sequence[int]) -> Floats:
    """How often each column has the smallest mean over the draws, ties shared; values of shape (blocks, columns)."""
    drawn = weights(tuple(seeds)) @ values
    best = drawn <= drawn.min(axis=1, keepdims=True) + 1e-12
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))
