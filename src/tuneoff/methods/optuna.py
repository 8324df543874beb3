"""Optuna's samplers and pruners with Optuna's ask and tell. The space is define-by-run, including conditions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..core.problem import Done, Epoch, Problem, Proposal, Status, Trial, TrialId
from ..core.space import Categorical, Float, Int, Model, Space
from ..core.study import Study
from .spec import Algorithm, MethodSpec


class RandomSettings(Model):
    """RandomSampler has no settings: the study gives the seed."""


class ClassicSettings(Model):
    """TPESampler's arguments of the same names, with its defaults."""

    n_startup_trials: int = Field(
        default=10, ge=1, le=10_000, description="Number of random configurations before the model proposes."
    )
    n_ei_candidates: int = Field(
        default=24, ge=1, le=10_000, description="Number of candidates per proposal, of which the most promising is proposed."
    )


class TpeSettings(ClassicSettings):
    """TPESampler's arguments of the same names, with the defaults of Optuna 5."""

    group: bool = Field(default=False, description="Model parameters jointly if they are active together (experimental).")


class CmaesSettings(Model):
    """CmaEsSampler's arguments of the same names, and `levels`, which Tuneoff adds.

    CMA-ES supports only numbers, and Optuna draws categories at random.
    """

    levels: Literal["ordered", "categories"] = Field(
        default="ordered",
        description="How to search a list of ascending numbers. ordered: as an integer, the index; categories: by random draws.",
    )
    popsize: int | None = Field(
        default=None, ge=2, le=10_000, description="Number of trials per generation; null: chosen by the number of dimensions."
    )
    sigma0: float | None = Field(default=None, gt=0, description="Initial step size; null: a sixth of the range.")
    with_margin: bool = Field(default=False, description="Use CMA-ES with margin, for integers (experimental).")


class GpSettings(Model):
    """GPSampler's arguments of the same names, with its defaults."""

    n_startup_trials: int = Field(
        default=10, ge=1, le=10_000, description="Number of random configurations before the model proposes."
    )
    deterministic_objective: bool = Field(default=False, description="Assume that the objective has no noise.")


class HyperbandSettings(ClassicSettings):
    """Arguments of HyperbandPruner and TPESampler of the same names. max_resource is a full training."""

    min_resource: int = Field(default=1, ge=1, description="Minimum number of epochs before a trial may be stopped.")
    reduction_factor: int = Field(default=3, ge=2, le=100, description="Continue 1 of every reduction_factor trials of a rung.")


class AshaSettings(Model):
    """SuccessiveHalvingPruner's arguments of the same names.

    Optuna's default "auto" for min_resource gives 1 below 200 epochs, but only after a first full training. Here it is 1 from the
    start.
    """

    sampler: Literal["random", "tpe"] = Field(
        default="random", description="Source of the configurations: random draws, as in the paper, or Optuna's TPE."
    )
    min_resource: int = Field(default=1, ge=1, description="Minimum number of epochs before a trial may be stopped.")
    reduction_factor: int = Field(default=4, ge=2, le=100, description="Continue 1 of every reduction_factor trials of a rung.")
    min_early_stopping_rate: int = Field(default=0, ge=0, le=10, description="Number of rungs to skip at the start.")


def check_pruner(study: Study, settings: HyperbandSettings | AshaSettings) -> list[str]:
    """Refuse a stop rule that could never stop a trial."""
    epochs = study.budget.epochs_per_trial
    if settings.min_resource < epochs:
        return []
    return [f"optuna: min_resource = {settings.min_resource} must be smaller than epochs_per_trial = {epochs}."]


class _Study:
    """Ask and tell with one Optuna study. Trial numbers are the same in Optuna and in Tuneoff."""

    def __init__(self, problem: Problem, sampler: Any, pruner: Any = None, ordered: bool = False) -> None:
        import optuna

        self._problem = problem
        self._ordered = frozenset(name for name in problem.space if ordered and _ascending(problem.space[name]))
        # HyperbandPruner derives the bracket of a trial from the study name, so the name is fixed.
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
    """Search with optuna.samplers.RandomSampler."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="optuna-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        summary="Random search with Optuna's RandomSampler, which may repeat configurations.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As a baseline for Optuna's other samplers.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        super().__init__(problem, _optuna().samplers.RandomSampler(problem.seed))


class Tpe(_Study):
    """Search with optuna.samplers.TPESampler and the defaults of Optuna 5.

    One model covers all parameters, and trials in flight count as bad trials.
    """

    Settings = TpeSettings
    spec = MethodSpec(
        name="optuna-tpe",
        algorithm=Algorithm.TPE,
        katib=("multivariate-tpe",),
        summary="A tree-structured Parzen estimator over all parameters jointly: Optuna 5's default sampler.",
        source="Watanabe, Tree-structured Parzen estimator: understanding its algorithm components, 2023",
        when="As a first choice: fast, and suited to mixed and conditional spaces and to several trials in flight.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: TpeSettings) -> None:
        super().__init__(problem, _optuna().samplers.TPESampler(seed=problem.seed, **settings.model_dump()))


class ClassicTpe(_Study):
    """Search with optuna.samplers.TPESampler and the defaults of Optuna 4.

    Each parameter has a separate model, and trials in flight are ignored.
    """

    Settings = ClassicSettings
    spec = MethodSpec(
        name="optuna-tpe-classic",
        algorithm=Algorithm.TPE,
        katib=("multivariate-tpe",),
        summary="A separate Parzen estimator for each parameter: Optuna's default sampler up to version 4.",
        source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 24, 2011",
        when="To compare with results of Optuna 4 and earlier.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: ClassicSettings) -> None:
        options = {"multivariate": False, "constant_liar": False, **settings.model_dump()}
        super().__init__(problem, _optuna().samplers.TPESampler(seed=problem.seed, **options))


class Cmaes(_Study):
    """Search with optuna.samplers.CmaEsSampler. It draws parameters that it cannot model with RandomSampler."""

    Settings = CmaesSettings
    spec = MethodSpec(
        name="optuna-cmaes",
        katib=("cmaes",),
        summary="CMA-ES over the numeric parameters; categories are drawn at random: Optuna's CmaEsSampler.",
        source="Hansen, The CMA evolution strategy: a tutorial, 2016",
        when="For hundreds of trials in a space of mostly numeric parameters without conditions.",
        framework="optuna",
        package="optuna",
        extra="optuna",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: CmaesSettings) -> None:
        sampler = _optuna().samplers.CmaEsSampler(seed=problem.seed, **settings.model_dump(exclude={"levels"}))
        super().__init__(problem, sampler, ordered=settings.levels == "ordered")


class Gp(_Study):
    """Search with optuna.samplers.GPSampler."""

    Settings = GpSettings
    spec = MethodSpec(
        name="optuna-gp",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        summary="A Gaussian process and log expected improvement: Optuna's GPSampler.",
        source="Ament et al., Unexpected improvements to expected improvement for Bayesian optimization, NeurIPS 36, 2023",
        when="For few, expensive trials, if torch may be installed.",
        framework="optuna",
        package="torch",
        extra="torch",
        environment="torch",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: GpSettings) -> None:
        super().__init__(problem, _optuna().samplers.GPSampler(seed=problem.seed, **settings.model_dump()))


class TpeHyperband(_Study):
    """Search with TPESampler and HyperbandPruner. Each bracket has a separate model."""

    Settings = HyperbandSettings
    spec = MethodSpec(
        name="optuna-tpe-hyperband",
        algorithm=Algorithm.HYPERBAND,
        summary="TPE with early stopping in the brackets of Hyperband: Optuna's HyperbandPruner.",
        source="Falkner, Klein and Hutter, BOHB, ICML 35, 2018",
        when="If the first epochs separate good from bad configurations. A stopped trial is never resumed.",
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
    """Search with SuccessiveHalvingPruner. After each rung, a trial continues if it is among the best so far."""

    Settings = AshaSettings
    spec = MethodSpec(
        name="optuna-asha",
        algorithm=Algorithm.ASHA,
        summary="Random draws, of which only the best continue after each rung: Optuna's SuccessiveHalvingPruner.",
        source="Li et al., A system for massively parallel hyperparameter tuning, MLSys 2, 2020",
        when="For many short trials in parallel. A stopped trial is never resumed.",
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
    """Return the module optuna with logging limited to errors.

    Otherwise Optuna logs every trial, and warns of experimental arguments and uneven steps.
    """
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="The distribution is specified by")
    return optuna


def _suggest(space: Space, trial: Any, ordered: frozenset[str]) -> dict[str, Any]:
    """Return a configuration that is suggested parameter by parameter. Inactive parameters are not suggested.

    Categories are encoded by index, because True and 1 are the same category in Optuna.
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
