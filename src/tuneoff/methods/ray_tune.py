"""Ray Tune's schedulers and searchers, run by Ray itself with one trial at a time."""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Categorical, Model
from ..core.study import Study
from .inversion import InvertedCall, Request, Threaded
from .ray_actor import Desk, State, Step
from .spec import Algorithm, MethodSpec

WORST = float("inf")
"""What a failed trial is worth to schedulers that wait for the whole rung or population."""
LONGEST_FOLDER = 40
"""A socket's path has at most 107 characters, of which Ray takes 64."""
SHAPING = ("filters1", "filters2", "neurons", "optimizer")
"""Parameters of the paper's model on which the shapes of its weights, or the optimizer's own, depend."""
MUTABLE = ("dropout", "learning_rate")
"""Parameters of the paper's model that population based training changes where it is not told which."""


FAILED = Step(State(), WORST, done=True)
"""The end of a Ray trial that failed, at no epoch that a scheduler compares; an error would cost Ray a new process."""


class RandomSettings(Model):
    """BasicVariantGenerator has nothing to set but the seed, which the study gives."""


class AshaSettings(Model):
    """ASHAScheduler's arguments of the same names with its own defaults."""

    grace_period: int = Field(default=1, ge=1, description="Epochs that every trial trains.")
    reduction_factor: float = Field(default=4, gt=1, le=100, description="One of so many trials goes on at a rung.")
    brackets: int = Field(default=1, ge=1, le=20, description="Brackets, each with a later first rung.")


class HyperbandSettings(Model):
    """HyperBandScheduler's argument of the same name with its own default."""

    reduction_factor: float = Field(default=3, gt=1, le=100, description="One of so many trials of a rung goes on.")


class PbtSettings(Model):
    """PopulationBasedTraining's arguments of the same names, what it may change, and how large a population is."""

    population: int = Field(default=8, ge=2, le=1000, description="Configurations that train in turns.")
    perturbation_interval: int | None = Field(
        default=None, ge=1, description="Epochs between exploiting; null: a fifth of a full training."
    )
    quantile_fraction: float = Field(
        default=0.25, gt=0, le=0.5, description="So large a share copies from an equal one at the top."
    )
    resample_probability: float = Field(default=0.25, ge=0, le=1, description="Draw a parameter anew instead of shifting it.")
    mutate: list[str] | None = Field(
        default=None, description="Parameters that may change while a model trains; null: dropout and learning_rate."
    )
    rounds: int | None = Field(default=None, ge=1, description="Populations one after another; null: as many as fit.")


class BayesSettings(Model):
    """BayesOptSearch's random_search_steps, and the kappa of its upper confidence bound, with its own defaults."""

    random_search_steps: int = Field(default=10, ge=1, le=10_000, description="Configurations before the model decides.")
    kappa: float = Field(default=2.576, ge=0, description="How much it explores.")


class HyperoptSettings(Model):
    """HyperOptSearch's arguments of the same names with its own defaults."""

    n_initial_points: int = Field(default=20, ge=1, le=10_000, description="Configurations before the model decides.")
    gamma: float = Field(default=0.25, gt=0, lt=1, description="So large a share of the trials counts as good.")


def check_asha(study: Study, settings: AshaSettings) -> list[str]:
    """A trial cannot be stopped after more epochs than it has."""
    full = study.budget.epochs_per_trial
    if settings.grace_period > full:
        return [f"ray-asha: grace_period = {settings.grace_period} is more than epochs_per_trial = {full}."]
    return []


def check_pbt(study: Study, settings: PbtSettings) -> list[str]:
    """What changes must be a parameter, and leave the weights' shapes as they are."""
    names = ", ".join(study.space)
    if settings.mutate is None and study.model != "paper-cnn":
        return [f"ray-pbt: say in mutate which of {names} leave the shapes of {study.model}'s weights as they are."]
    mutated = mutable(study.space, settings)
    if not mutated:
        return [f"ray-pbt: mutate must name at least one of {names} that may change while a model trains."]
    faults = [f"ray-pbt: mutate names {name!r}, which is none of {names}." for name in mutated if name not in study.space]
    shaping = [name for name in mutated if study.model == "paper-cnn" and name in SHAPING]
    if shaping:
        faults.append(f"ray-pbt: mutate cannot name {', '.join(shaping)}: weights that are copied would not fit any more.")
    if settings.perturbation_interval is not None and settings.perturbation_interval >= study.budget.epochs_per_trial:
        faults.append(
            f"ray-pbt: perturbation_interval = {settings.perturbation_interval} must be less than"
            f" epochs_per_trial = {study.budget.epochs_per_trial}."
        )
    return faults


def mutable(space: Any, settings: PbtSettings) -> list[str]:
    """Names of the parameters that may change while a model trains."""
    return [name for name in MUTABLE if name in space] if settings.mutate is None else list(settings.mutate)


class _Ray(Threaded):
    """Ray with one CPU, so that one trial runs at a time; each step of a Ray trial is a trial of ours to its target epoch."""

    name = "Ray Tune"

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._axes = Axes(problem.space)
        self._start()
        super().__init__(self.name, self._from)

    def _start(self) -> None:
        folder = self._problem.folder / "ray"
        folder.mkdir()
        os.environ.update(
            RAY_USAGE_STATS_ENABLED="0",
            RAY_AIR_NEW_OUTPUT="0",
            RAY_CHDIR_TO_TRIAL_DIR="0",
            TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
            TUNE_GLOBAL_CHECKPOINT_S="1000000",
            TUNE_MAX_PENDING_TRIALS_PG="1",  # the next trial is drawn when it can run
        )
        import ray

        ray.init(
            address="local",
            num_cpus=1,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=_short(folder),
        )

    def _from(self, door: InvertedCall) -> str:
        import numpy as np

        self._door = door
        self._draws = np.random.default_rng(self._problem.seed)
        self._tune_all()
        return f"{self.name} has nothing more to ask"

    def _tune_all(self) -> None:
        """Tune until there is nothing more to ask."""
        raise NotImplementedError

    def _tune(self, space: dict[str, Any], scheduler: Any = None, search: Any = None, samples: int = -1) -> None:
        from ray import tune
        from ray.tune.search import BasicVariantGenerator

        tune.Tuner(
            Desk(self._guarded, self._end_of).actor(),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                scheduler=scheduler,
                search_alg=search or BasicVariantGenerator(random_state=self._draws),
                num_samples=samples,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=secrets.token_hex(4),
                storage_path=str(self._problem.folder.absolute() / "results"),
                stop={"epoch": self._problem.max_epochs},
                verbose=0,
            ),
        ).fit()

    def _guarded(self, member: str, values: dict[str, Any], state: State) -> Step:
        try:
            return self._step(member, values, state)
        except Exception as error:
            self._door.fail(error)
            raise

    def _step(self, member: str, values: dict[str, Any], state: State) -> Step:
        trial = self._door.train(Proposal(self._axes.decode(values), self._target(member, state), state.trial))
        assert trial.outcome is not None
        return self._given(member, trial, state)

    def _target(self, member: str, state: State) -> int:
        return self._problem.max_epochs

    def _given(self, member: str, trial: Trial, state: State) -> Step:
        assert trial.outcome is not None
        if trial.outcome.loss is None:
            return FAILED
        return Step(State(trial.id, trial.proposal.target_epoch), trial.outcome.loss)

    def _end_of(self, member: str) -> None:
        """Ray has no more steps for this trial."""


class Random(_Ray):
    """tune.search.BasicVariantGenerator: independent draws."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="ray-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        process_per_search=True,
        summary="Independent draws: Ray Tune's BasicVariantGenerator, run by Ray.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As the baseline of Ray Tune's other methods: it shows what running under Ray costs.",
        framework="ray",
        package="ray",
        extra="ray",
        beats_random=False,
    )

    name = "Ray Tune's random search"

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        super().__init__(problem)

    def _tune_all(self) -> None:
        self._tune(_domains(self._axes))


class BayesOpt(_Ray):
    """tune.search.bayesopt.BayesOptSearch, one trial at a time. It knows real numbers alone: all else is a stretch of them."""

    Settings = BayesSettings
    spec = MethodSpec(
        name="ray-bayesopt",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        process_per_search=True,
        summary="A Gaussian process over real numbers and an upper confidence bound: Ray Tune's BayesOptSearch, run by Ray.",
        source="Nogueira, bayesian-optimization, 2014; Srinivas et al., Gaussian process optimization, ICML 2010",
        when="Most parameters are real numbers; categories and steps are rounded from a stretch of them.",
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

    def _step(self, member: str, values: dict[str, Any], state: State) -> Step:
        return super()._step(member, {axis.name: axis.on_line(values[axis.name]) for axis in self._axes.axes}, state)

    def _given(self, member: str, trial: Trial, state: State) -> Step:
        """A failed trial counts as the worst so far; Ray leaves out what has no finite loss."""
        given = super()._given(member, trial, state)
        if given is FAILED:
            return Step(State(), max(self._seen, default=WORST), done=True)
        self._seen.append(given.loss)
        return given


class Hyperopt(_Ray):
    """tune.search.hyperopt.HyperOptSearch, one trial at a time.

    Whole numbers and steps go by a line of real numbers: hyperopt's own whole numbers have half the chance at both ends.
    """

    Settings = HyperoptSettings
    spec = MethodSpec(
        name="ray-hyperopt",
        algorithm=Algorithm.TPE,
        katib=("tpe",),
        process_per_search=True,
        summary="A tree of Parzen estimators: hyperopt's TPE as Ray Tune's HyperOptSearch wraps it, run by Ray.",
        source="Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011",
        when="To see what Ray Tune's wrapper makes of hyperopt; conditions are not told to it.",
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
        self._tune(_domains(self._axes) | lines, search=ConcurrencyLimiter(search, max_concurrent=1))

    def _step(self, member: str, values: dict[str, Any], state: State) -> Step:
        places = {axis.name: axis.on_line(values[axis.name]) for axis in self._axes.axes if axis.kind == "int"}
        return super()._step(member, values | places, state)


class Asha(_Ray):
    """tune.schedulers.ASHAScheduler: each step of a Ray trial is an epoch, and Ray stops it between two."""

    Settings = AshaSettings
    spec = MethodSpec(
        name="ray-asha",
        algorithm=Algorithm.ASHA,
        process_per_search=True,
        summary="Random draws of which the worse are stopped at rungs: Ray Tune's ASHAScheduler, run by Ray.",
        source="Li et al., A system for massively parallel hyperparameter tuning, MLSys 2020",
        when="Bad configurations show early; with one trial at a time it never waits for a rung to fill.",
        framework="ray",
        package="ray",
        extra="ray",
        stop_rule=True,
    )
    check = staticmethod(check_asha)

    name = "Ray Tune's ASHAScheduler"

    def __init__(self, problem: Problem, settings: AshaSettings) -> None:
        self._settings = settings
        self._visits: dict[str, Request] = {}
        super().__init__(problem)

    def _tune_all(self) -> None:
        from ray.tune.schedulers import ASHAScheduler

        scheduler = ASHAScheduler(time_attr="epoch", max_t=self._problem.max_epochs, **self._settings.model_dump())
        self._tune(_domains(self._axes), scheduler)

    def _step(self, member: str, values: dict[str, Any], state: State) -> Step:
        if member not in self._visits:
            self._visits[member] = self._door.serve(Proposal(self._axes.decode(values), self._problem.max_epochs))
        visit = self._visits[member]
        visit.answer(True)
        item = visit.next()
        if isinstance(item, Epoch) and item.number < self._problem.max_epochs:
            return Step(State(None, item.number), self._problem.loss(item))
        trial = item if isinstance(item, Trial) else visit.end()
        del self._visits[member]
        assert trial.outcome is not None
        if trial.outcome.loss is None or not isinstance(item, Epoch):
            return FAILED
        return Step(State(None, item.number), self._problem.loss(item), True)

    def _end_of(self, member: str) -> None:
        visit = self._visits.pop(member, None)
        if visit is not None:
            visit.end()


class _Continuing(_Ray):
    """Schedulers that pause Ray trials and go on with them: a part between two pauses is a trial of ours."""

    def __init__(self, problem: Problem) -> None:
        self._reached: dict[str, State] = {}
        super().__init__(problem)

    def _given(self, member: str, trial: Trial, state: State) -> Step:
        """A failed part counts as the worst, since others wait for it; what goes on from it goes on from its last weights."""
        assert trial.outcome is not None
        loss = trial.outcome.loss
        self._reached[member] = State(state.trial if loss is None else trial.id, trial.proposal.target_epoch)
        return Step(self._reached[member], WORST if loss is None else loss)

    def resumable(self) -> set[TrialId]:
        """The last trials of the Ray trials that may go on."""
        return {state.trial for state in self._reached.values() if state.trial is not None}


class Hyperband(_Continuing):
    """tune.schedulers.HyperBandScheduler: a rung is a pause."""

    Settings = HyperbandSettings
    spec = MethodSpec(
        name="ray-hyperband",
        algorithm=Algorithm.HYPERBAND,
        katib=("hyperband",),
        process_per_search=True,
        summary="Successive halving over several brackets, paused and continued: Ray Tune's HyperBandScheduler, run by Ray.",
        source="Li et al., Hyperband, JMLR 18, 2018",
        when="As keras-tuner-hyperband, where continued trials should keep their optimizer's state.",
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
        self._tune(_domains(self._axes), self._scheduler)

    def _brackets(self) -> dict[str, Any]:
        return {trial.trial_id: bracket for trial, (bracket, _) in list(self._scheduler._trial_info.items())}

    def _target(self, member: str, state: State) -> int:
        return int(self._brackets()[member]._cumul_r)

    def resumable(self) -> set[TrialId]:
        alive = {t.trial_id for b in self._brackets().values() for t in list(b._live_trials)}
        self._reached = {member: state for member, state in self._reached.items() if member in alive}
        return super().resumable()


class Pbt(_Continuing):
    """tune.schedulers.PopulationBasedTraining, synchronous: an exploiting Ray trial goes on from another's weights."""

    Settings = PbtSettings
    spec = MethodSpec(
        name="ray-pbt",
        katib=("pbt",),
        process_per_search=True,
        summary="A population whose worst copy the best one's weights and change: Ray Tune's PopulationBasedTraining.",
        source="Jaderberg et al., Population based training of neural networks, arXiv:1711.09846, 2017",
        when="A schedule of learning rate or dropout is worth more than one good value.",
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
            self._tune(_domains(self._axes), self._population(), samples=self._settings.population)
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

    def _target(self, member: str, state: State) -> int:
        return min(state.epoch + self._interval, self._problem.max_epochs)

    def _given(self, member: str, trial: Trial, state: State) -> Step:
        step = super()._given(member, trial, state)
        self._history.append(step.state)
        return step

    def resumable(self) -> set[TrialId]:
        """The trials of the slowest member's pause and later: one that waits may yet go on from any of them."""
        waiting = len(self._reached) < self._settings.population
        slowest = 0 if waiting else min(state.epoch for state in self._reached.values())
        if slowest == self._problem.max_epochs:
            return set()
        return {state.trial for state in self._history if state.epoch >= slowest and state.trial is not None}


def _inside(axes: list[Axis], places: dict[str, Any]) -> dict[str, Any]:
    """Ray multiplies real numbers without minding their range."""
    return places | {axis.name: min(max(places[axis.name], axis.low), axis.high) for axis in axes}


def _whole_brackets(max_epochs: int, reduction_factor: float) -> Any:
    """HyperBandScheduler where trials are drawn one by one: a bracket is halved when it is full, not before.

    Ray fills its brackets with 200 trials in advance, whose order then depends on which process starts first.
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


def _domains(axes: Axes) -> dict[str, Any]:
    """The space as Ray's own domains; categories and steps by their index, conditions drawn and not used where inactive."""
    return {axis.name: _domain(axis) for axis in axes.axes}


def _domain(axis: Axis) -> Any:
    from ray import tune

    if axis.kind == "choice":
        return tune.choice(axis.places)
    if axis.kind == "int":
        return (tune.lograndint if axis.log else tune.randint)(int(axis.low), int(axis.high) + 1)
    return (tune.loguniform if axis.log else tune.uniform)(axis.low, axis.high)


def _mutation(axis: Axis) -> Any:
    """Places in a row where only some values are allowed: then Ray goes to a neighbour, and does not multiply an index."""
    in_a_row = isinstance(axis.parameter, Categorical) or axis.parameter.step is not None
    return axis.places if in_a_row else _domain(axis)


def _short(folder: Path) -> str:
    """The folder by a name that is short enough for the sockets that Ray puts there: its own, or a link's."""
    if len(str(folder.absolute())) <= LONGEST_FOLDER:
        return str(folder.absolute())
    link = Path(tempfile.gettempdir(), f"ray-{secrets.token_hex(4)}")
    link.symlink_to(folder.absolute())
    atexit.register(_forget, link)
    return str(link)


def _forget(link: Path) -> None:
    import ray

    ray.shutdown()  # it would make a folder where the link was
    link.unlink(missing_ok=True)
