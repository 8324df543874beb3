"""All numbers of the report as one validated structure: results.json is this, and the page draws nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ..core.prepared_data import Prepared
from ..core.space import Model
from ..core.store.study_store import CellResult, StudyResult
from ..core.study import Study
from ..objectives import objective_of
from .best_so_far import AXES, Band, Learning, Milestone, Progress, axis_end, band, milestones, progress
from .importance import Importance, importance
from .lineage import Family, family
from .paper.claims import Claim, claims
from .paper.tables import Comparison, compare
from .parallel_coordinates import ValueRow, by_value
from .stats.duplicate_methods import twins
from .stats.equivalence import Algorithm, algorithms
from .stats.statistics import Figures, Statistics, statistics
from .summaries import (
    Answer,
    CellScore,
    CellState,
    Confusion,
    ReasonCount,
    SearchUsage,
    answer,
    cell_score,
    cell_state,
    confusion,
    learning,
    reasons,
    search_usages,
    ten_best,
)
from .table_truth import TableFacts
from .trial_rows import TrialRow, trial_rows


class StudyInfo(Model):
    """The study that the numbers belong to."""

    id: str
    name: str
    created_at: str
    hash: str  # SHA-256 of the sections that decide the results
    metric: str
    direction: Literal["max", "min"]
    epoch: Literal["best", "last"]
    study: dict[str, Any]  # resolved: every default written out

    @property
    def replayed(self) -> bool:
        """Whether a table answered the searches, so that nothing was trained."""
        return self.study["objective"].get("replay") is not None


class Environment(Model):
    """Where the searches ran, as their records say."""

    versions: dict[str, list[str]]  # each package's versions, several where the searches differ
    hosts: int
    devices: list[str]
    attempts: int  # processes that opened a record
    resumed: int  # searches opened more than once


class MethodTrials(Model):
    """A method's best trials on a data set."""

    method: str
    trials: list[TrialRow]


class DatasetResults(Model):
    """The numbers of one data set."""

    name: str
    prepared: dict[str, Any] | None
    trials: int
    curves: dict[str, list[Milestone]]  # by axis
    values: list[ValueRow]
    importance: Importance
    ten_best: list[MethodTrials]
    learning: list[Learning]
    families: list[Family] = []  # of searches whose trials went on under changed configurations
    confusions: list[Confusion]
    twins: list[list[str]] = []  # methods that proposed the very same trials with every seed


class Results(Model):
    """The study's results. Accuracies are shares of 1, times seconds; null means that there is no such number."""

    schema_version: Literal[1] = 1
    generated_at: str
    versions: dict[str, str]  # of what made this report
    study: StudyInfo
    answers: list[Answer]
    scores: list[CellScore]
    states: list[CellState]
    datasets: list[DatasetResults]
    statistics: Statistics
    paper: Comparison
    claims: list[Claim] = []  # the paper's, checked
    algorithms: list[Algorithm] = []  # the same one in several frameworks
    searches: list[SearchUsage]
    reasons: list[ReasonCount]
    environment: Environment


@dataclass(frozen=True)
class Computed:
    """The results, and the rows and curves behind them, which go into tables and figures of their own."""

    study: Study
    rows: list[TrialRow]
    progress: list[Progress]
    bands: list[Band]
    results: Results
    figures: Figures  # what the figures of the statistics show


def compute(result: StudyResult, versions: Mapping[str, str], facts: TableFacts | None = None) -> Computed:
    """All numbers of a study; `versions` are those of the packages that make the report.

    `facts` are what the study's table says, where it has one: see tabled.py.
    """
    rows = trial_rows(result)
    curves = [progress(s, result.study.objective) for cell in result.cells for s in cell.searches]
    own = {(c.cell.dataset, c.cell.method.label) for c in result.cells if c.is_system}
    compared = [c for c in curves if (c.dataset, c.method) not in own]
    bands = _bands(result, compared)
    by_cell = _by_cell(result, rows)
    scores = [cell_score(c, by_cell[c.cell.dataset, c.cell.method.label], result.study.objective) for c in result.cells]
    found, figures = statistics(result, compared, _by_dataset(result, rows), scores, facts or TableFacts())
    return Computed(result.study, rows, curves, bands, _results(result, versions, rows, bands, scores, found), figures)


def study_hash(result: StudyResult) -> str:
    """SHA-256 over the sections that decide the results."""
    text = json.dumps(result.study.science(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _bands(result: StudyResult, curves: Sequence[Progress]) -> list[Band]:
    found = []
    for dataset in result.study.datasets:
        mine = [c for c in curves if c.dataset == dataset.name]
        for axis in AXES:
            end = axis_end(mine, axis)
            for method in result.study.methods:
                cell = [c for c in mine if c.method == method.label]
                if made := band(cell, axis, end, result.study.objective):
                    found.append(made)
    return found


def _by_cell(result: StudyResult, rows: Sequence[TrialRow]) -> dict[tuple[str, str], list[TrialRow]]:
    found: dict[tuple[str, str], list[TrialRow]] = {(c.cell.dataset, c.cell.method.label): [] for c in result.cells}
    for row in rows:
        found[row.dataset, row.method].append(row)
    return found


def _by_dataset(result: StudyResult, rows: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """The trials with a configuration of the study's space, by data set."""
    found: dict[str, list[TrialRow]] = {d.name: [] for d in result.study.datasets}
    for row in rows:
        if not row.own_models:
            found[row.dataset].append(row)
    return found


def _results(
    result: StudyResult,
    versions: Mapping[str, str],
    rows: Sequence[TrialRow],
    bands: Sequence[Band],
    scores: Sequence[CellScore],
    found: Statistics,
) -> Results:
    goal = result.study.objective
    by_cell = _by_cell(result, rows)
    repeats = objective_of(result.study).trainings_repeat_exactly
    ten = {key: ten_best([r for r in mine if not r.own_models], goal, repeats) for key, mine in by_cell.items()}
    names = [d.name for d in result.study.datasets]
    return Results(
        generated_at=_moment(datetime.now(UTC)),
        versions=dict(versions),
        study=_study(result),
        answers=[answer(name, [s for s in scores if s.dataset == name], goal) for name in names],
        scores=list(scores),
        states=[cell_state(c) for c in result.cells],
        datasets=[_dataset(result, name, by_cell, ten, scores, bands) for name in names],
        statistics=found,
        paper=compare(result.study, scores, result.prepared, ten),
        claims=claims(result.study, rows),
        algorithms=algorithms(result.study.space, [s for s in scores if not s.own_models], rows),
        searches=search_usages(result),
        reasons=reasons(rows),
        environment=_environment(result, rows),
    )


def _study(result: StudyResult) -> StudyInfo:
    goal = result.study.objective
    return StudyInfo(
        id=result.id,
        name=result.study.name,
        created_at=_moment(datetime.fromtimestamp(result.created_at, UTC)),
        hash=study_hash(result),
        metric=goal.metric,
        direction="max" if goal.sign < 0 else "min",
        epoch=goal.epoch,
        study=result.study.model_dump(mode="json"),
    )


def _dataset(
    result: StudyResult,
    name: str,
    by_cell: Mapping[tuple[str, str], Sequence[TrialRow]],
    ten: Mapping[tuple[str, str], Sequence[TrialRow]],
    scores: Sequence[CellScore],
    bands: Sequence[Band],
) -> DatasetResults:
    study, goal = result.study, result.study.objective
    rows = [r for (dataset, _), found in by_cell.items() if dataset == name for r in found]
    cells: list[CellResult] = [c for c in result.cells if c.cell.dataset == name]
    best = {s.method: s.best for s in scores if s.dataset == name}
    common = [r for r in rows if not r.own_models]  # those with a configuration of the study's space
    matters = importance(common, study.space)
    return DatasetResults(
        name=name,
        prepared=_prepared(result.prepared.get(name)),
        trials=len(rows),
        curves={axis: milestones([b for b in bands if b.dataset == name and b.axis == axis]) for axis in AXES},
        values=by_value(common, study.space, goal, ranked_names(matters)),
        importance=matters,
        ten_best=[MethodTrials(method=m.label, trials=list(ten[name, m.label])) for m in study.methods if ten[name, m.label]],
        learning=[found for c in cells if (found := learning(c, best[c.cell.method.label]))],
        families=[tree for c in cells for s in c.searches if (tree := family(s, goal))],
        confusions=[confusion(c.evaluation) for c in cells if c.evaluation and c.evaluation.classes],
        twins=twins(common, len(study.seeds)),
    )


def ranked_names(matters: Importance) -> list[str] | None:
    """Hyperparameters by importance; None where the importances were refused."""
    return [r.name for r in matters.rows if not r.covariate] or None


def _prepared(prepared: Prepared | None) -> dict[str, Any] | None:
    return prepared.model_dump(mode="json") if prepared else None


def _environment(result: StudyResult, rows: Sequence[TrialRow]) -> Environment:
    searches = [s for c in result.cells for s in c.searches if s.header]
    versions: dict[str, set[str]] = {}
    for search in searches:
        for package, version in dict(search.header.get("versions") or {}).items():
            versions.setdefault(str(package), set()).add(str(version))
    return Environment(
        versions={package: sorted(found) for package, found in sorted(versions.items())},
        hosts=len({s.header.get("host") for s in searches}),
        devices=sorted({r.device for r in rows if r.device}),
        attempts=sum(s.attempts for s in searches),
        resumed=sum(s.attempts > 1 for s in searches),
    )


def _moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
