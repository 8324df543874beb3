"""Tests over blocks: ranks, Friedman and Nemenyi, Wilcoxon with Holm's correction, and how many more blocks would separate.

A matrix holds regrets, one row a block (a data set with a seed), one column a method; the smaller the better. Infinite values are
worse or better than any. Sources: J. Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006);
S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979); G. E. Noether, Sample size
determination for some common nonparametric tests, JASA 82 (1987). scipy computes the tests; it is imported where it is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..best_so_far import Floats

ALPHA = 0.05
POWER = 0.8
MOST_EXACT = 50
"""Up to so many blocks Wilcoxon's distribution is the exact one."""
MOST_BLOCKS = 10_000
"""A difference that would need more blocks than this is called too small to be found."""


@dataclass(frozen=True)
class Pairs:
    """Every method against every other, shape (methods, methods): row against column."""

    wins: npt.NDArray[np.int64]
    ties: npt.NDArray[np.int64]
    p: Floats  # of Wilcoxon's signed-rank test, two-sided
    adjusted: Floats  # by Holm, over all pairs
    needed: Floats  # blocks that would separate the two; infinite where they look alike


def ranks(matrix: Floats) -> Floats:
    """Ranks within each block, 1 the best, ties at their mean."""
    return np.asarray(pd.DataFrame(matrix).rank(axis=1).to_numpy(), dtype=float)


def friedman(matrix: Floats) -> float | None:
    """The p-value of Friedman's test that all methods rank alike; None with fewer than three methods or two blocks."""
    blocks, methods = matrix.shape
    if methods < 3 or blocks < 2:
        return None
    from scipy.stats import friedmanchisquare

    within = ranks(matrix)
    if (within == within[:, :1]).all():
        return 1.0
    return float(friedmanchisquare(*within.T).pvalue)


def critical_difference(methods: int, blocks: int) -> float:
    """Nemenyi's: mean ranks further apart than this differ, all pairs together at level 0.05."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def cliques(mean_ranks: Floats, difference: float) -> list[tuple[float, float]]:
    """The longest runs of mean ranks that the critical difference does not part, from the best: (first, last) rank of each."""
    ordered = np.sort(mean_ranks)
    found: list[tuple[float, float]] = []
    for i, first in enumerate(ordered):
        last = float(ordered[np.searchsorted(ordered, first + difference, side="right") - 1])
        if last > first and (not found or last > found[-1][1]):
            found.append((float(ordered[i]), last))
    return found


def pairs(matrix: Floats) -> Pairs:
    """Wins, ties, Wilcoxon's test with Holm's correction, and the blocks needed, for every pair."""
    blocks, methods = matrix.shape
    first, second = np.triu_indices(methods, 1)
    values = _bounded(matrix)
    differences = _rounded(values[:, second] - values[:, first])  # positive where the first is better
    p = wilcoxon(differences)
    return Pairs(
        wins=_square(methods, first, second, (differences > 0).sum(axis=0), (differences < 0).sum(axis=0)).astype(np.int64),
        ties=_square(methods, first, second, (differences == 0).sum(axis=0), diagonal=blocks).astype(np.int64),
        p=_square(methods, first, second, p, diagonal=1.0),
        adjusted=_square(methods, first, second, holm(p), diagonal=1.0),
        needed=_square(methods, first, second, needed_blocks(differences, len(p)), diagonal=np.inf),
    )


def wilcoxon(differences: Floats) -> Floats:
    """Two-sided p-values of the signed-rank test down each column; zero differences are left out, as Wilcoxon did.

    Up to 50 blocks the distribution is the exact one, of ties too: scores of a table tie often, and scipy's knows none.
    """
    if len(differences) <= MOST_EXACT:
        sizes = pd.DataFrame(np.abs(np.where(differences == 0, np.nan, differences))).rank().to_numpy()  # of a zero, none
        return np.array(
            [_exact(size[column != 0], column[column != 0] > 0) for size, column in zip(sizes.T, differences.T, strict=True)]
        )
    from scipy.stats import wilcoxon as test

    alike = ~(differences != 0).any(axis=0)
    p = np.ones(differences.shape[1])
    if not alike.all():
        p[~alike] = test(differences[:, ~alike], axis=0, method="asymptotic", correction=True).pvalue
    return np.minimum(p, 1.0)


def _exact(ranks: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """The share of all ways to give these ranks signs in which the two sums are as far apart as they are, or further."""
    doubled = (2 * ranks).astype(int)  # whole numbers, whatever ties
    ways = np.zeros(doubled.sum() + 1)  # of each sum of the positive ranks, as a share
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] = (ways[rank:] + ways[:-rank]) / 2
        ways[:rank] /= 2
    found = doubled[positive].sum()
    return float(min(1.0, 2 * min(ways[: found + 1].sum(), ways[found:].sum())))


def holm(p: Floats) -> Floats:
    """Holm's adjusted p-values: the smallest is multiplied by the number of tests, the next by one less, and so on."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def fewest_blocks(tests: int) -> int:
    """With fewer blocks no pair can be significant, whatever the numbers: at best p is 2 / 2^blocks, which Holm multiplies."""
    return math.ceil(math.log2(2 * max(tests, 1) / ALPHA))


def needed_blocks(differences: Floats, tests: int) -> Floats:
    """Blocks with which the signed-rank test at level 0.05 / tests finds each column's difference with power 0.8.

    Noether's normal approximation: (z of the level + z of the power)² / (3 (p − 1/2)²), where p is the share of pairs of blocks
    whose mean difference is positive, taken to be as it is seen; never fewer than can be significant at all. Infinite where the
    columns look alike, or with fewer than two blocks.
    """
    blocks = len(differences)
    if blocks < 2:
        return np.full(differences.shape[1], np.inf)
    size = pd.DataFrame(np.abs(differences)).rank(axis=0).to_numpy()
    signs = np.sign(differences)
    excess = (size * signs).sum(axis=0) - signs.sum(axis=0)  # of Walsh averages of two blocks: positive less negative ones
    share = excess / (blocks * (blocks - 1))  # p − 1/2
    normal = NormalDist()
    z = normal.inv_cdf(1 - ALPHA / (2 * max(tests, 1))) + normal.inv_cdf(POWER)
    with np.errstate(divide="ignore"):
        needed = np.ceil(z**2 / (3 * share**2))
    return np.where(share == 0, np.inf, np.maximum(needed, fewest_blocks(tests)))


def _rounded(differences: Floats) -> Floats:
    """To a billionth of the largest: 0.972 − 0.970 and 0.970 − 0.968 are equal, which their binary numbers are not."""
    largest = float(np.abs(differences).max(initial=0.0))
    return differences if largest == 0 else np.round(differences / largest, 9) * largest


def _bounded(matrix: Floats) -> Floats:
    """The matrix with finite stand-ins for infinite values, beyond all others, so that differences can be ranked."""
    finite = matrix[np.isfinite(matrix)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    reach = 2 * (high - low) + 1.0
    return np.asarray(np.clip(matrix, low - reach, high + reach))


def _square(
    methods: int,
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    upper: npt.NDArray[np.generic],
    lower: npt.NDArray[np.generic] | None = None,
    diagonal: float = 0.0,
) -> Floats:
    found = np.full((methods, methods), diagonal, dtype=float)
    found[first, second] = upper
    found[second, first] = upper if lower is None else lower
    return found
