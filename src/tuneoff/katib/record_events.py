"""Turn a Katib Experiment and its Trials into the events of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..core.errors import StudyError
from ..core.metrics import CLASSIFICATION, names_of
from ..core.problem import Epoch, Outcome, Proposal, Status
from ..core.record.events import SCHEMA, epoch_fields, outcome_fields, proposal_fields
from ..core.record.state import reduce_events, remaining
from ..core.record.writer import Writer
from ..core.runtime.machine import versions
from ..core.store.journal import MemoryJournal
from ..core.store.protocol import Store
from ..core.store.study_store import read_prepared
from ..core.study import Study
from .budget import RESOURCE
from .experiments import Planned
from .exported_files import Found
from .labels import PARENT
from .log_parser import Range, ranges
from .trial import config_of, read_epochs

ENGINES = {"hyperopt": "0.2.5", "optuna": "3.3.0", "goptuna": "0.8.0"}
"""Versions in the images of Katib 0.19 (its requirements.txt and go.mod). scikit-optimize is not pinned there."""
UNKNOWN = "not known"
CURVE = names_of(CLASSIFICATION)


def search_lines(
    store: Store, study: Study, one: Planned, experiment: Any, trials: Sequence[Any], found: Found, study_id: str
) -> list[bytes]:
    """Return the events of the search in chronological order, as lines of its journal."""
    journal = MemoryJournal()
    writer = Writer(journal)
    began = seconds_of(experiment.metadata.creation_timestamp)
    writer.append("opened", time=began, study_id=study_id, **_header(store, one, found))
    search = _Search(study, one, found, trials)
    happened = []
    for number, trial in enumerate(trials):
        asked = max(seconds_of(trial.metadata.creation_timestamp), began)
        told = max(seconds_of(trial.status.completion_time) or seconds_of(trial.status.last_reconcile_time), asked + 0.001)
        happened += [(asked, 1, number), (told, 0, number)]
    for time, begins, number in sorted(happened):
        if begins:
            search.begin(writer, number, time)
        else:
            search.end(writer, number, time)
    spent = reduce_events(writer.events, one.cell.dataset, one.cell.method.label, one.seed).spent
    limits = study.budget.limits
    over = max([time for time, _, _ in happened], default=began)
    ending = ending_of(experiment) or ""
    writer.append("ended", time=over, reason=ending, seconds=0.0, left=remaining(limits, spent), limits=asdict(limits))
    writer.close()
    return journal.lines()


def _header(store: Store, one: Planned, found: Found) -> dict[str, Any]:
    """Return the fields of the `opened` event, such as the engine, Katib's version, and the data's fingerprint if known."""
    version = found.version or UNKNOWN
    prepared = read_prepared(store, one.cell.dataset)
    pinned = ENGINES.get(one.algorithm.engine, UNKNOWN) if version.lstrip("v").startswith("0.19") else UNKNOWN
    engine = {} if one.algorithm.engine == "katib" else {one.algorithm.engine: pinned}
    method = one.cell.method.model_copy(update={"settings": dict(one.plan.settings)})
    return {
        "schema": SCHEMA,
        "pid": 0,  # the search had no process on this machine
        "host": "katib",
        "seed": one.seed,
        "dataset": one.cell.dataset,
        "kind": "search",
        "method": method.model_dump(),
        "engine": f"{one.algorithm.name} of {one.algorithm.engine}, by Katib",
        "data": None if prepared is None else prepared.fingerprint,
        "versions": {"katib": version, **engine, **versions("tuneoff")},
    }


def printed_epochs(found: Found, trial: Any) -> tuple[Epoch, ...]:
    """Return the epochs in the trial's log; empty if there is no log."""
    return read_epochs(found.logs.get(trial.metadata.name, "").splitlines())


class _Search:
    """Convert an experiment's trials to events: number them, and find their parents and epochs."""

    def __init__(self, study: Study, one: Planned, found: Found, trials: Sequence[Any]) -> None:
        self._study = study
        self._one = one
        self._found = found
        self._trials = trials
        self._numbers: dict[str, int] = {}
        self._reached: dict[int, int] = {}  # epochs trained by each trial, including the parent's
        self._proposals: dict[int, Proposal] = {}

    def begin(self, writer: Writer, number: int, time: float) -> None:
        trial = self._trials[number]
        proposal = self._proposal(trial)
        self._numbers[trial.metadata.name] = number
        self._proposals[number] = proposal
        started = seconds_of(trial.status.start_time) or time
        writer.append("asked", time=time, trial=number, seconds=0.0, **proposal_fields(proposal))
        writer.append("started", time=started, trial=number, worker=f"katib trial {trial.metadata.name}")

    def end(self, writer: Writer, number: int, time: float) -> None:
        proposal = self._proposals[number]
        first = 0 if proposal.parent is None else self._reached[proposal.parent]
        outcome = self._outcome(self._trials[number], proposal, first, time)
        for epoch in outcome.curve:
            should_continue = epoch.number < outcome.curve[-1].number
            writer.append("epoch", time=time, trial=number, goes_on=should_continue, **epoch_fields(epoch))
        writer.append("told", time=time, trial=number, **outcome_fields(outcome))
        self._reached[number] = first + len(outcome.curve)

    def _proposal(self, trial: Any) -> Proposal:
        texts = {a.name: a.value for a in trial.spec.parameter_assignments or []}
        resource = texts.pop(RESOURCE, None)
        try:
            config = config_of(self._study.space, texts)
        except StudyError as error:
            raise StudyError(f"Trial {trial.metadata.name} does not belong to this study: {error}") from None
        parent = self._numbers.get((trial.metadata.labels or {}).get(PARENT, ""))
        parent = parent if parent in self._reached else None
        before = 0 if parent is None else self._reached[parent]
        return Proposal(config, before + int(resource or self._one.plan.epochs), parent)

    def _outcome(self, trial: Any, proposal: Proposal, first: int, time: float) -> Outcome:
        goal = self._study.objective
        status, reason = status_of(trial) or (Status.FAILED, None)
        kept = ranges(trial)
        printed = printed_epochs(self._found, trial)
        curve = tuple(_whole(e) for e in printed if first < e.number <= proposal.target_epoch)
        seconds = sum(e.seconds for e in curve)
        objective = _objective(kept.get(goal.metric), goal.epoch, goal.sign)
        if not curve:
            seconds = _trained_seconds(trial, kept, time)
            curve = _certain(kept, goal.metric, objective, first, proposal.target_epoch, seconds, status)
        if status is Status.COMPLETED and objective is None:
            status, reason = Status.FAILED, f"Katib read no {goal.metric} in what it printed"
        if status is Status.FAILED and "diverged:" in self._found.logs.get(trial.metadata.name, ""):
            status, reason = Status.DIVERGED, "the training diverged, as its log says"
        scored = status in (Status.COMPLETED, Status.STOPPED) and objective is not None
        loss = goal.sign * objective if scored and objective is not None else None
        return Outcome(status, curve, loss, round(seconds, 4), reason, trainings=self._study.trainings)


def _objective(kept: Range | None, epoch: str, sign: int) -> float | None:
    if kept is None:
        return None
    best = kept.most if sign < 0 else kept.least
    return kept.latest if epoch == "last" or best is None else best


def _certain(
    kept: Mapping[str, Range], metric: str, objective: float | None, first: int, target: int, seconds: float, status: Status
) -> tuple[Epoch, ...]:
    """Return the epochs of a trial without a log.

    Their number is known. The metrics are known only for the last epoch, and only if the objective is that of the last epoch.
    Each epoch gets an equal share of the trial's seconds.
    """
    reached = kept["epoch"].most if "epoch" in kept else None
    last = int(reached) if reached is not None else target if status is Status.COMPLETED else first
    count = min(last, target) - first
    if count <= 0:
        return ()
    unknown = dict.fromkeys(CURVE, math.nan)
    latest = {m: math.nan if (r := kept.get(m)) is None or r.latest is None else r.latest for m in CURVE}
    known = latest if objective is not None and latest[metric] == objective else unknown
    return tuple(Epoch(first + n, known if n == count else unknown, seconds / count) for n in range(1, count + 1))


def _trained_seconds(trial: Any, kept: Mapping[str, Range], time: float) -> float:
    """Return the seconds of training that the trial printed. Without them, return the time from its start to its end."""
    if "seconds" in kept and (most := kept["seconds"].most) is not None:
        return most
    return max(0.0, time - (seconds_of(trial.status.start_time) or time))


def _whole(epoch: Epoch) -> Epoch:
    return Epoch(epoch.number, {m: epoch.metrics.get(m, math.nan) for m in CURVE}, epoch.seconds)


def _conditions(thing: Any) -> dict[str, str]:
    """Return the conditions that are true, with their messages."""
    conditions = (thing.status.conditions if thing.status else None) or []
    return {c.type: c.message or c.reason or c.type for c in conditions if c.status == "True"}


def ending_of(experiment: Any) -> str | None:
    """Return why an experiment has ended, or None while it runs."""
    holds = _conditions(experiment)
    return next((holds[kind] for kind in ("Succeeded", "Failed") if kind in holds), None)


def status_of(trial: Any) -> tuple[Status, str | None] | None:
    """Return a trial's status and, for a failed trial, the reason. Return None while it runs."""
    holds = _conditions(trial)
    for kind, status in (
        ("Killed", Status.FAILED),
        ("Failed", Status.FAILED),
        ("MetricsUnavailable", Status.FAILED),
        ("EarlyStopped", Status.STOPPED),
        ("Succeeded", Status.COMPLETED),
    ):
        if kind in holds:
            return status, None if status is not Status.FAILED else f"Katib: {kind}: {holds[kind]}"
    return None


def seconds_of(when: datetime | None) -> float:
    """Return the seconds since 1970, or 0 if there is no time."""
    return 0.0 if when is None else round(when.timestamp(), 3)
