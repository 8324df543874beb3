"""Run the search of a system that trains its own models, with the same record as any other search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from ..core.errors import plain
from ..core.problem import Outcome, Proposal, Status
from ..core.record.events import epoch_fields, outcome_fields, proposal_fields
from ..core.record.writer import Writer
from ..core.study import ObjectiveSettings, counted_epoch
from ..systems.host import SystemStopped
from ..systems.protocol import SystemTrial, plain_config
from .loop import STOPPED, loss_of

CUT_OFF = "the system was ended before its end and begun anew: this model is lost"
MORE_TIME = "the system was begun anew with another budget: this model is lost"


class Trials(Protocol):
    """A system that runs in another process."""

    def trials(self, late_seconds: float, stopping: Callable[[], bool]) -> Iterator[SystemTrial]: ...


@dataclass
class SystemSearch:
    """One run of a system from its start to its end. A system cannot resume an interrupted run.

    Trials of an earlier run stay on record without a score, because their models are lost. `keep` saves the model of a trial; it
    takes the trial's number in the record and its number in the system.
    """

    name: str
    system: Trials
    record: Writer
    goal: ObjectiveSettings
    seconds: float  # the budget
    late_seconds: float  # a system that runs this much longer than its budget is killed
    device: str
    keep: Callable[[int, int], None]
    stopping: Callable[[], bool] = lambda: False

    def run(self) -> str:
        """Run the system and return why it ended."""
        self._first = self._number = sum(e["event"] == "asked" for e in self.record.events)
        if self._number:
            # Read from the events before this process's own `opened`, which is the last.
            before = next(e["event"] for e in reversed(self.record.events) if e["event"] != "opened")
            self.record.append("anew", reason=MORE_TIME if before == "ended" else CUT_OFF)
        self._began = time.monotonic()
        self._trained = 0.0
        self._best: tuple[float, int] | None = None
        try:
            for trial in self.system.trials(self.late_seconds, self.stopping):
                self._write(trial)
        except SystemStopped:
            return STOPPED
        best = self._best_number
        if best is not None:
            self.keep(best, best - self._first)
        return self._end()

    @property
    def _best_number(self) -> int | None:
        return None if self._best is None else self._best[1]

    def _write(self, trial: SystemTrial) -> None:
        """Record a trial that has ended. Its times are counted back from now."""
        self._trained += trial.seconds
        number, began = self._number, round(time.time() - trial.seconds, 3)
        self._number += 1
        outcome = self._outcome(trial)
        proposal = Proposal(plain_config(trial.config), max(1, len(trial.curve)))
        self.record.append("asked", trial=number, time=began, seconds=0.0, **proposal_fields(proposal))
        self.record.append("started", trial=number, time=began, worker=self.device)
        for epoch in trial.curve:
            self.record.append("epoch", trial=number, goes_on=epoch is not trial.curve[-1], **epoch_fields(epoch))
        self.record.append("told", trial=number, **outcome_fields(outcome))
        if outcome.loss is not None and (self._best is None or outcome.loss < self._best[0]):
            self._best = outcome.loss, number

    def _outcome(self, trial: SystemTrial) -> Outcome:
        reason = None if trial.reason is None else plain(trial.reason)
        outcome = Outcome(trial.status, trial.curve, None, trial.seconds, reason, self.device)
        if trial.status not in (Status.COMPLETED, Status.STOPPED):
            return outcome
        if counted_epoch(trial.curve, self.goal) is None:
            return replace(outcome, status=Status.DIVERGED, reason=f"{self.goal.metric} is no finite number")
        return replace(outcome, loss=loss_of(self.goal, trial.curve))

    def _end(self) -> str:
        """Charge the time outside of trials to the system itself. Some systems report their trials only at the end."""
        reason = f"{self.name} ended by itself after {self._number - self._first} models"
        clock = time.monotonic() - self._began
        left = {"trials": None, "epochs": None, "seconds": round(self.seconds - clock, 3)}
        own = round(max(0.0, clock - self._trained), 4)
        self.record.append("ended", reason=reason, seconds=own, left=left, limits={"seconds": self.seconds})
        return reason
