"""confopt: Bayesian optimisation with conformal prediction; its own loop runs in a thread."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Problem, Proposal
from ..core.space import Model
from .inversion import InvertedCall, Threaded
from .spec import MethodSpec

UNLIMITED = 10**9
"""The study's budget ends the search; confopt itself fails without a limit."""
FEWEST = 2
"""Its model cannot be fitted to fewer losses: until then its random phase begins anew."""


class ConfoptSettings(Model):
    """confopt's own settings."""

    n_random_searches: int = Field(default=15, ge=2, le=10_000, description="Random configurations before the model decides.")
    n_candidates: int = Field(default=5000, ge=10, le=100_000, description="Random configurations that the model chooses from.")


class Confopt(Threaded):
    """confopt.tuning.ConformalTuner with its default searcher; a failed trial is told as not a number, which bars it."""

    Settings = ConfoptSettings
    spec = MethodSpec(
        name="confopt",
        summary="Boosted trees for quantiles, conformal prediction and Thompson sampling: confopt's ConformalTuner.",
        source="Doyle, Enhancing the performance of conformal hyperparameter optimization, 2025",
        when="As a second opinion on conformal search beside cqr.",
        framework="confopt",
        package="confopt",
        extra="torch",
        environment="torch",
    )

    def __init__(self, problem: Problem, settings: ConfoptSettings) -> None:
        self._problem = problem
        self._settings = settings
        self._axes = Axes(problem.space)
        super().__init__("confopt's ConformalTuner", self._tune)

    def _tune(self, door: InvertedCall) -> str:
        tuner = _tuner_class()(
            lambda configuration: self._loss(door, configuration),
            {axis.name: _range(axis) for axis in self._axes.axes if axis.high > axis.low},
            minimize=True,
            n_candidates=self._settings.n_candidates,
        )
        with suppress(_Exhausted):
            tuner.tune(
                max_searches=UNLIMITED,
                n_random_searches=self._settings.n_random_searches,
                random_state=self._problem.seed,
                verbose=False,
            )
        return "confopt finds no configuration that it has not tried"

    def _loss(self, door: InvertedCall, places: dict[str, Any]) -> float:
        config = self._axes.decode({axis.name: places.get(axis.name, 0) for axis in self._axes.axes})
        outcome = door.train(Proposal(config, self._problem.max_epochs)).outcome
        return math.nan if outcome is None or outcome.loss is None else outcome.loss


class _Exhausted(Exception):
    """There is no configuration that has not been tried."""


def _tuner_class() -> Any:
    """confopt's tuner, whose model fails where hardly a loss was observed, and where nothing is left to choose from."""
    from confopt.tuning import ConformalTuner

    class Careful(ConformalTuner):  # type: ignore[misc]
        def random_search(self, *limits: Any, **named: Any) -> None:
            while len(self.config_manager.searched_configs) < FEWEST:
                before = len(self.config_manager.banned_configurations) + len(self.config_manager.searched_configs)
                super().random_search(*limits, **named)
                if len(self.config_manager.banned_configurations) + len(self.config_manager.searched_configs) == before:
                    raise _Exhausted

        def select_next_configuration(self, searcher: Any, searchable_configs: Any, transformed_configs: Any) -> Any:
            if not searchable_configs:
                raise _Exhausted
            return super().select_next_configuration(searcher, searchable_configs, transformed_configs)

    return Careful


def _range(axis: Axis) -> Any:
    from confopt.wrapping import CategoricalRange, FloatRange, IntRange

    if axis.kind == "choice":
        return CategoricalRange(choices=axis.places)
    if axis.kind == "int":
        return IntRange(min_value=int(axis.low), max_value=int(axis.high), log_scale=axis.log)
    return FloatRange(min_value=axis.low, max_value=axis.high, log_scale=axis.log)
