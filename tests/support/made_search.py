"""Searches made by hand, trial by trial, for tests whose results can be worked out on paper."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

from tuneoff.core.problem import Epoch, Inherit, Outcome, Proposal, Status
from tuneoff.core.record.events import Event, epoch_fields, outcome_fields, proposal_fields
from tuneoff.core.record.state import SearchRecord, reduce_events


@dataclass(frozen=True)
class Made:
    """One trial: the validation accuracy of each epoch it trains, and what it cost. `told` is False for one cut off."""

    accuracies: tuple[float, ...]
    seconds: float = 1.0  # of training
    ask: float = 0.0  # of the method
    parent: int | None = None
    first: int = 0  # epochs of the parent
    status: Status = Status.COMPLETED
    config: dict[str, Any] = field(default_factory=lambda: {"x": 0.5})
    told: bool = True
    reason: str | None = None


def made(*accuracies: float, **fields: Any) -> Made:
    return Made(accuracies, **fields)


def search(
    *trials: Made, seed: int = 0, ended: str | None = "the budget is used up", dataset: str = "mnist", method: str = "random"
) -> SearchRecord:
    """A sequential search."""
    return reduce_events(events(*trials, ended=ended), dataset, method, seed)


def lines(*trials: Made, ended: str | None = "the budget is used up") -> bytes:
    """The same search as its log."""
    stamped = ({**e, "seq": i, "attempt": 1, "schema": 1} for i, e in enumerate(events(*trials, ended=ended)))
    return b"".join(json.dumps(e).encode() + b"\n" for e in stamped)


def events(*trials: Made, ended: str | None) -> list[Event]:
    """One second of wall clock between any two events."""
    found: list[dict[str, Any]] = [{"event": "opened", "host": "here", "versions": {"keras": "3.15.1"}}]
    for number, trial in enumerate(trials):
        found += trial_events(number, trial)
    if ended is not None:
        found.append({"event": "ended", "reason": ended, "seconds": 0.0, "left": {"trials": 0}})
    return [{**e, "time": float(i)} for i, e in enumerate(found)]


def trial_events(number: int, trial: Made) -> list[dict[str, Any]]:
    proposal = Proposal(trial.config, trial.first + len(trial.accuracies), trial.parent, Inherit.STATE)
    curve = tuple(
        Epoch(trial.first + i + 1, {"accuracy": a, "val_accuracy": a, "loss": 1 - a, "val_loss": 1 - a}, trial.seconds)
        for i, a in enumerate(trial.accuracies)
    )
    scored = trial.status in (Status.COMPLETED, Status.STOPPED)
    loss = -max(a for a in trial.accuracies if math.isfinite(a)) if scored else None
    outcome = Outcome(trial.status, curve, loss, trial.seconds, trial.reason, "cpu")
    return [
        {"event": "asked", "trial": number, "seconds": trial.ask, **proposal_fields(proposal)},
        {"event": "started", "trial": number},
        *[{"event": "epoch", "trial": number, **epoch_fields(e)} for e in curve],
        *([{"event": "told", "trial": number, **outcome_fields(outcome)}] if trial.told else []),
    ]
