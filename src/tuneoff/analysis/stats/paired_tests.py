"""Paired comparisons: what two methods found with the same seeds, subtracted seed by seed, and Student's t tests on that."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

ALPHA = 0.05
FEWEST_SEEDS = 3
"""With fewer common seeds nothing is tested."""


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """The first's value less the second's, for each seed that both have."""
    return [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]


def above(values: Sequence[float], bound: float) -> float:
    """The p value for a mean above `bound`: how often values like these come of one that is not. 1 with fewer than two."""
    return _one_sided([v - bound for v in values])


def below(values: Sequence[float], bound: float) -> float:
    """The p value for a mean below `bound`."""
    return _one_sided([bound - v for v in values])


def within(values: Sequence[float], margin: float) -> float:
    """The p value for a mean between -margin and margin: two one-sided tests (Schuirmann, 1987), the larger of the two."""
    return max(above(values, -margin), below(values, margin))


def apart(values: Sequence[float]) -> float:
    """The p value for a mean that is not 0, in either direction."""
    return min(1.0, 2 * min(above(values, 0.0), below(values, 0.0)))


def interval(values: Sequence[float], level: float) -> tuple[float, float] | None:
    """The confidence interval of the mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    from scipy import stats

    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return mean - reach, mean + reach


def _one_sided(values: Sequence[float]) -> float:
    """The p value for a mean above 0."""
    if len(values) < 2:
        return 1.0
    if len(set(values)) == 1:
        return 0.0 if values[0] > 0 else 1.0
    from scipy import stats

    return float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)
