"""The bootstrap over blocks: how much a mean over seeds would vary with other seeds.

A block is a data set with a seed. The bootstrap is stratified: blocks are drawn with replacement within each data set, as many as
it has seeds, and every data set has the same weight. Intervals are percentile intervals. A bootstrap mean is a product with a
matrix of weights, so the curves of many methods are resampled at once.

Reference: B. Efron, Bootstrap methods: another look at the jackknife, Ann. Statist. 7 (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..best_so_far import Floats

DRAWS = 2000
CURVE_DRAWS = 1000
"""Number of draws for curves, which need an interval at each of many budgets."""
LEVEL = 0.95


@lru_cache(maxsize=16)
def weights(seeds: tuple[int, ...], draws: int = DRAWS) -> Floats:
    """Return the weight of each block in each draw, shape (draws, blocks); every row sums to 1.

    The generator's seed is fixed, so equal arguments give equal weights.

    Args:
        seeds: The number of seeds of each data set.
        draws: The number of bootstrap draws.
    """
    random = np.random.default_rng(0)
    by_dataset = [random.multinomial(n, np.full(n, 1 / n), size=draws) / (n * len(seeds)) for n in seeds]
    return np.concatenate(by_dataset, axis=1)


def means(values: Floats, seeds: Sequence[int]) -> Floats:
    """Return the mean over blocks, in which every data set has the same weight, shape (…,).

    Args:
        values: Shape (blocks, …); the blocks of each data set are consecutive.
        seeds: The number of seeds of each data set.
    """
    block_weights = np.concatenate([np.full(n, 1 / (n * len(seeds))) for n in seeds])
    return np.tensordot(block_weights, values, axes=1)


def interval(values: Floats, seeds: Sequence[int], draws: int = DRAWS) -> tuple[Floats, Floats]:
    """Return the bounds of the 95 % percentile interval of the mean over blocks, each of shape (columns,).

    Args:
        values: Shape (blocks, columns); the blocks of each data set are consecutive.
        seeds: The number of seeds of each data set.
        draws: The number of bootstrap draws.
    """
    bootstrap_means = weights(tuple(seeds), draws) @ values
    low, high = np.quantile(bootstrap_means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def chances_of_best(values: Floats, seeds: Sequence[int]) -> Floats:
    """Return the share of bootstrap draws in which each column has the smallest mean, shape (columns,); a tie is shared equally.

    Args:
        values: Shape (blocks, columns); the blocks of each data set are consecutive.
        seeds: The number of seeds of each data set.
    """
    bootstrap_means = weights(tuple(seeds)) @ values
    best = bootstrap_means <= bootstrap_means.min(axis=1, keepdims=True) + 1e-12
    return np.asarray((best / best.sum(axis=1, keepdims=True)).mean(axis=0))
