"""Hyperband as in Li et al., JMLR 18, 2018, without the faults of KerasTuner's implementation (docs/hyperband.md).

A promoted trial resumes from the last state of its parent, optimizer included. Trials are compared only within their rung, after
all of them have ended. Brackets have the sizes of the paper. The number of brackets follows from the budget: the last brackets
are smaller, so that less than one full training remains. KerasTuner's random search draws the configurations. With the same seed
they are the same, in the same order, as those of keras-tuner-random and keras-tuner-hyperband.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import Field

from ..core.problem import Done, Epoch, Inherit, Problem, Proposal, Trial, TrialId, Wait
from ..core.space import Config, Model
from .keras_tuner import Random, RandomSettings
from .spec import Algorithm, MethodSpec


class HyperbandFixedSettings(Model):
    """The only parameter of Hyperband. Li et al. use 3 or 4."""

    factor: int = Field(default=3, ge=2, le=100, description="Promote 1 of every factor trials of a rung.")


def last_bracket(max_epochs: int, factor: int) -> int:
    """Return the number s of the bracket with the most rungs: the largest s with factor ** s <= max_epochs.

    Bracket s has s + 1 rungs.
    """
    s = 0
    while factor ** (s + 1) <= max_epochs:
        s += 1
    return s


def rung_epochs(bracket: int, max_epochs: int, factor: int) -> list[int]:
    """Return the epoch up to which each rung of a bracket trains: max_epochs / factor ** k, rounded."""
    return [round(max_epochs / factor**k) for k in range(bracket, -1, -1)]


def rung_sizes(bracket: int, starts: int, factor: int) -> list[int]:
    """Return the number of trials in each rung of a bracket that starts with `starts` configurations."""
    return [starts // factor**k for k in range(bracket + 1)]


def starts(bracket: int, last: int, factor: int) -> int:
    """Return the number of configurations that a bracket starts with. All brackets then cost about the same."""
    power: int = factor**bracket
    return math.ceil((last + 1) * power / (bracket + 1))


@dataclass(eq=False)
class Rung:
    """The trials of a bracket that train up to the same epoch."""

    epochs: int
    new_epochs: int  # per trial, without the epochs of its parent
    size: int
    asked: int = 0
    losses: dict[TrialId, float | None] = field(default_factory=dict)  # of ended trials; None if the trial failed
    promoted: set[TrialId] = field(default_factory=set)

    @property
    def full(self) -> bool:
        return len(self.losses) == self.size

    def best(self) -> list[TrialId]:
        """Return the trials with a loss, best first. Of equal trials, the earlier one is first."""
        scored = [(loss, trial) for trial, loss in self.losses.items() if loss is not None]
        return [trial for _, trial in sorted(scored)]


class Bracket:
    """One round of successive halving."""

    def __init__(self, epochs: list[int], sizes: list[int]) -> None:
        before = [0, *epochs]
        self.rungs = [Rung(e, e - b, n) for e, b, n in zip(epochs, before, sizes, strict=False)]

    def ready(self) -> tuple[Rung, TrialId | None] | None:
        """Return a rung whose next trial may start now, and the trial to promote (None for a new configuration).

        Return None if no trial may start.
        """
        first = self.rungs[0]
        if first.asked < first.size:
            return first, None
        for below, rung in self._pairs():
            if below.full and rung.asked < rung.size:
                return rung, next(trial for trial in below.best() if trial not in below.promoted)
        return None

    def start(self, rung: Rung, parent: TrialId | None) -> None:
        rung.asked += 1
        if parent is not None:
            self.rungs[self.rungs.index(rung) - 1].promoted.add(parent)

    def end(self, rung: Rung, trial: TrialId, loss: float | None) -> None:
        rung.losses[trial] = loss
        self._shrink()

    def stop_drawing(self) -> None:
        """Limit the first rung to its started trials, because no new configurations exist."""
        self.rungs[0].size = self.rungs[0].asked
        self._shrink()

    def _shrink(self) -> None:
        """Limit each rung to the number of trials with a loss in the full rung below."""
        for below, rung in self._pairs():
            if below.full:
                rung.size = min(rung.size, len(below.best()))

    @property
    def over(self) -> bool:
        return all(rung.full for rung in self.rungs)

    @property
    def owed(self) -> int:
        """The maximum number of epochs, per model, of its trials in flight and of its future trials."""
        return sum((rung.size - len(rung.losses)) * rung.new_epochs for rung in self.rungs)

    def resumable(self) -> set[TrialId]:
        return {
            trial
            for below, rung in self._pairs()
            if rung.asked < rung.size
            for trial in below.best()[: rung.size]
            if trial not in below.promoted
        }

    def _pairs(self) -> Iterator[tuple[Rung, Rung]]:
        return zip(self.rungs, self.rungs[1:], strict=False)


class HyperbandFixed:
    """Run brackets in turn, from the bracket with the most rungs to the bracket with one rung, and repeat.

    The next bracket starts early only if all open brackets wait for trials in flight and another trial may start.
    """

    Settings = HyperbandFixedSettings
    spec = MethodSpec(
        name="hyperband-fixed",
        algorithm=Algorithm.HYPERBAND,
        summary="Hyperband as in its paper: promotions keep the optimizer state, rungs decide when full, the budget is used up.",
        source="Li et al., Hyperband, JMLR 18, 2018",
        when="If the first epochs separate good from bad configurations. Only trials of equal length compete: docs/hyperband.md.",
        framework="keras-tuner",
        package="keras_tuner",
        extra="keras-tuner",
        fidelity=True,
        warm_start=True,
        parallel=True,
    )

    def __init__(self, problem: Problem, settings: HyperbandFixedSettings) -> None:
        self._problem = problem
        self._factor = settings.factor
        self._draws = Random(problem, RandomSettings())
        self._last = last_bracket(problem.max_epochs, settings.factor)
        self._next = self._last
        self._open: list[Bracket] = []
        self._rungs: list[tuple[Bracket, Rung]] = []  # by trial
        self._configs: list[Config] = []  # by trial
        self._started = 0
        self._trained = 0  # epochs of all models in ended trials
        self._trainings = 1  # models per trial, known from the first outcome: more than 1 with cross-validation
        self._exhausted = False  # no new configurations exist

    def ask(self) -> Proposal | Wait | Done:
        while True:
            self._open = [bracket for bracket in self._open if not bracket.over]
            waiting = [(bracket, ready) for bracket in self._open if (ready := bracket.ready())]
            if waiting:
                bracket, (rung, parent) = waiting[0]
                if proposal := self._proposal(bracket, rung, parent):
                    return proposal
            elif self._exhausted or not self._plan():
                return Wait() if self._open else Done(self._end)

    @property
    def _end(self) -> str:
        if self._exhausted:
            return "KerasTuner's oracle has no new configuration"
        return "the remaining budget does not pay for another full training"

    def _proposal(self, bracket: Bracket, rung: Rung, parent: TrialId | None) -> Proposal | None:
        """Return the next trial of a rung, or None if no new configuration exists."""
        if parent is not None:
            config = self._configs[parent]
        else:
            drawn = self._draws.ask()
            if not isinstance(drawn, Proposal):
                bracket.stop_drawing()
                self._exhausted = True
                return None
            config = drawn.config
            self._started += 1
        bracket.start(rung, parent)
        self._rungs.append((bracket, rung))
        self._configs.append(config)
        return Proposal(config, rung.epochs, parent, Inherit.STATE)

    def _plan(self) -> bool:
        """Open the next bracket with as many configurations as the budget pays for. Return whether a bracket was opened.

        If the budget does not pay for a trial in the last rung, try the next bracket, which has fewer rungs.
        """
        for bracket in range(self._next, -1, -1):
            epochs = rung_epochs(bracket, self._problem.max_epochs, self._factor)
            for number in range(starts(bracket, self._last, self._factor), self._factor**bracket - 1, -1):
                planned = Bracket(epochs, rung_sizes(bracket, number, self._factor))
                if self._pays_for(planned.owed, number):
                    self._open.append(planned)
                    self._next = self._last if self._next == 0 else self._next - 1
                    return True
        return False

    def _pays_for(self, epochs: int, trials: int) -> bool:
        owed = sum(bracket.owed for bracket in self._open)
        wanted = self._trained + (owed + epochs) * self._trainings
        promised = self._started + sum(b.rungs[0].size - b.rungs[0].asked for b in self._open)
        limits = self._problem
        if limits.epochs is not None and wanted > limits.epochs:
            return False
        return limits.trials is None or promised + trials <= limits.trials

    def tell(self, trial: Trial) -> None:
        assert trial.outcome is not None
        self._trainings = trial.outcome.trainings
        self._trained += trial.outcome.trained_epochs
        bracket, rung = self._rungs[trial.id]
        bracket.end(rung, trial.id, trial.outcome.loss)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True

    def resumable(self) -> set[TrialId]:
        """Return the trials that may still be promoted."""
        return {trial for bracket in self._open for trial in bracket.resumable()}
