"""scikit-optimize's Optimizer: Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ...core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ...core.space import Model
from ..coding import Axes, Axis


class BayesSettings(Model):
    """skopt.Optimizer's arguments of the same names; acq_func is EI, where skopt's own default is the dearer gp_hedge."""

    acq_func: Literal["EI", "LCB", "PI", "gp_hedge"] = "EI"
    n_initial_points: int = Field(default=10, ge=1, le=10_000, description="Configurations before the model decides.")
    initial_point_generator: Literal["random", "sobol", "halton", "hammersly", "lhs"] = "random"
    xi: float = Field(default=0.01, ge=0, description="How much better EI and PI want it.")
    kappa: float = Field(default=1.96, ge=0, description="How much LCB explores.")


class Bayes:
    """One point at a time. skopt knows no conditions: an inactive parameter is told at its lowest level."""

    def __init__(self, problem: Problem, settings: BayesSettings) -> None:
        from skopt import Optimizer

        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._optimizer = Optimizer(
            [_dimension(axis) for axis in self._axes.list],
            base_estimator="GP",
            acq_func=settings.acq_func,
            acq_func_kwargs={"xi": settings.xi, "kappa": settings.kappa},
            n_initial_points=settings.n_initial_points,
            initial_point_generator=settings.initial_point_generator,
            random_state=problem.seed,
        )

    def ask(self) -> Proposal | Done:
        point = dict(zip((axis.name for axis in self._axes.list), self._optimizer.ask(), strict=True))
        return Proposal(self._axes.config(point), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        self._optimizer.tell(list(self._axes.places(trial.proposal.config).values()), trial.outcome.loss)

    def goes_on(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _dimension(axis: Axis) -> Any:
    from skopt.space import Categorical, Integer, Real

    if axis.kind == "choice":
        return Categorical(axis.places, name=axis.name)
    prior = "log-uniform" if axis.log else "uniform"
    return (Real if axis.kind == "float" else Integer)(axis.low, axis.high, prior=prior, name=axis.name)
