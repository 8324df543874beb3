"""The best-so-far losses of all searches at common budgets: the table that every comparison of the report reads.

A clock is the unit in which a budget is counted: trials, epochs or seconds (see best_so_far.py). The full common budget of a
clock is the smallest amount that any search had spent when its budget ended it, so every method could have reached every budget
that is compared. Three rules cover the searches that have no value of their own at a budget:

- A search that ended before its budget was spent (a finished grid, for example) keeps its last value.
- A search that has not ended is NaN beyond the budget that it has reached. It is never dropped.
- A search that has reached a budget without any score has an infinite loss there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.record.state import SearchRecord
from ..core.space import Config
from ..core.study import Study
from ..methods.registry import is_random
from .best_so_far import AXES, Axis, Floats, Progress

STEPS = 200
"""Number of evenly spaced budgets at which each clock is read; every whole budget is read if the common budget is smaller."""


@dataclass(frozen=True)
class Course:
    """One data set on one clock: the best-so-far loss of each search at each budget. Smaller losses are better."""

    dataset: str
    clock: Axis
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budgets: Floats  # ascending; the last is the full common budget
    losses: Floats  # (methods, seeds, budgets)
    limited_by: str  # the method whose search spent the least and so set the full common budget
    best: float  # the smallest known loss on the data set: regret 0
    scale: float  # the difference in loss between regret 0 and regret 1
    fixed: frozenset[str] = frozenset()  # methods that propose the same configurations with every seed

    @property
    def full(self) -> float:
        """The full common budget, in units of the clock."""
        return float(self.budgets[-1])

    @cached_property
    def regret(self) -> Floats:
        """Normalised regret, same shape as `losses`: 0 at the best known loss, 1 at the loss of an ordinary trial."""
        return np.asarray((self.losses - self.best) / self.scale)

    def place(self, share: float) -> int:
        """Return the index of the first budget that is at least this share of the full budget."""
        return int(np.searchsorted(self.budgets, share * self.full * (1 - 1e-12)))

    def within(self, budget: float) -> int:
        """Return the index of the largest entry of `budgets` that does not exceed `budget`; -1 if none exists."""
        return int(np.searchsorted(self.budgets, budget, side="right")) - 1

    @property
    def unknown(self) -> bool:
        """Whether any search has no known value at the full budget."""
        return bool(np.isnan(self.losses[..., -1]).any())


def courses(
    study: Study, curves: Sequence[Progress], by_itself: set[tuple[str, str, int]], known_best: Mapping[str, float] | None = None
) -> list[Course]:
    """Return one course for each data set and clock on which an ended search spent something, by data set and clock.

    Args:
        study: The study.
        curves: The best-so-far curve of each search.
        by_itself: The searches (data set, method, seed) that ended before their budget was spent; see `ended_by_themselves`.
        known_best: The best possible value of the metric by data set, where it is known. For any other data set the best value
            that any trial found is used.
    """
    result = []
    for dataset in (d.name for d in study.datasets):
        searches = {(c.method, c.seed): c for c in curves if c.dataset == dataset}
        methods = tuple(m.label for m in study.methods if any(label == m.label for label, _ in searches))
        anchors = anchors_of(study, list(searches.values()), (known_best or {}).get(dataset))
        if anchors is None:
            continue
        for clock in AXES:
            if course := _course(study, dataset, clock, methods, searches, by_itself, anchors):
                result.append(course)
    return result


def reading(
    study: Study,
    curves: Sequence[Progress],
    by_itself: Set[tuple[str, str, int]],
    dataset: str,
    epochs: float,
    anchors: tuple[float, float] | None = None,
) -> tuple[tuple[str, ...], Floats] | None:
    """Return the regret of each method on a data set after a number of epochs.

    A method is included if it has a search for every seed, at least one of them has ended, and each of them was given `epochs`.
    A search was given `epochs` if it has not ended, if it ended before its own budget was spent, or if it fell short of `epochs`
    by less than one full training.

    Args:
        study: The study.
        curves: The best-so-far curve of each search.
        by_itself: The searches that ended before their budget was spent; see `ended_by_themselves`.
        dataset: The data set's name.
        epochs: The budget, in epochs.
        anchors: The result of `anchors_of`, if it is already known.

    Returns:
        The labels of the methods, and their regrets of shape (seeds, methods); None if no trial has a score.
    """
    by_search = {(c.method, c.seed): c for c in curves if c.dataset == dataset}
    anchors = anchors or anchors_of(study, list(by_search.values()), None)
    if anchors is None:
        return None
    budget = np.array([epochs], dtype=float)
    losses: dict[str, list[float]] = {}
    for method in (m.label for m in study.methods):
        searches = [c for c in (by_search.get((method, seed)) for seed in study.seeds) if c is not None]
        ended = [c for c in searches if c.ended and len(c.trial) and (dataset, method, c.seed) not in by_itself]
        too_short = any(c.epochs[-1] <= epochs - study.full_epochs for c in ended)
        if len(searches) == len(study.seeds) and not too_short and any(c.ended for c in searches):
            losses[method] = [float(_read(c, "epochs", budget, study.objective.sign)[0]) for c in searches]
    best, scale = anchors
    return tuple(losses), (np.array(list(losses.values()), dtype=float).T - best) / scale


def ended_by_themselves(searches: Sequence[SearchRecord], study: Study) -> set[tuple[str, str, int]]:
    """Return the searches (data set, method, seed) that ended although the remaining budget allowed another full training."""
    keys = set()
    for search in searches:
        left = (search.ended or {}).get("left") or {}
        least = {"trials": 1, "epochs": study.full_epochs, "seconds": 1e-3}
        if search.ended and all(left.get(k) is None or left[k] >= least[k] for k in least):
            keys.add((search.dataset, search.method, search.seed))
    return keys


def the_same_with_every_seed(searches: Iterable[SearchRecord]) -> frozenset[str]:
    """Return the methods that proposed the same configurations in the same order with each of several seeds, as a grid does."""
    proposed: dict[tuple[str, str], list[list[Config]]] = defaultdict(list)
    for search in searches:
        if search.trials:
            proposed[search.method, search.dataset].append([t.trial.proposal.config for t in search.trials])
    same_by_method = {method: len(seeds) > 1 for (method, _), seeds in proposed.items()}
    for (method, _), seeds in proposed.items():
        same = len(seeds) > 1 and all(_alike(seeds[0], other) for other in seeds[1:])
        same_by_method[method] = same_by_method[method] and same
    return frozenset(method for method, same in same_by_method.items() if same)


def _alike(first: Sequence[Config], second: Sequence[Config]) -> bool:
    """Return whether one sequence is a prefix of the other; a prefix without two different configurations proves nothing."""
    both = list(zip(first, second, strict=False))
    return any(a != first[0] for a, _ in both) and all(a == b for a, b in both)


def random_methods(study: Study) -> set[str]:
    """Return the labels of the study's random searches."""
    return {m.label for m in study.methods if is_random(m.name)}


def _course(
    study: Study,
    dataset: str,
    clock: Axis,
    methods: tuple[str, ...],
    curves: Mapping[tuple[str, int], Progress],
    by_itself: set[tuple[str, str, int]],
    anchors: tuple[float, float],
) -> Course | None:
    """Return the course of one data set on one clock; None if no ended search spent anything on the clock."""
    ended = [c for c in curves.values() if c.ended and len(c.trial)]
    limited = [c for c in ended if (dataset, c.method, c.seed) not in by_itself]
    ends = [(float(c.spent(clock)[-1]), c.method) for c in limited or ended]
    if not ends:
        return None
    full, limited_by = min(ends) if limited else max(ends)
    if full <= 0:
        return None
    budgets = full * np.arange(1, STEPS + 1) / STEPS
    if clock != "seconds":
        budgets = np.unique(np.floor(budgets + 1e-9))
        budgets = budgets[budgets > 0]
    losses = np.full((len(methods), len(study.seeds), len(budgets)), np.nan)
    for i, method in enumerate(methods):
        for j, seed in enumerate(study.seeds):
            if (curve := curves.get((method, seed))) is not None:
                losses[i, j] = _read(curve, clock, budgets, study.objective.sign)
    return Course(dataset, clock, methods, tuple(study.seeds), budgets, losses, limited_by, *anchors)


def _read(curve: Progress, clock: Axis, budgets: Floats, sign: int) -> Floats:
    """Return the search's best-so-far loss at each budget, shape (budgets,): inf without a score, NaN where not reached yet."""
    if not len(curve.trial):
        return np.full(len(budgets), np.inf if curve.ended else np.nan)
    spent = curve.spent(clock)
    index = np.searchsorted(spent, budgets, side="right") - 1
    loss = sign * curve.best
    values = np.where((index >= 0) & np.isfinite(loss[np.maximum(index, 0)]), loss[np.maximum(index, 0)], np.inf)
    return np.asarray(values if curve.ended else np.where(budgets <= spent[-1], values, np.nan))


def anchors_of(study: Study, curves: Sequence[Progress], known_best: float | None) -> tuple[float, float] | None:
    """Return the two anchors of normalised regret on one data set.

    Args:
        study: The study.
        curves: The best-so-far curves of the data set.
        known_best: The best possible value of the metric, in the metric's own direction; None if it is not known.

    Returns:
        The loss of regret 0, and the difference in loss between regret 0 and regret 1; None if no trial has a score.
    """
    sign = study.objective.sign
    best = [float(np.nanmin(sign * c.best)) for c in curves if np.isfinite(c.best).any()]
    if not best:
        return None
    ordinary = _ordinary(study, curves)
    least = min(best) if known_best is None else min(sign * known_best, *best)
    return least, (ordinary - least) if ordinary > least else 1.0


def _ordinary(study: Study, curves: Sequence[Progress]) -> float:
    """Return the median loss of random search's trials; without random search, of the first scored trial of every search."""
    random = random_methods(study)
    scored = [(c, study.objective.sign * c.objective[np.isfinite(c.objective)]) for c in curves]
    random_losses = [losses for c, losses in scored if c.method in random and len(losses)]
    return float(np.median(np.concatenate(random_losses or [losses[:1] for _, losses in scored])))
