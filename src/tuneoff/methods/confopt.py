"""confopt: Bayesian optimisation with conformal prediction. Its loop runs in a thread."""

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
"""The limit of searches for confopt, which requires one. The study's budget ends the search."""
FEWEST = 2
"""Minimum number of losses that confopt's model can be fitted to. With fewer, the random phase is repeated."""


class ConfoptSettings(Model):
    """Settings of confopt's ConformalTuner."""

    n_random_searches: int = Field(
        default=15, ge=2, le=10_000, description="Number of random configurations before the model proposes."
    )
    n_candidates: int = Field(
        default=5000, ge=10, le=100_000, description="Number of random candidates from which the model selects."
    )


class Confopt(Threaded):
    """Run confopt.tuning.ConformalTuner with its default searcher.

    A failed trial has the loss NaN, after which confopt never proposes its configuration again.
    """

    Settings = ConfoptSettings
    spec = MethodSpec(
        name="confopt",
        summary="Boosted quantile trees with conformal prediction and Thompson sampling: confopt's ConformalTuner.",
        source="Doyle, Enhancing the performance of conformal hyperparameter optimization, 2025",
        when="As a second implementation of conformal search, to compare with cqr.",
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

    def _tune(self, loop: InvertedCall) -> str:
        tuner = _tuner_class()(
            lambda configuration: self._loss(loop, configuration),
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
        return "confopt has tried every configuration that it can draw"

    def _loss(self, loop: InvertedCall, places: dict[str, Any]) -> float:
        config = self._axes.decode({axis.name: places.get(axis.name, 0) for axis in self._axes.axes})
        outcome = loop.train(Proposal(config, self._problem.max_epochs)).outcome
        return math.nan if outcome is None or outcome.loss is None else outcome.loss


class _Exhausted(Exception):
    """All configurations have been tried."""


def _tuner_class() -> Any:
    """Return a ConformalTuner that also works with fewer than FEWEST losses and when all candidates have been tried."""
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
