"""The break-even map: from which budget on a method beats random search, and until when it is no better than drawing lots."""

from __future__ import annotations

import numpy as np

from ..core.space import Model
from .best_so_far import Axis
from .common_budget import Course
from .stats.effect_size import beats

SURE = 0.9
"""The share of seed pairs in which a method must beat random search."""


class BreakEven(Model):
    """One method on one data set and clock. `budget` is None where it never breaks even within the common budget."""

    dataset: str
    clock: Axis
    method: str
    budget: float | None
    share: float | None  # of the full common budget
    full: float
    at_full: float  # the share of seed pairs in which it beats random search at the end
    is_random: bool  # it is a random search itself: nothing to break even with


def break_even(course: Course, random: set[str]) -> list[BreakEven]:
    """The smallest budget from which on to the end each method beats random search in 0.9 of all seed pairs.

    A pair is one search of the method and one of any random search of the study; ties count half. What is not known counts
    against the method. No rows where the study has no random search.
    """
    places = [i for i, m in enumerate(course.methods) if m in random]
    if not places:
        return []
    unknown = np.isnan(course.losses)
    lots = np.where(unknown, -np.inf, course.losses)[places].reshape(-1, len(course.budgets))
    mine = np.where(unknown, np.inf, course.losses)
    sure = np.stack([beats(mine[:, :, g], lots[:, g]) for g in range(len(course.budgets))], axis=1)  # (methods, budgets)
    found = []
    for i, method in enumerate(course.methods):
        short = np.flatnonzero(sure[i] < SURE - 1e-9)
        first = int(short[-1]) + 1 if len(short) else 0
        reached = method not in random and first < len(course.budgets)
        found.append(
            BreakEven(
                dataset=course.dataset,
                clock=course.clock,
                method=method,
                budget=float(course.budgets[first]) if reached else None,
                share=float(course.budgets[first] / course.full) if reached else None,
                full=course.full,
                at_full=float(sure[i, -1]),
                is_random=method in random,
            )
        )
    return found
