"""The search loop: ask, record, train, record, tell. A search resumes by replaying its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from ..core.errors import ReplayError, plain
from ..core.problem import Checkpoint, Done, Epoch, Method, Outcome, Proposal, Status, TrainingFailed, Trial, TrialId, Wait
from ..core.record.events import Event, epoch_fields, epoch_of, outcome_fields, proposal_fields, proposal_of
from ..core.record.state import TrialRecord, lineage, reduce_events
from ..core.record.writer import Writer
from ..core.study import ObjectiveSettings, counted_epoch
from ..methods.spec import FailedRule, MethodSpec
from ..objectives.executor import Executor, TrainingObjective, TrialEvent, WorkerDied, executor_of
from .budget import Budget

MAX_DEATHS = 3
"""A trial is given up as failed after its worker has died this many times."""
MAX_KILLS = 10
"""A trial is given up after the whole run was killed this many times during it: it may be the cause, by its memory use."""
MAX_FAILURES_IN_A_ROW = 20
"""A search ends after this many failed trials in a row. Otherwise a budget of epochs would never be used up."""


STOPPED = "stopped on request"


class TimedMethod(Method, Protocol):
    """A method whose computation time is measured. `seconds` is the time of the last call of ask or tell."""

    seconds: float

    def resumable(self) -> Set[TrialId]: ...


class Checkpoints(Protocol):
    """The checkpoints of a search's trials. A method without warm start has none."""

    def of(self, trial: Trial) -> Checkpoint | None: ...

    def fault(self, trial: TrialId) -> str | None:
        """Return what is wrong with a trial's checkpoint, or None if it exists and is intact."""
        ...

    def keep(self, trial: Trial) -> None:
        """Store the trial's checkpoint permanently. The loop calls this before it tells the method of the trial."""
        ...

    def keep_only(self, trials: Set[TrialId]) -> None:
        """Delete all other checkpoints. No later trial can resume them."""
        ...

    def clear(self) -> None:
        """Delete all checkpoints, because the search is over."""
        ...


@dataclass
class _Flight:
    """A trial in flight and its history since it was last started."""

    trial: Trial
    deaths: list[str]
    killed: int  # how many runs were killed while it trained
    curve: list[Epoch] = field(default_factory=list)
    recorded: dict[int, Epoch] = field(default_factory=dict)  # epochs that an earlier run or worker recorded
    twice: float = 0.0  # seconds of those epochs, which are trained again without charge
    peak_memory_bytes: int | None = None


@dataclass
class Search:
    """Run one method on one data set with one seed, from the present end of its record to the end of the search.

    An objective trains one trial at a time, an executor as many as it has places. The loop asks the method until all places are
    taken or the method waits, and tells it of each trial that ends. Events are recorded in the order in which the method receives
    them.
    """

    spec: MethodSpec
    method: TimedMethod
    objective: TrainingObjective | Executor
    record: Writer
    budget: Budget
    goal: ObjectiveSettings
    checkpoints: Checkpoints
    stopping: Callable[[], bool] = lambda: False

    def run(self) -> str:
        """Search until the method is done, the budget is used up or a stop is requested. Return the reason."""
        self._trials: dict[int, TrialRecord] = {}
        self._continued_after: dict[int, bool] = {}  # whether each trial continues after its last recorded epoch
        self._worst: float | None = None
        self._failures_in_a_row = 0
        self._method_seconds = 0.0  # of the asks and tells since the last proposal
        self._flights: dict[int, _Flight] = {}
        self._held: Proposal | None = None  # a proposal that must wait until trials in flight return some of their budget
        self._resting = False  # nothing more can start before a trial in flight has ended
        self._stopped = False
        self._executor = executor_of(self.objective)
        try:
            self._resume()
            while True:
                reason = self._fill()
                if self._flights:
                    self._hear(self._executor.next())
                elif reason is not None:
                    return self._over(reason)
        finally:
            self._executor.close()

    def _over(self, reason: str) -> str:
        if reason != STOPPED:
            limits, seconds = asdict(self.budget.limits), round(self._method_seconds, 4)
            self.record.append("ended", reason=reason, seconds=seconds, left=self.budget.left, limits=limits)
            self.checkpoints.clear()
        return reason

    def _stops(self) -> bool:
        self._stopped = self._stopped or self.stopping()
        return self._stopped

    # Asking

    def _fill(self) -> str | None:
        """Start trials until all places are taken or the loop must wait. Return the reason if no more will start."""
        reason = STOPPED if self._stopped else None
        while reason is None and len(self._flights) < self._executor.places and not self._resting:
            reason = STOPPED if self._stops() else self._step()
        return reason

    def _step(self) -> str | None:
        """Start a trial, or wait for one in flight. Return the reason if there is none to start."""
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            return f"{MAX_FAILURES_IN_A_ROW} trials in a row failed"
        answer = self._held or self._ask()
        if isinstance(answer, Done):
            self._resting = bool(self._flights)
            return answer.reason
        if isinstance(answer, Wait):
            if not self._flights:
                raise RuntimeError("the method waits although nothing is in flight")
            self._rest(None)
            return None
        trial = self._trial(answer)
        refusal = self.budget.refusal(trial)
        if refusal is not None:
            if self._flights:
                self._rest(answer)
            return refusal
        self._held = None
        seconds = round(self._method_seconds, 4)
        self._method_seconds = 0.0
        event = self.record.append("asked", trial=trial.id, seconds=seconds, **proposal_fields(answer))
        self._begin(trial, event)
        self._start(self._flights[trial.id])
        return None

    def _ask(self) -> Proposal | Wait | Done:
        answer = self.method.ask()
        self._method_seconds += self.method.seconds
        return answer

    def _trial(self, proposal: Proposal) -> Trial:
        """Return the proposal as the next trial."""
        number = len(self._trials)
        if proposal.parent in self._flights:
            raise RuntimeError(f"trial {number} continues trial {proposal.parent}, which is still in flight")
        return lineage(number, proposal, self._trials)

    def _rest(self, proposal: Proposal | None) -> None:
        """Wait for a trial in flight to end. The wait is recorded, because the method was asked."""
        self._resting = True
        if proposal is None or proposal is not self._held:
            self.record.append("held", proposal=None if proposal is None else proposal_fields(proposal))
        self._held = proposal

    def _begin(self, trial: Trial, event: Event) -> None:
        self._trials[trial.id] = TrialRecord(trial, (), event["time"])
        self._flights[trial.id] = _Flight(trial, [], 0)
        self.budget.charge_method(event["seconds"])
        self.budget.start(trial)
        self._executor.proposed(trial.id, event["seconds"])

    # Training

    def _start(self, flight: _Flight) -> None:
        """Start to train a trial, also again after its worker died or the run was killed."""
        trial = flight.trial
        if len(flight.deaths) >= MAX_DEATHS or flight.killed >= MAX_KILLS:
            return self._land(flight, self._given_up(flight))
        self.record.append("started", trial=trial.id, worker=self._executor.device)
        try:
            self._restore(trial.proposal.parent)
        except TrainingFailed as failure:
            return self._land(flight, self._outcome(flight, Status.FAILED, (), 0.0, str(failure)))
        except WorkerDied as death:
            return self._died(flight, death)
        checkpoint = self.checkpoints.of(trial)
        flight.curve, flight.twice = [], 0.0
        flight.recorded = {e.number: e for e in self._trials[trial.id].curve}
        if flight.recorded and not self._continued_after[trial.id] and (checkpoint is None or checkpoint.save is None):
            return self._land(flight, self._finished(flight))
        return self._executor.start(trial, checkpoint)

    def _hear(self, event: TrialEvent) -> None:
        """Process an event of a trial in flight. Epochs that a killed attempt has recorded are not reported again."""
        flight = self._flights[event.trial]
        if event.epoch is None:
            return self._ended(flight, event)
        if not self._lets_go_on(flight, event.epoch):
            return self._ended(flight, self._executor.end(event.trial))
        if not self._stops():
            return self._executor.continue_trial(event.trial)
        self.record.append("cut", trial=event.trial)
        self._executor.end(event.trial)
        del self._flights[event.trial]  # it keeps no outcome, as after a kill
        return None

    def _lets_go_on(self, flight: _Flight, epoch: Epoch) -> bool:
        trial, recorded = flight.trial, flight.recorded
        if epoch.number not in recorded:
            flight.curve.append(epoch)
            return self._report(trial, epoch)
        flight.twice += recorded[epoch.number].seconds - epoch.seconds
        flight.curve.append(recorded[epoch.number])
        return epoch.number < max(recorded) or self._continued_after[trial.id]

    def _ended(self, flight: _Flight, event: TrialEvent) -> None:
        """Process the end of a trial or the death of its worker."""
        flight.peak_memory_bytes = event.peak_memory_bytes
        if isinstance(event.failure, WorkerDied):
            return self._died(flight, event.failure)
        curve, seconds = tuple(flight.curve), event.seconds + flight.twice
        if event.failure is not None:
            return self._land(flight, self._outcome(flight, Status.FAILED, curve, seconds, str(event.failure)))
        return self._land(flight, self._by_itself(flight, curve, seconds))

    def _died(self, flight: _Flight, death: WorkerDied) -> None:
        flight.deaths.append(str(death))
        self.record.append("died", trial=flight.trial.id, how=str(death))
        self._start(flight)

    def _land(self, flight: _Flight, outcome: Outcome) -> None:
        """Record the outcome of a trial and tell the method."""
        trial = flight.trial
        if outcome.loss is not None:
            self.checkpoints.keep(trial)
        self.record.append("told", trial=trial.id, **outcome_fields(outcome))
        self._end(trial, outcome)
        if self.spec.warm_start:
            self.checkpoints.keep_only(self.method.resumable() | self._continued())

    def _continued(self) -> set[TrialId]:
        """Return the parents of the trials in flight and of the next trial."""
        proposals = [f.trial.proposal for f in self._flights.values()]
        held = [] if self._held is None else [self._held]
        return {p.parent for p in [*proposals, *held] if p.parent is not None}

    def _given_up(self, flight: _Flight) -> Outcome:
        curve = self._trials[flight.trial.id].curve
        reason = f"the run was killed {MAX_KILLS} times while it trained"
        if len(flight.deaths) >= MAX_DEATHS:
            reason = f"its worker died {len(flight.deaths)} times, the last time {flight.deaths[-1]}"
        return self._outcome(flight, Status.FAILED, curve, sum(e.seconds for e in curve), reason)

    def _restore(self, parent: TrialId | None) -> None:
        """Train a trial again whose checkpoint is lost or damaged, from the last good checkpoint, so that it can be resumed.

        This is recorded and not charged. The resulting weights are the same as before.
        """
        fault = None if parent is None else self.checkpoints.fault(parent)
        if parent is None or fault is None:
            return
        known = self._trials[parent]
        self._restore(known.trial.proposal.parent)
        self.record.append("restored", trial=parent, reason=f"its checkpoint {fault}")
        self._executor.again(known.trial, self.checkpoints.of(known.trial), known.curve[-1].number)
        self.checkpoints.keep(known.trial)

    def _finished(self, flight: _Flight) -> Outcome:
        """Return the outcome of a trial whose last epoch is recorded but whose end is not."""
        curve = self._trials[flight.trial.id].curve
        return self._by_itself(flight, curve, sum(e.seconds for e in curve))

    def _by_itself(self, flight: _Flight, curve: tuple[Epoch, ...], seconds: float) -> Outcome:
        """Return the outcome of a trial that reached its target, was stopped or diverged."""
        broken = not_finite(curve[-1], self.goal.metric) if curve else None
        if broken:
            reason = f"{broken} is no finite number after epoch {curve[-1].number}"
            return self._outcome(flight, Status.DIVERGED, curve, seconds, reason)
        return self._outcome(flight, _ending(flight.trial, curve), curve, seconds, None)

    def _report(self, trial: Trial, epoch: Epoch) -> bool:
        """Record an epoch and whether the method lets the trial continue."""
        should_continue = epoch.number < trial.proposal.target_epoch and not_finite(epoch, self.goal.metric) is None
        if should_continue and self.spec.stop_rule:
            should_continue = self.method.should_continue(trial.id, epoch)
        self.record.append_soon("epoch", trial=trial.id, goes_on=should_continue, **epoch_fields(epoch))
        self._note(trial.id, epoch, should_continue)
        return should_continue

    def _note(self, trial: TrialId, epoch: Epoch, should_continue: bool) -> None:
        known = self._trials[trial]
        self._trials[trial] = replace(known, curve=(*known.curve, epoch))
        self._continued_after[trial] = should_continue

    def _outcome(self, flight: _Flight, status: Status, curve: tuple[Epoch, ...], seconds: float, reason: str | None) -> Outcome:
        scored = status in (Status.COMPLETED, Status.STOPPED)
        return Outcome(
            status,
            curve,
            loss_of(self.goal, curve) if scored else None,
            round(seconds, 4),
            None if reason is None else plain(reason),
            self._executor.device,
            flight.peak_memory_bytes,
            self.budget.trainings,
        )

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        """Charge a recorded trial to the budget and tell the method, by its rule for failed trials."""
        self.budget.charge(trial, outcome)
        self._flights.pop(trial.id)
        self._resting = False
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

    def _resume(self) -> None:
        """Replay the record: compare each answer of the method with the recorded one. Then continue the interrupted trials."""
        events = list(self.record.events)
        final = {t.trial.id: t for t in reduce_events(events, "", "", 0).trials}
        for event in events:
            match event["event"]:
                case "asked":
                    self._repeat_ask(event)
                case "held":
                    self._repeat_hold(event)
                case "epoch":
                    self._repeat_epoch(event)
                case "told":
                    outcome = final[event["trial"]].trial.outcome
                    assert outcome is not None
                    if outcome.status is Status.FAILED:
                        self._executor.passed(event["trial"], outcome.seconds - sum(e.seconds for e in outcome.curve))
                    self._end(self._trials[event["trial"]].trial, outcome)
        if len(self._flights) > self._executor.places:
            raise ReplayError(f"{len(self._flights)} trials were in flight, and now {self._executor.places} may be")
        for flight in list(self._flights.values()):
            known = final[flight.trial.id]
            flight.deaths = list(known.deaths)
            flight.killed = known.attempts - len(known.deaths)
            self._start(flight)

    def _repeat_ask(self, event: Event) -> None:
        answer = self._held or self._ask()
        self._held = None
        self._method_seconds = 0.0
        recorded = proposal_of(event)
        _compare_answers(f"trial {event['trial']}", recorded, answer)
        self._begin(lineage(event["trial"], recorded, self._trials), event)

    def _repeat_hold(self, event: Event) -> None:
        answer = self._ask()
        recorded = Wait() if event["proposal"] is None else proposal_of(event["proposal"])
        _compare_answers(f"after trial {len(self._trials) - 1}", recorded, answer)
        self._resting = True
        self._held = recorded if isinstance(recorded, Proposal) else None

    def _repeat_epoch(self, event: Event) -> None:
        trial, epoch = event["trial"], epoch_of(event)
        target = self._trials[trial].trial.proposal.target_epoch
        if self.spec.stop_rule and epoch.number < target and not_finite(epoch, self.goal.metric) is None:
            verdict = f"should_continue after epoch {epoch.number}"
            _compare(f"trial {trial}", {verdict: event["goes_on"]}, {verdict: self.method.should_continue(trial, epoch)})
        self._note(trial, epoch, event["goes_on"])
        self._executor.passed(trial, epoch.seconds)


def loss_of(goal: ObjectiveSettings, curve: tuple[Epoch, ...]) -> float:
    """Return the loss that the method minimises: the objective of the best or the last epoch of this trial."""
    epoch = counted_epoch(curve, goal)
    assert epoch is not None
    return goal.sign * epoch.metrics[goal.metric]


def _ending(trial: Trial, curve: tuple[Epoch, ...]) -> Status:
    return Status.COMPLETED if curve and curve[-1].number >= trial.proposal.target_epoch else Status.STOPPED


def not_finite(epoch: Epoch, metric: str) -> str | None:
    """Return which of the training loss (if known) and the objective's metric is not finite, or None."""
    shown = {"loss": epoch.metrics.get("loss", 0.0), metric: epoch.metrics.get(metric, math.nan)}
    return next((name for name, value in shown.items() if not math.isfinite(value)), None)


def _compare_answers(place: str, recorded: Proposal | Wait, repeated: Proposal | Wait | Done) -> None:
    if isinstance(recorded, Proposal) and isinstance(repeated, Proposal):
        _compare(place, proposal_fields(recorded), proposal_fields(repeated))
    elif recorded != repeated:
        what = "a proposal" if isinstance(recorded, Proposal) else "the method waiting"
        raise ReplayError(f"{place}: the record has {what}, and the method now answers {repeated}")


def _compare(place: str, recorded: Mapping[str, Any], repeated: Mapping[str, Any]) -> None:
    for name, value in recorded.items():
        if repeated[name] != value:
            raise ReplayError(f"{place}: {name} is {value!r} on record, and the method now answers {repeated[name]!r}")
