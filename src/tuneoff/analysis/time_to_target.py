"""Time to target: the share of seeds that reach a target score by a budget, and the expected budget per success (ERT).

The expected budget is the expected running time (ERT): the budget spent by all seeds divided by the number of successes
(N. Hansen et al., COCO: a platform for comparing continuous optimizers in a black-box setting, Optim. Methods Softw. 36, 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.space import Model
from .best_so_far import Axis, Floats
from .common_budget import CommonBudget


class Reached(Model):
    """The success of one method in reaching a target on one clock, over all its seeds."""

    method: str
    shares: list[float]  # share of seeds that reached the target by a quarter, half and all of the common budget
    expected: float | None  # budget spent by all seeds, divided by the number of successes; None without a success


class Target(Model):
    """A target score on one data set and clock."""

    dataset: str
    clock: Axis
    name: str  # a description of the score
    value: float  # the score, in the metric's own direction
    rows: list[Reached]


def target_losses(budget: CommonBudget, random: set[str]) -> dict[str, float]:
    """Return the two target losses by description: the median final loss of random search, and that of the best method.

    Without random search, the first target is the median of the methods' median final losses. A method whose median final loss is
    not finite sets no target.
    """
    medians = {m: float(np.median(budget.losses[i, :, -1])) for i, m in enumerate(budget.methods)}
    finite = {m: v for m, v in medians.items() if np.isfinite(v)}
    if not finite:
        return {}
    random_medians = [v for m, v in finite.items() if m in random]
    name = "the median final score of random search" if random_medians else "the median final score of all methods"
    first = float(np.median(random_medians or list(finite.values())))
    return {name: first, "the median final score of the best method": min(finite.values())}


def reached(budget: CommonBudget, loss: float) -> Floats:
    """Return the share of seeds that have reached the loss by each budget, shape (methods, budgets).

    A seed with an unknown loss counts as not having reached it.
    """
    return np.asarray((budget.losses <= loss).mean(axis=1))


def target(budget: CommonBudget, name: str, loss: float, sign: int, shares: Sequence[float]) -> Target:
    """Return how often and at which cost each method reaches a target.

    Args:
        course: All searches of one data set on one clock.
        name: The description of the target.
        loss: The target loss.
        sign: 1 if smaller scores of the metric are better, -1 if larger ones are.
        shares: The shares of the common budget at which the successes are counted.
    """
    hit = budget.losses <= loss  # (methods, seeds, budgets)
    hit_shares = hit.mean(axis=1)
    spent = np.where(hit.any(axis=2), budget.budgets[hit.argmax(axis=2)], budget.full)  # (methods, seeds)
    rows = []
    for i, method in enumerate(budget.methods):
        successes = int(hit[i, :, -1].sum())
        expected = float(spent[i].sum() / successes) if successes else None
        rows.append(Reached(method=method, shares=[float(hit_shares[i, budget.place(s)]) for s in shares], expected=expected))
    return Target(dataset=budget.dataset, clock=budget.clock, name=name, value=sign * loss, rows=rows)
