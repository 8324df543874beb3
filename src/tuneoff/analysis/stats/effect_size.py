"""Effect size: the probability that one method's search beats another's (Vargha and Delaney's A), with a confidence interval.

A is the Mann-Whitney statistic divided by the number of pairs, also known as the probability of superiority.

References:
    A. Vargha and H. D. Delaney, A critique and improvement of the CL common language effect size statistics of McGraw and Wong,
    J. Educ. Behav. Stat. 25 (2000).
    N. Cliff, Dominance statistics, Psychol. Bull. 114 (1993): Cliff's delta is 2 A − 1.
    R. G. Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2, Stat. Med. 25
    (2006), method 5. Its interval has a positive width even if one method wins every comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..best_so_far import Floats

LEVEL = 0.95
_HALVINGS = 50
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def beats(losses: Floats, others: Floats) -> Floats:
    """Return the share of pairs in which the first loss is smaller than the second; ties count half.

    Args:
        losses: The losses of one or more methods, shape (…, seeds).
        others: The losses to compare them with, shape (others,).

    Returns:
        The shares, shape (…,).
    """
    ordered = np.sort(others)
    below, below_or_equal = (np.searchsorted(ordered, losses, side=side) for side in _SIDES)
    return np.asarray(1 - (below + below_or_equal).mean(axis=-1) / (2 * len(others)))


def superiority(by_dataset: Sequence[Floats]) -> Floats:
    """Return Vargha and Delaney's A of each method (row) over each other method (column), shape (methods, methods).

    A is computed over all pairs of seeds on each data set, and then averaged over data sets.

    Args:
        by_dataset: The losses on each data set, shape (methods, seeds).
    """
    tables = [np.stack([beats(losses, others) for others in losses], axis=1) for losses in by_dataset]
    return np.asarray(np.mean(tables, axis=0))


def interval(a: Floats, seeds: int, datasets: int = 1) -> tuple[Floats, Floats]:
    """Return the bounds of the 95 % confidence interval of each A (Newcombe's method 5), same shape as `a`.

    The bounds are the values θ with |A − θ| = z √V(θ), found by bisection. V is Hanley and McNeil's variance of A, divided by the
    number of data sets because A is a mean over them.

    Args:
        a: Effect sizes, any shape.
        seeds: The number of seeds of each method.
        datasets: The number of data sets over which A was averaged.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    n_star = seeds - 1.0  # Newcombe's n* for samples of equal size

    def half_width(theta: Floats) -> Floats:
        inner = 1 + n_star * (1 - theta) / (2 - theta) + n_star * theta / (1 + theta)
        return np.asarray(z * np.sqrt(theta * (1 - theta) * inner / (seeds**2 * datasets)))

    def bound(limit: Floats) -> Floats:
        inside, outside = np.array(a, dtype=float), limit
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            within = np.abs(a - middle) <= half_width(middle)
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        return (inside + outside) / 2

    return bound(np.zeros_like(a)), bound(np.ones_like(a))


def size(a: float) -> str:
    """Return Vargha and Delaney's label of an A in either direction: small from 0.56, medium from 0.64, large from 0.71."""
    strength = max(a, 1 - a)
    return "large" if strength >= 0.71 else "medium" if strength >= 0.64 else "small" if strength >= 0.56 else "negligible"
