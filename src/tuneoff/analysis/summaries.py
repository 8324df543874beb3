"""The tables of the report: scores, answers, cells, budgets, failures, tests and the best trials, as validated data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from ..core.record.state import SearchRecord
from ..core.space import Model, Value
from ..core.store.study_store import CellResult, Evaluation, StudyResult
from ..core.study import ObjectiveSettings
from .best_so_far import Learning, lineage
from .trial_rows import METRICS, Spread, TrialRow, ranked, spread

ENOUGH_SEEDS = 5
"""With fewer seeds than this the report says that they are too few to separate methods."""
STATUSES = ("completed", "stopped", "diverged", "failed", "running")
TEN = 10
MOST_READ = 2000
"""Of so many trials the ten best different ones are sought."""


class CellState(Model):
    """Whether a cell's numbers are whole, and if not, why not."""

    dataset: str
    method: str
    state: Literal["complete", "failed", "missing"]
    reason: str | None
    step: str | None = None  # the step that failed
    detail: str = ""  # the end of its traceback
    searches_ended: int
    searches: int  # as many as the study has seeds


class Usage(Model):
    """What one search, or all of a cell, used. `left` is what the search's end left of each limit."""

    searches: int  # begun
    configurations: int
    trials: int
    epochs: int
    training_seconds: float
    method_seconds: float
    method_share: float | None  # of all seconds
    statuses: dict[str, int]
    attempts: int  # processes that opened the records


class SearchUsage(Model):
    """The budget of one search."""

    dataset: str
    method: str
    seed: int
    usage: Usage
    ended: str | None  # why; None while it has not
    left: dict[str, float | None]


class Evaluated(Model):
    """What the evaluator found of a cell, against what the search had promised. Accuracies are shares of 1."""

    seed: int
    trial: int
    epochs: int
    config: dict[str, Value]
    validation: dict[str, float]
    accuracy: Spread
    loss: Spread
    gap: float | None  # validation accuracy less test accuracy
    stale: bool  # the record has a better trial by now than the one that was evaluated


class CellScore(Model):
    """The result of one method on one data set."""

    dataset: str
    method: str  # the label
    name: str  # in the registry
    settings: dict[str, object]
    incumbents: Spread  # of the objective of each seed's incumbent
    by_seed: dict[int, float]
    best: TrialRow | None  # over all seeds
    test: Evaluated | None
    usage: Usage
    own_models: bool = False  # a system that trains models of its own: only its seconds and its test score compare


class Answer(Model):
    """What can be said about one data set, soberly."""

    dataset: str
    winners: list[str]  # labels of the methods with the best validation score, several where they tie
    leader: str | None  # the method with the best mean over seeds
    runner_up: str | None
    lead: float | None  # of the leader's mean over the runner-up's, positive
    spread: float | None  # the larger standard deviation of the two
    level: list[str]  # methods whose mean is within that of the leader
    verdict: Literal["nothing", "alone", "too few seeds", "within the spread", "beyond the spread"]


class ReasonCount(Model):
    """How many trials of a cell failed or diverged for the same reason."""

    dataset: str
    method: str
    status: str
    reason: str
    trials: int


class Confusion(Model):
    """Which classes the kept model of a cell confuses, and each class's accuracy over the retrainings."""

    method: str
    names: list[str]
    matrix: list[list[int]]  # rows: true class
    accuracies: list[float]
    images: list[int]


class Pair(Model):
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    images: int
    share: float  # of the true class


def cell_state(cell: CellResult) -> CellState:
    """Complete where every search has ended and the incumbent was evaluated; a recorded failure outranks all else."""
    ended = sum(s.ended is not None for s in cell.searches)
    failure = cell.failures[0] if cell.failures else None
    missing = _missing(cell, ended)
    return CellState(
        dataset=cell.cell.dataset,
        method=cell.cell.method.label,
        state="failed" if failure else "missing" if missing else "complete",
        reason="; ".join(dict.fromkeys(f.reason for f in cell.failures)) if failure else missing,
        step=failure.step if failure else None,
        detail=failure.detail if failure else "",
        searches_ended=ended,
        searches=len(cell.searches),
    )


def _missing(cell: CellResult, ended: int) -> str | None:
    begun = sum(bool(s.header) for s in cell.searches)
    if not begun:
        return "not begun"
    if ended < len(cell.searches):
        open_ = [s for s in cell.searches if s.header and s.ended is None]
        running = ", ".join(f"seed {s.seed} after {len(s.told)} trials" for s in open_[:5])
        return (
            f"{ended} of {len(cell.searches)} searches have ended"
            + (f"; running or cut off: {running}{', …' if len(open_) > 5 else ''}" if open_ else "")
            + (f"; {len(cell.searches) - begun} not begun" if begun < len(cell.searches) else "")
        )
    if cell.evaluation:
        return None
    if all(s.incumbent is None for s in cell.searches):
        return "no trial succeeded, so that there is nothing to evaluate"
    return "searched, and not evaluated yet"


def usage(searches: Iterable[SearchRecord]) -> Usage:
    """What these searches used together; a trial still running counts as a trial, its epochs do not count yet."""
    begun = [s for s in searches if s.header]
    spent = [s.spent for s in begun]
    seconds, own = sum(s.seconds for s in spent), sum(s.method_seconds for s in spent)
    statuses = Counter(t.status for s in begun for t in s.trials)
    return Usage(
        searches=len(begun),
        configurations=sum(s.trials for s in spent),
        trials=sum(len(s.trials) for s in begun),
        epochs=sum(s.epochs for s in spent),
        training_seconds=seconds - own,
        method_seconds=own,
        method_share=own / seconds if seconds > 0 else None,
        statuses={status: statuses.get(status, 0) for status in STATUSES},
        attempts=sum(s.attempts for s in begun),
    )


def search_usages(result: StudyResult) -> list[SearchUsage]:
    """The budget of every search that has begun, and why it ended."""
    return [
        SearchUsage(
            dataset=s.dataset,
            method=s.method,
            seed=s.seed,
            usage=usage([s]),
            ended=s.ended["reason"] if s.ended else None,
            left=dict(s.ended.get("left") or {}) if s.ended else {},
        )
        for cell in result.cells
        for s in cell.searches
        if s.header
    ]


def cell_score(cell: CellResult, rows: Sequence[TrialRow], goal: ObjectiveSettings) -> CellScore:
    """A cell's scores; `rows` are its trials."""
    best = ranked(rows, goal)
    by_seed = {row.seed: row.objective for row in reversed(best) if row.objective is not None}
    return CellScore(
        dataset=cell.cell.dataset,
        method=cell.cell.method.label,
        name=cell.cell.method.name,
        settings=dict(cell.cell.method.settings),
        incumbents=spread(by_seed.values()),
        by_seed=dict(sorted(by_seed.items())),
        best=best[0] if best else None,
        test=evaluated(cell.evaluation, best[0] if best else None) if cell.evaluation and cell.evaluation.retrainings else None,
        usage=usage(cell.searches),
        own_models=cell.is_system,
    )


def evaluated(evaluation: Evaluation, best: TrialRow | None) -> Evaluated:
    """The evaluation in numbers; `best` is the record's present incumbent."""
    accuracy = spread(r.test_accuracy for r in evaluation.retrainings)
    promised = evaluation.validation.get("val_accuracy")
    return Evaluated(
        seed=evaluation.seed,
        trial=evaluation.trial,
        epochs=evaluation.epochs,
        config=evaluation.config,
        validation=evaluation.validation,
        accuracy=accuracy,
        loss=spread(r.test_loss for r in evaluation.retrainings),
        gap=None if promised is None or accuracy.mean is None else promised - accuracy.mean,
        stale=best is not None and (best.seed, best.trial) != (evaluation.seed, evaluation.trial),
    )


def answer(dataset: str, scores: Sequence[CellScore], goal: ObjectiveSettings) -> Answer:
    """Who found the best score on a data set, who leads on average, and whether the lead exceeds the spread over seeds.

    Systems that train models of their own are left out: their validation scores are not of the same models.
    """
    scored = [s for s in scores if not s.own_models and s.best and s.best.objective is not None and s.incumbents.mean is not None]
    if not scored:
        return Answer(
            dataset=dataset, winners=[], leader=None, runner_up=None, lead=None, spread=None, level=[], verdict="nothing"
        )
    top = min(goal.sign * _objective(s) for s in scored)
    winners = [s.method for s in scored if goal.sign * _objective(s) == top]
    order = sorted(scored, key=lambda s: goal.sign * _mean(s))
    leader = order[0]
    if len(order) == 1:
        return Answer(
            dataset=dataset,
            winners=winners,
            leader=leader.method,
            runner_up=None,
            lead=None,
            spread=leader.incumbents.sd,
            level=[leader.method],
            verdict="alone",
        )
    runner_up = order[1]
    lead = abs(_mean(leader) - _mean(runner_up))
    deviations = [s.incumbents.sd for s in order[:2] if s.incumbents.sd is not None]
    wide = max(deviations, default=None)
    level = [s.method for s in order if abs(_mean(leader) - _mean(s)) <= (max(_sd(leader), _sd(s)))]
    few = min(leader.incumbents.n, runner_up.incumbents.n) < ENOUGH_SEEDS
    within = wide is not None and lead <= wide
    return Answer(
        dataset=dataset,
        winners=winners,
        leader=leader.method,
        runner_up=runner_up.method,
        lead=lead,
        spread=wide,
        level=level,
        verdict="too few seeds" if few else "within the spread" if within else "beyond the spread",
    )


def ten_best(rows: Iterable[TrialRow], goal: ObjectiveSettings, trainings_repeat_exactly: bool = False) -> list[TrialRow]:
    """The ten best trials over all seeds, by the study's objective; a trial and the one that it continues are two.

    On a table, where many searches read the same training, each training once.
    """
    order = ranked(rows, goal)
    if trainings_repeat_exactly:
        firsts: dict[tuple[str, int, float | None], TrialRow] = {}
        for row in order[:MOST_READ]:
            firsts.setdefault((repr(sorted(row.config.items())), row.epochs, row.objective), row)
        order = list(firsts.values())
    return order[:TEN]


def reasons(rows: Iterable[TrialRow]) -> list[ReasonCount]:
    """Failed and diverged trials counted by cell and reason, the most frequent first."""
    counts = Counter(
        (r.dataset, r.method, r.status, r.reason or "no reason recorded") for r in rows if r.status in ("failed", "diverged")
    )
    return [
        ReasonCount(dataset=d, method=m, status=status, reason=reason, trials=n)
        for (d, m, status, reason), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def confusion(evaluation: Evaluation) -> Confusion:
    """The evaluator's confusion matrix and class accuracies."""
    return Confusion(
        method=evaluation.method,
        names=[c.name for c in evaluation.classes],
        matrix=evaluation.confusion,
        accuracies=[c.accuracy for c in evaluation.classes],
        images=[c.images for c in evaluation.classes],
    )


def most_confused(table: Confusion, number: int) -> list[Pair]:
    """The pairs of classes most often confused, by images."""
    pairs = [
        (cell, i, j)
        for i, row in enumerate(table.matrix)
        for j, cell in enumerate(row)
        if i != j and cell > 0 and max(i, j) < len(table.names)
    ]
    pairs.sort(key=lambda p: (-p[0], p[1], p[2]))
    return [
        Pair(true=table.names[i], predicted=table.names[j], images=cell, share=cell / sum(table.matrix[i]))
        for cell, i, j in pairs[:number]
    ]


def learning(cell: CellResult, best: TrialRow | None) -> Learning | None:
    """How the cell's winner learned: the evaluated trial where there is one, else the best so far; None without either.

    None also of a system that trains models of its own: its epochs compare with nobody's.
    """
    if cell.is_system:
        return None
    found = (cell.evaluation.seed, cell.evaluation.trial) if cell.evaluation else (best.seed, best.trial) if best else None
    search = next((s for s in cell.searches if found and s.seed == found[0]), None)
    if found is None or search is None or not any(t.trial.id == found[1] for t in search.trials):
        return None
    curve = lineage(search, found[1])
    return Learning(
        method=cell.cell.method.label,
        seed=found[0],
        trial=found[1],
        epochs=[e.number for e in curve],
        metrics={m: [_known(e.metrics.get(m)) for e in curve] for m in METRICS},
        retrainings=[r.curves for r in cell.evaluation.retrainings] if cell.evaluation and not cell.evaluation.recorded else [],
    )


def mean_spent(score: CellScore) -> tuple[float, float, float]:
    """Configurations, epochs and seconds (training and method) of a cell's mean search."""
    used, n = score.usage, max(score.usage.searches, 1)
    return used.configurations / n, used.epochs / n, (used.training_seconds + used.method_seconds) / n


def _objective(score: CellScore) -> float:
    assert score.best is not None
    assert score.best.objective is not None
    return score.best.objective


def _mean(score: CellScore) -> float:
    assert score.incumbents.mean is not None
    return score.incumbents.mean


def _sd(score: CellScore) -> float:
    return score.incumbents.sd or 0.0


def _known(value: float | None) -> float | None:
    return None if value is None or value != value or abs(value) == float("inf") else value
