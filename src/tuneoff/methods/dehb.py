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
"""The loss of a failed trial. A huge value is safe because DEHB only compares and sorts losses."""


class DehbSettings(Model):
    """DEHB's arguments of the same names; min_epochs sets its lowest fidelity."""

    eta: int = Field(default=3, ge=2, le=100, description="Promote 1 of every eta configurations of a rung.")
    min_epochs: int = Field(default=1, ge=1, description="Epochs of the lowest rung. DEHB may round them up.")
    mutation_factor: float = Field(default=0.5, gt=0, le=1, description="Scale of the difference that is added to a mutant.")
    crossover_prob: float = Field(default=0.5, ge=0, le=1, description="Share of parameters that a child takes from its mutant.")
    strategy: Literal[
        "rand1_bin", "rand2_bin", "rand2dir_bin", "best1_bin", "best2_bin", "currenttobest1_bin", "randtobest1_bin"
    ] = "rand1_bin"


def check(study: Study, settings: DehbSettings) -> list[str]:
    """Refuse a study with a single rung, which DEHB does not support."""
    epochs = study.budget.epochs_per_trial
    if settings.min_epochs < epochs:
        return []
    return [f"dehb: min_epochs = {settings.min_epochs} must be smaller than epochs_per_trial = {epochs}."]


class Dehb:
    """Ask and tell with dehb.DEHB.

    A configuration that DEHB proposes again at a higher fidelity resumes its earlier trial.
    """

    Settings = DehbSettings
    spec = MethodSpec(
        name="dehb",
        summary="Differential evolution on the rungs of Hyperband: DEHB.",
        source="Awad, Mallik and Hutter, DEHB: evolutionary Hyperband for scalable, robust and efficient HPO, IJCAI 30, 2021",
        when="In a large space, if the first epochs separate good from bad configurations and the method itself must be fast.",
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
        self._told: dict[object, Trial] = {}  # the latest successful trial of each configuration
        self._failed: set[int] = set()  # DEHB's ids of failed configurations

    def ask(self) -> Proposal | Done:
        job = self._dehb.ask()
        while job["config_id"] in self._failed:  # a rung with too many failures promotes a failed configuration
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
        """Return the trials below the highest rung. Crossover may propose any of their configurations again."""
        return {t.id for t in self._told.values() if t.proposal.target_epoch < self._problem.max_epochs}
