"""scikit-learn's ParameterGrid and ParameterSampler: grid search and random search."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from ..core.study import Study
from .spec import Algorithm, FailedRule, MethodSpec

MAX_POINTS = 10_000_000
"""Maximum number of points of a grid."""
MAX_DRAWS = 100_000
"""Maximum number of draws without repeats from a grid that is too large to be permuted."""


class GridSettings(Model):
    """The order in which a grid search visits the points of the grid."""

    order: Literal["sklearn", "shuffled"] = Field(
        default="sklearn",
        description="Order of the points: that of ParameterGrid, where a partial grid covers only its first corner, or shuffled"
        " by the seed.",
    )


class RandomSettings(Model):
    """ParameterSampler has no settings: the study gives the seed."""


def check(study: Study, settings: GridSettings) -> list[str]:
    """Refuse ranges without levels and grids with too many points."""
    without_levels = [name for name, parameter in study.space.items() if parameter.grid_size() is None]
    if without_levels:
        return [f"grid needs step or grid_points on every range of the space: add one of them to {', '.join(without_levels)}."]
    points = study.space.grid_size()
    if points > MAX_POINTS:
        size = f"{points:,}" if points < 10**15 else "more than 10^15"
        return [f"the grid of the space has {size} points, but grid allows at most {MAX_POINTS:,}: make the space smaller."]
    return []


class Grid:
    """Propose all points of the grid, and points that differ only in inactive parameters once."""

    Settings = GridSettings
    spec = MethodSpec(
        name="sklearn-grid",
        katib=("grid",),
        paper=("grid", 1),
        summary="All combinations of the levels of the space, in scikit-learn's order or shuffled by the seed.",
        source="scikit-learn, sklearn.model_selection.ParameterGrid",
        when="For a small space that must be covered completely. Set order: shuffled if the budget covers only part of the grid.",
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
        return Done(f"all {len(self._asked)} points of the grid have been proposed")

    def tell(self, trial: Trial) -> None:
        pass

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Random:
    """Draw configurations with ParameterSampler.

    As in scikit-learn, draws have no repeats only if every parameter is a list, that is, a category or has steps.
    ParameterSampler does not support conditions: inactive parameters are drawn as well and then removed, so configurations may
    repeat.
    """

    Settings = RandomSettings
    spec = MethodSpec(
        name="sklearn-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        paper=("random", 2),
        summary="Random search with scikit-learn's ParameterSampler, without repeats if no parameter is a continuous range.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As a baseline that draws like RandomizedSearchCV.",
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
            return Done("all points of the space have been proposed")
        return Proposal(self._axes.decode(places), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        pass

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _sampler(places: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Return ParameterSampler's draws.

    The number of draws that ParameterSampler is asked for changes its draws from lists. It is therefore independent of the
    budget, so that a study can be extended.
    """
    import numpy as np
    from scipy import stats
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    if not all(isinstance(p, list) for p in places.values()):
        return iter(ParameterSampler(places, sys.maxsize, random_state=seed))
    points = math.prod(len(p) for p in places.values())
    if points > sys.maxsize:  # scikit-learn cannot count the points, and a repeat is practically impossible
        return iter(ParameterSampler({n: stats.randint(0, len(p)) for n, p in places.items()}, MAX_DRAWS, random_state=seed))
    if points > 2 * MAX_DRAWS:
        return iter(ParameterSampler(places, MAX_DRAWS, random_state=seed))
    # ParameterSampler uses this order for 1 to 99 % of the points. For all points it would use the order of the grid.
    grid = ParameterGrid(places)
    return (grid[int(index)] for index in np.random.RandomState(seed).permutation(points))


def _draws(axis: Axis) -> Any:
    """Return what scikit-learn draws a place from: a list or a SciPy distribution. Integers of a log range are rounded."""
    from scipy import stats

    if axis.kind == "choice" or (axis.kind == "int" and axis.parameter.step is not None):  # type: ignore[union-attr]
        return axis.places
    if axis.kind == "float":
        return stats.loguniform(axis.low, axis.high) if axis.log else stats.uniform(axis.low, axis.high - axis.low)
    if axis.log:  # half a unit more at both ends gives them their full probability
        return stats.loguniform(axis.low - 0.5, axis.high + 0.5)
    return stats.randint(int(axis.low), int(axis.high) + 1)
