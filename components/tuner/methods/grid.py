"""Grid search over scikit-learn's ParameterGrid."""

from __future__ import annotations

import json
from typing import Literal

from ...core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ...core.space import Model
from ...core.study import Study

MAX_POINTS = 10_000_000


class GridSettings(Model):
    """`sklearn`: ParameterGrid's own order, in which a partial grid never leaves its first corner. `shuffled`: by the seed."""

    order: Literal["sklearn", "shuffled"] = "sklearn"


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

    def goes_on(self, trial: TrialId, epoch: Epoch) -> bool:
        return True
