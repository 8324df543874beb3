"""Facts that only the table of a table study provides: the best value, the noise of one evaluation, and the test accuracies.

The methods never see these facts. The report reads them from the table after the searches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.errors import StudyError
from ..core.record.state import SearchRecord
from ..core.space import key_of
from ..core.store.study_store import StudyResult
from ..core.study import ObjectiveSettings, counted_epoch
from ..core.table import RecordedTraining, Table, read_table, sources
from .stats.winners_curse import Noise, spread_within

TEST = "test_accuracy"
Tests = Mapping[tuple[str, str, int], Mapping[int, float]]
"""Test accuracies by data set, method and seed of the search, and by trial."""


@dataclass(frozen=True)
class TableFacts:
    """The facts of a study's table, with scores in the metric's own direction; empty for a study without a table."""

    best: Mapping[str, float] = field(default_factory=dict)  # the table's best value, by data set
    noise: Noise | None = None
    tests: Tests = field(default_factory=dict)


def table_facts(result: StudyResult) -> tuple[TableFacts, tuple[str, ...]]:
    """Return the facts of the study's table, and notes for the reader of the report.

    The facts are empty if the study has no table. They are also empty, with one note, if the table can no longer be read.
    """
    study = result.study
    if study.objective.table is None:
        return TableFacts(), ()
    try:
        table = read_table(study.objective.table.path)
    except (StudyError, ImportError) as error:
        return TableFacts(), (f"regret is measured from the best value that a search found, not from the table's best: {error}",)
    searches = [search for cell in result.cells for search in cell.searches]
    best = _best(table, study.objective)
    return TableFacts(
        best={} if best is None else {dataset.name: best for dataset in study.datasets},
        noise=_noise(table, study.objective),
        tests={(s.dataset, s.method, s.seed): dict(_tests(table, s, study.objective)) for s in searches},
    ), ()


def _best(table: Table, goal: ObjectiveSettings) -> float | None:
    scores = [score for training in table if (score := _score(training, goal)) is not None]
    return goal.sign * min(goal.sign * s for s in scores) if scores else None


def _noise(table: Table, goal: ObjectiveSettings) -> Noise:
    """Return the noise of one evaluation, measured on the better configurations that the table holds with several seeds."""
    groups: dict[str, list[float]] = defaultdict(list)
    for training in table:
        if (score := _score(training, goal)) is not None:
            groups[key_of(training.config)].append(score)
    within = spread_within(list(groups.values()), goal.sign)
    if within is None:
        return Noise(sd=None, source="the table has no configuration with several seeds", freedom=0)
    sd, configurations, freedom = within
    source = f"the {configurations} best of the configurations that the table holds with several seeds"
    return Noise(sd=sd, source=source, freedom=freedom)


def _score(training: RecordedTraining, goal: ObjectiveSettings) -> float | None:
    epoch = counted_epoch(training.curve, goal)
    return None if epoch is None else epoch.metrics[goal.metric]


def _tests(table: Table, search: SearchRecord, goal: ObjectiveSettings) -> Iterable[tuple[int, float]]:
    """Yield the number and the test accuracy of each scored trial, at the counted epoch."""
    try:
        trial_sources = sources(table, search.seed, (t.trial for t in search.trials))
    except LookupError:  # the table was replaced by another one that does not hold this record's trainings
        return
    for record in search.told:
        assert record.trial.outcome is not None
        epoch = counted_epoch(record.curve, goal) if record.trial.outcome.loss is not None else None
        source = trial_sources[record.trial.id]
        number = 0 if epoch is None else epoch.number - source.offset
        if 0 < number <= len(source.training.curve):
            accuracy = source.training.curve[number - 1].metrics.get(TEST, math.nan)
            if math.isfinite(accuracy):
                yield record.trial.id, accuracy
