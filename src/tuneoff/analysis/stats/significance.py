"""Significance tests over blocks: ranks, Friedman and Nemenyi, Wilcoxon with Holm's correction, and sample size estimates.

A matrix holds regrets of shape (blocks, methods); a block is a data set with a seed. Smaller values are better. An infinite value
is worse (inf) or better (-inf) than all others. scipy computes the tests. It is optional, so only the functions that need it
import it.

References:
    J. Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006).
    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    G. E. Noether, Sample size determination for some common nonparametric tests, JASA 82 (1987).
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
"""Largest number of blocks for which the exact null distribution of Wilcoxon's test is used."""
MOST_BLOCKS = 10_000
"""A difference that needs more blocks than this is reported as too small to detect."""


@dataclass(frozen=True)
class Pairs:
    """Comparisons of every method (row) with every other method (column); every array has shape (methods, methods)."""

    wins: npt.NDArray[np.int64]  # blocks in which the row's method is better
    ties: npt.NDArray[np.int64]
    p: Floats  # two-sided p-values of Wilcoxon's signed-rank test
    adjusted: Floats  # p-values adjusted by Holm's procedure over all pairs
    needed: Floats  # estimated number of blocks for a significant difference; infinite if no difference is visible


def ranks(matrix: Floats) -> Floats:
    """Return the ranks within each block (row), same shape as the matrix: 1 is the best, ties share their mean rank."""
    return np.asarray(pd.DataFrame(matrix).rank(axis=1).to_numpy(), dtype=float)


def friedman(matrix: Floats) -> float | None:
    """Return the p-value of Friedman's test of the hypothesis that all methods perform alike.

    It is None for fewer than three methods or fewer than two blocks.
    """
    blocks, methods = matrix.shape
    if methods < 3 or blocks < 2:
        return None
    from scipy.stats import friedmanchisquare

    block_ranks = ranks(matrix)
    if (block_ranks == block_ranks[:, :1]).all():
        return 1.0
    return float(friedmanchisquare(*block_ranks.T).pvalue)


def critical_difference(methods: int, blocks: int) -> float:
    """Return the critical difference of Nemenyi's post-hoc test at level 0.05 (Demšar, 2006).

    Two methods differ significantly if their mean ranks differ by more. The level holds for all pairs together.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


def cliques(mean_ranks: Floats, difference: float) -> list[tuple[float, float]]:
    """Return the maximal groups of methods whose mean ranks lie within the critical difference, from the best rank.

    These are the bars of a critical-difference diagram (Demšar, 2006).

    Args:
        mean_ranks: The mean rank of each method, shape (methods,).
        difference: The critical difference.

    Returns:
        The smallest and the largest mean rank of each group.
    """
    ordered = np.sort(mean_ranks)
    groups: list[tuple[float, float]] = []
    for i, first in enumerate(ordered):
        last = float(ordered[np.searchsorted(ordered, first + difference, side="right") - 1])
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((float(ordered[i]), last))
    return groups


def pairs(matrix: Floats) -> Pairs:
    """Return wins, ties, Wilcoxon's test with Holm's correction, and the number of blocks needed, for every pair of methods."""
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
    """Return the two-sided p-value of Wilcoxon's signed-rank test for each column, shape (pairs,).

    Zero differences are left out, as Wilcoxon proposed. Up to 50 blocks, the exact null distribution given the ties is used:
    scores of a table study often tie, and scipy's exact distribution does not support ties. With more blocks, scipy's normal
    approximation with continuity correction is used.

    Args:
        differences: The differences between two methods, shape (blocks, pairs).
    """
    if len(differences) <= MOST_EXACT:
        sizes = pd.DataFrame(np.abs(np.where(differences == 0, np.nan, differences))).rank().to_numpy()  # NaN for a zero
        return np.array(
            [_exact(size[column != 0], column[column != 0] > 0) for size, column in zip(sizes.T, differences.T, strict=True)]
        )
    from scipy.stats import wilcoxon as test

    identical = ~(differences != 0).any(axis=0)
    p = np.ones(differences.shape[1])
    if not identical.all():
        p[~identical] = test(differences[:, ~identical], axis=0, method="asymptotic", correction=True).pvalue
    return np.minimum(p, 1.0)


def _exact(ranks: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value of the signed-rank test.

    It is computed from the distribution of the sum of positive ranks over all equally likely assignments of signs.

    Args:
        ranks: The ranks of the absolute differences, mean ranks for ties, shape (n,).
        positive: Whether each difference is positive, shape (n,).
    """
    doubled = (2 * ranks).astype(int)  # integers even with ties, whose mean ranks may end in .5
    probabilities = np.zeros(doubled.sum() + 1)  # of each sum of the doubled positive ranks
    probabilities[0] = 1.0
    for rank in doubled:
        probabilities[rank:] = (probabilities[rank:] + probabilities[:-rank]) / 2
        probabilities[:rank] /= 2
    observed = doubled[positive].sum()
    return float(min(1.0, 2 * min(probabilities[: observed + 1].sum(), probabilities[observed:].sum())))


def holm(p: Floats) -> Floats:
    """Return the p-values adjusted by Holm's step-down procedure, same shape as `p`.

    The smallest p-value is multiplied by the number of tests, the next one by the number minus one, and so on.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def fewest_blocks(tests: int) -> int:
    """Return the smallest number of blocks with which any pair can be significant.

    The smallest possible p-value of the signed-rank test is 2 / 2^blocks. Holm's correction multiplies it by the number of tests.
    """
    return math.ceil(math.log2(2 * max(tests, 1) / ALPHA))


def needed_blocks(differences: Floats, tests: int) -> Floats:
    """Return the number of blocks with which the signed-rank test detects each column's difference, shape (pairs,).

    The number is for the level 0.05 / tests and the power 0.8. It is Noether's normal approximation
    (z of the level + z of the power)² / (3 (p − 1/2)²), where p is the observed share of pairs of blocks whose mean difference is
    positive. It is at least `fewest_blocks(tests)`. It is infinite if p = 1/2 or for fewer than two blocks.

    Args:
        differences: The differences between two methods, shape (blocks, pairs).
        tests: The number of tests that are corrected for.
    """
    blocks = len(differences)
    if blocks < 2:
        return np.full(differences.shape[1], np.inf)
    size = pd.DataFrame(np.abs(differences)).rank(axis=0).to_numpy()
    signs = np.sign(differences)
    excess = (size * signs).sum(axis=0) - signs.sum(axis=0)  # positive minus negative Walsh averages of two blocks
    share = excess / (blocks * (blocks - 1))  # p − 1/2
    normal = NormalDist()
    z = normal.inv_cdf(1 - ALPHA / (2 * max(tests, 1))) + normal.inv_cdf(POWER)
    with np.errstate(divide="ignore"):
        needed = np.ceil(z**2 / (3 * share**2))
    return np.where(share == 0, np.inf, np.maximum(needed, fewest_blocks(tests)))


def _rounded(differences: Floats) -> Floats:
    """Round to a billionth of the largest difference, so that 0.972 − 0.970 and 0.970 − 0.968 tie despite binary rounding."""
    largest = float(np.abs(differences).max(initial=0.0))
    return differences if largest == 0 else np.round(differences / largest, 9) * largest


def _bounded(matrix: Floats) -> Floats:
    """Replace infinite values by finite ones beyond all others, so that differences can be ranked."""
    finite = matrix[np.isfinite(matrix)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    margin = 2 * (high - low) + 1.0
    return np.asarray(np.clip(matrix, low - margin, high + margin))


def _square(
    methods: int,
    first: npt.NDArray[np.intp],
    second: npt.NDArray[np.intp],
    upper: npt.NDArray[np.generic],
    lower: npt.NDArray[np.generic] | None = None,
    diagonal: float = 0.0,
) -> Floats:
    """Return a (methods, methods) matrix from the values of each pair; without `lower` it is symmetric."""
    square = np.full((methods, methods), diagonal, dtype=float)
    square[first, second] = upper
    square[second, first] = upper if lower is None else lower
    return square
