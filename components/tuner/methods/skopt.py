"""scikit-optimize's Optimizer: Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ...core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ...core.space import Categorical, Float, Int, Model


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

        self._problem = problem
        self._optimizer = Optimizer(
            [_dimension(name, parameter) for name, parameter in problem.space.items()],
            base_estimator="GP",
            acq_func=settings.acq_func,
            acq_func_kwargs={"xi": settings.xi, "kappa": settings.kappa},
            n_initial_points=settings.n_initial_points,
            initial_point_generator=settings.initial_point_generator,
            random_state=problem.seed,
        )

    def ask(self) -> Proposal | Done:
        point = self._optimizer.ask()
        values = {name: _value(parameter, x) for (name, parameter), x in zip(self._problem.space.items(), point, strict=True)}
        return Proposal(self._problem.space.activate(values), self._problem.max_epochs)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        config = trial.proposal.config
        point = [_point(parameter, config.get(name)) for name, parameter in self._problem.space.items()]
        self._optimizer.tell(point, trial.outcome.loss)

    def goes_on(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


def _dimension(name: str, parameter: Categorical | Int | Float) -> Any:
    """Categories and stepped ranges go by their index."""
    from skopt.space import Categorical as Choice
    from skopt.space import Integer, Real

    prior = "uniform" if isinstance(parameter, Categorical) or not parameter.log else "log-uniform"
    match parameter:
        case Categorical():
            return Choice(list(range(len(parameter.values))), name=name)
        case Int(step=None):
            return Integer(parameter.low, parameter.high, prior=prior, name=name)
        case Float(step=None):
            return Real(parameter.low, parameter.high, prior=prior, name=name)
        case _:
            return Integer(0, _steps(parameter), name=name)


def _steps(parameter: Int | Float) -> int:
    return parameter.steps if isinstance(parameter, Float) else (parameter.high - parameter.low) // (parameter.step or 1)


def _value(parameter: Categorical | Int | Float, x: Any) -> Any:
    if isinstance(parameter, Categorical):
        return parameter.values[int(x)]
    return x if parameter.step is None else parameter.low + int(x) * parameter.step


def _point(parameter: Categorical | Int | Float, value: Any) -> Any:
    if isinstance(parameter, Categorical):
        return 0 if value is None else parameter.index(value)
    if parameter.step is None:
        return parameter.low if value is None else value
    return 0 if value is None else round((value - parameter.low) / parameter.step)
