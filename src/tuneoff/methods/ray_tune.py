"""Ray Tune's schedulers and searchers, run by Ray with one trial at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import Field

from ..core.encoding import Axis
from ..core.problem import Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Categorical, Model
from ..core.study import Study
from .inversion import Request
from .ray_actor import State, Step
from .ray_driver import FAILED, WORST, RayDriver, ResumingRayDriver, domain, domains
from .spec import Algorithm, MethodSpec

SHAPING = ("filters1", "filters2", "neurons", "optimizer")
"""Parameters of the paper's model that determine the shapes of its weights or of its optimizer state."""
MUTABLE = ("dropout", "learning_rate")
"""Parameters of the paper's model that population based training changes by default."""


class RandomSettings(Model):
    """BasicVariantGenerator has no settings: the study gives the seed."""


class AshaSettings(Model):
    """ASHAScheduler's arguments of the same names, with its defaults."""

    grace_period: int = Field(default=1, ge=1, description="Minimum number of epochs of every trial.")
    reduction_factor: float = Field(default=4, gt=1, le=100, description="Continue 1 of every reduction_factor trials of a rung.")
    brackets: int = Field(default=1, ge=1, le=20, description="Number of brackets, each with a later first rung.")


class HyperbandSettings(Model):
    """HyperBandScheduler's argument of the same name, with its default."""

    reduction_factor: float = Field(default=3, gt=1, le=100, description="Promote 1 of every reduction_factor trials of a rung.")


class PbtSettings(Model):
    """PopulationBasedTraining's arguments of the same names, and `population`, `mutate` and `rounds`, which Tuneoff adds."""

    population: int = Field(default=8, ge=2, le=1000, description="Number of configurations that train in turns.")
    perturbation_interval: int | None = Field(
        default=None, ge=1, description="Epochs between two exploit steps; null: a fifth of a full training."
    )
    quantile_fraction: float = Field(
        default=0.25, gt=0, le=0.5, description="Share of the population that copies from the best share of the same size."
    )
    resample_probability: float = Field(
        default=0.25, ge=0, le=1, description="Probability of drawing a parameter again instead of perturbing it."
    )
    mutate: list[str] | None = Field(
        default=None, description="Parameters that may change during training; null: dropout and learning_rate."
    )
    rounds: int | None = Field(
        default=None, ge=1, description="Number of successive populations; null: until the budget is used up."
    )


class BayesSettings(Model):
    """BayesOptSearch's random_search_steps, and kappa of its upper confidence bound, with its defaults."""

    random_search_steps: int = Field(
        default=10, ge=1, le=10_000, description="Number of random configurations before the model proposes."
    )
    kappa: float = Field(default=2.576, ge=0, description="Weight of exploration in the upper confidence bound.")


class HyperoptSettings(Model):
    """HyperOptSearch's arguments of the same names, with its defaults."""

    n_initial_points: int = Field(
        default=20, ge=1, le=10_000, description="Number of random configurations before the model proposes."
    )
    gamma: float = Field(default=0.25, gt=0, lt=1, description="The best gamma × √n of n trials count as good.")


def check_asha(study: Study, settings: AshaSettings) -> list[str]:
    """Refuse a minimum number of epochs above a full training."""
    full = study.budget.epochs_per_trial
    if settings.grace_period > full:
        return [f"ray-asha: grace_period = {settings.grace_period} must be at most epochs_per_trial = {full}."]
    return []


def check_pbt(study: Study, settings: PbtSettings) -> list[str]:
    """Refuse a list of parameters that cannot change while a model trains, and an interval without any exploit step."""
    names = ", ".join(study.space)
    if settings.mutate is None and study.model != "paper-cnn":
        return [f"ray-pbt: the model is {study.model}: list in mutate which of {names} do not change the shapes of its weights."]
    mutated = mutable(study.space, settings)
    if not mutated:
        return [f"ray-pbt: no parameter may change during training: name at least one of {names} in mutate."]
    faults = [f"ray-pbt: mutate names {name!r}, but the parameters are {names}." for name in mutated if name not in study.space]
    shaping = [name for name in mutated if study.model == "paper-cnn" and name in SHAPING]
    if shaping:
        faults.append(f"ray-pbt: mutate must not name {', '.join(shaping)}, because copied weights would no longer fit.")
    if settings.perturbation_interval is not None and settings.perturbation_interval >= study.budget.epochs_per_trial:
        faults.append(
            f"ray-pbt: perturbation_interval = {settings.perturbation_interval} must be less than"
            f" epochs_per_trial = {study.budget.epochs_per_trial}."
        )
    return faults


def mutable(space: Any, settings: PbtSettings) -> list[str]:
    """Return the names of the parameters that may change while a model trains."""
    return [name for name in MUTABLE if name in space] if settings.mutate is None else list(settings.mutate)


class Random(RayDriver):
    """Search with tune.search.BasicVariantGenerator."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="ray-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        process_per_search=True,
        summary="Random search with Ray Tune's BasicVariantGenerator, run by Ray.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As a baseline for Ray Tune's other methods, which shows the overhead of Ray.",
        framework="ray",
        package="ray",
        extra="ray",
        beats_random=False,
    )

    name = "Ray Tune's random search"

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        super().__init__(problem)

    def _tune_all(self) -> None:
        self._tune(domains(self._axes))


class BayesOpt(RayDriver):
    """Search with tune.search.bayesopt.BayesOptSearch, one trial at a time.

    It supports only real numbers. Other parameters are encoded as intervals of real numbers.
    """

    Settings = BayesSettings
    spec = MethodSpec(
        name="ray-bayesopt",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        process_per_search=True,
        summary="A Gaussian process over real numbers and an upper confidence bound: Ray Tune's BayesOptSearch, run by Ray.",
        source="Nogueira, bayesian-optimization, 2014; Srinivas et al., Gaussian process optimization, ICML 2010",
        when="If most parameters are real numbers. Categories and steps are rounded from an interval of real numbers.",
        framework="ray",
        package="ray",
        extra="ray",
    )

    name = "Ray Tune's BayesOptSearch"

    def __init__(self, problem: Problem, settings: BayesSettings) -> None:
        self._settings = settings
        self._seen: list[float] = []
        super().__init__(problem)

    def _tune_all(self) -> None:
        from ray import tune
        from ray.tune.search import ConcurrencyLimiter
        from ray.tune.search.bayesopt import BayesOptSearch

        search = BayesOptSearch(
            utility_kwargs={"kind": "ucb", "kappa": self._settings.kappa, "xi": 0.0},
            random_state=self._problem.seed,
            random_search_steps=self._settings.random_search_steps,
        )
        space = {axis.name: tune.uniform(*axis.line) for axis in self._axes.axes}
        self._tune(space, search=ConcurrencyLimiter(search, max_concurrent=1))

    def _step(self, ray_trial: str, values: dict[str, Any], state: State) -> Step:
        return super()._step(ray_trial, {axis.name: axis.on_line(values[axis.name]) for axis in self._axes.axes}, state)

    def _result(self, ray_trial: str, trial: Trial, state: State) -> Step:
        """Return the result of a step. A failed trial has the worst loss so far, because Ray ignores infinite losses."""
        result = super()._result(ray_trial, trial, state)
        if result is FAILED:
            return Step(State(), max(self._seen, default=WORST), done=True)
        self._seen.append(result.loss)
        return result


class Hyperopt(RayDriver):
    """Search with tune.search.hyperopt.HyperOptSearch, one trial at a time.

    Integers and steps are encoded as intervals of real numbers. hyperopt's integers would have half the probability at both ends.
    """

    Settings = HyperoptSettings
    spec = MethodSpec(
        name="ray-hyperopt",
        algorithm=Algorithm.TPE,
        katib=("tpe",),
        process_per_search=True,
        summary="A tree-structured Parzen estimator: hyperopt's TPE in Ray Tune's HyperOptSearch, run by Ray.",
        source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011",
        when="To measure the effect of Ray Tune's wrapper on hyperopt. It ignores conditions.",
        framework="ray",
        package="ray",
        extra="ray",
    )

    name = "Ray Tune's HyperOptSearch"

    def __init__(self, problem: Problem, settings: HyperoptSettings) -> None:
        self._settings = settings
        super().__init__(problem)

    def _tune_all(self) -> None:
        from ray import tune
        from ray.tune.search import ConcurrencyLimiter
        from ray.tune.search.hyperopt import HyperOptSearch

        search = HyperOptSearch(random_state_seed=self._problem.seed, **self._settings.model_dump())
        lines = {axis.name: tune.uniform(*axis.line) for axis in self._axes.axes if axis.kind == "int"}
        self._tune(domains(self._axes) | lines, search=ConcurrencyLimiter(search, max_concurrent=1))

    def _step(self, ray_trial: str, values: dict[str, Any], state: State) -> Step:
        places = {axis.name: axis.on_line(values[axis.name]) for axis in self._axes.axes if axis.kind == "int"}
        return super()._step(ray_trial, values | places, state)


class Asha(RayDriver):
    """Search with tune.schedulers.ASHAScheduler. Each step of a Ray trial is an epoch, after which Ray may stop it."""

    Settings = AshaSettings
    spec = MethodSpec(
        name="ray-asha",
        algorithm=Algorithm.ASHA,
        process_per_search=True,
        summary="Random draws with early stopping at rungs: Ray Tune's ASHAScheduler, run by Ray.",
        source="Li et al., A system for massively parallel hyperparameter tuning, MLSys 2020",
        when="If the first epochs separate good from bad configurations. It never waits for a rung to fill.",
        framework="ray",
        package="ray",
        extra="ray",
        stop_rule=True,
    )
    check = staticmethod(check_asha)

    name = "Ray Tune's ASHAScheduler"

    def __init__(self, problem: Problem, settings: AshaSettings) -> None:
        self._settings = settings
        self._requests: dict[str, Request] = {}
        super().__init__(problem)

    def _tune_all(self) -> None:
        from ray.tune.schedulers import ASHAScheduler

        scheduler = ASHAScheduler(time_attr="epoch", max_t=self._problem.max_epochs, **self._settings.model_dump())
        self._tune(domains(self._axes), scheduler)

    def _step(self, ray_trial: str, values: dict[str, Any], state: State) -> Step:
        if ray_trial not in self._requests:
            self._requests[ray_trial] = self._loop.serve(Proposal(self._axes.decode(values), self._problem.max_epochs))
        request = self._requests[ray_trial]
        request.answer(True)
        item = request.next()
        if isinstance(item, Epoch) and item.number < self._problem.max_epochs:
            return Step(State(None, item.number), self._problem.loss(item))
        trial = item if isinstance(item, Trial) else request.end()
        del self._requests[ray_trial]
        assert trial.outcome is not None
        if trial.outcome.loss is None or not isinstance(item, Epoch):
            return FAILED
        return Step(State(None, item.number), self._problem.loss(item), True)

    def _end_of(self, ray_trial: str) -> None:
        request = self._requests.pop(ray_trial, None)
        if request is not None:
            request.end()


class Hyperband(ResumingRayDriver):
    """Search with tune.schedulers.HyperBandScheduler, which pauses Ray trials at each rung."""

    Settings = HyperbandSettings
    spec = MethodSpec(
        name="ray-hyperband",
        algorithm=Algorithm.HYPERBAND,
        katib=("hyperband",),
        process_per_search=True,
        summary="Successive halving in several brackets, with paused trials: Ray Tune's HyperBandScheduler, run by Ray.",
        source="Li et al., Hyperband, JMLR 18, 2018",
        when="Like keras-tuner-hyperband, but resumed trials keep their optimizer state.",
        framework="ray",
        package="ray",
        extra="ray",
        fidelity=True,
        warm_start=True,
    )

    name = "Ray Tune's HyperBandScheduler"

    def __init__(self, problem: Problem, settings: HyperbandSettings) -> None:
        self._settings = settings
        super().__init__(problem)

    def _tune_all(self) -> None:
        self._scheduler = _whole_brackets(self._problem.max_epochs, self._settings.reduction_factor)
        self._tune(domains(self._axes), self._scheduler)

    def _brackets(self) -> dict[str, Any]:
        return {trial.trial_id: bracket for trial, (bracket, _) in list(self._scheduler._trial_info.items())}

    def _target(self, ray_trial: str, state: State) -> int:
        return int(self._brackets()[ray_trial]._cumul_r)

    def resumable(self) -> set[TrialId]:
        alive = {t.trial_id for b in self._brackets().values() for t in list(b._live_trials)}
        self._reached = {name: state for name, state in self._reached.items() if name in alive}
        return super().resumable()


class Pbt(ResumingRayDriver):
    """Search with a synchronous tune.schedulers.PopulationBasedTraining.

    A Ray trial that exploits another one resumes from its weights.
    """

    Settings = PbtSettings
    spec = MethodSpec(
        name="ray-pbt",
        katib=("pbt",),
        process_per_search=True,
        summary="A population whose worst trials copy the weights of the best and mutate: Ray Tune's PopulationBasedTraining.",
        source="Jaderberg et al., Population based training of neural networks, arXiv:1711.09846, 2017",
        when="If a schedule for the learning rate or dropout is better than one fixed value.",
        framework="ray",
        package="ray",
        extra="ray",
        fidelity=True,
        warm_start=True,
        mutates=True,
    )
    check = staticmethod(check_pbt)

    name = "Ray Tune's PopulationBasedTraining"

    def __init__(self, problem: Problem, settings: PbtSettings) -> None:
        self._settings = settings
        self._interval = settings.perturbation_interval or max(1, round(problem.max_epochs / 5))
        super().__init__(problem)

    def _tune_all(self) -> None:
        done = 0
        while done != self._settings.rounds:
            self._reached.clear()
            self._history: list[State] = []
            self._tune(domains(self._axes), self._population(), samples=self._settings.population)
            done += 1

    def _population(self) -> Any:
        from ray.tune.schedulers import PopulationBasedTraining

        names = mutable(self._problem.space, self._settings)
        return PopulationBasedTraining(
            time_attr="epoch",
            perturbation_interval=self._interval,
            hyperparam_mutations={axis.name: _mutation(axis) for axis in self._axes.axes if axis.name in names},
            quantile_fraction=self._settings.quantile_fraction,
            resample_probability=self._settings.resample_probability,
            custom_explore_fn=partial(_inside, self._axes.axes),
            log_config=False,
            synch=True,
        )

    def _target(self, ray_trial: str, state: State) -> int:
        return min(state.epoch + self._interval, self._problem.max_epochs)

    def _result(self, ray_trial: str, trial: Trial, state: State) -> Step:
        step = super()._result(ray_trial, trial, state)
        self._history.append(step.state)
        return step

    def resumable(self) -> set[TrialId]:
        """Return the trials from the pause of the slowest Ray trial on. A waiting Ray trial may resume from any of them."""
        waiting = len(self._reached) < self._settings.population
        slowest = 0 if waiting else min(state.epoch for state in self._reached.values())
        if slowest == self._problem.max_epochs:
            return set()
        return {state.trial for state in self._history if state.epoch >= slowest and state.trial is not None}


def _inside(axes: list[Axis], places: dict[str, Any]) -> dict[str, Any]:
    """Return places moved into their ranges, because Ray multiplies real numbers beyond them."""
    return places | {axis.name: min(max(places[axis.name], axis.low), axis.high) for axis in axes}


def _whole_brackets(max_epochs: int, reduction_factor: float) -> Any:
    """Return a HyperBandScheduler that halves a bracket only when it is full. Trials can then be drawn one by one.

    Ray normally draws up to 200 trials in advance to fill brackets. Their order depends on which process starts first.
    """
    from ray.tune.schedulers import HyperBandScheduler, TrialScheduler

    class WholeBrackets(HyperBandScheduler):  # type: ignore[misc]
        def _create_bracket(self, s: int) -> Any:
            bracket = super()._create_bracket(s)
            bracket.filled = lambda: len(bracket._all_trials) >= bracket._n0
            return bracket

        def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
            if not bracket.filled():
                return str(TrialScheduler.PAUSE)
            return str(super()._process_bracket(tune_controller, bracket))

    return WholeBrackets(time_attr="epoch", max_t=max_epochs, reduction_factor=reduction_factor)


def _mutation(axis: Axis) -> Any:
    """Return Ray's domain for mutations of an axis.

    For categories and steps it is a list of places, so that Ray moves to a neighbour instead of multiplying an index.
    """
    discrete = isinstance(axis.parameter, Categorical) or axis.parameter.step is not None
    return axis.places if discrete else domain(axis)
