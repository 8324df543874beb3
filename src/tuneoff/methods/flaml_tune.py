"""FLAML's searchers, CFO and BlendSearch, without its tuner."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import Field

from ..core.encoding import Axes, Axis
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId, Wait
from ..core.space import Categorical, Model, Value
from ..core.study import Study
from .spec import MethodSpec

MAX_REFUSALS = 200
"""Number of suggestions without a configuration after which the search ends.

FLAML suggests None when it restarts a local search or repeats a configuration.
"""


class FlamlSettings(Model):
    """FLAML's argument of the same name. Without it, the search starts at a random configuration."""

    low_cost_partial_config: dict[str, Value] = Field(
        default={}, description="Values of some parameters with which training is cheap. The search starts from them."
    )


def check(study: Study, settings: FlamlSettings) -> list[str]:
    """Refuse a start outside of the space."""
    messages = []
    for name, value in settings.low_cost_partial_config.items():
        if name not in study.space.root:
            messages.append(f"flaml: low_cost_partial_config names {name!r}, but the parameters are {', '.join(study.space)}.")
        elif not study.space[name].contains(value):
            messages.append(f"flaml: low_cost_partial_config sets {name} = {value!r}, which is not in the space.")
    return messages


class _Searcher:
    """Ask and tell with one FLAML searcher. Inactive parameters vary without effect."""

    def __init__(self, problem: Problem, settings: FlamlSettings, searcher: str) -> None:
        import warnings

        import flaml

        warnings.simplefilter("ignore")
        for talker in ("flaml", "optuna", "ray"):
            logging.getLogger(talker).setLevel(logging.ERROR)
        self._axes = Axes(problem.space)
        self._max_epochs = problem.max_epochs
        self._asked: list[tuple[str, dict[str, Any]]] = []
        self._in_flight = 0
        self._names = 0
        start = settings.low_cost_partial_config
        self._searcher = getattr(flaml, searcher)(
            metric="loss",
            mode="min",
            space={axis.name: _domain(axis) for axis in self._axes.axes},
            low_cost_partial_config={a.name: a.place(start[a.name]) for a in self._axes.axes if a.name in start} or None,
            seed=problem.seed,
        )

    def ask(self) -> Proposal | Wait | Done:
        for _ in range(MAX_REFUSALS):
            name = f"trial{self._names}"
            self._names += 1
            config = self._searcher.suggest(name)
            if config is not None:
                self._asked.append((name, config))
                self._in_flight += 1
                return Proposal(self._axes.decode(config), self._max_epochs)
            if self._in_flight:
                return Wait()
        return Done("FLAML's searcher has no new configuration")

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        self._in_flight -= 1
        name, config = self._asked[trial.id]
        if trial.outcome.loss is None:
            self._searcher.on_trial_complete(name, error=True)
        else:
            self._searcher.on_trial_complete(name, result={"loss": trial.outcome.loss, "config": config})

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class Cfo(_Searcher):
    """Search with flaml.CFO."""

    Settings = FlamlSettings
    spec = MethodSpec(
        name="flaml-cfo",
        summary="A local search that restarts when it is stuck: FLAML's CFO.",
        source="Wu, Wang and Huang, Frugal optimization for cost-related hyperparameters, AAAI 35, 2021",
        when="If you know a cheap configuration to start from and the objective is smooth around it.",
        framework="flaml",
        package="flaml",
        extra="flaml",
        parallel=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: FlamlSettings) -> None:
        super().__init__(problem, settings, "CFO")


class Blend(_Searcher):
    """Search with flaml.BlendSearch."""

    Settings = FlamlSettings
    spec = MethodSpec(
        name="flaml-blendsearch",
        summary="Local searches started by a global search with Optuna's TPE: FLAML's BlendSearch.",
        source="Wang, Wu, Huang and Saied, Economical hyperparameter optimization with blended search strategy, ICLR 2021",
        when="Like flaml-cfo, but for spaces with several good regions.",
        framework="flaml",
        package="flaml",
        extra="flaml",
        parallel=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: FlamlSettings) -> None:
        super().__init__(problem, settings, "BlendSearch")


def _domain(axis: Axis) -> Any:
    """Return FLAML's domain of an axis. As in FLAML itself, categories are ordered only if all are numbers."""
    from flaml import tune

    if isinstance(axis.parameter, Categorical):
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in axis.parameter.values)
        return tune.choice(axis.places, order=numbers)
    if axis.kind == "float":
        return (tune.loguniform if axis.log else tune.uniform)(axis.low, axis.high)
    return (tune.lograndint if axis.log else tune.randint)(int(axis.low), int(axis.high) + 1)
