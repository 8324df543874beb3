"""Ax: Sobol points, then a Gaussian process and expected improvement from BoTorch."""

from __future__ import annotations

import logging
import warnings
from typing import Any, Literal

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from .spec import MethodSpec


class AxSettings(Model):
    """Settings of Ax's generation strategy."""

    method: Literal["fast", "quality"] = Field(
        default="fast", description="How Ax selects its model: fast, or quality, which is fully Bayesian and slow."
    )
    initialization_budget: int = Field(default=5, ge=1, le=10_000, description="Number of trials before the model proposes.")
    initialize_with_center: bool = Field(default=True, description="Whether the first trial is the center of the space.")


class Ax:
    """Ask and tell with ax.Client.

    Ax supports only hierarchical conditions. Its space is therefore flat, and inactive parameters have values without effect.
    """

    Settings = AxSettings
    spec = MethodSpec(
        name="ax",
        summary="A Gaussian process and log expected improvement from BoTorch: Ax's Client.",
        source="Olson et al., Ax: a platform for adaptive experimentation, AutoML conference, 2025",
        when="For few, expensive trials, if seconds of model time per trial do not matter.",
        framework="ax-platform",
        package="ax",
        extra="torch",
        environment="torch",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: AxSettings) -> None:
        warnings.simplefilter("ignore")
        from ax import Client

        logging.getLogger("ax").setLevel(logging.ERROR)
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._client = Client(random_seed=problem.seed)
        self._client.configure_experiment(parameters=[_parameter(axis) for axis in self._axes.axes if axis.high > axis.low])
        self._client.configure_optimization(objective="-loss")
        self._client.configure_generation_strategy(
            **settings.model_dump(),
            initialization_random_seed=problem.seed,
            allow_exceeding_initialization_budget=True,
        )
        self._theirs: list[int] = []

    def ask(self) -> Proposal | Done:
        from ax.exceptions.core import OptimizationComplete

        try:
            suggestions = self._client.get_next_trials(max_trials=1)
        except OptimizationComplete as reason:
            return Done(f"Ax has no new configuration: {reason}")
        if not suggestions:
            return Done("Ax has no new configuration")
        (index, places), *_ = suggestions.items()
        self._theirs.append(index)
        return Proposal(self._axes.decode({axis.name: places.get(axis.name, 0) for axis in self._axes.axes}), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        if trial.outcome.loss is None:
            self._client.mark_trial_failed(self._theirs[trial.id], trial.outcome.reason)
        else:
            self._client.complete_trial(self._theirs[trial.id], {"loss": trial.outcome.loss})

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _parameter(axis: Axis) -> Any:
    from ax import ChoiceParameterConfig, RangeParameterConfig

    if axis.kind == "choice":
        return ChoiceParameterConfig(axis.name, values=axis.places, parameter_type="int", is_ordered=False)
    return RangeParameterConfig(
        axis.name, (axis.low, axis.high), parameter_type=axis.kind, scaling="log" if axis.log else "linear"
    )
