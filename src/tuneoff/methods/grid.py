"""scikit-learn's ParameterGrid and ParameterSampler: grid search and random search."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any, Literal

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from ..core.study import Study
from .spec import Algorithm, FailedRule, MethodSpec

MAX_POINTS = 10_000_000
MAX_DRAWS = 100_000


class GridSettings(Model):
    """`sklearn`: ParameterGrid's own order, in which a partial grid never leaves its first corner. `shuffled`: by the seed."""

    order: Literal["sklearn", "shuffled"] = "sklearn"


class RandomSettings(Model):
    """ParameterSampler has nothing to set but the seed, which the study gives."""


def check(study: Study, settings: GridSettings) -> list[str]:
    """A grid needs levels for every range, and a size that can be counted through."""
    loose = [name for name, parameter in study.space.items() if parameter.grid_size() is None]
    if loose:
        return [f"grid needs step or grid_points on every range of the space, and {', '.join(loose)} has neither."]
    points = study.space.grid_size()
    if points > MAX_POINTS:
        many = f"{points:,}" if points < 10**15 else "more than 10^15"
        return [f"the space's grid has {many} points, and grid takes at most {MAX_POINTS:,}."]
    return []


class Grid:
    """Asks the grid's points one after another; combinations that differ in inactive parameters alone are asked once."""

    Settings = GridSettings
    spec = MethodSpec(
        name="sklearn-grid",
        katib=("grid",),
        paper=("grid", 1),
        summary="All combinations of the space's levels, in scikit-learn's order or shuffled by the seed.",
        source="scikit-learn, sklearn.model_selection.ParameterGrid",
        when="The space is small and every corner of it must be seen; shuffled where the budget ends before the grid does.",
        framework="scikit-learn",
        package="sklearn",
        extra="grid",
        failed=FailedRule.UNTOLD,
        beats_random=False,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: GridSettings) -> None:
        import numpy as np
        from sklearn.model_selection import ParameterGrid

        self._problem = problem
        self._grid = ParameterGrid(problem.space.grid_levels())
        points = len(self._grid)
        shuffled = settings.order == "shuffled"
        self._order = iter(np.random.default_rng(problem.seed).permutation(points) if shuffled else range(points))
        self._asked: set[str] = set()

    def ask(self) -> Proposal | Done:
        for index in self._order:
            config = self._problem.space.activate(self._grid[int(index)])
            key = json.dumps(config)
            if key not in self._asked:
                self._asked.add(key)
                return Proposal(config, self._problem.max_epochs)
        return Done(f"all {len(self._asked)} points of the grid have been tried")

    def tell(self, trial: Trial) -> None:
        pass

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Random:
    """ParameterSampler's draws. As in scikit-learn, there are no repeats only where every parameter is a list: a category or
    steps. It knows no conditions: inactive parameters are drawn too and removed, so that such lists may seem to repeat."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="sklearn-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        paper=("random", 2),
        summary="Independent draws: scikit-learn's ParameterSampler. Without repeats where no parameter is a range.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As a baseline: what RandomizedSearchCV draws.",
        framework="scikit-learn",
        package="sklearn",
        extra="grid",
        failed=FailedRule.UNTOLD,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._sampler = _sampler({axis.name: _draws(axis) for axis in self._axes.axes}, problem.seed)

    def ask(self) -> Proposal | Done:
        places = next(self._sampler, None)
        if places is None:
            return Done("all points of the space have been drawn")
        return Proposal(self._axes.decode(places), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        pass

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _sampler(places: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """How many draws are wanted changes which ones lists give: never the budget, so that a study may be extended."""
    import numpy as np
    from scipy import stats
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    if not all(isinstance(p, list) for p in places.values()):
        return iter(ParameterSampler(places, sys.maxsize, random_state=seed))
    points = math.prod(len(p) for p in places.values())
    if points > sys.maxsize:  # scikit-learn cannot count them; no repeat will ever be seen
        return iter(ParameterSampler({n: stats.randint(0, len(p)) for n, p in places.items()}, MAX_DRAWS, random_state=seed))
    if points > 2 * MAX_DRAWS:
        return iter(ParameterSampler(places, MAX_DRAWS, random_state=seed))
    # Asked for 1 to 99 % of the points, ParameterSampler gives them in this order; asked for all, in the grid's own.
    grid = ParameterGrid(places)
    return (grid[int(index)] for index in np.random.RandomState(seed).permutation(points))


def _draws(axis: Axis) -> Any:
    """What scikit-learn draws a place from: a list, or a distribution of SciPy; whole numbers of a log range are rounded."""
    from scipy import stats

    if axis.kind == "choice" or (axis.kind == "int" and axis.parameter.step is not None):  # type: ignore[union-attr]
        return axis.places
    if axis.kind == "float":
        return stats.loguniform(axis.low, axis.high) if axis.log else stats.uniform(axis.low, axis.high - axis.low)
    if axis.log:  # half a number more on either side, so that the ends get their whole share
        return stats.loguniform(axis.low - 0.5, axis.high + 0.5)
    return stats.randint(int(axis.low), int(axis.high) + 1)
