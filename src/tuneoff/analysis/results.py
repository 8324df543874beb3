"""All numbers of the report as one validated structure: the content of results.json and the only input of the HTML page."""

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
    """The reported study."""

    id: str
    name: str
    created_at: str
    hash: str  # SHA-256 of the sections that determine the results
    metric: str
    direction: Literal["max", "min"]
    epoch: Literal["best", "last"]
    study: dict[str, Any]  # the resolved study, with all defaults

    @property
    def replayed(self) -> bool:
        """Whether the study is a table study: searches look up recorded trainings, and nothing is trained."""
        return self.study["objective"].get("replay") is not None


class Environment(Model):
    """The environment in which the searches ran, according to their records."""

    versions: dict[str, list[str]]  # the versions of each package over all searches
    hosts: int  # number of different hosts
    devices: list[str]
    attempts: int  # number of processes that opened a record
    resumed: int  # number of searches that were opened more than once


class MethodTrials(Model):
    """The best trials of a method on a data set."""

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
    families: list[Family] = []  # searches in which a trial continues another with a changed configuration
    confusions: list[Confusion]
    twins: list[list[str]] = []  # groups of methods that proposed identical trials with every seed


class Results(Model):
    """The results of a study. Accuracies are shares of 1, times are in seconds; null means that a number does not exist."""

    schema_version: Literal[1] = 1
    generated_at: str
    versions: dict[str, str]  # versions of the packages that made this report
    study: StudyInfo
    answers: list[Answer]
    scores: list[CellScore]
    states: list[CellState]
    datasets: list[DatasetResults]
    statistics: Statistics
    paper: Comparison
    claims: list[Claim] = []  # the paper's claims with verdicts
    algorithms: list[Algorithm] = []  # algorithms that the study has in more than one framework
    searches: list[SearchUsage]
    reasons: list[ReasonCount]
    environment: Environment


@dataclass(frozen=True)
class Computed:
    """The results, with the rows and curves from which the exported tables and the figures are made."""

    study: Study
    rows: list[TrialRow]
    progress: list[Progress]
    bands: list[Band]
    results: Results
    figures: Figures  # the content of the statistics' figures


def compute(result: StudyResult, versions: Mapping[str, str], facts: TableFacts | None = None) -> Computed:
    """Compute all numbers of a study.

    Args:
        result: The study with its records.
        versions: The versions of the packages that make the report.
        facts: The facts that the study's table provides, if it has one; see table_truth.py.
    """
    rows = trial_rows(result)
    curves = [progress(s, result.study.objective) for cell in result.cells for s in cell.searches]
    own = {(c.cell.dataset, c.cell.method.label) for c in result.cells if c.is_system}
    compared = [c for c in curves if (c.dataset, c.method) not in own]
    bands = _bands(result, compared)
    by_cell = _by_cell(result, rows)
    scores = [cell_score(c, by_cell[c.cell.dataset, c.cell.method.label], result.study.objective) for c in result.cells]
    numbers, figures = statistics(result, compared, _by_dataset(result, rows), scores, facts or TableFacts())
    return Computed(result.study, rows, curves, bands, _results(result, versions, rows, bands, scores, numbers), figures)


def study_hash(result: StudyResult) -> str:
    """Return the SHA-256 of the sections of the study that determine the results."""
    text = json.dumps(result.study.science(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _bands(result: StudyResult, curves: Sequence[Progress]) -> list[Band]:
    bands = []
    for dataset in result.study.datasets:
        dataset_curves = [c for c in curves if c.dataset == dataset.name]
        for axis in AXES:
            end = axis_end(dataset_curves, axis)
            for method in result.study.methods:
                cell = [c for c in dataset_curves if c.method == method.label]
                if cell_band := band(cell, axis, end, result.study.objective):
                    bands.append(cell_band)
    return bands


def _by_cell(result: StudyResult, rows: Sequence[TrialRow]) -> dict[tuple[str, str], list[TrialRow]]:
    by_cell: dict[tuple[str, str], list[TrialRow]] = {(c.cell.dataset, c.cell.method.label): [] for c in result.cells}
    for row in rows:
        by_cell[row.dataset, row.method].append(row)
    return by_cell


def _by_dataset(result: StudyResult, rows: Sequence[TrialRow]) -> dict[str, list[TrialRow]]:
    """Return the trials whose configuration is of the study's search space, by data set."""
    by_dataset: dict[str, list[TrialRow]] = {d.name: [] for d in result.study.datasets}
    for row in rows:
        if not row.own_models:
            by_dataset[row.dataset].append(row)
    return by_dataset


def _results(
    result: StudyResult,
    versions: Mapping[str, str],
    rows: Sequence[TrialRow],
    bands: Sequence[Band],
    scores: Sequence[CellScore],
    numbers: Statistics,
) -> Results:
    goal = result.study.objective
    by_cell = _by_cell(result, rows)
    repeats = objective_of(result.study).trainings_repeat_exactly
    ten = {key: ten_best([r for r in trials if not r.own_models], goal, repeats) for key, trials in by_cell.items()}
    names = [d.name for d in result.study.datasets]
    return Results(
        generated_at=_moment(datetime.now(UTC)),
        versions=dict(versions),
        study=_study(result),
        answers=[answer(name, [s for s in scores if s.dataset == name], goal) for name in names],
        scores=list(scores),
        states=[cell_state(c) for c in result.cells],
        datasets=[_dataset(result, name, by_cell, ten, scores, bands) for name in names],
        statistics=numbers,
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
    rows = [r for (dataset, _), trials in by_cell.items() if dataset == name for r in trials]
    cells: list[CellResult] = [c for c in result.cells if c.cell.dataset == name]
    best = {s.method: s.best for s in scores if s.dataset == name}
    in_space = [r for r in rows if not r.own_models]  # trials with a configuration of the study's search space
    importances = importance(in_space, study.space)
    return DatasetResults(
        name=name,
        prepared=_prepared(result.prepared.get(name)),
        trials=len(rows),
        curves={axis: milestones([b for b in bands if b.dataset == name and b.axis == axis]) for axis in AXES},
        values=by_value(in_space, study.space, goal, ranked_names(importances)),
        importance=importances,
        ten_best=[MethodTrials(method=m.label, trials=list(ten[name, m.label])) for m in study.methods if ten[name, m.label]],
        learning=[curves for c in cells if (curves := learning(c, best[c.cell.method.label]))],
        families=[tree for c in cells for s in c.searches if (tree := family(s, goal))],
        confusions=[confusion(c.evaluation) for c in cells if c.evaluation and c.evaluation.classes],
        twins=twins(in_space, len(study.seeds)),
    )


def ranked_names(matters: Importance) -> list[str] | None:
    """Return the hyperparameters in the order of importance; None if no importances were computed."""
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
