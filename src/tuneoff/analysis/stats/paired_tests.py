"""Paired comparisons of two methods: differences seed by seed, and Student's t-tests of their mean."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

ALPHA = 0.05
FEWEST_SEEDS = 3
"""Smallest number of common seeds for a test."""


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Return the first value minus the second for each seed that both mappings have, in the order of seeds."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def above(values: Sequence[float], bound: float) -> float:
    """Return the p-value of a one-sided one-sample t-test of whether the mean is above `bound`; 1 for fewer than two values."""
    return _one_sided([v - bound for v in values])


def below(values: Sequence[float], bound: float) -> float:
    """Return the p-value of a one-sided one-sample t-test of whether the mean is below `bound`; 1 for fewer than two values."""
    return _one_sided([bound - v for v in values])


def within(values: Sequence[float], margin: float) -> float:
    """Return the p-value of an equivalence test: whether the mean lies between -margin and margin.

    It is the larger p-value of two one-sided tests (TOST; D. J. Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987).
    """
    return max(above(values, -margin), below(values, margin))


def apart(values: Sequence[float]) -> float:
    """Return the p-value of a two-sided one-sample t-test of whether the mean differs from 0."""
    return min(1.0, 2 * min(above(values, 0.0), below(values, 0.0)))


def interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """Return the confidence interval of the mean by Student's t distribution; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy import stats

    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    half_width = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return mean - half_width, mean + half_width


def _one_sided(values: Sequence[float]) -> float:
    """Return the p-value of a one-sided t-test of whether the mean is above 0.

    Identical values have no variance, so their p-value is 0 or 1, by their sign.
    """
    if len(values) < 2:
        return 1.0
    if len(set(values)) == 1:
        return 0.0 if values[0] > 0 else 1.0
    from scipy import stats

    return float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)
