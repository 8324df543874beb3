"""SMAC3: Bayesian optimisation with a Gaussian process, and with a random forest over Hyperband's budgets."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from .configspace import decode, encode
from .spec import MethodSpec

UNLIMITED = 10**9
"""SMAC's own count of trials is off: the study's budget counts, and a longer one must not change a search's start."""


class BlackBoxSettings(Model):
    """SMAC starts with eight configurations a parameter, at most a quarter of the trials; ours says how many."""

    initial_configs: int = Field(
        default=10, ge=1, le=1000, description="Configurations of a Sobol sequence before the model decides."
    )
    xi: float = Field(default=0.0, ge=0, description="How much better expected improvement wants it.")
    random_share: float = Field(
        default=0.08447232371720552, ge=0, le=1, description="Share of configurations that are drawn at random in between."
    )


class MultiFidelitySettings(Model):
    """SMAC starts with ten random configurations a parameter, at most a quarter of the trials; ours says how many."""

    eta: int = Field(default=3, ge=2, le=100, description="Of so many configurations of a rung one goes up to the next.")
    min_epochs: int = Field(default=1, ge=1, description="Epochs of the lowest rung, or a little more.")
    initial_configs: int = Field(default=10, ge=1, le=1000, description="Random configurations before the model decides.")
    retrain_after: int = Field(default=8, ge=1, le=1000, description="Configurations that one fit of the forest proposes.")


class _Facade:
    """One SMAC facade behind ask and tell. SMAC takes no infinite costs: a crash is told at the worst loss known."""

    def __init__(self, facade: Any, problem: Problem) -> None:
        self._smac = facade
        self._problem = problem
        self._asked: list[Any] = []  # SMAC's TrialInfo by trial id
        self._latest: dict[Any, TrialId] = {}  # of a configuration
        self._failed: set[TrialId] = set()
        self._worst: float | None = None
        self._held: list[TrialId] = []  # failed before any loss was known

    def ask(self) -> Proposal | Done:
        from joblib import parallel_config

        with parallel_config(backend="sequential"):  # else SMAC's ten small trees start threads for each look at them
            return self._ask()

    def _ask(self) -> Proposal | Done:
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        try:
            info = self._smac.ask()
            while self._worst is not None and self._latest.get(info.config) in self._failed:  # promoted from a rung of crashes
                self._crash(info)
                info = self._smac.ask()
        except (StopIteration, ConfigurationSpaceExhaustedException):
            return Done("SMAC finds no configuration that it has not tried")
        parent = self._parent(info)
        self._latest[info.config] = len(self._asked)
        self._asked.append(info)
        return Proposal(decode(self._problem.space, info.config), self._epochs(info), parent)

    def _parent(self, info: Any) -> TrialId | None:
        """The configuration's latest trial; none where that failed, or where SMAC drew the configuration again by chance."""
        latest = self._latest.get(info.config)
        if latest is None or latest in self._failed or self._epochs(self._asked[latest]) >= self._epochs(info):
            return None
        return latest

    def _epochs(self, info: Any) -> int:
        return self._problem.max_epochs if info.budget is None else max(1, round(info.budget))

    def tell(self, trial: Trial) -> None:
        from smac.runhistory.dataclasses import TrialValue

        assert trial.outcome is not None
        loss = trial.outcome.loss
        if loss is None:
            self._failed.add(trial.id)
            self._held.append(trial.id)
        else:
            self._worst = loss if self._worst is None else max(self._worst, loss)
            self._smac.tell(self._asked[trial.id], TrialValue(cost=loss, time=trial.outcome.seconds), save=False)
        if self._worst is not None:
            for failed in self._held:
                self._crash(self._asked[failed])
            self._held.clear()

    def _crash(self, info: Any) -> None:
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        self._smac.tell(info, TrialValue(cost=self._worst, status=StatusType.CRASHED), save=False)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True


class BlackBox(_Facade):
    """smac.BlackBoxFacade."""

    Settings = BlackBoxSettings
    spec = MethodSpec(
        name="smac-bb",
        slow=True,
        summary="A Gaussian process with a kernel for categories, and expected improvement: SMAC3's BlackBoxFacade.",
        source="Lindauer et al., SMAC3: a versatile Bayesian optimization package, JMLR 23, 2022",
        when="Trials are dear and few, and the space has conditions that the model should know.",
        framework="smac",
        package="smac",
        extra="smac",
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: BlackBoxSettings) -> None:
        from smac import BlackBoxFacade as Facade

        scenario = _scenario(problem)
        facade = Facade(
            scenario,
            _trained_elsewhere,
            initial_design=Facade.get_initial_design(scenario, n_configs=settings.initial_configs),
            acquisition_function=Facade.get_acquisition_function(scenario, xi=settings.xi),
            random_design=Facade.get_random_design(scenario, probability=settings.random_share),
            logging_level=False,
            overwrite=True,
        )
        super().__init__(facade, problem)


class MultiFidelity(_Facade):
    """smac.MultiFidelityFacade: the same configuration at a higher budget continues the earlier trial."""

    Settings = MultiFidelitySettings
    spec = MethodSpec(
        name="smac-mf",
        slow=True,
        summary="Hyperband whose configurations a random forest proposes: SMAC3's MultiFidelityFacade.",
        source="Lindauer et al., SMAC3: a versatile Bayesian optimization package, JMLR 23, 2022",
        when="Few epochs already tell good configurations from bad ones, and the budget holds several dozen full trainings.",
        framework="smac",
        package="smac",
        extra="smac",
        fidelity=True,
        warm_start=True,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: MultiFidelitySettings) -> None:
        from smac import MultiFidelityFacade as Facade

        least = min(settings.min_epochs, problem.max_epochs)
        scenario = _scenario(problem, min_budget=least, max_budget=problem.max_epochs)
        facade = Facade(
            scenario,
            _trained_elsewhere,
            initial_design=Facade.get_initial_design(scenario, n_configs=settings.initial_configs),
            intensifier=Facade.get_intensifier(scenario, eta=settings.eta),
            config_selector=Facade.get_config_selector(scenario, retrain_after=settings.retrain_after),
            logging_level=False,
            overwrite=True,
        )
        super().__init__(facade, problem)

    def resumable(self) -> set[TrialId]:
        """The latest trials of the configurations in SMAC's rungs."""
        rungs = self._smac.intensifier._tracker.values()
        latest = {self._latest[c] for rung in rungs for _, configs in rung for c in configs if c in self._latest}
        return {t for t in latest - self._failed if self._epochs(self._asked[t]) < self._problem.max_epochs}


def _scenario(problem: Problem, **budgets: int) -> Any:
    from smac import Scenario

    return Scenario(
        encode(problem.space, problem.seed),
        n_trials=UNLIMITED,
        deterministic=True,
        seed=problem.seed,
        output_directory=problem.folder / "smac",
        **budgets,
    )


def _trained_elsewhere(config: Any, seed: int = 0, budget: float | None = None) -> float:
    raise RuntimeError("SMAC is asked and told, and trains nothing itself")
