"""The one search loop: ask, record, train, record, tell; and its way back from a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Set
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from ..core.errors import ReplayError, plain
from ..core.problem import (
    Checkpoint,
    Done,
    Epoch,
    Method,
    Objective,
    Outcome,
    Proposal,
    Status,
    TrainingFailed,
    Trial,
    TrialId,
    Wait,
)
from ..core.record import (
    Event,
    TrialRecord,
    Writer,
    epoch_fields,
    epoch_of,
    lineage,
    outcome_fields,
    proposal_fields,
    proposal_of,
    replay,
)
from ..core.study import Goal, counted_epoch
from .budget import Budget
from .spec import FailedRule, MethodSpec

MAX_DEATHS = 3
"""A trial whose worker dies so often is given up as failed."""
MAX_KILLS = 10
"""So is one during which the whole run was killed so often: it may be what kills it (a container out of memory, say)."""
MAX_FAILURES_IN_A_ROW = 20
"""A search whose trials all fail ends, since a budget of epochs alone would never be used up."""


STOPPED = "stopped on request"


class WorkerDied(Exception):
    """The process that trained a trial is gone; the message says how."""


class _CutOff(Exception):
    """The search is to stop, and a trial is not at its end: it stays without outcome, as after a kill."""


class TimedMethod(Method, Protocol):
    """A method whose own time is measured: `seconds` is that of the last call of ask or tell."""

    seconds: float

    def continuable(self) -> Set[TrialId]: ...


class TrainingObjective(Objective, Protocol):
    """An objective that knows where it ran."""

    @property
    def device(self) -> str: ...

    @property
    def peak_memory_bytes(self) -> int | None: ...


class Checkpoints(Protocol):
    """The weights of a search's trials; a method without warm start has none."""

    def of(self, trial: Trial) -> Checkpoint | None: ...

    def fault(self, trial: TrialId) -> str | None:
        """What is wrong with the trial's weights, for those who want to continue it; None where they are there and whole."""
        ...

    def keep(self, trial: Trial) -> None:
        """Make what the trial saved outlast this process; called before the method hears of the trial."""
        ...

    def keep_only(self, trials: Set[TrialId]) -> None:
        """Delete the weights of all others: nobody can continue them any more."""
        ...

    def clear(self) -> None:
        """The search is over: nobody can continue a trial any more."""
        ...


@dataclass
class Search:
    """One method on one data set with one seed, from where its record stands to its end."""

    spec: MethodSpec
    method: TimedMethod
    objective: TrainingObjective
    record: Writer
    budget: Budget
    goal: Goal
    checkpoints: Checkpoints
    stopping: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic

    def run(self) -> str:
        """Search until the method is done or the budget is used up, or until asked to stop; returns the reason."""
        self._trials: dict[int, TrialRecord] = {}
        self._goes_on: dict[int, bool] = {}  # the last recorded word on each trial
        self._worst: float | None = None
        self._failures_in_a_row = 0
        self._method_seconds = 0.0  # of the tells since the last ask
        open_trial = self._replay(list(self.record.events))
        try:
            if open_trial is not None:
                self._train(open_trial)
            while not self.stopping():
                reason = self._step()
                if reason is not None:
                    self._over(reason)
                    return reason
        except _CutOff:
            pass
        return STOPPED

    def _over(self, reason: str) -> None:
        limits, seconds = asdict(self.budget.limits), round(self._method_seconds, 4)
        self.record.append("ended", reason=reason, seconds=seconds, left=self.budget.left, limits=limits)
        self.checkpoints.clear()

    def _step(self) -> str | None:
        """One trial from ask to tell; returns why there is none."""
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            return f"{MAX_FAILURES_IN_A_ROW} trials in a row failed"
        answer = self._ask()
        if isinstance(answer, Done):
            return answer.reason
        if isinstance(answer, Wait):
            raise RuntimeError("the method waits although nothing is in flight")
        trial = lineage(len(self._trials), answer, self._trials)
        refusal = self.budget.refusal(trial)
        if refusal is not None:
            return refusal
        seconds = round(self._method_seconds, 4)
        self._method_seconds = 0.0
        event = self.record.append("asked", trial=trial.id, seconds=seconds, **proposal_fields(answer))
        self._begin(trial, event)
        self._train(self._trials[trial.id])
        return None

    def _ask(self) -> Proposal | Wait | Done:
        answer = self.method.ask()
        self._method_seconds += self.method.seconds
        return answer

    def _begin(self, trial: Trial, event: Event) -> None:
        self._trials[trial.id] = TrialRecord(trial, (), event["time"])
        self.budget.charge_method(event["seconds"])
        self.budget.start(trial)

    # Training

    def _train(self, known: TrialRecord) -> None:
        """Train a trial, again after its worker died, and record and tell its outcome."""
        trial, deaths = known.trial, list(known.deaths)
        killed = known.attempts - len(deaths)  # whole runs that ended while it trained
        outcome = None
        while outcome is None:
            if len(deaths) >= MAX_DEATHS or killed >= MAX_KILLS:
                outcome = self._given_up(trial, deaths)
                break
            self.record.append("started", trial=trial.id, worker=self.objective.device)
            try:
                outcome = self._attempt(trial)
            except WorkerDied as death:
                deaths.append(str(death))
                self.record.append("died", trial=trial.id, how=str(death))
        if outcome.loss is not None:
            self.checkpoints.keep(trial)
        self.record.append("told", trial=trial.id, **outcome_fields(outcome))
        self._end(trial, outcome)
        if self.spec.warm_start:
            self.checkpoints.keep_only(self.method.continuable())

    def _given_up(self, trial: Trial, deaths: list[str]) -> Outcome:
        curve = self._trials[trial.id].curve
        reason = f"the run was killed {MAX_KILLS} times while it trained"
        if len(deaths) >= MAX_DEATHS:
            reason = f"its worker died {len(deaths)} times, the last time {deaths[-1]}"
        return self._outcome(Status.FAILED, curve, sum(e.seconds for e in curve), reason)

    def _attempt(self, trial: Trial) -> Outcome:
        """Train a trial once. Epochs that the record has from a killed attempt keep their metrics and are not reported again."""
        recorded = {e.number: e for e in self._trials[trial.id].curve}
        try:
            self._restore(trial.proposal.parent)
        except TrainingFailed as failure:
            return self._outcome(Status.FAILED, (), 0.0, str(failure))
        checkpoint = self.checkpoints.of(trial)
        if recorded and not self._goes_on[trial.id] and (checkpoint is None or checkpoint.save is None):
            return self._finished(trial)
        began = self.clock()
        twice = 0.0  # seconds of epochs trained before a kill, here trained again and not charged again
        curve: list[Epoch] = []
        goes_on = True

        def result(status: Status, reason: str | None) -> Outcome:
            return self._outcome(status, tuple(curve), self.clock() - began + twice, reason)

        try:
            with closing(self.objective(trial, checkpoint)) as epochs:
                for epoch in epochs:
                    if epoch.number in recorded:
                        twice += recorded[epoch.number].seconds - epoch.seconds
                        curve.append(recorded[epoch.number])
                        goes_on = epoch.number < max(recorded) or self._goes_on[trial.id]
                    else:
                        curve.append(epoch)
                        goes_on = self._report(trial, epoch)
                    broken = _not_finite(curve[-1], self.goal.metric)
                    if broken:
                        return result(Status.DIVERGED, f"{broken} is no finite number after epoch {epoch.number}")
                    if not goes_on:
                        break
                    if self.stopping():
                        self.record.append("cut", trial=trial.id)
                        raise _CutOff
        except TrainingFailed as failure:
            return result(Status.FAILED, str(failure))
        return result(_ending(trial, tuple(curve)), None)

    def _restore(self, parent: TrialId | None) -> None:
        """Train a trial whose weights are lost or damaged again, from the last good ones, so that it can be continued.

        It is recorded and not charged; the weights come out as they were.
        """
        fault = None if parent is None else self.checkpoints.fault(parent)
        if parent is None or fault is None:
            return
        known = self._trials[parent]
        self._restore(known.trial.proposal.parent)
        self.record.append("restored", trial=parent, reason=f"its checkpoint {fault}")
        with closing(self.objective(known.trial, self.checkpoints.of(known.trial))) as epochs:
            for epoch in epochs:
                if epoch.number >= known.curve[-1].number:
                    break
        self.checkpoints.keep(known.trial)

    def _finished(self, trial: Trial) -> Outcome:
        """The outcome of a trial whose last epoch is on record, although its end is not."""
        curve = self._trials[trial.id].curve
        broken = _not_finite(curve[-1], self.goal.metric)
        seconds = sum(e.seconds for e in curve)
        if broken:
            return self._outcome(Status.DIVERGED, curve, seconds, f"{broken} is no finite number after epoch {curve[-1].number}")
        return self._outcome(_ending(trial, curve), curve, seconds, None)

    def _report(self, trial: Trial, epoch: Epoch) -> bool:
        """Record an epoch, and whether the method lets the trial go on after it."""
        goes_on = epoch.number < trial.proposal.target_epoch and _not_finite(epoch, self.goal.metric) is None
        if goes_on and self.spec.stop_rule:
            goes_on = self.method.goes_on(trial.id, epoch)
        self.record.append_soon("epoch", trial=trial.id, goes_on=goes_on, **epoch_fields(epoch))  # the next one trains meanwhile
        self._note(trial.id, epoch, goes_on)
        return goes_on

    def _note(self, trial: TrialId, epoch: Epoch, goes_on: bool) -> None:
        known = self._trials[trial]
        self._trials[trial] = replace(known, curve=(*known.curve, epoch))
        self._goes_on[trial] = goes_on

    def _outcome(self, status: Status, curve: tuple[Epoch, ...], seconds: float, reason: str | None) -> Outcome:
        scored = status in (Status.COMPLETED, Status.STOPPED)
        return Outcome(
            status,
            curve,
            loss_of(self.goal, curve) if scored else None,
            round(seconds, 4),
            None if reason is None else plain(reason),
            self.objective.device,
            self.objective.peak_memory_bytes,
            self.budget.trainings,
        )

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        """Charge a trial that is on record, and let the method hear of it by its rule for failed trials."""
        self.budget.charge(trial, outcome)
        ended = replace(trial, outcome=outcome)
        known = self._trials[trial.id]
        self._trials[trial.id] = replace(known, trial=ended, curve=outcome.curve)
        self._failures_in_a_row = self._failures_in_a_row + 1 if outcome.status is Status.FAILED else 0
        if outcome.loss is not None:
            self._worst = outcome.loss if self._worst is None else max(self._worst, outcome.loss)
        told = self._as_told(ended, outcome)
        if told is not None:
            self.method.tell(told)
            self._method_seconds += self.method.seconds

    def _as_told(self, trial: Trial, outcome: Outcome) -> Trial | None:
        if outcome.loss is not None or self.spec.failed is FailedRule.TOLD:
            return trial
        if self.spec.failed is FailedRule.UNTOLD or self._worst is None:
            return None
        return replace(trial, outcome=replace(outcome, status=Status.COMPLETED, loss=self._worst))

    # Resuming

    def _replay(self, events: list[Event]) -> TrialRecord | None:
        """Lead the method through its record, comparing each of its answers; returns the trial that a kill cut off."""
        final = {t.trial.id: t for t in replay(events, "", "", 0).trials}
        for event in events:
            match event["event"]:
                case "asked":
                    self._repeat_ask(event)
                case "epoch":
                    self._repeat_epoch(event)
                case "told":
                    outcome = final[event["trial"]].trial.outcome
                    assert outcome is not None
                    self._end(self._trials[event["trial"]].trial, outcome)
        unfinished = [t for t in final.values() if t.trial.outcome is None]
        return unfinished[0] if unfinished else None

    def _repeat_ask(self, event: Event) -> None:
        answer = self._ask()
        self._method_seconds = 0.0
        recorded = proposal_of(event)
        if not isinstance(answer, Proposal):
            raise ReplayError(f"trial {event['trial']}: the record has a proposal, and the method now answers {answer}")
        _compare(event["trial"], proposal_fields(recorded), proposal_fields(answer))
        self._begin(lineage(event["trial"], recorded, self._trials), event)

    def _repeat_epoch(self, event: Event) -> None:
        trial, epoch = event["trial"], epoch_of(event)
        target = self._trials[trial].trial.proposal.target_epoch
        if self.spec.stop_rule and epoch.number < target and _not_finite(epoch, self.goal.metric) is None:
            verdict = f"goes_on after epoch {epoch.number}"
            _compare(trial, {verdict: event["goes_on"]}, {verdict: self.method.goes_on(trial, epoch)})
        self._note(trial, epoch, event["goes_on"])


def loss_of(goal: Goal, curve: tuple[Epoch, ...]) -> float:
    """What the method minimises: the objective's metric of the best or the last epoch trained in this trial."""
    epoch = counted_epoch(curve, goal)
    assert epoch is not None
    return goal.sign * epoch.metrics[goal.metric]


def _ending(trial: Trial, curve: tuple[Epoch, ...]) -> Status:
    return Status.COMPLETED if curve and curve[-1].number >= trial.proposal.target_epoch else Status.STOPPED


def _not_finite(epoch: Epoch, metric: str) -> str | None:
    """Which of the training loss (where it is known) and the objective's metric is none."""
    shown = {"loss": epoch.metrics.get("loss", 0.0), metric: epoch.metrics.get(metric, math.nan)}
    return next((name for name, value in shown.items() if not math.isfinite(value)), None)


def _compare(trial: int, recorded: Mapping[str, Any], repeated: Mapping[str, Any]) -> None:
    for name, value in recorded.items():
        if repeated[name] != value:
            raise ReplayError(f"trial {trial}: {name} is {value!r} on record, and the method now answers {repeated[name]!r}")
