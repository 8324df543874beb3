"""DEHB: differential evolution over Hyperband's rungs."""

from __future__ import annotations

import sys
from typing import Any, Literal

from pydantic import Field

from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId
from ..core.space import Model
from ..core.study import Study
from .configspace import decode, encode, key
from .spec import MethodSpec

WORST = sys.float_info.max
"""What a failed trial is told as: DEHB compares and sorts losses and does no more with them."""


class DehbSettings(Model):
    """DEHB's own settings."""

    eta: int = Field(default=3, ge=2, le=100, description="Of so many configurations of a rung one goes up to the next.")
    min_epochs: int = Field(default=1, ge=1, description="Epochs of the lowest rung, or a little more.")
    mutation_factor: float = Field(default=0.5, gt=0, le=1, description="How far a mutant goes along a difference.")
    crossover_prob: float = Field(default=0.5, ge=0, le=1, description="Share of parameters that a child takes from its mutant.")
    strategy: Literal[
        "rand1_bin", "rand2_bin", "rand2dir_bin", "best1_bin", "best2_bin", "currenttobest1_bin", "randtobest1_bin"
    ] = "rand1_bin"


def check(study: Study, settings: DehbSettings) -> list[str]:
    """DEHB knows no single rung."""
    epochs = study.budget.epochs_per_trial
    if settings.min_epochs < epochs:
        return []
    return [f"dehb needs min_epochs below epochs_per_trial, and {settings.min_epochs} is not below {epochs}."]


class Dehb:
    """dehb.DEHB: a configuration that it asks again at a higher fidelity continues the earlier trial."""

    Settings = DehbSettings
    spec = MethodSpec(
        name="dehb",
        summary="Differential evolution over Hyperband's rungs: DEHB.",
        source="Awad, Mallik and Hutter, DEHB: evolutionary Hyperband for scalable, robust and efficient HPO, IJCAI 30, 2021",
        when="Early epochs tell good from bad, the space is large, and the method itself should cost next to nothing.",
        framework="dehb",
        package="dehb",
        extra="dehb",
        fidelity=True,
        warm_start=True,
        parallel=True,
    )
    check = staticmethod(check)

    def __init__(self, problem: Problem, settings: DehbSettings) -> None:
        from dehb import DEHB

        self._problem = problem
        space = encode(problem.space, problem.seed)
        self._dehb = DEHB(
            cs=space,
            dimensions=len(problem.space),
            min_fidelity=settings.min_epochs,
            max_fidelity=problem.max_epochs,
            eta=settings.eta,
            mutation_factor=settings.mutation_factor,
            crossover_prob=settings.crossover_prob,
            strategy=settings.strategy,
            seed=problem.seed,
            n_workers=1,
            save_freq="end",
            output_path=str(problem.folder / "dehb"),
        )
        self._jobs: list[Any] = []  # by trial id
        self._told: dict[object, Trial] = {}  # the latest of each configuration that has weights
        self._failed: set[int] = set()  # DEHB's ids of configurations

    def ask(self) -> Proposal | Done:
        job = self._dehb.ask()
        while job["config_id"] in self._failed:  # a rung full of failures promotes one of them
            self._fail(job)
            job = self._dehb.ask()
        self._jobs.append(job)
        config, epochs = decode(self._problem.space, job["config"]), max(1, round(job["fidelity"]))
        earlier = self._told.get(key(config))
        continues = earlier is not None and earlier.proposal.target_epoch < epochs
        return Proposal(config, epochs, earlier.id if earlier and continues else None)

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        job, loss = self._jobs[trial.id], trial.outcome.loss
        if loss is None:
            self._failed.add(job["config_id"])
            self._fail(job)
            return
        self._told[key(trial.proposal.config)] = trial
        self._dehb.tell(job, {"fitness": loss, "cost": trial.outcome.seconds})

    def _fail(self, job: Any) -> None:
        self._dehb.tell(job, {"fitness": WORST, "cost": 0.0})

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True

    def resumable(self) -> set[TrialId]:
        """Any configuration may come again by crossover, as long as there is a higher rung."""
        return {t.id for t in self._told.values() if t.proposal.target_epoch < self._problem.max_epochs}
