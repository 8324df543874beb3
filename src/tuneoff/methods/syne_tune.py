"""Syne Tune's schedulers: conformal quantile regression, alone and within asynchronous halving, and BOHB."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Status, Trial, TrialId
from ..core.space import Model
from ..core.study import Study
from .spec import MethodSpec


class CqrSettings(Model):
    """Syne Tune's own settings."""

    num_init_random_draws: int = Field(default=5, ge=1, le=10_000, description="Random configurations before the model decides.")
    update_frequency: int = Field(default=1, ge=1, le=1000, description="Results between two fits of the model.")


class AshaCqrSettings(Model):
    """Syne Tune's own settings."""

    grace_period: int = Field(default=1, ge=1, description="Epochs of the lowest rung: no trial is stopped before.")
    reduction_factor: float = Field(default=3.0, gt=1, le=100, description="Of so many trials of a rung one goes on.")
    brackets: int = Field(default=1, ge=1, le=100, description="Each further bracket leaves the lowest rung out.")


class BohbSettings(AshaCqrSettings):
    """Syne Tune's own settings but for num_min_data_points."""

    num_min_data_points: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Good configurations that its model starts with, more than the space has parameters; null: one more. "
        "Syne Tune's default, as many as parameters, is too few for its own check, and leaves dozens of trials to chance.",
    )
    top_n_percent: int = Field(default=15, ge=1, le=99, description="Share of trials that count as good, in percent.")
    random_fraction: float = Field(default=0.33, ge=0, le=1, description="Share of configurations that are drawn at random.")
    num_candidates: int = Field(default=64, ge=1, le=10_000, description="Candidates that the model chooses from.")


def check_asha(study: Study, settings: AshaCqrSettings) -> list[str]:
    """A rung above a full training would never be reached."""
    epochs = study.budget.epochs_per_trial
    if settings.grace_period <= epochs:
        return []
    return [f"asha-cqr and bohb need grace_period at most epochs_per_trial, and {settings.grace_period} is more than {epochs}."]


def check_bohb(study: Study, settings: BohbSettings) -> list[str]:
    """Beside ASHA's rule, Syne Tune's density estimate needs more points than parameters."""
    least, parameters = settings.num_min_data_points, len(study.space)
    refusals = check_asha(study, settings)
    if least is not None and least <= parameters:
        refusals.append(f"bohb needs num_min_data_points above the number of parameters, and {least} is not above {parameters}.")
    return refusals


class _Scheduler:
    """One scheduler behind ask, tell and should_continue."""

    def __init__(self, scheduler: Any, problem: Problem) -> None:
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        self._scheduler = scheduler
        self._problem = problem
        self._trials: list[Any] = []

    def ask(self) -> Proposal | Done:
        from syne_tune.backend.trial_status import Trial as Theirs

        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return Done("Syne Tune has no new configuration")
        trial = Theirs(len(self._trials), suggestion.config, datetime.now(UTC))
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return Proposal(_decode(self._problem, suggestion.config), self._problem.max_epochs)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        theirs = self._trials[trial.id]
        if trial.outcome.loss is None:
            self._scheduler.on_trial_error(theirs)
        if trial.outcome.status is Status.COMPLETED:
            self._scheduler.on_trial_complete(theirs, {"loss": trial.outcome.loss, "epoch": trial.proposal.target_epoch})
        else:
            self._scheduler.on_trial_remove(theirs)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        result = {"loss": self._problem.loss(epoch), "epoch": epoch.number}
        return bool(self._scheduler.on_trial_result(self._trials[trial], result) == "CONTINUE")


class Cqr(_Scheduler):
    """ConformalQuantileRegression in a scheduler of whole trainings, as baselines.CQR has it."""

    Settings = CqrSettings
    spec = MethodSpec(
        name="cqr",
        slow=True,
        summary="Boosted trees for quantiles, made honest by conformal prediction: Syne Tune's CQR.",
        source="Salinas et al., Optimizing hyperparameters with conformal quantile regression, ICML 40, 2023",
        when="The noise differs across the space, or losses are far from normally distributed.",
        framework="syne-tune",
        package="syne_tune",
        extra="syne-tune",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: CqrSettings) -> None:
        from syne_tune.optimizer.schedulers.searchers.conformal.conformal_quantile_regression_searcher import (
            ConformalQuantileRegression,
        )
        from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

        space = _encode(problem)
        searcher = ConformalQuantileRegression(space, random_seed=problem.seed, **settings.model_dump())
        scheduler = SingleObjectiveScheduler(space, metric="loss", searcher=searcher, random_seed=problem.seed)
        super().__init__(scheduler, problem)


class AshaCqr(_Scheduler):
    """baselines.ASHACQR."""

    Settings = AshaCqrSettings
    spec = MethodSpec(
        name="asha-cqr",
        slow=True,
        summary="CQR's configurations, hopeless ones stopped by asynchronous halving: Syne Tune's ASHACQR.",
        source="Salinas et al., Optimizing hyperparameters with conformal quantile regression, ICML 40, 2023",
        when="Early epochs tell good from bad; a stopped trial is never taken up again.",
        framework="syne-tune",
        package="syne_tune",
        extra="syne-tune",
        stop_rule=True,
        parallel=True,
    )
    check = staticmethod(check_asha)

    def __init__(self, problem: Problem, settings: AshaCqrSettings) -> None:
        from syne_tune.optimizer.baselines import ASHACQR

        super().__init__(ASHACQR(**_asynchronous(problem), **settings.model_dump()), problem)


class Bohb(_Scheduler):
    """baselines.BOHB: it stops trials by asynchronous halving, where the paper's BOHB pauses and promotes them."""

    Settings = BohbSettings
    spec = MethodSpec(
        name="bohb",
        summary="Density estimates of good and bad configurations, with asynchronous halving: Syne Tune's BOHB.",
        source="Falkner, Klein and Hutter, BOHB: robust and efficient hyperparameter optimization at scale, ICML 35, 2018",
        when="As the well-known mixture of Hyperband and model; this one stops trials where the paper's pauses them.",
        framework="syne-tune",
        package="syne_tune",
        extra="syne-tune",
        stop_rule=True,
        parallel=True,
    )
    check = staticmethod(check_bohb)

    def __init__(self, problem: Problem, settings: BohbSettings) -> None:
        from syne_tune.optimizer.baselines import BOHB

        least = settings.num_min_data_points or len(problem.space) + 1
        super().__init__(BOHB(**_asynchronous(problem), **{**settings.model_dump(), "num_min_data_points": least}), problem)


def _asynchronous(problem: Problem) -> dict[str, Any]:
    space = _encode(problem)
    return {
        "config_space": space,
        "metric": "loss",
        "time_attr": "epoch",
        "max_t": problem.max_epochs,
        "random_seed": problem.seed,
    }


def _encode(problem: Problem) -> dict[str, Any]:
    """Syne Tune's density estimate overlooks log scales and a whole number's lower end, so both are taken off here."""
    return {axis.name: _domain(axis) for axis in Axes(problem.space).axes}


def _domain(axis: Axis) -> Any:
    from syne_tune.config_space import choice, randint, uniform

    if axis.kind == "choice":
        return choice(axis.places) if len(axis.places) > 1 else 0
    if axis.log:
        return uniform(math.log(axis.low), math.log(axis.high))
    return uniform(axis.low, axis.high) if axis.kind == "float" else randint(0, int(axis.high - axis.low))


def _decode(problem: Problem, config: dict[str, Any]) -> dict[str, Any]:
    axes = Axes(problem.space)
    return axes.decode({axis.name: _place(axis, config[axis.name]) for axis in axes.axes})


def _place(axis: Axis, found: Any) -> Any:
    if axis.log:
        return math.exp(found)
    return axis.low + found if axis.kind == "int" else found
