"""Syne Tune's schedulers: conformal quantile regression, with and without asynchronous halving, and BOHB."""

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
    """Syne Tune's arguments of the same names, with its defaults."""

    num_init_random_draws: int = Field(
        default=5, ge=1, le=10_000, description="Number of random configurations before the model proposes."
    )
    update_frequency: int = Field(
        default=1, ge=1, le=1000, description="Number of results after which the model is fitted again."
    )


class AshaCqrSettings(Model):
    """Syne Tune's arguments of the same names, with its defaults."""

    grace_period: int = Field(default=1, ge=1, description="Epochs of the lowest rung. No trial is stopped earlier.")
    reduction_factor: float = Field(
        default=3.0, gt=1, le=100, description="Continue 1 of every reduction_factor trials of a rung."
    )
    brackets: int = Field(
        default=1, ge=1, le=100, description="Number of brackets. Each further bracket omits one more of the lowest rungs."
    )


class BohbSettings(AshaCqrSettings):
    """Syne Tune's arguments of the same names, with its defaults except for num_min_data_points."""

    num_min_data_points: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Number of good configurations from which the model starts. It must be larger than the number of parameters;"
        " null: one more. Syne Tune's default, the number of parameters, fails its own check and causes dozens of random trials.",
    )
    top_n_percent: int = Field(default=15, ge=1, le=99, description="Percentage of trials that count as good.")
    random_fraction: float = Field(default=0.33, ge=0, le=1, description="Share of random configurations.")
    num_candidates: int = Field(
        default=64, ge=1, le=10_000, description="Number of candidates per proposal, of which the model selects one."
    )


def check_asha(study: Study, settings: AshaCqrSettings) -> list[str]:
    """Refuse a lowest rung above a full training, which no trial would reach."""
    epochs = study.budget.epochs_per_trial
    if settings.grace_period <= epochs:
        return []
    return [f"asha-cqr and bohb: grace_period = {settings.grace_period} must be at most epochs_per_trial = {epochs}."]


def check_bohb(study: Study, settings: BohbSettings) -> list[str]:
    """Refuse settings that `check_asha` refuses, and too few points for Syne Tune's density estimate."""
    points, parameters = settings.num_min_data_points, len(study.space)
    refusals = check_asha(study, settings)
    if points is not None and points <= parameters:
        refusals.append(f"bohb: num_min_data_points = {points} must be larger than the number of parameters, {parameters}.")
    return refusals


class _Scheduler:
    """Ask, tell and should_continue with one scheduler of Syne Tune."""

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
    """Search full trainings with ConformalQuantileRegression, as in baselines.CQR."""

    Settings = CqrSettings
    spec = MethodSpec(
        name="cqr",
        slow=True,
        summary="Boosted quantile trees, calibrated by conformal prediction: Syne Tune's CQR.",
        source="Salinas et al., Optimizing hyperparameters with conformal quantile regression, ICML 40, 2023",
        when="If the noise varies across the space, or losses are far from normally distributed.",
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
    """Search with baselines.ASHACQR."""

    Settings = AshaCqrSettings
    spec = MethodSpec(
        name="asha-cqr",
        slow=True,
        summary="CQR with early stopping by asynchronous successive halving: Syne Tune's ASHACQR.",
        source="Salinas et al., Optimizing hyperparameters with conformal quantile regression, ICML 40, 2023",
        when="If the first epochs separate good from bad configurations. A stopped trial is never resumed.",
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
    """Search with baselines.BOHB. It stops trials by asynchronous halving, whereas the paper's BOHB pauses and promotes them."""

    Settings = BohbSettings
    spec = MethodSpec(
        name="bohb",
        summary="Density estimates of good and bad configurations with asynchronous successive halving: Syne Tune's BOHB.",
        source="Falkner, Klein and Hutter, BOHB: robust and efficient hyperparameter optimization at scale, ICML 35, 2018",
        when="As the well-known combination of Hyperband with a model. It stops trials that the paper's BOHB would pause.",
        framework="syne-tune",
        package="syne_tune",
        extra="syne-tune",
        stop_rule=True,
        parallel=True,
    )
    check = staticmethod(check_bohb)

    def __init__(self, problem: Problem, settings: BohbSettings) -> None:
        from syne_tune.optimizer.baselines import BOHB

        points = settings.num_min_data_points or len(problem.space) + 1
        super().__init__(BOHB(**_asynchronous(problem), **{**settings.model_dump(), "num_min_data_points": points}), problem)


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
    """Return Syne Tune's space, with logarithms of log ranges and with integers that start at 0.

    Syne Tune's density estimate ignores log scales and the lower end of integers.
    """
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


def _place(axis: Axis, value: Any) -> Any:
    if axis.log:
        return math.exp(value)
    return axis.low + value if axis.kind == "int" else value
