"""The tables of the report as validated data: scores, answers, cell states, budgets, failures, test scores and best trials."""

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
"""Smallest number of seeds from which the report compares methods without a warning."""
STATUSES = ("completed", "stopped", "diverged", "failed", "running")
TEN = 10
MOST_READ = 2000
"""Number of best trials among which the ten best different ones are searched."""


class CellState(Model):
    """The state of a cell, and the reason if it is not complete."""

    dataset: str
    method: str
    state: Literal["complete", "failed", "missing"]
    reason: str | None
    step: str | None = None  # the step that failed
    detail: str = ""  # the end of its traceback
    searches_ended: int
    searches: int  # number of the study's seeds


class Usage(Model):
    """The budget that one search, or all searches of a cell, used."""

    searches: int  # searches that have started
    configurations: int
    trials: int
    epochs: int
    training_seconds: float
    method_seconds: float
    method_share: float | None  # share of the method's own seconds in all seconds
    statuses: dict[str, int]  # number of trials by status
    attempts: int  # number of processes that opened the records


class SearchUsage(Model):
    """The budget that one search used."""

    dataset: str
    method: str
    seed: int
    usage: Usage
    ended: str | None  # why the search ended; None if it has not ended
    left: dict[str, float | None]  # remaining budget of each limit when the search ended


class Evaluated(Model):
    """The evaluation of a cell's incumbent, compared with its validation score. Accuracies are shares of 1."""

    seed: int
    trial: int
    epochs: int
    config: dict[str, Value]
    validation: dict[str, float]
    accuracy: Spread
    loss: Spread
    gap: float | None  # validation accuracy minus test accuracy
    stale: bool  # the record now has a better trial than the evaluated one


class CellScore(Model):
    """The result of one method on one data set."""

    dataset: str
    method: str  # the label
    name: str  # the name in the registry
    settings: dict[str, object]
    incumbents: Spread  # spread of the incumbents' objective over seeds
    by_seed: dict[int, float]  # the objective of each seed's incumbent
    best: TrialRow | None  # the best trial over all seeds
    test: Evaluated | None
    usage: Usage
    own_models: bool = False  # a system that trains its own models: only its time and its test score can be compared


class Answer(Model):
    """The conclusion for one data set."""

    dataset: str
    winners: list[str]  # labels of the methods with the best validation score; several if they tie
    leader: str | None  # the method with the best mean over seeds
    runner_up: str | None
    lead: float | None  # difference between the means of the leader and the runner-up, positive
    spread: float | None  # the larger of their two standard deviations
    level: list[str]  # methods whose mean is within a standard deviation (the larger of the two) of the leader's
    verdict: Literal["nothing", "alone", "too few seeds", "within the spread", "beyond the spread"]


class ReasonCount(Model):
    """The number of trials of a cell that failed or diverged for the same reason."""

    dataset: str
    method: str
    status: str
    reason: str
    trials: int


class Confusion(Model):
    """The confusion matrix of a cell's kept model, and each class's accuracy over the retrainings."""

    method: str
    names: list[str]
    matrix: list[list[int]]  # number of images; rows are true classes, columns predicted classes
    accuracies: list[float]  # by class
    images: list[int]  # by class


class Pair(Model):
    """The images of one class that were predicted as another class."""

    true: str
    predicted: str
    images: int
    share: float  # share of the images of the true class


def cell_state(cell: CellResult) -> CellState:
    """Return the state of a cell.

    A cell with a recorded failure is failed. Otherwise it is complete if every search has ended and the incumbent was evaluated,
    and missing if not.
    """
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
    """Return why a cell is not complete; None if it is. `ended` is the number of searches that have ended."""
    started = sum(bool(s.header) for s in cell.searches)
    if not started:
        return "not started"
    if ended < len(cell.searches):
        unfinished = [s for s in cell.searches if s.header and s.ended is None]
        running = ", ".join(f"seed {s.seed} after {len(s.told)} trials" for s in unfinished[:5])
        return (
            f"{ended} of {len(cell.searches)} searches have ended"
            + (f"; running or interrupted: {running}{', …' if len(unfinished) > 5 else ''}" if unfinished else "")
            + (f"; {len(cell.searches) - started} not started" if started < len(cell.searches) else "")
        )
    if cell.evaluation:
        return None
    if all(s.incumbent is None for s in cell.searches):
        return "no trial succeeded, so there is no incumbent to evaluate"
    return "all searches have ended, but the incumbent is not evaluated yet"


def usage(searches: Iterable[SearchRecord]) -> Usage:
    """Return the budget that the searches used together. A running trial counts as a trial, but its epochs do not count yet."""
    started = [s for s in searches if s.header]
    spent = [s.spent for s in started]
    seconds, method_seconds = sum(s.seconds for s in spent), sum(s.method_seconds for s in spent)
    statuses = Counter(t.status for s in started for t in s.trials)
    return Usage(
        searches=len(started),
        configurations=sum(s.trials for s in spent),
        trials=sum(len(s.trials) for s in started),
        epochs=sum(s.epochs for s in spent),
        training_seconds=seconds - method_seconds,
        method_seconds=method_seconds,
        method_share=method_seconds / seconds if seconds > 0 else None,
        statuses={status: statuses.get(status, 0) for status in STATUSES},
        attempts=sum(s.attempts for s in started),
    )


def search_usages(result: StudyResult) -> list[SearchUsage]:
    """Return the budget that each started search used, and why it ended."""
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
    """Return the scores of a cell; `rows` are its trials."""
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
    """Return the evaluation of a cell in numbers; `best` is the current incumbent according to the records."""
    accuracy = spread(r.test_accuracy for r in evaluation.retrainings)
    validation_accuracy = evaluation.validation.get("val_accuracy")
    return Evaluated(
        seed=evaluation.seed,
        trial=evaluation.trial,
        epochs=evaluation.epochs,
        config=evaluation.config,
        validation=evaluation.validation,
        accuracy=accuracy,
        loss=spread(r.test_loss for r in evaluation.retrainings),
        gap=None if validation_accuracy is None or accuracy.mean is None else validation_accuracy - accuracy.mean,
        stale=best is not None and (best.seed, best.trial) != (evaluation.seed, evaluation.trial),
    )


def answer(dataset: str, scores: Sequence[CellScore], goal: ObjectiveSettings) -> Answer:
    """Return which method found the best score, which leads on average, and whether its lead exceeds the spread over seeds.

    Systems that train their own models are left out, because their validation scores are not comparable.

    Args:
        dataset: The data set's name.
        scores: The scores of the data set's cells.
        goal: The study's objective.
    """
    scored = [s for s in scores if not s.own_models and s.best and s.best.objective is not None and s.incumbents.mean is not None]
    if not scored:
        return Answer(
            dataset=dataset, winners=[], leader=None, runner_up=None, lead=None, spread=None, level=[], verdict="nothing"
        )
    best_loss = min(goal.sign * _objective(s) for s in scored)
    winners = [s.method for s in scored if goal.sign * _objective(s) == best_loss]
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
    larger_deviation = max(deviations, default=None)
    level = [s.method for s in order if abs(_mean(leader) - _mean(s)) <= (max(_sd(leader), _sd(s)))]
    few = min(leader.incumbents.n, runner_up.incumbents.n) < ENOUGH_SEEDS
    within = larger_deviation is not None and lead <= larger_deviation
    return Answer(
        dataset=dataset,
        winners=winners,
        leader=leader.method,
        runner_up=runner_up.method,
        lead=lead,
        spread=larger_deviation,
        level=level,
        verdict="too few seeds" if few else "within the spread" if within else "beyond the spread",
    )


def ten_best(rows: Iterable[TrialRow], goal: ObjectiveSettings, trainings_repeat_exactly: bool = False) -> list[TrialRow]:
    """Return the ten best trials over all seeds by the study's objective.

    A trial and its parent are two trials. If trainings repeat exactly, as in a table study, many searches look up the
    same training, so each training is listed once.
    """
    order = ranked(rows, goal)
    if trainings_repeat_exactly:
        distinct: dict[tuple[str, int, float | None], TrialRow] = {}
        for row in order[:MOST_READ]:
            distinct.setdefault((repr(sorted(row.config.items())), row.epochs, row.objective), row)
        order = list(distinct.values())
    return order[:TEN]


def reasons(rows: Iterable[TrialRow]) -> list[ReasonCount]:
    """Return the number of failed and diverged trials by cell and reason, the most frequent first."""
    counts = Counter(
        (r.dataset, r.method, r.status, r.reason or "no reason recorded") for r in rows if r.status in ("failed", "diverged")
    )
    return [
        ReasonCount(dataset=d, method=m, status=status, reason=reason, trials=n)
        for (d, m, status, reason), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def confusion(evaluation: Evaluation) -> Confusion:
    """Return the confusion matrix and class accuracies of an evaluation."""
    return Confusion(
        method=evaluation.method,
        names=[c.name for c in evaluation.classes],
        matrix=evaluation.confusion,
        accuracies=[c.accuracy for c in evaluation.classes],
        images=[c.images for c in evaluation.classes],
    )


def most_confused(table: Confusion, number: int) -> list[Pair]:
    """Return the `number` pairs of classes with the most confused images."""
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
    """Return the learning curves of a cell's evaluated trial, or of its best trial so far if none was evaluated.

    The result is None if the cell has neither. It is also None for a system that trains its own models, because its epochs are
    not comparable.
    """
    if cell.is_system:
        return None
    shown = (cell.evaluation.seed, cell.evaluation.trial) if cell.evaluation else (best.seed, best.trial) if best else None
    search = next((s for s in cell.searches if shown and s.seed == shown[0]), None)
    if shown is None or search is None or not any(t.trial.id == shown[1] for t in search.trials):
        return None
    curve = lineage(search, shown[1])
    return Learning(
        method=cell.cell.method.label,
        seed=shown[0],
        trial=shown[1],
        epochs=[e.number for e in curve],
        metrics={m: [_known(e.metrics.get(m)) for e in curve] for m in METRICS},
        retrainings=[r.curves for r in cell.evaluation.retrainings] if cell.evaluation and not cell.evaluation.recorded else [],
    )


def mean_spent(score: CellScore) -> tuple[float, float, float]:
    """Return the mean number of configurations, epochs and seconds (training and method) per search of a cell."""
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
