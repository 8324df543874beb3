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
"""FLAML answers an ask with nothing where it thinks again, or meets a configuration that it has asked before."""


class FlamlSettings(Model):
    """`low_cost_partial_config`, FLAML's argument of that name: without it, a search starts anywhere."""

    low_cost_partial_config: dict[str, Value] = Field(
        default={}, description="Values of some parameters with which training is cheap; the search starts there."
    )


def check(study: Study, settings: FlamlSettings) -> list[str]:
    """The start must lie in the space."""
    said = []
    for name, value in settings.low_cost_partial_config.items():
        if name not in study.space.root:
            said.append(f"flaml's low_cost_partial_config names {name!r}, which is no parameter: {', '.join(study.space)}.")
        elif not study.space[name].contains(value):
            said.append(f"flaml's low_cost_partial_config sets {name} to {value!r}, which it never takes.")
    return said


class _Searcher:
    """One FLAML searcher behind ask and tell. An inactive parameter varies without effect."""

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
    """flaml.CFO."""

    Settings = FlamlSettings
    spec = MethodSpec(
        name="flaml-cfo",
        summary="A local search that starts again where it gets stuck: FLAML's CFO.",
        source="Wu, Wang and Huang, Frugal optimization for cost-related hyperparameters, AAAI 35, 2021",
        when="A cheap configuration is known to start from, and the way from there is smooth.",
        framework="flaml",
        package="flaml",
        extra="flaml",
        parallel=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: FlamlSettings) -> None:
        super().__init__(problem, settings, "CFO")


class Blend(_Searcher):
    """flaml.BlendSearch."""

    Settings = FlamlSettings
    spec = MethodSpec(
        name="flaml-blendsearch",
        summary="Local searches that a global one (Optuna's TPE) starts: FLAML's BlendSearch.",
        source="Wang, Wu, Huang and Saied, Economical hyperparameter optimization with blended search strategy, ICLR 2021",
        when="As flaml-cfo, where the space has several good regions.",
        framework="flaml",
        package="flaml",
        extra="flaml",
        parallel=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: FlamlSettings) -> None:
        super().__init__(problem, settings, "BlendSearch")


def _domain(axis: Axis) -> Any:
    """FLAML's own rule for categories: numbers have an order, all else has none."""
    from flaml import tune

    if isinstance(axis.parameter, Categorical):
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in axis.parameter.values)
        return tune.choice(axis.places, order=numbers)
    if axis.kind == "float":
        return (tune.loguniform if axis.log else tune.uniform)(axis.low, axis.high)
    return (tune.lograndint if axis.log else tune.randint)(int(axis.low), int(axis.high) + 1)
