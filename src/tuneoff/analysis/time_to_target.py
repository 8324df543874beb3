"""Time to target: how many seeds of a method had reached a score by which budget, and what that took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.space import Model
from .best_so_far import Axis, Floats
from .common_budget import Course


class Reached(Model):
    """How a method came to a target on one clock, over all its seeds."""

    method: str
    shares: list[float]  # of seeds that had reached it, at a quarter, half and all of the common budget
    expected: float | None  # budget spent by all seeds for each that reached it; None where none did


class Target(Model):
    """A score to be reached on one data set."""

    dataset: str
    clock: Axis
    name: str  # what it is, in words
    value: float  # in the metric's own direction
    rows: list[Reached]


def target_losses(course: Course, random: set[str]) -> dict[str, float]:
    """What counts as reached, by name: where the median seed of random search ends, and where that of the best method ends.

    Without random search the first is the median of the methods' median ends. A method with unknown ends sets no target.
    """
    ends = {m: float(np.median(course.losses[i, :, -1])) for i, m in enumerate(course.methods)}
    known = {m: v for m, v in ends.items() if np.isfinite(v)}
    if not known:
        return {}
    drawn = [v for m, v in known.items() if m in random]
    name = "where random search ends" if drawn else "where the median method ends"
    return {name: float(np.median(drawn or list(known.values()))), "where the best method ends": min(known.values())}


def reached(course: Course, loss: float) -> Floats:
    """The share of seeds that have reached the loss at each budget, shape (methods, budgets); what is unknown has not."""
    return np.asarray((course.losses <= loss).mean(axis=1))


def target(course: Course, name: str, loss: float, sign: int, shares: Sequence[float]) -> Target:
    """Who reaches the loss, and when."""
    hit = course.losses <= loss
    at = hit.mean(axis=1)
    first = np.where(hit.any(axis=2), course.budgets[hit.argmax(axis=2)], course.full)  # what each seed spent on it
    rows = []
    for i, method in enumerate(course.methods):
        successes = int(hit[i, :, -1].sum())
        expected = float(first[i].sum() / successes) if successes else None
        rows.append(Reached(method=method, shares=[float(at[i, course.place(s)]) for s in shares], expected=expected))
    return Target(dataset=course.dataset, clock=course.clock, name=name, value=sign * loss, rows=rows)
