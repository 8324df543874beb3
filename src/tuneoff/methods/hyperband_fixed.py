"""Hyperband after Li et al., JMLR 18, 2018, without what makes KerasTuner's do badly (docs/hyperband.md).

A trial that goes up continues its parent's last state, optimizer included. It is compared with the trials of its own rung alone,
and only once that rung is full. The brackets are the paper's, and so many are planned as the study's budget pays for: the last
ones shrink, so that less than one full training is left over. Configurations are drawn by KerasTuner's random search: with the
same seed, the same ones in the same order as keras-tuner-random and keras-tuner-hyperband draw.
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
    """Li et al. leave the factor open and use 3 or 4."""

    factor: int = Field(default=3, ge=2, le=100, description="Of so many trials of a rung one goes up to the next.")


def last_bracket(max_epochs: int, factor: int) -> int:
    """The number s of the bracket with the most rungs, s + 1: the largest s with factor ** s <= max_epochs."""
    s = 0
    while factor ** (s + 1) <= max_epochs:
        s += 1
    return s


def rung_epochs(bracket: int, max_epochs: int, factor: int) -> list[int]:
    """The epochs that each rung of a bracket trains up to: max_epochs / factor ** k, rounded."""
    return [round(max_epochs / factor**k) for k in range(bracket, -1, -1)]


def rung_sizes(bracket: int, starts: int, factor: int) -> list[int]:
    """How many trials each rung of a bracket has that starts so many configurations."""
    return [starts // factor**k for k in range(bracket + 1)]


def starts(bracket: int, last: int, factor: int) -> int:
    """How many configurations a bracket starts, so that all brackets cost about the same."""
    power: int = factor**bracket
    return math.ceil((last + 1) * power / (bracket + 1))


@dataclass(eq=False)
class Rung:
    """Trials that train up to the same epoch. `losses` holds those that were told, None for one that failed."""

    epochs: int
    new_epochs: int  # of each trial: those that its parent has not trained
    size: int
    asked: int = 0
    losses: dict[TrialId, float | None] = field(default_factory=dict)
    gone_up: set[TrialId] = field(default_factory=set)

    @property
    def full(self) -> bool:
        return len(self.losses) == self.size

    def best(self) -> list[TrialId]:
        """Its trials with a loss, the best first; of equals the earlier."""
        scored = [(loss, trial) for trial, loss in self.losses.items() if loss is not None]
        return [trial for _, trial in sorted(scored)]


class Bracket:
    """One round of successive halving."""

    def __init__(self, epochs: list[int], sizes: list[int]) -> None:
        before = [0, *epochs]
        self.rungs = [Rung(e, e - b, n) for e, b, n in zip(epochs, before, sizes, strict=False)]

    def ready(self) -> tuple[Rung, TrialId | None] | None:
        """The rung whose next trial may start now, and which trial goes up to it (None: a new configuration)."""
        first = self.rungs[0]
        if first.asked < first.size:
            return first, None
        for below, rung in self._pairs():
            if below.full and rung.asked < rung.size:
                return rung, next(trial for trial in below.best() if trial not in below.gone_up)
        return None

    def start(self, rung: Rung, parent: TrialId | None) -> None:
        rung.asked += 1
        if parent is not None:
            self.rungs[self.rungs.index(rung) - 1].gone_up.add(parent)

    def land(self, rung: Rung, trial: TrialId, loss: float | None) -> None:
        rung.losses[trial] = loss
        self._shrink()

    def stop_drawing(self) -> None:
        """There are no new configurations: what has begun goes on with as many as there are."""
        self.rungs[0].size = self.rungs[0].asked
        self._shrink()

    def _shrink(self) -> None:
        """No more trials can go up from a full rung than have a loss."""
        for below, rung in self._pairs():
            if below.full:
                rung.size = min(rung.size, len(below.best()))

    @property
    def over(self) -> bool:
        return all(rung.full for rung in self.rungs)

    @property
    def owed(self) -> int:
        """Epochs of one model that its trials in flight and to come may still train."""
        return sum((rung.size - len(rung.losses)) * rung.new_epochs for rung in self.rungs)

    def resumable(self) -> set[TrialId]:
        return {
            trial
            for below, rung in self._pairs()
            if rung.asked < rung.size
            for trial in below.best()[: rung.size]
            if trial not in below.gone_up
        }

    def _pairs(self) -> Iterator[tuple[Rung, Rung]]:
        return zip(self.rungs, self.rungs[1:], strict=False)


class HyperbandFixed:
    """Brackets one after another, from the one with the most rungs to the one with a single rung, and again.

    The next one begins early only where a trial may start and all brackets wait for trials in flight.
    """

    Settings = HyperbandFixedSettings
    spec = MethodSpec(
        name="hyperband-fixed",
        algorithm=Algorithm.HYPERBAND,
        summary="Hyperband after its paper: states go up whole, rungs decide when full, and the budget is spent whole.",
        source="Li et al., Hyperband, JMLR 18, 2018",
        when="Early epochs tell good from bad, and trials are to be compared with their equals alone: docs/hyperband.md.",
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
        self._places: list[tuple[Bracket, Rung]] = []  # by trial
        self._configs: list[Config] = []  # by trial
        self._started = 0
        self._trained = 0  # epochs told of, of all models
        self._trainings = 1  # models a trial: more with cross-validation, as the first outcome says
        self._exhausted = False  # there are no new configurations

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
        return "what is left of the budget pays for no further full training"

    def _proposal(self, bracket: Bracket, rung: Rung, parent: TrialId | None) -> Proposal | None:
        """The next trial of a rung; None where there is no new configuration to draw."""
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
        self._places.append((bracket, rung))
        self._configs.append(config)
        return Proposal(config, rung.epochs, parent, Inherit.STATE)

    def _plan(self) -> bool:
        """Open the next bracket with as many starts as the budget pays for; with fewer rungs where none would reach the last."""
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
        bracket, rung = self._places[trial.id]
        bracket.land(rung, trial.id, trial.outcome.loss)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return True

    def resumable(self) -> set[TrialId]:
        """Trials that may still go up."""
        return {trial for bracket in self._open for trial in bracket.resumable()}
