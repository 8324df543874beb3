"""KerasTuner's oracles, driven without its tuner: random search, grid, Bayesian optimisation and Hyperband."""

from __future__ import annotations

import math
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field

from ..core.problem import Done, Epoch, Inherit, Problem, Proposal, Trial, TrialId, Wait
from ..core.space import Categorical, Float, Int, Model, Space, Value
from ..core.study import Study
from .spec import Algorithm, MethodSpec


class RandomSettings(Model):
    """RandomSearch has nothing to set but the seed, which the study gives."""


class HyperbandSettings(Model):
    """KerasTuner's own settings; its default for hyperband_iterations is 1, ours goes on until the budget is used up."""

    factor: int = Field(default=3, ge=2, le=100, description="Of so many trials of a rung one goes up to the next.")
    hyperband_iterations: int | None = Field(default=None, ge=1, description="Rounds of all brackets; null: as many as fit.")


class Hyperband2020Settings(HyperbandSettings):
    """As KerasTuner was up to version 1.1.3; each setting removes one of its peculiarities (docs/hyperband.md)."""

    inherit: Literal["nothing", "best_weights", "state"] = Field(
        default="nothing",
        description="What a promoted trial takes over: nothing, so that it trains its new epochs alone, from new weights;"
        " best_weights, as KerasTuner does since; or the last state, with the optimizer's.",
    )
    brackets: Literal["keras-tuner", "li-2018"] = Field(
        default="keras-tuner", description="How many trials a rung has: as KerasTuner counts them, or as Li et al. do."
    )


class BayesSettings(Model):
    """KerasTuner's own settings, with its defaults."""

    num_initial_points: int | None = Field(
        default=None, ge=1, le=10_000, description="Random configurations before the model decides; null: 3 for each parameter."
    )
    alpha: float = Field(default=1e-4, gt=0, description="The noise that the model takes the objective to have.")
    beta: float = Field(default=2.6, ge=0, description="How much it explores.")


class GridSettings(Model):
    """GridSearch has nothing to set: the levels are the space's."""


def check_grid(study: Study, settings: GridSettings) -> list[str]:
    """KerasTuner would take ten values of its own choice of a range without levels, and that is another grid than others try."""
    loose = [name for name, parameter in study.space.items() if parameter.levels() is None]
    if not loose:
        return []
    return [f"keras-tuner-grid needs step or grid_points on every range of the space, and {', '.join(loose)} has neither."]


class _Oracle:
    """One KerasTuner oracle behind ask and tell. KerasTuner's own budget and failure limits are off: ours count."""

    def __init__(self, oracle: Any, problem: Problem) -> None:
        oracle._set_project_dir(str(problem.folder), "keras_tuner")
        oracle.verbose = 0
        oracle.save = oracle._save_trial = lambda *_: None  # our record says it all; these files grow with every trial
        self._oracle = oracle
        self._problem = problem
        self._ours: dict[str, TrialId] = {}
        self._theirs: list[str] = []

    def ask(self) -> Proposal | Wait | Done:
        # To an oracle a tuner has one trial at a time: who asks while one is in flight is another tuner.
        trial = self._oracle.create_trial(f"tuner{len(self._theirs)}")
        if trial.status == "STOPPED":
            return Done("KerasTuner's oracle has no new configuration")
        if trial.status == "IDLE":
            return Wait()
        self._ours[trial.trial_id] = len(self._theirs)
        self._theirs.append(trial.trial_id)
        return self._proposal(trial.hyperparameters.values)

    def _proposal(self, values: dict[str, Any]) -> Proposal:
        return Proposal(_decode(self._problem.space, values), self._problem.max_epochs)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        theirs = self._oracle.get_trial(self._theirs[trial.id])
        if trial.outcome.loss is None:
            theirs.status = "INVALID"
            theirs.message = trial.outcome.reason
        else:
            self._oracle.update_trial(theirs.trial_id, {"loss": trial.outcome.loss})
            theirs.status = "COMPLETED"
        self._oracle.end_trial(theirs)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Random(_Oracle):
    """keras_tuner.oracles.RandomSearchOracle."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="keras-tuner-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        paper=("random", 1),
        summary="Independent draws without repeats: KerasTuner's RandomSearch oracle.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As the baseline that every other method has to beat.",
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        from keras_tuner import oracles

        super().__init__(oracles.RandomSearchOracle(max_trials=None, **_common(problem)), problem)


class Bayes(_Oracle):
    """keras_tuner.oracles.BayesianOptimizationOracle."""

    Settings = BayesSettings
    spec = MethodSpec(
        name="keras-tuner-bayes",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        katib=("bayesianoptimization",),
        slow=True,
        summary="A Gaussian process and a lower confidence bound: KerasTuner's BayesianOptimization oracle.",
        source="Snoek, Larochelle and Adams, Practical Bayesian optimization, NeurIPS 25, 2012",
        when="To see what KerasTuner's users get; it is slow beside the other Gaussian processes.",
        parallel=True,
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
    )

    def __init__(self, problem: Problem, settings: BayesSettings) -> None:
        from keras_tuner import oracles

        options = {**_common(problem), **settings.model_dump()}
        super().__init__(oracles.BayesianOptimizationOracle(max_trials=None, **options), problem)


class Grid(_Oracle):
    """keras_tuner.oracles.GridSearchOracle over the levels of the space."""

    Settings = GridSettings
    spec = MethodSpec(
        name="keras-tuner-grid",
        katib=("grid",),
        paper=("grid", 2),
        summary="All combinations of the space's levels, the last parameter changing first: KerasTuner's GridSearch oracle.",
        source="KerasTuner, keras_tuner.oracles.GridSearchOracle",
        when="To compare with KerasTuner's own grid; the order is fixed, and a part of it stays in its first corner.",
        parallel=True,
        beats_random=False,
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
    )
    check = staticmethod(check_grid)

    def __init__(self, problem: Problem, settings: GridSettings) -> None:
        from keras_tuner import oracles

        self._levels = problem.space.grid_levels()
        options = {**_common(problem), "hyperparameters": _encode_levels(problem.space, self._levels)}
        super().__init__(oracles.GridSearchOracle(max_trials=None, **options), problem)

    def _proposal(self, values: dict[str, Any]) -> Proposal:
        config = {name: levels[values[name]] for name, levels in self._levels.items() if name in values}
        return Proposal(self._problem.space.activate(config), self._problem.max_epochs)


class Hyperband(_Oracle):
    """keras_tuner.oracles.HyperbandOracle. A promoted trial takes over its parent's best weights, not the optimizer's state,
    as keras_tuner.Hyperband does."""

    Settings = HyperbandSettings
    spec = MethodSpec(
        name="keras-tuner-hyperband",
        algorithm=Algorithm.HYPERBAND,
        katib=("hyperband",),
        paper=("hyperband", 2),
        summary="Successive halving over several brackets: KerasTuner's Hyperband oracle, exactly as it ships.",
        source="Li et al., Hyperband, JMLR 18, 2018",
        when="To see what KerasTuner's users get; its promotions drop the optimizer's state.",
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
        fidelity=True,
        warm_start=True,
        parallel=True,
    )

    inherit = Inherit.BEST_WEIGHTS

    def __init__(self, problem: Problem, settings: HyperbandSettings) -> None:
        from keras_tuner import oracles

        oracle = oracles.HyperbandOracle(
            max_epochs=problem.max_epochs,
            factor=settings.factor,
            hyperband_iterations=settings.hyperband_iterations,
            **_common(problem),
        )
        super().__init__(oracle, problem)

    def _proposal(self, values: dict[str, Any]) -> Proposal:
        parent = values.get("tuner/trial_id")
        return Proposal(
            _decode(self._problem.space, values),
            int(values["tuner/epochs"]),
            None if parent is None else self._ours[parent],
            self.inherit,
        )

    def resumable(self) -> set[TrialId]:
        """Trials of rungs from which the next one is not filled yet, and that have not gone up themselves."""
        found: set[TrialId] = set()
        for bracket in self._oracle._brackets:
            for rung, (one, following) in enumerate(pairwise(bracket["rounds"]), start=1):
                if len(following) < self._oracle._get_size(bracket["bracket_num"], rung):
                    gone_up = {entry["past_id"] for entry in following}
                    found |= {self._ours[entry["id"]] for entry in one if entry["id"] not in gone_up}
        return found


class Hyperband2020(Hyperband):
    """KerasTuner's oracle with the training of its versions 1.0.0 to 1.1.3, in which no promoted trial took over any weights."""

    Settings = Hyperband2020Settings
    spec = MethodSpec(
        name="hyperband-2020",
        algorithm=Algorithm.HYPERBAND,
        paper=("hyperband", 1),
        summary="KerasTuner's Hyperband as it was until 2022: a promoted trial takes over no weights. For ablations.",
        source="KerasTuner 1.1.3; keras-team/keras-tuner, issue 372 and pull request 711",
        when="To reproduce results of that time, and to remove one cause of them at a time: docs/hyperband.md.",
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
        fidelity=True,
        warm_start=True,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: Hyperband2020Settings) -> None:
        super().__init__(problem, settings)
        self.inherit = Inherit(settings.inherit)
        if settings.brackets == "li-2018":
            self._oracle._get_size = self._size_of_li

    def _size_of_li(self, bracket_num: int, round_num: int) -> int:
        """Algorithm 1 of Li et al., JMLR 18, 2018: the trials of a rung; its s and i by the oracle's names."""
        starts = math.ceil(self._oracle._get_num_brackets() * self._oracle.factor**bracket_num / (bracket_num + 1))
        return starts // self._oracle.factor**round_num  # type: ignore[no-any-return]


def kerastuners_seed(seed: int) -> int:
    """KerasTuner's seed for the search with a study's.

    Its oracles draw each value with a seed of its own, that of the value before plus 1 (`Oracle._random_values`, 1.4.8): searches
    whose seeds are as far apart as a configuration has values draw the same configurations, a trial later. With a study's seeds
    0, 1, 2 … a few searches would count many times; here they are a million apart. 0 is no seed to KerasTuner.
    """
    return 1 + seed * 1_000_003 % (2**32 - 1)


def _common(problem: Problem) -> dict[str, Any]:
    import keras_tuner

    return {
        "objective": keras_tuner.Objective("loss", "min"),
        "seed": kerastuners_seed(problem.seed),
        "hyperparameters": _encode(problem.space),
        "max_retries_per_trial": 0,
        "max_consecutive_failed_trials": 10**9,
    }


def _encode(space: Space) -> Any:
    """The space as KerasTuner's HyperParameters; categories go by their index, since a Choice takes values of one type only."""
    import keras_tuner

    hps = keras_tuner.HyperParameters()
    for name in space.order():
        parameter = space[name]
        with ExitStack() as scopes:
            for other, values in (parameter.when or {}).items():
                scopes.enter_context(hps.conditional_scope(other, [_code(space[other], v) for v in values]))
            match parameter:
                case Categorical():
                    hps.Choice(name, list(range(len(parameter.values))), ordered=False)
                case Int():
                    hps.Int(name, parameter.low, parameter.high, parameter.step, "log" if parameter.log else "linear")
                case Float():
                    hps.Float(name, parameter.low, parameter.high, parameter.step, "log" if parameter.log else "linear")
    return hps


def _encode_levels(space: Space, levels: dict[str, list[Value]]) -> Any:
    """The grid as KerasTuner's HyperParameters: every parameter is a choice of its levels' places."""
    import keras_tuner

    hps = keras_tuner.HyperParameters()
    for name in space.order():
        with ExitStack() as scopes:
            for other, values in (space[name].when or {}).items():
                scopes.enter_context(hps.conditional_scope(other, [levels[other].index(v) for v in values if v in levels[other]]))
            hps.Choice(name, list(range(len(levels[name]))), ordered=False)
    return hps


def _code(parameter: Categorical | Int | Float, value: Any) -> Any:
    return parameter.index(value) if isinstance(parameter, Categorical) else value


def _decode(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    return space.activate(
        {
            name: parameter.values[values[name]] if isinstance(parameter, Categorical) else values[name]
            for name, parameter in space.items()
            if name in values
        }
    )
