"""Optuna's samplers and pruners, driven by its ask and tell; the space is suggested as it is, conditions included."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..core.problem import Done, Epoch, Problem, Proposal, Status, Trial, TrialId
from ..core.space import Categorical, Float, Int, Model, Space
from ..core.study import Study
from .spec import Algorithm, MethodSpec


class RandomSettings(Model):
    """RandomSampler has nothing to set but the seed, which the study gives."""


class ClassicSettings(Model):
    """TPESampler's arguments of the same names, with its defaults."""

    n_startup_trials: int = Field(default=10, ge=1, le=10_000, description="Random configurations before the model decides.")
    n_ei_candidates: int = Field(default=24, ge=1, le=10_000, description="Draws of which the most promising is asked.")


class TpeSettings(ClassicSettings):
    """TPESampler's arguments of the same names, with the defaults of Optuna 5."""

    group: bool = Field(default=False, description="Model parameters that are active together jointly (experimental).")


class CmaesSettings(Model):
    """CmaEsSampler's arguments of the same names; `levels` is ours.

    CMA-ES knows numbers alone, and Optuna draws categories at random.
    """

    levels: Literal["ordered", "categories"] = Field(
        default="ordered",
        description="ordered: a list of ascending numbers is searched by place, as a whole number; categories: drawn at random.",
    )
    popsize: int | None = Field(default=None, ge=2, le=10_000, description="Trials of a generation; null: by the dimensions.")
    sigma0: float | None = Field(default=None, gt=0, description="The first step size; null: a sixth of the range.")
    with_margin: bool = Field(default=False, description="CMA-ES with margin, for whole numbers (experimental).")


class GpSettings(Model):
    """GPSampler's arguments of the same names, with its defaults."""

    n_startup_trials: int = Field(default=10, ge=1, le=10_000, description="Random configurations before the model decides.")
    deterministic_objective: bool = Field(default=False, description="Take the objective as free of noise.")


class HyperbandSettings(ClassicSettings):
    """HyperbandPruner's and TPESampler's arguments; a full training is max_resource."""

    min_resource: int = Field(default=1, ge=1, description="Epochs before a trial may be stopped.")
    reduction_factor: int = Field(default=3, ge=2, le=100, description="Of so many trials of a rung one goes on.")


class AshaSettings(Model):
    """SuccessiveHalvingPruner's arguments of the same names.

    min_resource is 1, which is what Optuna's own "auto" comes to below 200 epochs, though only after a first full training.
    """

    sampler: Literal["random", "tpe"] = Field(default="random", description="random, as in the paper, or Optuna's TPE.")
    min_resource: int = Field(default=1, ge=1, description="Epochs before a trial may be stopped.")
    reduction_factor: int = Field(default=4, ge=2, le=100, description="Of so many trials of a rung one goes on.")
    min_early_stopping_rate: int = Field(default=0, ge=0, le=10, description="Rungs that are left out at the start.")


def check_pruner(study: Study, settings: HyperbandSettings | AshaSettings) -> list[str]:
    """A stop rule needs an epoch after which it may stop."""
    epochs = study.budget.epochs_per_trial
    if settings.min_resource < epochs:
        return []
    return [
        f"optuna never stops a trial where min_resource is {settings.min_resource} of {epochs} epochs: "
        f"make it smaller than epochs_per_trial."
    ]


class _Study:
    """One Optuna study behind ask and tell; Optuna's n-th trial is our n-th."""

    def __init__(self, problem: Problem, sampler: Any, pruner: Any = None, ordered: bool = False) -> None:
        import optuna

        self._problem = problem
        self._ordered = frozenset(name for name in problem.space if ordered and _ascending(problem.space[name]))
        # HyperbandPruner draws a trial's bracket from the study's name.
        self._study = optuna.create_study(
            study_name="tuneoff", sampler=sampler, pruner=pruner or optuna.pruners.NopPruner(), direction="minimize"
        )
        self._trials: list[Any] = []

    def ask(self) -> Proposal | Done:
        trial = self._study.ask()
        self._trials.append(trial)
        return Proposal(_suggest(self._problem.space, trial, self._ordered), self._problem.max_epochs)

    def tell(self, trial: Trial) -> None:
        from optuna.trial import TrialState

        assert trial.outcome is not None
        theirs = self._trials[trial.id]
        if trial.outcome.loss is None:
            self._study.tell(theirs, state=TrialState.FAIL)
        elif trial.outcome.status is Status.STOPPED:
            self._study.tell(theirs, state=TrialState.PRUNED)
        else:
            self._study.tell(theirs, trial.outcome.loss)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        theirs = self._trials[trial]
        theirs.report(self._problem.loss(epoch), epoch.number)
        return not theirs.should_prune()


class Random(_Study):
    """optuna.samplers.RandomSampler."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="optuna-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        summary="Independent draws, repeats included: Optuna's RandomSampler.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As the baseline of Optuna's other samplers.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        super().__init__(problem, _optuna().samplers.RandomSampler(problem.seed))


class Tpe(_Study):
    """optuna.samplers.TPESampler as Optuna 5 has it: all parameters in one model, and trials in flight count as bad ones."""

    Settings = TpeSettings
    spec = MethodSpec(
        name="optuna-tpe",
        algorithm=Algorithm.TPE,
        katib=("multivariate-tpe",),
        summary="A tree-structured Parzen estimator over all parameters jointly: Optuna 5's default sampler.",
        source="Watanabe, Tree-structured Parzen estimator: understanding its algorithm components, 2023",
        when="As the first thing to try: quick, at home in mixed and conditional spaces, used to trials in flight.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: TpeSettings) -> None:
        super().__init__(problem, _optuna().samplers.TPESampler(seed=problem.seed, **settings.model_dump()))


class ClassicTpe(_Study):
    """optuna.samplers.TPESampler with the defaults of Optuna 4: each parameter by itself, trials in flight unknown."""

    Settings = ClassicSettings
    spec = MethodSpec(
        name="optuna-tpe-classic",
        algorithm=Algorithm.TPE,
        katib=("multivariate-tpe",),
        summary="A Parzen estimator for each parameter by itself: Optuna's default sampler up to version 4.",
        source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 24, 2011",
        when="To compare with results of Optuna 4 and before.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: ClassicSettings) -> None:
        options = {"multivariate": False, "constant_liar": False, **settings.model_dump()}
        super().__init__(problem, _optuna().samplers.TPESampler(seed=problem.seed, **options))


class Cmaes(_Study):
    """optuna.samplers.CmaEsSampler; what it cannot model, its RandomSampler draws."""

    Settings = CmaesSettings
    spec = MethodSpec(
        name="optuna-cmaes",
        katib=("cmaes",),
        summary="Covariance matrix adaptation over the numbers of the space; categories are drawn at random.",
        source="Hansen, The CMA evolution strategy: a tutorial, 2016",
        when="Most parameters are numbers without conditions, and there are hundreds of trials.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: CmaesSettings) -> None:
        sampler = _optuna().samplers.CmaEsSampler(seed=problem.seed, **settings.model_dump(exclude={"levels"}))
        super().__init__(problem, sampler, ordered=settings.levels == "ordered")


class Gp(_Study):
    """optuna.samplers.GPSampler."""

    Settings = GpSettings
    spec = MethodSpec(
        name="optuna-gp",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        summary="A Gaussian process and log expected improvement: Optuna's GPSampler.",
        source="Ament et al., Unexpected improvements to expected improvement for Bayesian optimization, NeurIPS 36, 2023",
        when="Trials are dear and few, and torch may be installed.",
        framework="optuna",
        package="torch",
        extra="torch",
        environment="torch",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: GpSettings) -> None:
        super().__init__(problem, _optuna().samplers.GPSampler(seed=problem.seed, **settings.model_dump()))


class TpeHyperband(_Study):
    """TPESampler and HyperbandPruner: each bracket has a model of its own."""

    Settings = HyperbandSettings
    spec = MethodSpec(
        name="optuna-tpe-hyperband",
        algorithm=Algorithm.HYPERBAND,
        summary="TPE whose hopeless trials are stopped by Hyperband's brackets: Optuna's HyperbandPruner.",
        source="Falkner, Klein and Hutter, BOHB, ICML 35, 2018",
        when="Early epochs tell good from bad; a stopped trial is never taken up again.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        stop_rule=True,
        parallel=True,
    )
    check = staticmethod(check_pruner)

    def __init__(self, problem: Problem, settings: HyperbandSettings) -> None:
        optuna = _optuna()
        tpe = settings.model_dump(include=set(ClassicSettings.model_fields))
        pruner = optuna.pruners.HyperbandPruner(
            min_resource=settings.min_resource, max_resource=problem.max_epochs, reduction_factor=settings.reduction_factor
        )
        super().__init__(problem, optuna.samplers.TPESampler(seed=problem.seed, **tpe), pruner)


class Asha(_Study):
    """SuccessiveHalvingPruner: after each rung a trial goes on if it is among the best that came so far."""

    Settings = AshaSettings
    spec = MethodSpec(
        name="optuna-asha",
        algorithm=Algorithm.ASHA,
        summary="Random draws whose trials are stopped after each rung unless among the best: SuccessiveHalvingPruner.",
        source="Li et al., A system for massively parallel hyperparameter tuning, MLSys 2, 2020",
        when="Many short trials, side by side; a stopped trial is never taken up again.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        stop_rule=True,
        parallel=True,
    )
    check = staticmethod(check_pruner)

    def __init__(self, problem: Problem, settings: AshaSettings) -> None:
        optuna = _optuna()
        samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
        pruner = optuna.pruners.SuccessiveHalvingPruner(**settings.model_dump(exclude={"sampler"}))
        super().__init__(problem, samplers[settings.sampler](seed=problem.seed), pruner)


def _optuna() -> Any:
    """Optuna, silent but for errors: it has a line for every trial, every experimental argument and every odd step."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="The distribution is specified by")
    return optuna


def _suggest(space: Space, trial: Any, ordered: frozenset[str]) -> dict[str, Any]:
    """A configuration, parameter by parameter, as Optuna's users write it: inactive ones are never suggested.

    Categories go by their index, since True and 1 are the same category to Optuna.
    """
    config: dict[str, Any] = {}
    for name in space.order():
        parameter = space[name]
        if all(config.get(other) in values for other, values in (parameter.when or {}).items()):
            config[name] = _value(trial, name, parameter, name in ordered)
    return space.activate(config)


def _value(trial: Any, name: str, parameter: Categorical | Int | Float, ordered: bool) -> Any:
    match parameter:
        case Categorical(values=values):
            last = len(values) - 1
            index = trial.suggest_int(name, 0, last) if ordered else trial.suggest_categorical(name, list(range(last + 1)))
            return values[index]
        case Int(step=None):
            return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log)
        case Int():
            return trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step)
        case Float(step=None):
            return parameter.nearest(trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log))
        case Float():
            return parameter.nearest(trial.suggest_float(name, parameter.low, parameter.high, step=parameter.step))


def _ascending(parameter: Categorical | Int | Float) -> bool:
    if not isinstance(parameter, Categorical):
        return False
    numbers = [v for v in parameter.values if isinstance(v, int | float) and not isinstance(v, bool)]
    return 1 < len(numbers) == len(parameter.values) and numbers == sorted(numbers)
