"""The state of a search, computed from the events of its log.

The status of a trial is derived from the events and is never stored twice. `events.py` lists the events.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from .. import layout
from ..errors import RecordError
from ..problem import Epoch, Limits, Outcome, Proposal, Spent, Status, Trial
from ..space import Config
from ..store.protocol import Store
from .events import Event, epoch_of, parse, proposal_of

_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode  # shared: json.dumps would build an encoder per line


@dataclass(frozen=True)
class TrialRecord:
    """A trial and its history in the record. Times are seconds since 1970, or None for what has not happened."""

    trial: Trial
    curve: tuple[Epoch, ...]  # the recorded epochs, also of a trial without an outcome
    asked_at: float
    started_at: float | None = None
    told_at: float | None = None
    asked_as: int = 0  # positions of its events in the log: they give the order even if clocks were changed
    told_as: int = 0
    ask_seconds: float = 0.0
    attempts: int = 0  # starts, without those that ended because the study was asked to stop
    deaths: tuple[str, ...] = ()  # how each of its workers died

    @property
    def status(self) -> str:
        """Return the status of the outcome, or "running" for a trial without one (in flight or interrupted)."""
        return self.trial.outcome.status.value if self.trial.outcome else "running"


@dataclass(frozen=True)
class SearchRecord:
    """One search: a method on a data set with one seed, as its record describes it."""

    dataset: str
    method: str  # the label
    seed: int
    header: Event = field(default_factory=dict)  # the newest `opened` event
    trials: tuple[TrialRecord, ...] = ()
    ended: Event | None = None  # the `ended` event, if the search is over
    attempts: int = 0
    method_seconds: float = 0.0

    @property
    def is_system(self) -> bool:
        """Return whether a system that trains its own models ran the search. Its trials and epochs are not comparable."""
        return self.header.get("kind") == "system"

    @property
    def told(self) -> tuple[TrialRecord, ...]:
        """Return the trials with an outcome, in the order of the proposals."""
        return tuple(t for t in self.trials if t.trial.outcome is not None)

    @property
    def incumbent(self) -> TrialRecord | None:
        """Return the trial with the smallest loss (the earliest of equals), or None if no trial has a loss."""
        scored = [t for t in self.told if t.trial.outcome and t.trial.outcome.loss is not None]
        return min(scored, key=lambda t: t.trial.outcome.loss, default=None)  # type: ignore[union-attr,arg-type,return-value]

    @property
    def spent(self) -> Spent:
        """Return the used budget: configurations started, and epochs and seconds of the trials that have ended."""
        outcomes = [t.trial.outcome for t in self.told if t.trial.outcome]
        training = sum(o.seconds for o in outcomes)
        return Spent(
            trials=sum(t.trial.proposal.parent is None for t in self.trials),
            epochs=sum(o.trained_epochs for o in outcomes),
            seconds=training + self.method_seconds,
            method_seconds=self.method_seconds,
        )


def ended_under(ended: Event | None, limits: Limits) -> bool:
    """Return whether a search has ended under these limits. Under larger limits it continues."""
    return ended is not None and ended.get("limits", {}).items() <= asdict(limits).items()


def limits_of(search: SearchRecord, limits: Limits) -> Limits:
    """Return the limits that apply to the search. For a system that trains its own models only the seconds apply."""
    return Limits(seconds=limits.seconds) if search.is_system else limits


def read_search(store: Store, dataset: str, label: str, seed: int) -> SearchRecord:
    """Read the record of a search without locking or changing it. The result is empty if no record exists."""
    return reduce_events(parse(store.journal_lines(layout.events(dataset, label, seed))), dataset, label, seed)


def reduce_events(events: Iterable[Event], dataset: str, label: str, seed: int) -> SearchRecord:
    """Return the state of a search after these events."""
    course = SearchState(dataset, label, seed)
    course.follow(events)
    return course.search


class SearchState:
    """The state of a search, updated event by event without processing earlier events again."""

    def __init__(self, dataset: str, label: str, seed: int) -> None:
        self._search = SearchRecord(dataset, label, seed)
        self._header: Event = {}
        self._ended: Event | None = None
        self._attempts = 0
        self._method_seconds = 0.0
        self._trials: dict[int, TrialRecord] = {}
        self._curves: dict[int, list[Epoch]] = {}
        """Curves of trials without an outcome. A list can grow; a tuple would be copied with each epoch."""
        self._news = False
        self.followed = 0
        """The number of events processed so far."""

    @property
    def search(self) -> SearchRecord:
        """Return the state. The same object is returned as long as no event arrives."""
        if self._news:
            for trial in self._curves:
                self._settle(trial)
            self._search = replace(
                self._search,
                header=self._header,
                trials=tuple(self._trials[i] for i in sorted(self._trials)),
                ended=self._ended,
                attempts=self._attempts,
                method_seconds=self._method_seconds,
            )
            self._news = False
        return self._search

    def follow(self, events: Iterable[Event]) -> None:
        """Process the next events."""
        for event in events:
            if event["event"] == "epoch":  # nine of ten events
                self._curves[event["trial"]].append(epoch_of(event))
            else:
                self._follow(event)
            self.followed += 1
            self._news = True

    def _follow(self, event: Event) -> None:
        match event["event"]:
            case "opened":
                self._header, self._ended = event, None
                self._attempts += 1
            case "asked":
                self._asked(event)
            case "started":
                trial = self._trials[event["trial"]]
                self._trials[event["trial"]] = replace(trial, started_at=event["time"], attempts=trial.attempts + 1)
            case "died":
                trial = self._trials[event["trial"]]
                self._trials[event["trial"]] = replace(trial, deaths=(*trial.deaths, event["how"]))
            case "cut":
                trial = self._trials[event["trial"]]
                self._trials[event["trial"]] = replace(trial, attempts=trial.attempts - 1)
            case "told":
                curve = tuple(self._curves.pop(event["trial"]))
                self._trials[event["trial"]] = _told(self.followed, event, self._trials[event["trial"]], curve)
            case "anew":
                self._lose(event["reason"])
            case "ended":
                self._ended = event
                self._method_seconds += event["seconds"]

    def _asked(self, event: Event) -> None:
        number, proposal = event["trial"], proposal_of(event)
        if proposal.parent in self._curves:
            self._settle(proposal.parent)
        trial = lineage(number, proposal, self._trials)
        self._trials[number] = TrialRecord(trial, (), event["time"], asked_as=self.followed, ask_seconds=event["seconds"])
        self._curves[number] = []
        self._method_seconds += event["seconds"]
        self._ended = None

    def _lose(self, reason: str) -> None:
        """Remove the scores of all trials so far: their training is on record, but their models are lost."""
        for number, record in self._trials.items():
            if number in self._curves:
                self._settle(number)
                curve = self._trials[number].curve
                lost = Outcome(Status.FAILED, curve, None, sum(e.seconds for e in curve), reason)
            else:
                assert record.trial.outcome is not None
                lost = replace(record.trial.outcome, loss=None, reason=record.trial.outcome.reason or reason)
            told_at, told_as = record.told_at or record.asked_at, record.told_as or self.followed
            record = self._trials[number]
            trial = replace(record.trial, outcome=lost)
            self._trials[number] = replace(record, trial=trial, told_at=told_at, told_as=told_as)
        self._curves.clear()

    def _settle(self, trial: int) -> None:
        """Copy the curve of a running trial into its record."""
        if len(self._curves[trial]) > len(self._trials[trial].curve):
            self._trials[trial] = replace(self._trials[trial], curve=tuple(self._curves[trial]))


def lineage(trial_id: int, proposal: Proposal, trials: Mapping[int, TrialRecord]) -> Trial:
    """Return the proposal as a trial. Its configuration id and first epoch follow from its parent.

    Raises:
        RecordError: The parent does not exist.
    """
    if proposal.parent is None:
        return Trial(trial_id, trial_id, proposal, 0)
    if proposal.parent not in trials:
        raise RecordError(f"trial {trial_id} continues trial {proposal.parent}, which does not exist")
    parent = trials[proposal.parent]
    return Trial(trial_id, parent.trial.config_id, proposal, parent.trial.first_epoch + len(parent.curve))


@dataclass(frozen=True)
class Stage:
    """A part of a training under one configuration, up to and including `last_epoch`."""

    config: Config
    last_epoch: int


def stages(trial: Trial, trials: Mapping[int, TrialRecord]) -> tuple[Stage, ...]:
    """Return the configurations under which the trial's weights were trained, in order. Usually this is one."""
    line = [trial.id]
    while (parent := trials[line[-1]].trial.proposal.parent) is not None:
        line.append(parent)
    found: list[Stage] = []
    for known in (trials[number] for number in reversed(line)):
        config = known.trial.proposal.config
        if found and found[-1].config == config:
            found.pop()
        found.append(Stage(config, known.trial.first_epoch + len(known.curve)))
    return tuple(found)


def _told(number: int, event: Event, record: TrialRecord, curve: tuple[Epoch, ...]) -> TrialRecord:
    outcome = Outcome(
        status=Status(event["status"]),
        curve=curve,
        loss=event["loss"],
        seconds=event["seconds"],
        reason=event["reason"],
        device=event["device"],
        peak_memory_bytes=event["peak_memory_bytes"],
        trainings=event.get("trainings", 1),
    )
    trial = replace(record.trial, outcome=outcome)
    return replace(record, trial=trial, curve=curve, told_at=event["time"], told_as=number)


def remaining(limits: Limits, spent: Spent) -> dict[str, float | None]:
    """Return the remaining budget for each limit, or None if there is no limit."""
    return {
        "trials": None if limits.trials is None else limits.trials - spent.trials,
        "epochs": None if limits.epochs is None else limits.epochs - spent.epochs,
        "seconds": None if limits.seconds is None else round(limits.seconds - spent.seconds, 3),
    }
