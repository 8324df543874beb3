"""Markdown notes of parent runs in MLflow: best configuration, used budget, failures. All text is escaped."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from ..core.record.state import SearchRecord
from ..core.store.study_store import CellResult, Evaluation, StudyResult
from ..core.study import Study
from .trial_facts import objective_of

OWN_MODELS = "This system trains its own models: only its seconds and its test score are comparable with other methods."
RECORDED = "with the test score of its recorded training"
OWN_MODEL = "a model that the system trained itself, scored without retraining"
LONGEST = 4800
"""Largest number of characters in a note. Older versions of MLflow keep 5000 characters of a tag."""

_SHOWN_REASONS = 3


def escaped(text: object) -> str:
    """Escape `text`, on one line, so that Markdown and HTML show it literally."""
    line = " ".join(str(text).split())
    return "".join(c if c.isalnum() or c in " .,;%?" else f"&#{ord(c)};" for c in line)


def search_note(study: Study, search: SearchRecord, reasons: Sequence[str]) -> str:
    """Return the note of a search: its best trial, used budget and failures. `reasons` tell why its cell failed."""
    best = search.incumbent
    own = [OWN_MODELS, ""] if search.is_system else []
    lines = [
        f"**{escaped(search.method)}** on **{escaped(search.dataset)}**, seed {search.seed}: {_state(search, reasons)}.",
        "",
        *own,
    ]
    if best is not None and best.trial.outcome is not None:
        value = objective_of(study, best.trial.outcome)
        lines += [f"Best {_objective(study)}: **{value:.5g}**, trial {best.trial.id}.", ""]
        lines += _table(("hyperparameter", "value"), best.trial.proposal.config.items())
    spent, limits = search.spent, study.budget.limits
    rows = [
        ("configurations", spent.trials, limits.trials),
        ("epochs", spent.epochs, limits.epochs),
        ("seconds", f"{spent.seconds:.1f}", limits.seconds),
        ("of which the method itself", f"{spent.method_seconds:.1f}", None),
    ]
    lines += ["Budget:", "", *_table(("", "used", "limit"), ((a, b, "" if c is None else c) for a, b, c in rows))]
    lines += _failures(search, reasons)
    return _cut(lines)


def study_note(result: StudyResult) -> str:
    """Return the note of a study: its results so far, one line per cell."""
    heads = ("data set", "method", f"best {result.study.objective.metric}", "test accuracy", "epochs", "failed", "state")
    lines = [f"**{escaped(result.study.name)}**: {_objective(result.study)}, {len(result.study.seeds)} seed(s).", ""]
    lines += _table(heads, (_cell_row(result.study, cell) for cell in result.cells))
    for cell in result.cells:
        lines += [f"{escaped(cell.cell.name)}: {escaped(f.step)} failed: {escaped(f.reason[:300])}" for f in cell.failures]
    return _cut(lines)


def evaluation_note(evaluation: Evaluation) -> str:
    """Return the note of an evaluation: the incumbent of a cell and its test scores, one line per retraining."""
    trained = f"retrained on training and validation images for {evaluation.epochs} epochs"
    lines = [
        f"Incumbent of **{escaped(evaluation.method)}** on **{escaped(evaluation.dataset)}**: trial {evaluation.trial} of seed"
        f" {evaluation.seed}, {trained if evaluation.retrained else RECORDED if evaluation.recorded else OWN_MODEL}.",
        "",
    ]
    rows = [(r.seed, f"{r.test_accuracy:.4f}", f"{r.test_loss:.4f}", f"{r.seconds:.1f}") for r in evaluation.retrainings]
    lines += _table(("seed", "test accuracy", "test loss", "seconds"), rows)
    lines += ["Configuration:", "", *_table(("hyperparameter", "value"), evaluation.config.items())]
    return _cut(lines)


def failed_trials(search: SearchRecord) -> int:
    """Return the number of trials that ended without an objective value."""
    return sum(t.trial.outcome is not None and t.trial.outcome.loss is None for t in search.told)


def best_of(study: Study, searches: Iterable[SearchRecord]) -> float | None:
    """Return the best objective of these searches, in the metric's own direction; None if no trial has a value."""
    outcomes = [s.incumbent.trial.outcome for s in searches if s.incumbent is not None]
    best = min((o for o in outcomes if o is not None and o.loss is not None), key=lambda o: o.loss or 0.0, default=None)
    return None if best is None else objective_of(study, best)


def _cell_row(study: Study, cell: CellResult) -> Sequence[object]:
    best = best_of(study, cell.searches)
    test = [r.test_accuracy for r in cell.evaluation.retrainings] if cell.evaluation else []
    over = sum(s.ended is not None for s in cell.searches)
    return (
        cell.cell.dataset,
        f"{cell.cell.method.label} (trains its own models)" if cell.is_system else cell.cell.method.label,
        "" if best is None else f"{best:.5g}",
        f"{statistics.fmean(test):.4f}" if test else "",
        sum(s.spent.epochs for s in cell.searches),
        sum(failed_trials(s) for s in cell.searches),
        "failed" if cell.failures else f"{over} of {len(cell.searches)} searches ended",
    )


def _objective(study: Study) -> str:
    direction = "highest" if study.objective.sign < 0 else "lowest"
    return f"{escaped(study.objective.metric)} ({direction} wins, {study.objective.epoch} epoch counts)"


def _state(search: SearchRecord, reasons: Sequence[str]) -> str:
    if search.ended is not None:
        return f"ended, {escaped(search.ended['reason'])}"
    return "failed" if reasons else "not ended"


def _failures(search: SearchRecord, reasons: Sequence[str]) -> list[str]:
    lines = [escaped(reason[:500]) for reason in reasons]
    failed = [t for t in search.told if t.trial.outcome is not None and t.trial.outcome.loss is None]
    if failed:
        lines += ["", f"Trials without a value: {len(failed)}."]
    for trial in failed[:_SHOWN_REASONS]:
        reason = trial.trial.outcome.reason if trial.trial.outcome else None
        lines.append(f"- trial {trial.trial.id}, {trial.status}: {escaped((reason or 'no reason given')[:200])}")
    return lines


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(escaped(h) for h in heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(escaped(value) for value in row) + " |" for row in rows]
    return [*lines, ""]


def _cut(lines: Sequence[str]) -> str:
    kept: list[str] = []
    room = LONGEST - 40
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            kept += ["", f"… and {len(lines) - number} more lines"]
            break
        kept.append(line)
    return "\n".join(kept)
