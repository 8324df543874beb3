"""CatCMAwM of the cmaes package: an evolution strategy for mixed spaces that receives whole generations."""

from __future__ import annotations

import math
import warnings
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId, Wait
from ..core.space import Categorical, Model
from ..core.study import Study
from .spec import MethodSpec

MANY_PLACES = 1000
"""CatCMAwM keeps a table of all values of an integer. An integer with more values is searched as a real number and rounded."""


class CatCmaSettings(Model):
    """CatCMAwM's argument of the same name."""

    population_size: int | None = Field(
        default=None, ge=2, le=10_000, description="Number of trials per generation; null: chosen by the number of parameters."
    )


def check(study: Study, settings: CatCmaSettings) -> list[str]:
    """Refuse a space in which every parameter has only one value."""
    if all(isinstance(p, Categorical) and len(p.values) == 1 for p in study.space.root.values()):
        return ["catcma needs a parameter with more than one value: add one to the space."]
    return []


class CatCma:
    """Ask generations trial by trial, and tell each generation after its last trial.

    A failed trial ranks as the worst of its generation.
    """

    Settings = CatCmaSettings
    spec = MethodSpec(
        name="catcma",
        summary="An evolution strategy for mixed spaces of categories, integers and real numbers: cmaes' CatCMAwM.",
        source="Hamano et al., CatCMA with margin, GECCO 2025",
        when="For hundreds of trials in a mixed space. The trials of a generation can run in parallel.",
        framework="cmaes",
        package="cmaes",
        extra="cmaes",
        parallel=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: CatCmaSettings) -> None:
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._reals = [axis for axis in self._axes.axes if _kind(axis) == "x"]
        self._integers = [axis for axis in self._axes.axes if _kind(axis) == "z"]
        self._categories = [axis for axis in self._axes.axes if _kind(axis) == "c"]
        self._seed = problem.seed
        self._population_size = settings.population_size
        self._strategy = self._new_strategy()
        self._solutions: list[Any] = []  # of the current generation
        self._losses: dict[int, float | None] = {}  # of its ended trials, by position in the generation
        self._first = 0  # id of its first trial

    def _new_strategy(self) -> Any:
        from cmaes import CatCMAwM

        return CatCMAwM(
            x_space=[[0.0, 1.0] for _ in self._reals] or None,  # ranges of different lengths make it numerically unstable
            z_space=[[_scaled(axis, place) for place in axis.places] for axis in self._integers] or None,
            c_space=[len(axis.places) for axis in self._categories] or None,
            population_size=self._population_size,
            seed=self._seed,
        )

    def ask(self) -> Proposal | Wait | Done:
        if len(self._solutions) == self._strategy.population_size:
            return Wait()
        solution = self._strategy.ask()
        self._solutions.append(solution)
        return Proposal(self._axes.decode(self._places(solution)), self._max_epochs)

    def _places(self, solution: Any) -> dict[str, Any]:
        """Return the place of a solution on each axis. Categories with only one value are not part of the solution."""
        places: dict[str, Any] = {axis.name: 0 for axis in self._axes.axes if axis.kind == "choice"}
        for axis, value in zip(self._reals, solution.x if self._reals else (), strict=True):
            low, high = _scaled(axis, axis.low), _scaled(axis, axis.high)
            places[axis.name] = _place(axis, low + float(value) * (high - low))
        for axis, value in zip(self._integers, solution.z if self._integers else (), strict=True):
            places[axis.name] = _place(axis, float(value))
        for axis, row in zip(self._categories, solution.c if self._categories else (), strict=True):
            places[axis.name] = axis.places[int(row.argmax())]
        return places

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        self._losses[trial.id - self._first] = trial.outcome.loss
        if len(self._losses) == self._strategy.population_size:
            self._end_generation()

    def _end_generation(self) -> None:
        finite = [loss for loss in self._losses.values() if loss is not None]
        if finite:  # otherwise the same distribution draws the next generation
            losses = [self._losses[number] for number in range(len(self._solutions))]
            with warnings.catch_warnings():
                # While all losses are equal, cmaes takes the median of an empty list as the penalty of points outside the space.
                warnings.simplefilter("ignore", RuntimeWarning)
                results = zip(self._solutions, losses, strict=True)
                self._strategy.tell([(solution, max(finite) if loss is None else loss) for solution, loss in results])
        if (self._reals or self._integers) and self._strategy.should_stop():  # it has converged: restart elsewhere
            self._seed += 1
            self._strategy = self._new_strategy()
        self._first += len(self._solutions)
        self._solutions, self._losses = [], {}

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _kind(axis: Axis) -> str:
    """Return the kind of variable of CatCMAwM for an axis: "x" real, "z" integer, "c" category, "" for a single value.

    As its documentation advises, an integer with two values is a category.
    """
    if axis.kind == "choice" or (axis.kind == "int" and axis.high - axis.low == 1):
        return "c" if len(axis.places) > 1 else ""
    return "z" if axis.kind == "int" and axis.high - axis.low < MANY_PLACES else "x"


def _scaled(axis: Axis, place: float) -> float:
    return math.log(place) if axis.log else place


def _place(axis: Axis, value: float) -> float:
    place = math.exp(value) if axis.log else value
    return place if axis.kind == "float" else round(place)
