"""Google Vizier's designers: the Gaussian process bandit and the eagle strategy."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from .spec import MethodSpec


class GpSettings(Model):
    """VizierGPBandit's arguments of the same names, with its defaults.

    The default of max_evaluations is smaller than Vizier's 75,000, which take most of the time of a suggestion.
    """

    num_seed_trials: int = Field(
        default=1, ge=1, le=10_000, description="Number of quasi-random trials before the model proposes."
    )
    ard_random_restarts: int = Field(
        default=4, ge=1, le=100, description="Number of starting points for fitting the Gaussian process."
    )
    max_evaluations: int = Field(
        default=5000, ge=100, le=1_000_000, description="Number of points at which the acquisition function is evaluated."
    )


class EagleSettings(Model):
    """The eagle strategy has no settings: the study gives the seed."""


MOST_MAPPINGS = 20_000
"""Number of memory mappings above which jax's caches are cleared.

Code that jax has compiled stays mapped, about three thousand mappings per search. Linux allows 65,530 per process, and a process
that exceeds them ends with a segmentation fault. Searches run in separate processes, but the contract runs many searches in one.
"""


COMPILED = "~/.cache/tuneoff/jax"
"""Folder of the code that jax has compiled, by machine. Later searches reuse it.

The first eight suggestions then take 32 s instead of 56 s of CPU time. If the folder is not writable, jax warns and compiles.
"""


def _mappings() -> int:
    """Return the number of memory mappings of this process, or 0 if the system does not provide it."""
    try:
        with open("/proc/self/maps", "rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0


class _Designer:
    """Ask and tell with one Vizier designer."""

    def __init__(self, designer: Any, problem: Problem) -> None:
        self._designer = designer
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._asked: list[Any] = []  # Vizier's trials by trial id

    def ask(self) -> Proposal:
        trial = self._designer.suggest(1)[0].to_trial(len(self._asked) + 1)
        self._asked.append(trial)
        places = {name: value.value for name, value in trial.parameters.items()}
        return Proposal(self._axes.decode({a.name: places.get(a.name, 0) for a in self._axes.axes}), self._max_epochs)

    def tell(self, trial: Trial) -> None:
        from vizier import algorithms as vza
        from vizier import pyvizier as vz

        assert trial.outcome is not None
        theirs = self._asked[trial.id]
        if trial.outcome.loss is None:
            theirs.complete(vz.Measurement(), infeasibility_reason=trial.outcome.reason or trial.outcome.status)
        else:
            theirs.complete(vz.Measurement(metrics={"loss": trial.outcome.loss}))
        self._designer.update(vza.CompletedTrials([theirs]), vza.ActiveTrials())

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Gp(_Designer):
    """Search with VizierGPBandit. Arrays are padded to powers of two, so that the model is rarely compiled again."""

    Settings = GpSettings
    spec = MethodSpec(
        name="vizier-gp",
        summary="A Gaussian process bandit with a trust region: Google Vizier's VizierGPBandit.",
        source="Song et al., The Vizier Gaussian process bandit algorithm, 2024",
        when="For trials of minutes or more, because a proposal takes seconds, and more on a slow machine. Run at least twenty"
        " trials, because the search starts in the middle of each range.",
        framework="google-vizier",
        package="vizier",
        extra="vizier",
        environment="vizier",
    )

    def __init__(self, problem: Problem, settings: GpSettings) -> None:
        import jax
        from vizier._src.algorithms.designers import gp_bandit
        from vizier._src.algorithms.optimizers import eagle_strategy, vectorized_base
        from vizier.pyvizier.converters import padding

        if _mappings() > MOST_MAPPINGS:
            jax.clear_caches()
        jax.config.update("jax_compilation_cache_dir", str(Path(COMPILED, platform.node()).expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        designer = gp_bandit.VizierGPBandit(
            _statement(problem),
            acquisition_optimizer_factory=vectorized_base.VectorizedOptimizerFactory(
                strategy_factory=eagle_strategy.VectorizedEagleStrategyFactory(eagle_config=eagle_strategy.EagleStrategyConfig()),
                max_evaluations=settings.max_evaluations,
                suggestion_batch_size=25,
            ),
            ard_random_restarts=settings.ard_random_restarts,
            num_seed_trials=settings.num_seed_trials,
            padding_schedule=padding.PaddingSchedule(num_trials=padding.PaddingType.POWERS_OF_2),
            rng=jax.random.PRNGKey(problem.seed),
        )
        super().__init__(designer, problem)


class Eagle(_Designer):
    """Search with EagleStrategyDesigner."""

    Settings = EagleSettings
    spec = MethodSpec(
        name="vizier-eagle",
        summary="A swarm of fireflies that attract and repel each other: Google Vizier's eagle strategy.",
        source="Yang and Deb, Eagle strategy using Levy walk and firefly algorithms for stochastic optimization, 2010",
        when="For hundreds of trials with a very fast method.",
        framework="google-vizier",
        package="vizier",
        extra="vizier",
        environment="vizier",
    )

    def __init__(self, problem: Problem, settings: EagleSettings) -> None:
        from vizier._src.algorithms.designers.eagle_strategy.eagle_strategy import EagleStrategyDesigner

        super().__init__(EagleStrategyDesigner(_statement(problem), seed=problem.seed), problem)


def _statement(problem: Problem) -> Any:
    """Return the problem for Vizier: without parameters with only one value, and flat.

    The designers do not support conditions.
    """
    from vizier import pyvizier as vz

    statement = vz.ProblemStatement()
    for axis in Axes(problem.space).axes:
        if axis.high > axis.low:
            _add(statement.search_space.root, axis)
    statement.metric_information.append(vz.MetricInformation(name="loss", goal=vz.ObjectiveMetricGoal.MINIMIZE))
    return statement


def _add(root: Any, axis: Axis) -> None:
    from vizier import pyvizier as vz

    scale = vz.ScaleType.LOG if axis.log else vz.ScaleType.LINEAR
    match axis.kind:
        case "choice":
            root.add_categorical_param(axis.name, [str(place) for place in axis.places])
        case "int":
            root.add_int_param(axis.name, int(axis.low), int(axis.high), scale_type=scale)
        case "float":
            root.add_float_param(axis.name, axis.low, axis.high, scale_type=scale)
