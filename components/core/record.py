"""The record of a search: an append-only event log, and the trials as seen from it.

Events, in the order in which a trial meets them; each line is one JSON object with `seq`, `event`, `attempt` and `time`:

    opened   a process starts or resumes the search: schema, study, process, versions
    asked    the method proposed a trial; `seconds` that ask and the tells before it took
    started  a worker began to train it
    died     that worker's process is gone, and how it ended; the trial is started again or given up
    restored its weights were lost or damaged, and it is trained again, uncharged, for a trial that continues it
    cut      the study was asked to stop while it trained; it is started again by whoever goes on
    epoch    one epoch's metrics, and whether the method lets the trial go on
    told     the trial's outcome, written before the method hears of it
    ended    the search is over: why, and what is left of the budget

A trial's status is derived from these, never stored twice.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from . import layout
from .errors import RecordError
from .problem import Epoch, Inherit, Limits, Outcome, Proposal, Spent, Status, Trial
from .space import Config
from .storage import Journal, Store

SCHEMA = 1
Event = Mapping[str, Any]


class Writer:
    """The one writer of a search's record. Every event is on disk when `append` returns.

    Opening raises RecordError where another process writes, or where the log is damaged otherwise than at its torn end.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.events: list[Event] = parse(journal.lines())
        self.attempt = 1 + sum(e["event"] == "opened" for e in self.events)

    @property
    def ended(self) -> Event | None:
        """The event with which the search has ended; None where it has not."""
        last = next((e for e in reversed(self.events) if e["event"] != "opened"), None)
        return last if last is not None and last["event"] == "ended" else None

    def open(self, **header: Any) -> None:
        """Note that this process goes on with the search; comes before any other event of it."""
        self.append("opened", schema=SCHEMA, pid=os.getpid(), host=socket.gethostname(), **header)

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event; returns it as recorded."""
        entry = {"seq": len(self.events), "event": event, "attempt": self.attempt, "time": round(time.time(), 3), **fields}
        self._journal.append(json.dumps(entry, allow_nan=False, separators=(",", ":")).encode())
        self.events.append(entry)
        return entry

    def close(self) -> None:
        self._journal.close()


def parse(lines: Iterable[bytes]) -> list[Event]:
    """Events of a log's whole lines; RecordError names the first line that is not the next event."""
    events: list[Event] = []
    for number, line in enumerate(lines):
        try:
            event = json.loads(line)
            sound = isinstance(event, dict) and event["seq"] == number and isinstance(event["event"], str)
        except (ValueError, KeyError):
            sound = False
        if not sound:
            raise RecordError(f"line {number + 1} of the record is damaged: {line[:80]!r}")
        if event["event"] == "opened" and event["schema"] > SCHEMA:
            raise RecordError(f"the record has schema {event['schema']}, and this version of tuneoff reads up to {SCHEMA}")
        events.append(event)
    return events


@dataclass(frozen=True)
class TrialRecord:
    """A trial and what the record knows of how it went. Times are seconds since 1970; None for what has not happened."""

    trial: Trial
    curve: tuple[Epoch, ...]  # recorded so far, also of a trial without an outcome
    asked_at: float
    started_at: float | None = None
    told_at: float | None = None
    asked_as: int = 0  # numbers of its events in the log: what was before what, whatever clocks were set to
    told_as: int = 0
    ask_seconds: float = 0.0
    attempts: int = 0  # how often it was started, but for those that ended since the study was asked to stop
    deaths: tuple[str, ...] = ()  # how its workers ended

    @property
    def status(self) -> str:
        """The outcome's status, or "running" for a trial without one (in flight, or cut off by a kill)."""
        return self.trial.outcome.status.value if self.trial.outcome else "running"


@dataclass(frozen=True)
class SearchRecord:
    """One search (a method on a data set with a seed) as its record tells it."""

    dataset: str
    method: str  # the label
    seed: int
    header: Event = field(default_factory=dict)  # the newest `opened` event
    trials: tuple[TrialRecord, ...] = ()
    ended: Event | None = None  # the `ended` event, where the search is over
    attempts: int = 0
    method_seconds: float = 0.0

    @property
    def told(self) -> tuple[TrialRecord, ...]:
        """Trials with an outcome, in the order of the asks."""
        return tuple(t for t in self.trials if t.trial.outcome is not None)

    @property
    def incumbent(self) -> TrialRecord | None:
        """The trial with the smallest loss, the earliest of equals; None while there is none."""
        scored = [t for t in self.told if t.trial.outcome and t.trial.outcome.loss is not None]
        return min(scored, key=lambda t: t.trial.outcome.loss, default=None)  # type: ignore[union-attr,arg-type,return-value]

    @property
    def spent(self) -> Spent:
        """What the search has used: configurations started, epochs and seconds of the trials that ended."""
        outcomes = [t.trial.outcome for t in self.told if t.trial.outcome]
        training = sum(o.seconds for o in outcomes)
        return Spent(
            trials=sum(t.trial.proposal.parent is None for t in self.trials),
            epochs=sum(o.trained_epochs for o in outcomes),
            seconds=training + self.method_seconds,
            method_seconds=self.method_seconds,
        )


def ended_under(ended: Event | None, limits: Limits) -> bool:
    """Whether a search has ended, and under these limits: with others it goes on."""
    return ended is not None and ended.get("limits", asdict(limits)) == asdict(limits)


def read_search(store: Store, dataset: str, label: str, seed: int) -> SearchRecord:
    """The search's record, read without holding or changing it; empty where there is none."""
    return replay(parse(store.journal_lines(layout.events(dataset, label, seed))), dataset, label, seed)


def replay(events: Iterable[Event], dataset: str, label: str, seed: int) -> SearchRecord:
    """The state of a search after these events."""
    search = SearchRecord(dataset, label, seed)
    trials: dict[int, TrialRecord] = {}
    for number, event in enumerate(events):
        match event["event"]:
            case "opened":
                search = replace(search, header=event, attempts=search.attempts + 1, ended=None)
            case "asked":
                trials[event["trial"]] = _asked(number, event, trials)
                search = replace(search, method_seconds=search.method_seconds + event["seconds"], ended=None)
            case "started":
                trial = trials[event["trial"]]
                trials[event["trial"]] = replace(trial, started_at=event["time"], attempts=trial.attempts + 1)
            case "died":
                trial = trials[event["trial"]]
                trials[event["trial"]] = replace(trial, deaths=(*trial.deaths, event["how"]))
            case "cut":
                trial = trials[event["trial"]]
                trials[event["trial"]] = replace(trial, attempts=trial.attempts - 1)
            case "epoch":
                trial = trials[event["trial"]]
                trials[event["trial"]] = replace(trial, curve=(*trial.curve, epoch_of(event)))
            case "told":
                trials[event["trial"]] = _told(number, event, trials[event["trial"]])
            case "ended":
                search = replace(search, ended=event, method_seconds=search.method_seconds + event["seconds"])
    return replace(search, trials=tuple(trials[i] for i in sorted(trials)))


def _asked(number: int, event: Event, trials: Mapping[int, TrialRecord]) -> TrialRecord:
    trial = lineage(event["trial"], proposal_of(event), trials)
    return TrialRecord(trial, (), event["time"], asked_as=number, ask_seconds=event["seconds"])


def lineage(trial_id: int, proposal: Proposal, trials: Mapping[int, TrialRecord]) -> Trial:
    """The proposal as a trial: its configuration id and first epoch follow from its parent. RecordError without that parent."""
    if proposal.parent is None:
        return Trial(trial_id, trial_id, proposal, 0)
    if proposal.parent not in trials:
        raise RecordError(f"trial {trial_id} continues trial {proposal.parent}, which does not exist")
    parent = trials[proposal.parent]
    return Trial(trial_id, parent.trial.config_id, proposal, parent.trial.first_epoch + len(parent.curve))


@dataclass(frozen=True)
class Stage:
    """A stretch of training under one configuration, up to and with this epoch."""

    config: Config
    last_epoch: int


def stages(trial: Trial, trials: Mapping[int, TrialRecord]) -> tuple[Stage, ...]:
    """Under which configurations the trial's weights were trained, the first one first: one, unless it changed on the way."""
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


def _told(number: int, event: Event, record: TrialRecord) -> TrialRecord:
    outcome = Outcome(
        status=Status(event["status"]),
        curve=record.curve,
        loss=event["loss"],
        seconds=event["seconds"],
        reason=event["reason"],
        device=event["device"],
        peak_memory_bytes=event["peak_memory_bytes"],
    )
    return replace(record, trial=replace(record.trial, outcome=outcome), told_at=event["time"], told_as=number)


def proposal_fields(proposal: Proposal) -> dict[str, Any]:
    """A proposal as an `asked` event holds it."""
    return {
        "config": dict(proposal.config),
        "target_epoch": proposal.target_epoch,
        "parent": proposal.parent,
        "inherit": proposal.inherit.value,
    }


def proposal_of(event: Event) -> Proposal:
    """The proposal of an `asked` event."""
    return Proposal(event["config"], event["target_epoch"], event["parent"], Inherit(event["inherit"]))


def epoch_fields(epoch: Epoch) -> dict[str, Any]:
    """An epoch as an `epoch` event holds it; JSON has no NaN, so a metric that is no finite number is null."""
    metrics = {k: v if math.isfinite(v) else None for k, v in epoch.metrics.items()}
    return {"epoch": epoch.number, "metrics": metrics, "seconds": round(epoch.seconds, 4)}


def epoch_of(event: Event) -> Epoch:
    """The epoch of an `epoch` event; null metrics are NaN again."""
    metrics = {k: math.nan if v is None else v for k, v in event["metrics"].items()}
    return Epoch(event["epoch"], metrics, event["seconds"])


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a `told` event holds it, without the curve, which the `epoch` events are."""
    return {
        "status": outcome.status.value,
        "loss": outcome.loss,
        "trained_epochs": outcome.trained_epochs,
        "seconds": round(outcome.seconds, 4),
        "reason": outcome.reason,
        "device": outcome.device,
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }


def remaining(limits: Limits, spent: Spent) -> dict[str, float | None]:
    """What is left of each limit; None where there is no limit."""
    return {
        "trials": None if limits.trials is None else limits.trials - spent.trials,
        "epochs": None if limits.epochs is None else limits.epochs - spent.epochs,
        "seconds": None if limits.seconds is None else round(limits.seconds - spent.seconds, 3),
    }
