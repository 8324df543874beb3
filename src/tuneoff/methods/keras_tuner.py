"""KerasTuner's oracles without its tuner: random search, grid search, Bayesian optimisation and Hyperband."""

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
    """RandomSearch has no settings: the study gives the seed."""


class HyperbandSettings(Model):
    """KerasTuner's arguments of the same names. KerasTuner's default for hyperband_iterations is 1."""

    factor: int = Field(default=3, ge=2, le=100, description="Promote 1 of every factor trials of a rung.")
    hyperband_iterations: int | None = Field(
        default=None, ge=1, description="Number of rounds of all brackets; null: until the budget is used up."
    )


class Hyperband2020Settings(HyperbandSettings):
    """Settings that each remove one fault of KerasTuner up to version 1.1.3 (docs/hyperband.md)."""

    inherit: Literal["nothing", "best_weights", "state"] = Field(
        default="nothing",
        description="What a promoted trial inherits: nothing, so that it trains only its new epochs, from new weights;"
        " best_weights, as in later versions of KerasTuner; or state, the last weights and optimizer state.",
    )
    brackets: Literal["keras-tuner", "li-2018"] = Field(
        default="keras-tuner", description="Number of trials per rung: that of KerasTuner, or that of Li et al. (li-2018)."
    )


class BayesSettings(Model):
    """KerasTuner's arguments of the same names, with its defaults."""

    num_initial_points: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Number of random configurations before the model proposes; null: 3 per parameter.",
    )
    alpha: float = Field(default=1e-4, gt=0, description="Variance of the objective's noise in the model.")
    beta: float = Field(default=2.6, ge=0, description="Weight of exploration in the acquisition function.")


class GridSettings(Model):
    """GridSearch has no settings: the space gives the levels."""


def check_grid(study: Study, settings: GridSettings) -> list[str]:
    """Refuse ranges without levels. KerasTuner would choose ten values itself, and other grid searches would use another grid."""
    without_levels = [name for name, parameter in study.space.items() if parameter.levels() is None]
    if not without_levels:
        return []
    return [
        f"keras-tuner-grid needs step or grid_points on every range of the space: add one of them to {', '.join(without_levels)}."
    ]


class _Oracle:
    """Ask and tell with one KerasTuner oracle. KerasTuner's limits of trials and failures are off, because the study has them."""

    def __init__(self, oracle: Any, problem: Problem) -> None:
        oracle._set_project_dir(str(problem.folder), "keras_tuner")
        oracle.verbose = 0
        oracle.save = oracle._save_trial = lambda *_: None  # the record replaces these files, which grow with every trial
        self._oracle = oracle
        self._problem = problem
        self._ours: dict[str, TrialId] = {}
        self._theirs: list[str] = []

    def ask(self) -> Proposal | Wait | Done:
        # An oracle allows one trial at a time per tuner, so each ask comes from a new tuner.
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
    """Search with keras_tuner.oracles.RandomSearchOracle."""

    Settings = RandomSettings
    spec = MethodSpec(
        name="keras-tuner-random",
        algorithm=Algorithm.RANDOM_SEARCH,
        is_random=True,
        katib=("random",),
        paper=("random", 1),
        summary="Random search without repeats: KerasTuner's RandomSearch oracle.",
        source="Bergstra and Bengio, Random search for hyper-parameter optimization, JMLR 13, 2012",
        when="As the baseline for every other method.",
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: RandomSettings) -> None:
        from keras_tuner import oracles

        super().__init__(oracles.RandomSearchOracle(max_trials=None, **_common(problem)), problem)


class Bayes(_Oracle):
    """Search with keras_tuner.oracles.BayesianOptimizationOracle."""

    Settings = BayesSettings
    spec = MethodSpec(
        name="keras-tuner-bayes",
        algorithm=Algorithm.GAUSSIAN_PROCESS,
        katib=("bayesianoptimization",),
        slow=True,
        summary="A Gaussian process and a lower confidence bound: KerasTuner's BayesianOptimization oracle.",
        source="Snoek, Larochelle and Adams, Practical Bayesian optimization, NeurIPS 25, 2012",
        when="To measure what users of KerasTuner get. It is slower than the other Gaussian processes.",
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
    """Search the levels of the space with keras_tuner.oracles.GridSearchOracle."""

    Settings = GridSettings
    spec = MethodSpec(
        name="keras-tuner-grid",
        katib=("grid",),
        paper=("grid", 2),
        summary="All combinations of the levels of the space, the last parameter changing first: KerasTuner's GridSearch oracle.",
        source="KerasTuner, keras_tuner.oracles.GridSearchOracle",
        when="To compare with KerasTuner's grid search. Its order is fixed, and a partial grid covers only its first corner.",
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
    """Search with keras_tuner.oracles.HyperbandOracle.

    As in keras_tuner.Hyperband, a promoted trial inherits the best weights of its parent, but not the optimizer state.
    """

    Settings = HyperbandSettings
    spec = MethodSpec(
        name="keras-tuner-hyperband",
        algorithm=Algorithm.HYPERBAND,
        katib=("hyperband",),
        paper=("hyperband", 2),
        summary="Successive halving in several brackets: KerasTuner's Hyperband oracle, unchanged.",
        source="Li et al., Hyperband, JMLR 18, 2018",
        when="To measure what users of KerasTuner get. Promoted trials lose their optimizer state.",
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
        """Return the trials that are not promoted and whose next rung is not full."""
        trials: set[TrialId] = set()
        for bracket in self._oracle._brackets:
            for rung, (lower, upper) in enumerate(pairwise(bracket["rounds"]), start=1):
                if len(upper) < self._oracle._get_size(bracket["bracket_num"], rung):
                    promoted = {entry["past_id"] for entry in upper}
                    trials |= {self._ours[entry["id"]] for entry in lower if entry["id"] not in promoted}
        return trials


class Hyperband2020(Hyperband):
    """KerasTuner's oracle with the training of its versions 1.0.0 to 1.1.3, where promoted trials inherited no weights."""

    Settings = Hyperband2020Settings
    spec = MethodSpec(
        name="hyperband-2020",
        algorithm=Algorithm.HYPERBAND,
        paper=("hyperband", 1),
        summary="KerasTuner's Hyperband as it was until 2022: promoted trials inherit no weights. For ablations.",
        source="KerasTuner 1.1.3; keras-team/keras-tuner, issue 372 and pull request 711",
        when="To reproduce results of that time, or to remove its faults one at a time: docs/hyperband.md.",
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
        """Return the number of trials of a rung in algorithm 1 of Li et al., JMLR 18, 2018.

        bracket_num is s of the algorithm, and round_num is i.
        """
        starts = math.ceil(self._oracle._get_num_brackets() * self._oracle.factor**bracket_num / (bracket_num + 1))
        return starts // self._oracle.factor**round_num  # type: ignore[no-any-return]


def kerastuners_seed(seed: int) -> int:
    """Return the KerasTuner seed for a seed of a study.

    KerasTuner's oracles draw each value with a separate seed, which is the previous seed plus 1 (`Oracle._random_values`, 1.4.8).
    Two searches draw the same configurations, one trial apart, if their seeds differ by the number of values per configuration.
    With the seeds 0, 1, 2 … of a study, the searches would not be independent. The returned seeds are a million apart. They are
    never 0, because KerasTuner treats 0 as no seed.
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
    """Return the space as HyperParameters. Categories are encoded by index, because a Choice allows values of only one type."""
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
    """Return the grid as HyperParameters. Each parameter is a Choice of the indices of its levels."""
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
