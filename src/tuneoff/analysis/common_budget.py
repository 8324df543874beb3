"""All searches of a data set at common budgets: the one table of losses that every comparison of the report reads.

Rules. A clock is trials, epochs or seconds (curves.py). Its full common budget is the least that any search had spent when its
budget ended it, so that every method is read where it could have been; a search that ended by itself has no use for more, and
keeps its last value. A search that has not ended is known as far as it got, and unknown after that: not a number, never dropped.
A search that got so far and has found nothing is worse than any: infinite.
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
"""At so many budgets, evenly apart, each clock is read; at every whole one where the common budget is less."""


@dataclass(frozen=True)
class Course:
    """One data set on one clock: what each search had found at each budget. Losses: the smaller the better."""

    dataset: str
    clock: Axis
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budgets: Floats  # ascending; the last is the full common budget
    losses: Floats  # (methods, seeds, budgets)
    limited_by: str  # the method whose search spent the least
    best: float  # the smallest loss that is known of the data set: regret 0
    scale: float  # from there to regret 1
    fixed: frozenset[str] = frozenset()  # the methods whose searches are the same with every seed

    @property
    def full(self) -> float:
        return float(self.budgets[-1])

    @cached_property
    def regret(self) -> Floats:
        """Losses as shares of the way from the best known to an ordinary trial, shape as `losses`."""
        return np.asarray((self.losses - self.best) / self.scale)

    def place(self, share: float) -> int:
        """Where in `budgets` this share of the full budget stands: the first that is as much."""
        return int(np.searchsorted(self.budgets, share * self.full * (1 - 1e-12)))

    def within(self, budget: float) -> int:
        """Where in `budgets` the most of them within this budget stands; -1 where there is none."""
        return int(np.searchsorted(self.budgets, budget, side="right")) - 1

    @property
    def unknown(self) -> bool:
        """Whether a search is not known to the end."""
        return bool(np.isnan(self.losses[..., -1]).any())


def courses(
    study: Study, curves: Sequence[Progress], by_itself: set[tuple[str, str, int]], known_best: Mapping[str, float] | None = None
) -> list[Course]:
    """Every data set on every clock on which its ended searches spent something, by data set and clock.

    `by_itself` names the searches that ended before their budget; `known_best` is the best value of the metric that there is, by
    data set, where it is known; otherwise the best that any trial found stands for it.
    """
    found = []
    for dataset in (d.name for d in study.datasets):
        mine = {(c.method, c.seed): c for c in curves if c.dataset == dataset}
        methods = tuple(m.label for m in study.methods if any(label == m.label for label, _ in mine))
        anchors = anchors_of(study, list(mine.values()), (known_best or {}).get(dataset))
        if anchors is None:
            continue
        for clock in AXES:
            if made := _course(study, dataset, clock, methods, mine, by_itself, anchors):
                found.append(made)
    return found


def reading(
    study: Study,
    curves: Sequence[Progress],
    by_itself: Set[tuple[str, str, int]],
    dataset: str,
    epochs: float,
    anchors: tuple[float, float] | None = None,
) -> tuple[tuple[str, ...], Floats] | None:
    """What each method had found on a data set after so many epochs: labels and regrets, shape (seeds, methods).

    Only of methods all of whose ended searches spent as much, but for a last full training that no longer fitted, or ended by
    themselves. None where nothing has a score. `anchors` are those of `anchors_of` where they are known already.
    """
    mine = {(c.method, c.seed): c for c in curves if c.dataset == dataset}
    anchors = anchors or anchors_of(study, list(mine.values()), None)
    if anchors is None:
        return None
    at = np.array([epochs], dtype=float)
    found: dict[str, list[float]] = {}
    for method in (m.label for m in study.methods):
        searches = [c for c in (mine.get((method, seed)) for seed in study.seeds) if c is not None]
        ended = [c for c in searches if c.ended and len(c.trial) and (dataset, method, c.seed) not in by_itself]
        short = any(c.epochs[-1] <= epochs - study.full_epochs for c in ended)
        if len(searches) == len(study.seeds) and not short and any(c.ended for c in searches):
            found[method] = [float(_read(c, "epochs", at, study.objective.sign)[0]) for c in searches]
    best, scale = anchors
    return tuple(found), (np.array(list(found.values()), dtype=float).T - best) / scale


def ended_by_themselves(searches: Sequence[SearchRecord], study: Study) -> set[tuple[str, str, int]]:
    """The searches that ended although their budget would have paid for another full training."""
    found = set()
    for search in searches:
        left = (search.ended or {}).get("left") or {}
        least = {"trials": 1, "epochs": study.full_epochs, "seconds": 1e-3}
        if search.ended and all(left.get(k) is None or left[k] >= least[k] for k in least):
            found.add((search.dataset, search.method, search.seed))
    return found


def the_same_with_every_seed(searches: Iterable[SearchRecord]) -> frozenset[str]:
    """The methods that asked for the same configurations in the same order with each of several seeds, as a grid does."""
    asked: dict[tuple[str, str], list[list[Config]]] = defaultdict(list)
    for search in searches:
        if search.trials:
            asked[search.method, search.dataset].append([t.trial.proposal.config for t in search.trials])
    found = {method: len(seeds) > 1 for (method, _), seeds in asked.items()}
    for (method, _), seeds in asked.items():
        found[method] = found[method] and len(seeds) > 1 and all(_alike(seeds[0], other) for other in seeds[1:])
    return frozenset(method for method, same in found.items() if same)


def _alike(first: Sequence[Config], second: Sequence[Config]) -> bool:
    """Whether one begins with the other; one configuration alone says nothing."""
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
    ended = [c for c in curves.values() if c.ended and len(c.trial)]
    limited = [c for c in ended if (dataset, c.method, c.seed) not in by_itself]
    ends = [(float(c.spent(clock)[-1]), c.method) for c in limited or ended]
    if not ends:
        return None
    full, by = min(ends) if limited else max(ends)
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
    return Course(dataset, clock, methods, tuple(study.seeds), budgets, losses, by, *anchors)


def _read(curve: Progress, clock: Axis, budgets: Floats, sign: int) -> Floats:
    """The step function of the search's loss at each budget."""
    if not len(curve.trial):
        return np.full(len(budgets), np.inf if curve.ended else np.nan)
    spent = curve.spent(clock)
    place = np.searchsorted(spent, budgets, side="right") - 1
    loss = sign * curve.best
    found = np.where((place >= 0) & np.isfinite(loss[np.maximum(place, 0)]), loss[np.maximum(place, 0)], np.inf)
    return np.asarray(found if curve.ended else np.where(budgets <= spent[-1], found, np.nan))


def anchors_of(study: Study, curves: Sequence[Progress], known_best: float | None) -> tuple[float, float] | None:
    """The loss of regret 0 and the way from there to that of regret 1, of a data set's curves; None where nothing has a score."""
    sign = study.objective.sign
    best = [float(np.nanmin(sign * c.best)) for c in curves if np.isfinite(c.best).any()]
    if not best:
        return None
    ordinary = _ordinary(study, curves)
    least = min(best) if known_best is None else min(sign * known_best, *best)
    return least, (ordinary - least) if ordinary > least else 1.0


def _ordinary(study: Study, curves: Sequence[Progress]) -> float:
    """The median loss of random search's trials; without random search, that of every search's first scored trial."""
    random = random_methods(study)
    scored = [(c, study.objective.sign * c.objective[np.isfinite(c.objective)]) for c in curves]
    drawn = [losses for c, losses in scored if c.method in random and len(losses)]
    return float(np.median(np.concatenate(drawn or [losses[:1] for _, losses in scored])))
