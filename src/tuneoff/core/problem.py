"""The values that the search loop, a method and an objective exchange: problem, proposal, epoch, outcome and trial."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from .space import Config, Space

TrialId = int
"""The number of a trial within its search. Numbers start at 0 and follow the order of the proposals."""


class Status(StrEnum):
    """How a trial ended. A trial without an outcome has no status: it is in flight, or its process was killed."""

    COMPLETED = "completed"  # trained to its target epoch
    STOPPED = "stopped"  # ended early by the method's stop rule
    DIVERGED = "diverged"  # the training loss or the objective is not a finite number
    FAILED = "failed"  # the model could not be built or trained; the outcome gives the reason


class Inherit(StrEnum):
    """What a resumed trial takes over from its parent."""

    STATE = "state"  # weights and optimizer state of the last epoch
    BEST_WEIGHTS = "best_weights"  # weights of the best epoch, a new optimizer (KerasTuner 1.4.8)
    NOTHING = "nothing"  # new weights, but the epoch count continues (KerasTuner before pull request 711 of 2022)


@dataclass(frozen=True)
class Problem:
    """The problem that a method solves: a search space, a budget and a seed."""

    space: Space
    max_epochs: int  # epochs of a full training
    seed: int
    folder: Path  # an empty folder for the framework's files; it is deleted after the search
    trials: int | None = None  # the limits of the budget; None means no limit
    epochs: int | None = None
    seconds: float | None = None
    in_flight: int = 1  # trials that may run at the same time
    metric: str = "val_accuracy"  # the study's objective: loss = sign × metric
    sign: int = -1

    def loss(self, epoch: Epoch) -> float:
        """Return the loss after this epoch. Stop rules compare it, and smaller is better."""
        return self.sign * epoch.metrics[self.metric]


@dataclass(frozen=True)
class Proposal:
    """A proposal of a method: train this configuration up to this epoch."""

    config: Config
    target_epoch: int
    parent: TrialId | None = None
    inherit: Inherit = Inherit.STATE


@dataclass(frozen=True)
class Wait:
    """The method has no proposal until one of the trials in flight has ended."""


@dataclass(frozen=True)
class Done:
    """The method has finished: it will make no more proposals."""

    reason: str


@dataclass(frozen=True)
class Epoch:
    """One epoch of training. `number` starts at 1; a resumed trial continues from its parent's last epoch.

    `metrics` maps names to values. Accuracies are shares of 1. With k-fold cross-validation, values are means over the folds.
    """

    number: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """The result of training. `curve` holds the epochs of this trial only, without those of its parent."""

    status: Status
    curve: tuple[Epoch, ...]
    loss: float | None  # to be minimised, in any direction of the study; None unless completed or stopped
    seconds: float  # of training, including the start-up of the model
    reason: str | None = None
    device: str = ""
    peak_memory_bytes: int | None = None
    trainings: int = 1  # models trained for this trial: one, or one per fold

    @property
    def trained_epochs(self) -> int:
        """Return the epochs that the budget is charged: those of every model."""
        return len(self.curve) * self.trainings


@dataclass(frozen=True)
class Trial:
    """A proposal, its identity and, after training, its outcome."""

    id: TrialId
    config_id: int  # the id of the first trial of the lineage; it stays the same across rungs
    proposal: Proposal
    first_epoch: int  # epochs that the parent had trained; 0 without a parent
    outcome: Outcome | None = None

    @property
    def asked_epochs(self) -> int:
        """Return the epochs to train in this trial, per model. Epochs of the parent do not count."""
        return self.proposal.target_epoch - self.first_epoch


@dataclass(frozen=True)
class Checkpoint:
    """The files from which a trial loads weights and to which it saves them. Each file belongs to one trial and never changes."""

    load: Path | None = None
    inherit: Inherit = Inherit.STATE
    save: Path | None = None


class Objective(Protocol):
    """Train a trial epoch by epoch, or look its recorded epochs up. The caller closes the generator to stop the training.

    Raises:
        TrainingFailed: The model cannot be built or trained; the message is the reason.
    """

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]: ...


class TrainingFailed(Exception):
    """The model of a trial could not be built or trained. The message is the reason that the record keeps.

    On a simulated clock, `seconds` is the training time lost since the last epoch.
    """

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Method(Protocol):
    """The contract of a search method.

    A sequence of calls::

        ask() -> Proposal(c0, 3)             trial 0, the first proposal
        should_continue(trial 0, epoch 1) -> True    only if the method's spec declares a stop rule
        tell(trial 0)                        outcome completed, loss -0.81
        ask() -> Proposal(c0, 9, parent=0)   trial 1 continues trial 0
        tell(trial 1)
        ask() -> Done("all brackets are complete")

    Only `ask` and `tell` change the state of the method. The same problem, settings and told trials lead to the same proposals,
    in any process.
    """

    def ask(self) -> Proposal | Wait | Done:
        """Return the next proposal. `Wait` is allowed only while a trial is in flight. `Done` is final."""
        ...

    def tell(self, trial: Trial) -> None:
        """Receive a trial that has ended. The loop calls this once per trial. The spec declares the rule for failed trials."""
        ...

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        """Return whether training continues after this epoch. The loop asks only methods that declare a stop rule."""
        ...


class WarmStarting(Method, Protocol):
    """The extra method of tuners that resume trials."""

    def resumable(self) -> Set[TrialId]:
        """Return the ended trials that a later proposal may name as its parent. The weights of all other trials are deleted."""
        ...


@dataclass(frozen=True)
class Limits:
    """The budget of a search. None means no limit. At least one of the three is set."""

    trials: int | None = None  # configurations started
    epochs: int | None = None  # epochs trained
    seconds: float | None = None  # of training and of the method's own computation


@dataclass(frozen=True)
class Spent:
    """The part of its budget that a search has used."""

    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    method_seconds: float = field(default=0.0)  # the part of `seconds` that the method's own computation took
