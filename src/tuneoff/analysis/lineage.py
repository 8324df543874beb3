"""The lineage of trials that continue another trial with a changed configuration, as in population-based training (PBT)."""

from __future__ import annotations

from ..core.record.state import SearchRecord, TrialRecord
from ..core.space import Model, Value
from ..core.study import ObjectiveSettings


class Strand(Model):
    """One trial as a range of epochs, with its changes to its parent's configuration."""

    trial: int
    parent: int | None
    first_epoch: int  # epochs that the parent had trained
    last_epoch: int
    start: float | None  # the parent's objective
    objective: float | None
    changed: dict[str, Value | None]  # new value of each hyperparameter that differs from the parent; null if now inactive
    of_winner: bool  # whether the trial is the best trial or one of its ancestors


class Family(Model):
    """The strands of one search, in the order in which the trials were proposed."""

    method: str
    seed: int
    metric: str
    winner: int | None
    strands: list[Strand]


def family(search: SearchRecord, goal: ObjectiveSettings) -> Family | None:
    """Return the search's strands; None if every continued trial keeps its parent's configuration."""
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
    """Return the numbers of a trial and all its ancestors."""
    numbers: set[int] = set()
    while last is not None:
        numbers.add(last.trial.id)
        parent = last.trial.proposal.parent
        last = None if parent is None else records[parent]
    return numbers


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
