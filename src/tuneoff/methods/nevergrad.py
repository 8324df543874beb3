"""Nevergrad's optimizers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from .spec import FailedRule, MethodSpec


class NevergradSettings(Model):
    """The optimizer and the budget that it plans with.

    The optimizer does not receive the study's budget, because NGOpt selects another algorithm for another budget. A study can
    therefore be extended.
    """

    optimizer: Literal["NGOpt", "PortfolioDiscreteOnePlusOne", "OnePlusOne", "DE", "PSO", "CMA"] = Field(
        default="NGOpt", description="Nevergrad's name of the optimizer."
    )
    budget: int = Field(
        default=100, ge=1, le=1_000_000, description="Number of trials that the optimizer plans with. It may propose more."
    )


class Nevergrad:
    """Ask and tell with a Nevergrad optimizer. Nevergrad does not support conditions: inactive parameters vary without effect."""

    Settings = NevergradSettings
    spec = MethodSpec(
        name="nevergrad-ngopt",
        summary="Nevergrad's NGOpt, which selects an algorithm by space and budget, or one of five other optimizers.",
        source="Bennet et al., Nevergrad: black-box optimization platform, SIGEVOlution 14, 2021",
        when="For hundreds of trials, without the cost of a surrogate model.",
        framework="nevergrad",
        package="nevergrad",
        extra="nevergrad",
        failed=FailedRule.PENALTY,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: NevergradSettings) -> None:
        import warnings

        import nevergrad

        warnings.simplefilter("ignore")
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        parametrization = nevergrad.p.Dict(**{axis.name: _parameter(axis) for axis in self._axes.axes})
        parametrization.random_state.seed(problem.seed)
        optimizer = nevergrad.optimizers.registry[settings.optimizer]
        self._optimizer = optimizer(parametrization, budget=settings.budget, num_workers=problem.in_flight)
        self._candidates: list[Any] = []

    def ask(self) -> Proposal | Done:
        candidate = self._optimizer.ask()
        self._candidates.append(candidate)
        return Proposal(self._axes.decode(candidate.value), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        self._optimizer.tell(self._candidates[trial.id], trial.outcome.loss)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _parameter(axis: Axis) -> Any:
    import nevergrad

    if axis.kind == "choice":
        return nevergrad.p.Choice(axis.places)
    scale = nevergrad.p.Log if axis.log else nevergrad.p.Scalar
    parameter = scale(lower=axis.low, upper=axis.high)
    return parameter.set_integer_casting() if axis.kind == "int" else parameter
