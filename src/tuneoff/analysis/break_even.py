"""The break-even map: the smallest budget from which a method beats random search."""

from __future__ import annotations

import numpy as np

from ..core.space import Model
from .best_so_far import Axis
from .common_budget import CommonBudget
from .stats.effect_size import beats

SURE = 0.9
"""Share of seed pairs in which a method must beat random search to break even."""


class BreakEven(Model):
    """One method on one data set and clock. `budget` is None if the method does not break even within the common budget."""

    dataset: str
    clock: Axis
    method: str
    budget: float | None  # in units of the clock
    share: float | None  # the budget as a share of the full common budget
    full: float  # the full common budget
    at_full: float  # share of seed pairs in which the method beats random search at the full budget
    is_random: bool  # the method is itself a random search, so break-even is undefined


def break_even(budget: CommonBudget, random: set[str]) -> list[BreakEven]:
    """Return, for each method, the smallest budget from which it beats random search in 90 % of seed pairs.

    The method must stay ahead at every larger budget up to the full common budget. A pair is one search of the method and one
    search of any random search of the study; ties count half. Unknown values count against the method.

    Args:
        course: All searches of one data set on one clock.
        random: The labels of the study's random searches.

    Returns:
        One row for each method, in the order of `course.methods`; empty if the course has no random search.
    """
    random_indices = [i for i, m in enumerate(budget.methods) if m in random]
    if not random_indices:
        return []
    unknown = np.isnan(budget.losses)
    random_losses = np.where(unknown, -np.inf, budget.losses)[random_indices].reshape(-1, len(budget.budgets))
    losses = np.where(unknown, np.inf, budget.losses)
    budgets = range(len(budget.budgets))
    wins = np.stack([beats(losses[:, :, b], random_losses[:, b]) for b in budgets], axis=1)  # (methods, budgets)
    rows = []
    for i, method in enumerate(budget.methods):
        too_low = np.flatnonzero(wins[i] < SURE - 1e-9)
        first = int(too_low[-1]) + 1 if len(too_low) else 0
        reached = method not in random and first < len(budget.budgets)
        rows.append(
            BreakEven(
                dataset=budget.dataset,
                clock=budget.clock,
                method=method,
                budget=float(budget.budgets[first]) if reached else None,
                share=float(budget.budgets[first] / budget.full) if reached else None,
                full=budget.full,
                at_full=float(wins[i, -1]),
                is_random=method in random,
            )
        )
    return rows
