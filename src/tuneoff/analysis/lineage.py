"""Who continued whom, where weights went on under changed configurations, as in population based training."""

from __future__ import annotations

from ..core.record.state import SearchRecord, TrialRecord
from ..core.space import Model, Value
from ..core.study import ObjectiveSettings


class Strand(Model):
    """One trial as a stretch of epochs, and what became different where it goes on from its parent."""

    trial: int
    parent: int | None
    first_epoch: int  # epochs that its parent had trained
    last_epoch: int
    start: float | None  # the parent's objective
    objective: float | None
    changed: dict[str, Value | None]  # the new values of what is not as in its parent; null where it is no longer active
    of_winner: bool  # the best trial's weights went through it


class Family(Model):
    """The strands of one search, in the order of the asks."""

    method: str
    seed: int
    metric: str
    winner: int | None
    strands: list[Strand]


def family(search: SearchRecord, goal: ObjectiveSettings) -> Family | None:
    """The search's strands; None where no trial goes on under another configuration than its parent's."""
    records = {t.trial.id: t for t in search.trials}
    proposals = [t.trial.proposal for t in search.trials]
    if all(p.parent is None or p.config == records[p.parent].trial.proposal.config for p in proposals):
        return None
    ancestors = _line(search.incumbent, records)
    strands = [_strand(t, records, goal, ancestors) for t in search.trials]
    return Family(
        method=search.method,
        seed=search.seed,
        metric=goal.metric,
        winner=search.incumbent.trial.id if search.incumbent else None,
        strands=strands,
    )


def _line(last: TrialRecord | None, records: dict[int, TrialRecord]) -> set[int]:
    found: set[int] = set()
    while last is not None:
        found.add(last.trial.id)
        parent = last.trial.proposal.parent
        last = None if parent is None else records[parent]
    return found


def _strand(record: TrialRecord, records: dict[int, TrialRecord], goal: ObjectiveSettings, ancestors: set[int]) -> Strand:
    trial = record.trial
    parent = None if trial.proposal.parent is None else records[trial.proposal.parent]
    before = trial.proposal.config if parent is None else parent.trial.proposal.config
    now = trial.proposal.config
    return Strand(
        trial=trial.id,
        parent=trial.proposal.parent,
        first_epoch=trial.first_epoch,
        last_epoch=trial.first_epoch + len(record.curve),
        start=None if parent is None else _objective(parent, goal),
        objective=_objective(record, goal),
        changed={name: now.get(name) for name in {**before, **now} if before.get(name) != now.get(name)},
        of_winner=trial.id in ancestors,
    )


def _objective(record: TrialRecord, goal: ObjectiveSettings) -> float | None:
    outcome = record.trial.outcome
    return None if outcome is None or outcome.loss is None else goal.sign * outcome.loss
