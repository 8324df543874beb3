"""The budget of a Katib Experiment: trials, parallel trials and epochs of each trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.study import Study
from .algorithms import Algorithm

POPULATION, LEAST_POPULATION = 8, 5

RESOURCE = "target-epochs"
"""The parameter with which hyperband sets a trial's epochs. It is unique: hyperparameter names cannot contain a hyphen."""
ETA = 3
CHECKPOINTS = "/var/lib/tuneoff/checkpoints"
PBT_STEPS = 5
"""Number of parts of a full training. After each part, pbt changes values. ray-pbt uses the same number."""


@dataclass(frozen=True)
class Plan:
    """How an algorithm spends the study's budget."""

    trials: int
    parallel: int
    epochs: int  # of each trial
    settings: Mapping[str, str]  # settings of the algorithm
    resume: str = "Never"


# The budget


def epochs(study: Study) -> int:
    """Return the number of epochs that the budget allows, where an epoch trains one model (cross-validation trains several)."""
    budget = study.budget
    by_trials = None if budget.trials is None else budget.trials * study.full_epochs
    return int(min(n for n in (budget.epochs, by_trials) if n is not None)) // study.trainings


def plan_of(study: Study, algorithm: Algorithm, parallel: int = 1) -> Plan:
    """Return how the algorithm spends the budget.

    By default trials run one at a time, so that the algorithm knows each result before it proposes the next trial.
    """
    full = study.budget.epochs_per_trial
    if algorithm.name == "hyperband":
        rung = max(_first_rung(full), parallel)
        return Plan(rung + 1, rung, full, {"r_l": str(full), "eta": str(ETA), "resource_name": RESOURCE})
    if algorithm.name == "pbt":
        step = max(1, round(full / PBT_STEPS))
        trials = epochs(study) // step
        population = min(POPULATION, trials // 2)
        settings = {"suggestion_trial_dir": CHECKPOINTS, "n_population": str(population), "truncation_threshold": "0.2"}
        return Plan(trials, population, step, settings, resume="FromVolume")
    trials = epochs(study) // full
    return Plan(trials, min(parallel, trials), full, {})


def _first_rung(full: int) -> int:
    """Return the number of trials in hyperband's first rung. All of them must run at the same time."""
    return int(ETA ** int(math.log(full) / math.log(ETA)))


def hyperband_epochs(study: Study, rung: int) -> int:
    """Return the epochs of the first rung plus those of the one promoted trial, which trains again from the start."""
    full = study.budget.epochs_per_trial
    least = full // _first_rung(full)
    return (rung + ETA) * least
