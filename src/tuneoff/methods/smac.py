"""SMAC3: Bayesian optimisation with a Gaussian process, and Hyperband with a random forest."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from .configspace import decode, encode
from .spec import MethodSpec

UNLIMITED = 10**9
"""The limit of trials for SMAC. The study's budget ends the search, and a larger budget must not change the start of a search."""


class BlackBoxSettings(Model):
    """Settings of BlackBoxFacade.

    SMAC's default start has eight configurations per parameter, but at most a quarter of the trials. Here the number is fixed.
    """

    initial_configs: int = Field(
        default=10, ge=1, le=1000, description="Number of configurations from a Sobol sequence before the model proposes."
    )
    xi: float = Field(default=0.0, ge=0, description="Minimum improvement that expected improvement aims for.")
    random_share: float = Field(
        default=0.08447232371720552,
        ge=0,
        le=1,
        description="Share of random configurations between those that the model proposes.",
    )


class MultiFidelitySettings(Model):
    """Settings of MultiFidelityFacade.

    SMAC's default start has ten random configurations per parameter, but at most a quarter of the trials. Here the number is
    fixed.
    """

    eta: int = Field(default=3, ge=2, le=100, description="Promote 1 of every eta configurations of a rung.")
    min_epochs: int = Field(default=1, ge=1, description="Epochs of the lowest rung. SMAC may round them up.")
    initial_configs: int = Field(
        default=10, ge=1, le=1000, description="Number of random configurations before the model proposes."
    )
    retrain_after: int = Field(
        default=8, ge=1, le=1000, description="Number of configurations after which the forest is fitted again."
    )


class _Facade:
    """Ask and tell with one SMAC facade.

    SMAC does not support infinite costs: it receives the worst loss so far for a failed trial.
    """

    def __init__(self, facade: Any, problem: Problem) -> None:
        self._smac = facade
        self._problem = problem
        self._asked: list[Any] = []  # SMAC's TrialInfo by trial id
        self._latest: dict[Any, TrialId] = {}  # the latest trial of each configuration
        self._failed: set[TrialId] = set()
        self._worst: float | None = None
        self._held: list[TrialId] = []  # trials that failed before the first loss

    def ask(self) -> Proposal | Done:
        from joblib import parallel_config

        with parallel_config(backend="sequential"):  # otherwise each prediction of SMAC's ten small trees starts threads
            return self._ask()

    def _ask(self) -> Proposal | Done:
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        try:
            info = self._smac.ask()
            while self._worst is not None and self._latest.get(info.config) in self._failed:  # promoted from a rung of failures
                self._crash(info)
                info = self._smac.ask()
        except (StopIteration, ConfigurationSpaceExhaustedException):
            return Done("SMAC has tried every configuration that it can find")
        parent = self._parent(info)
        self._latest[info.config] = len(self._asked)
        self._asked.append(info)
        return Proposal(decode(self._problem.space, info.config), self._epochs(info), parent)

    def _parent(self, info: Any) -> TrialId | None:
        """Return the latest trial of the configuration, or None.

        None if the trial failed, or if SMAC has drawn the same configuration again by chance.
        """
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
    """Search with smac.BlackBoxFacade."""

    Settings = BlackBoxSettings
    spec = MethodSpec(
        name="smac-bb",
        slow=True,
        summary="A Gaussian process with a kernel for categories, and expected improvement: SMAC3's BlackBoxFacade.",
        source="Lindauer et al., SMAC3: a versatile Bayesian optimization package, JMLR 23, 2022",
        when="For few, expensive trials in a space with conditions that the model should use.",
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
    """Search with smac.MultiFidelityFacade. A configuration with a higher budget resumes its earlier trial."""

    Settings = MultiFidelitySettings
    spec = MethodSpec(
        name="smac-mf",
        slow=True,
        summary="Hyperband with configurations from a random forest model: SMAC3's MultiFidelityFacade.",
        source="Lindauer et al., SMAC3: a versatile Bayesian optimization package, JMLR 23, 2022",
        when="If the first epochs separate good from bad configurations, and the budget pays for several dozen full trainings.",
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
        """Return the latest trials of the configurations in SMAC's rungs."""
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
    raise RuntimeError("SMAC must not train: Tuneoff trains its proposals")
