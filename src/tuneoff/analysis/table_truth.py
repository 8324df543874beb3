"""What a study's table says that its records do not: the best that there is, the noise of one evaluation, and the test scores.

No method saw any of it: the report reads it after the searches.
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
from ..core.table import Recorded, Table, read_table, sources
from .stats.winners_curse import Noise, spread_within

TEST = "test_accuracy"
Tests = Mapping[tuple[str, str, int], Mapping[int, float]]
"""Test accuracies by data set, method and seed of the search, and by trial."""


@dataclass(frozen=True)
class TableFacts:
    """Scores are in the metric's own direction; empty without a table."""

    best: Mapping[str, float] = field(default_factory=dict)  # by data set
    noise: Noise | None = None
    tests: Tests = field(default_factory=dict)


def table_facts(result: StudyResult) -> tuple[TableFacts, tuple[str, ...]]:
    """What the study's table says; nothing without one, and, with a note, where it cannot be read any more."""
    study = result.study
    if study.objective.table is None:
        return TableFacts(), ()
    try:
        table = read_table(study.objective.table.path)
    except (StudyError, ImportError) as error:
        return TableFacts(), (f"regret is to the best that was found, not to the best there is, since {error}",)
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
    """The standard deviation within the better of the configurations that were recorded with several seeds."""
    groups: dict[str, list[float]] = defaultdict(list)
    for training in table:
        if (score := _score(training, goal)) is not None:
            groups[key_of(training.config)].append(score)
    found = spread_within(list(groups.values()), goal.sign)
    if found is None:
        return Noise(sd=None, source="no configuration was recorded with several seeds", freedom=0)
    sd, configurations, freedom = found
    source = f"the {configurations} best of the configurations that the table holds with several seeds"
    return Noise(sd=sd, source=source, freedom=freedom)


def _score(training: Recorded, goal: ObjectiveSettings) -> float | None:
    epoch = counted_epoch(training.curve, goal)
    return None if epoch is None else epoch.metrics[goal.metric]


def _tests(table: Table, search: SearchRecord, goal: ObjectiveSettings) -> Iterable[tuple[int, float]]:
    """The test accuracy of each scored trial, at the epoch that counted."""
    try:
        found = sources(table, search.seed, (t.trial for t in search.trials))
    except LookupError:  # another table stands there now, which does not answer for this record
        return
    for record in search.told:
        assert record.trial.outcome is not None
        epoch = counted_epoch(record.curve, goal) if record.trial.outcome.loss is not None else None
        source = found[record.trial.id]
        place = 0 if epoch is None else epoch.number - source.offset
        if 0 < place <= len(source.training.curve):
            accuracy = source.training.curve[place - 1].metrics.get(TEST, math.nan)
            if math.isfinite(accuracy):
                yield record.trial.id, accuracy
