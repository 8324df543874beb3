"""The values that pass between the loop, a method and an objective: problem, proposal, epoch, outcome, trial."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from .space import Config, Space

TrialId = int
"""A trial's number within its search, counted from 0 in the order of the asks: a method's n-th proposal is trial n - 1."""


class Status(StrEnum):
    """How a trial ended. A trial without an outcome has none: it is in flight, or its process was killed."""

    COMPLETED = "completed"  # trained to its target epoch
    STOPPED = "stopped"  # ended before by the method's stop rule
    DIVERGED = "diverged"  # the training loss or the objective is no finite number
    FAILED = "failed"  # could not be built or trained; the outcome's reason says why


class Inherit(StrEnum):
    """What a trial takes over from its parent."""

    STATE = "state"  # weights and optimizer state of the last epoch
    BEST_WEIGHTS = "best_weights"  # weights of the best epoch, a new optimizer (KerasTuner 1.4.8)
    NOTHING = "nothing"  # new weights, the epoch count goes on (KerasTuner before pull request 711 of 2022)


@dataclass(frozen=True)
class Problem:
    """What a method is built from."""

    space: Space
    max_epochs: int  # epochs of a full training
    seed: int
    folder: Path  # an empty folder for the framework's own files; gone after the search
    trials: int | None = None  # the budget's limits, None where there is none
    epochs: int | None = None
    seconds: float | None = None
    in_flight: int = 1  # trials that may run at the same time
    metric: str = "val_accuracy"  # the study's objective: loss = sign × metric
    sign: int = -1

    def loss(self, epoch: Epoch) -> float:
        """What is minimised, after this epoch: what a stop rule goes by."""
        return self.sign * epoch.metrics[self.metric]


@dataclass(frozen=True)
class Proposal:
    """What a method asks for: train this configuration up to this epoch."""

    config: Config
    target_epoch: int
    parent: TrialId | None = None
    inherit: Inherit = Inherit.STATE


@dataclass(frozen=True)
class Wait:
    """Nothing to ask before one of the trials in flight has been told."""


@dataclass(frozen=True)
class Done:
    """The method has nothing more to ask, for good."""

    reason: str


@dataclass(frozen=True)
class Epoch:
    """One epoch of training; `number` counts from 1 and goes on from the parent's last.

    `metrics` holds loss, accuracy, val_loss and val_accuracy (shares of 1); with k-fold cross-validation, means over the folds.
    """

    number: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What training gave. `curve` holds the epochs trained in this trial alone, not its parent's."""

    status: Status
    curve: tuple[Epoch, ...]
    loss: float | None  # minimised, whatever the study's direction; None unless completed or stopped
    seconds: float  # of training, start-up of the model included
    reason: str | None = None
    device: str = ""
    peak_memory_bytes: int | None = None
    trainings: int = 1  # models trained side by side: the folds of a cross-validation

    @property
    def trained_epochs(self) -> int:
        """Epochs that the budget is charged: those of every model."""
        return len(self.curve) * self.trainings


@dataclass(frozen=True)
class Trial:
    """A proposal, its identity and, once trained, its outcome."""

    id: TrialId
    config_id: int  # the id of the first trial of the lineage: the same across rungs
    proposal: Proposal
    first_epoch: int  # epochs that the parent had trained; 0 without one
    outcome: Outcome | None = None

    @property
    def asked_epochs(self) -> int:
        """Epochs that the proposal wants trained here of each model, resumed ones not counted again."""
        return self.proposal.target_epoch - self.first_epoch


@dataclass(frozen=True)
class Checkpoint:
    """Where a trial starts from and where it leaves its weights; both files belong to one trial and never change."""

    load: Path | None = None
    inherit: Inherit = Inherit.STATE
    save: Path | None = None


class Objective(Protocol):
    """Trains a proposal epoch by epoch, or replays such a training; the caller closes the iterator to stop it.

    Raises TrainingFailed (with the reason) where the model cannot be built or trained.
    """

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]: ...


class TrainingFailed(Exception):
    """A trial's model could not be built or trained; the message is the recorded reason.

    On a simulated clock, `seconds` of training since its last epoch were lost.
    """

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Method(Protocol):
    """The whole contract of a search method.

    A sequence of calls::

        ask() -> Proposal(c0, 3)             trial 0, the first proposal
        should_continue(trial 0, epoch 1) -> True    only where the method's spec declares a stop rule
        tell(trial 0)                        outcome completed, loss -0.81
        ask() -> Proposal(c0, 9, parent=0)   trial 1 continues trial 0
        tell(trial 1)
        ask() -> Done("all brackets are complete")

    Only `ask` and `tell` change state. The same problem, settings and tells lead to the same asks, in any process.
    """

    def ask(self) -> Proposal | Wait | Done:
        """The next proposal; Wait only while a trial is in flight; Done is final."""
        ...

    def tell(self, trial: Trial) -> None:
        """Hear of a trial that ended; called once a trial, by the rule for failed trials that the spec declares."""
        ...

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        """Whether training goes on after this epoch; asked only of methods that declare a stop rule."""
        ...


class WarmStarting(Method, Protocol):
    """What a method that continues trials says beside."""

    def resumable(self) -> Set[TrialId]:
        """The told trials that a later proposal may still name as its parent; the weights of all others are deleted."""
        ...


@dataclass(frozen=True)
class Limits:
    """A search's budget; None means without limit. At least one of the three is set."""

    trials: int | None = None  # configurations started
    epochs: int | None = None  # epochs trained
    seconds: float | None = None  # of training and of the method itself


@dataclass(frozen=True)
class Spent:
    """What a search has used of its budget."""

    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    method_seconds: float = field(default=0.0)  # the part of `seconds` that the method itself took
