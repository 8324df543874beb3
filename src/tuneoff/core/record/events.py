"""The events of a search's log: their schema, and how they are parsed and encoded.

Each line of the log is one JSON object with `seq`, `event`, `attempt` and `time`. The events, in the order in which a trial has
them:

    opened   a process starts or resumes the search; the event holds the schema, the study, the process and the versions
    asked    the method proposed a trial; `seconds` is the time of this ask and of the tells before it
    held     no trial can start before one of those in flight has ended: the method waits (the event has no proposal), or the
             budget does not yet pay for its proposal, which the method is then not asked for again
    started  a worker began to train the trial
    died     the worker's process ended, and how; the trial is started again or given up
    restored weights were lost or damaged; the trial is trained again, without charge, because another trial resumes it
    cut      the study was asked to stop during the training; the next process starts the trial again
    epoch    the metrics of one epoch, and whether the method lets the trial continue (`goes_on`)
    told     the outcome of the trial, written before the method receives it
    anew     a system that trains its own models starts again: the models of the earlier trials are lost, and why
    ended    the search is over: the reason and the remaining budget

These names are schema 1 and stay as they are on disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json

from ..errors import RecordError
from ..problem import Epoch, Inherit, Outcome, Proposal

SCHEMA = 1
Event = Mapping[str, Any]


def parse(lines: Iterable[bytes]) -> list[Event]:
    """Parse the complete lines of a log.

    Raises:
        RecordError: A line is damaged or out of sequence, or the schema is newer than this version reads.
    """
    events: list[Event] = []
    for number, line in enumerate(lines):
        try:
            event = from_json(line)  # three times as fast as json.loads, and it gives the same numbers
            sound = isinstance(event, dict) and event["seq"] == number and isinstance(event["event"], str)
        except (ValueError, KeyError):
            sound = False
        if not sound:
            raise RecordError(f"line {number + 1} of the record is damaged: {line[:80]!r}")
        if event["event"] == "opened" and event["schema"] > SCHEMA:
            raise RecordError(f"the record has schema {event['schema']}, and this version of tuneoff reads up to {SCHEMA}")
        events.append(event)
    return events


def proposal_fields(proposal: Proposal) -> dict[str, Any]:
    """Return the fields of an `asked` event that hold a proposal."""
    return {
        "config": dict(proposal.config),
        "target_epoch": proposal.target_epoch,
        "parent": proposal.parent,
        "inherit": proposal.inherit.value,
    }


def proposal_of(event: Event) -> Proposal:
    """Return the proposal of an `asked` event."""
    return Proposal(event["config"], event["target_epoch"], event["parent"], Inherit(event["inherit"]))


def epoch_fields(epoch: Epoch) -> dict[str, Any]:
    """Return the fields of an `epoch` event. JSON has no NaN, so a metric that is not finite is written as null."""
    metrics = {k: v if math.isfinite(v) else None for k, v in epoch.metrics.items()}
    return {"epoch": epoch.number, "metrics": metrics, "seconds": round(epoch.seconds, 4)}


def epoch_of(event: Event) -> Epoch:
    """Return the epoch of an `epoch` event. Metrics that are null become NaN."""
    metrics = event["metrics"]
    if None in metrics.values():
        metrics = {k: math.nan if v is None else v for k, v in metrics.items()}
    return Epoch(event["epoch"], metrics, event["seconds"])


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Return the fields of a `told` event. The curve is not among them: the `epoch` events hold it."""
    return {
        "status": outcome.status.value,
        "loss": outcome.loss,
        "trained_epochs": outcome.trained_epochs,
        "trainings": outcome.trainings,
        "seconds": round(outcome.seconds, 4),
        "reason": outcome.reason,
        "device": outcome.device,
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }
