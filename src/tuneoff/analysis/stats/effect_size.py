"""How large a difference is: the probability that one method's search beats another's (Vargha and Delaney's A), with an interval.

Sources: A. Vargha and H. D. Delaney, J. Educ. Behav. Stat. 25 (2000); N. Cliff, Psychol. Bull. 114 (1993): delta = 2 A − 1;
R. G. Newcombe, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2, Stat. Med. 25 (2006),
method 5, which keeps a width where one method wins every comparison.
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
    """The share of pairs of a loss and another in which the first is the smaller, ties half; shapes (…, seeds) and (others,)."""
    ordered = np.sort(others)
    below, upto = (np.searchsorted(ordered, losses, side=side) for side in _SIDES)
    return np.asarray(1 - (below + upto).mean(axis=-1) / (2 * len(others)))


def superiority(by_dataset: Sequence[Floats]) -> Floats:
    """A of each method (row) over each other (column): over seed pairs, the mean over data sets; arrays (methods, seeds)."""
    tables = [np.stack([beats(losses, others) for others in losses], axis=1) for losses in by_dataset]
    return np.asarray(np.mean(tables, axis=0))


def interval(a: Floats, seeds: int, datasets: int = 1) -> tuple[Floats, Floats]:
    """The 95 % interval of each A: where |A − θ| = z √V(θ), V being Hanley and McNeil's variance of a mean over data sets."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    spread = seeds - 1.0  # Newcombe's n* for samples of the same size

    def width(theta: Floats) -> Floats:
        inner = 1 + spread * (1 - theta) / (2 - theta) + spread * theta / (1 + theta)
        return np.asarray(z * np.sqrt(theta * (1 - theta) * inner / (seeds**2 * datasets)))

    def edge(outer: Floats) -> Floats:
        inside, outside = np.array(a, dtype=float), outer
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            within = np.abs(a - middle) <= width(middle)
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        return (inside + outside) / 2

    return edge(np.zeros_like(a)), edge(np.ones_like(a))


def size(a: float) -> str:
    """Vargha and Delaney's words for an A, either way round: 0.56 small, 0.64 medium, 0.71 large."""
    strength = max(a, 1 - a)
    return "large" if strength >= 0.71 else "medium" if strength >= 0.64 else "small" if strength >= 0.56 else "negligible"
