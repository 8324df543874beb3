"""Submit a study's Katib experiments, and collect their results into the record as methods `katib-…`.

Katib stores the smallest, the largest and the latest value of each metric of a trial. The whole learning curve is only in the
trial's log. Without the log, the record contains the number of epochs, and only those metric values that are certain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..core import layout
from ..core.errors import RecordError, StudyError
from ..core.record.state import read_search
from ..core.store.protocol import Store
from ..core.store.study_store import claim, held_study
from ..core.study import Study
from .experiments import Planned
from .exported_files import Found
from .labels import EXPERIMENT
from .record_events import ending_of, printed_epochs, search_lines, seconds_of, status_of

# Into the record


@dataclass(frozen=True)
class Collected:
    """The result for one experiment: a sentence without the final period, and whether it was recorded."""

    sentence: str
    recorded: bool = False


def collect(study: Study, store: Store, planned: Sequence[Planned], found: Found) -> list[Collected]:
    """Record each experiment that has ended and is not in the record yet.

    Args:
        study: The study.
        store: The store with the study's record.
        planned: The study's experiments.
        found: What Katib has of them.

    Returns:
        One entry per planned experiment.

    Raises:
        StudyError: No experiment was found, or a result does not fit the study. In this case nothing is recorded.
    """
    if not any(one.name in found.experiments for one in planned):
        raise StudyError(f"{found.where} has none of the study's {len(planned)} experiments, such as {planned[0].name}.")
    said: list[Collected] = []
    ready: list[tuple[Planned, Callable[[str], list[bytes]]]] = []
    for one in planned:
        experiment, trials = found.experiments.get(one.name), _trials_of(found, one)
        ended = sum(status_of(t) is not None for t in trials)
        if experiment is None:
            said.append(Collected(f"{one.name}: not found in {found.where}"))
        elif read_search(store, one.cell.dataset, one.cell.method.label, one.seed).ended:
            said.append(Collected(f"{one.name}: already in the record"))
        elif ending_of(experiment) is None or ended < len(trials):
            ending = f"{ended} of {one.plan.trials} trials have ended; collect it again later"
            said.append(Collected(f"{one.name}: still running, {ending}"))
        elif (counted := experiment.status.trials or 0) > len(trials):
            lack = f"it has {counted} trials, but {found.where} has only {len(trials)} of them; export its trials too"
            said.append(Collected(f"{one.name}: not recorded: {lack}"))
        else:
            make = partial(search_lines, store, study, one, experiment, trials, found)
            make("")  # raises an error for results that do not fit, before anything is written
            ready.append((one, make))
            curves = sum(bool(printed_epochs(found, t)) for t in trials)
            summary = f"{len(trials)} trials recorded as {one.cell.method.label}, {curves} with their curves"
            said.append(Collected(f"{one.name}: {summary}", recorded=True))
    if ready:
        study_id = claim(store, _extended(study, store, [one for one, _ in ready]))
        for one, lines_of in ready:
            _append(store, one, lines_of(study_id))
    return said


def _extended(study: Study, store: Store, planned: Sequence[Planned]) -> Study:
    """Return the study with the methods that were collected earlier and those that are collected now."""
    held = held_study(store)
    before = study if held is None else study.keeping(held)
    now = {one.cell.method.label: one.cell.method for one in planned}
    return before.keeping(study.model_copy(update={"methods": list(now.values())}))


def _append(store: Store, one: Planned, lines: Sequence[bytes]) -> None:
    """Append the lines that the search's journal lacks. Raise RecordError if it contains different lines."""
    journal = store.journal(layout.events(one.cell.dataset, one.cell.method.label, one.seed))
    try:
        recorded = journal.lines()
        if recorded != list(lines[: len(recorded)]):
            raise RecordError(
                f"The record has a part of {one.cell.name}, seed {one.seed}, that differs from Katib's results."
                " Move its log away, and collect again"
            )
        for line in lines[len(recorded) :]:
            journal.append(line)
    finally:
        journal.close()


def _trials_of(found: Found, one: Planned) -> list[Any]:
    """Return the experiment's trials in the order of their creation."""
    mine = [t for t in found.trials.values() if (t.metadata.labels or {}).get(EXPERIMENT) == one.name]
    return sorted(mine, key=lambda t: (seconds_of(t.metadata.creation_timestamp), t.metadata.name))
