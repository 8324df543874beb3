"""CatCMAwM of the cmaes package: a mixed evolution strategy that is told a whole generation at once."""

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
"""CatCMAwM keeps a table of a whole number's places: one with more of them is searched as a real number and rounded."""


class CatCmaSettings(Model):
    """CatCMAwM's argument of the same name."""

    population_size: int | None = Field(
        default=None, ge=2, le=10_000, description="Trials of a generation; null: by the number of parameters."
    )


def check(study: Study, settings: CatCmaSettings) -> list[str]:
    """CatCMAwM needs something to vary."""
    if all(isinstance(p, Categorical) and len(p.values) == 1 for p in study.space.root.values()):
        return ["catcma needs a parameter with more than one value, and the space has none."]
    return []


class CatCma:
    """A generation is asked trial by trial and told when all of it has ended. A failed trial ranks with its worst."""

    Settings = CatCmaSettings
    spec = MethodSpec(
        name="catcma",
        summary="An evolution strategy over categories, whole and real numbers at once: cmaes' CatCMAwM.",
        source="Hamano et al., CatCMA with margin, GECCO 2025",
        when="Hundreds of trials in a mixed space, a generation of them side by side.",
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
        self._strategy = self._begun()
        self._solutions: list[Any] = []  # of the generation that is being asked
        self._losses: dict[int, float | None] = {}  # of those that have ended
        self._first = 0  # the trial that is its first

    def _begun(self) -> Any:
        from cmaes import CatCMAwM

        return CatCMAwM(
            x_space=[[0.0, 1.0] for _ in self._reals] or None,  # ranges of unlike lengths would be its numerical end
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
        """Where a solution lies; a category that is not in it has one value alone."""
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
        known = [loss for loss in self._losses.values() if loss is not None]
        if known:  # otherwise there is nothing to learn, and another generation is asked of the same
            losses = [self._losses[number] for number in range(len(self._solutions))]
            with warnings.catch_warnings():
                # The penalty of points outside is the median of nothing while the losses have had no spread: no penalty then.
                warnings.simplefilter("ignore", RuntimeWarning)
                told = zip(self._solutions, losses, strict=True)
                self._strategy.tell([(solution, max(known) if loss is None else loss) for solution, loss in told])
        if (self._reals or self._integers) and self._strategy.should_stop():  # it has converged, and begins again elsewhere
            self._seed += 1
            self._strategy = self._begun()
        self._first += len(self._solutions)
        self._solutions, self._losses = [], {}

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _kind(axis: Axis) -> str:
    """What CatCMAwM takes an axis for. As it advises, a whole number of two places is a category."""
    if axis.kind == "choice" or (axis.kind == "int" and axis.high - axis.low == 1):
        return "c" if len(axis.places) > 1 else ""
    return "z" if axis.kind == "int" and axis.high - axis.low < MANY_PLACES else "x"


def _scaled(axis: Axis, place: float) -> float:
    return math.log(place) if axis.log else place


def _place(axis: Axis, value: float) -> float:
    place = math.exp(value) if axis.log else value
    return place if axis.kind == "float" else round(place)
