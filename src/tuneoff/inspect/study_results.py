"""A study's record as data frames, for Python and notebooks; a snapshot of the moment at which it was read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from typing import Any

import pandas as pd

from ..analysis.frames import epochs_frame, trials_frame
from ..analysis.trial_rows import TrialRow
from ..core.store.study_store import CellResult, StudyResult
from ..core.study import Study
from . import terminal_tables
from .progress import CellProgress


@dataclass(frozen=True)
class Results:
    """What a study left in its store. `record` is all of it; the rest are views of it.

    In frames a missing value (an inactive hyperparameter, the score of a failed trial) is NaN or <NA>. Accuracies are shares of
    1, times seconds, moments seconds since 1970.
    """

    record: StudyResult

    @property
    def study(self) -> Study:
        """The study, every default written out."""
        return self.record.study

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """Every method on every data set: searches, evaluation, failures."""
        return self.record.cells

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: what was asked, how it ended, its score, and a column hp.NAME for each hyperparameter."""
        return self._frame(terminal_tables.chosen(self.record, None, None))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row an epoch: dataset, method, seed, trial, epoch, its metrics and seconds."""
        return epochs_frame(self.record)

    @cached_property
    def status(self) -> pd.DataFrame:
        """One row a cell: how far it is, its best trial's score, and the mean test accuracy of the retrained winner."""
        lines = [_line(cell, progress) for cell, progress in self._progress]
        return pd.DataFrame(lines).astype({"best": "float64", "test_accuracy": "float64", "seconds_left": "float64"})

    def best(self, dataset: str | None = None, method: str | None = None, top: int = 1) -> pd.DataFrame:
        """The `top` best trials by the objective of each method on each data set, or of those that are named.

        The columns are those of `trials`. StudyError where the study has no such data set or method.
        """
        return self._frame(terminal_tables.best(self.record, terminal_tables.chosen(self.record, dataset, method), top))

    def _frame(self, rows: list[TrialRow]) -> pd.DataFrame:
        return trials_frame(rows, self.study.space)

    @property
    def _progress(self) -> list[tuple[CellResult, CellProgress]]:
        return list(zip(self.cells, terminal_tables.cells(self.record), strict=True))

    def __repr__(self) -> str:
        return f"<Results of study {self.study.name}: {len(self.trials)} trials in {len(self.cells)} cells>"

    def _repr_html_(self) -> str:
        """A table of the cells, for notebooks."""
        head = "".join(f"<th>{title}</th>" for title in _TITLES)
        body = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in _html(*entry))}</tr>" for entry in self._progress)
        caption = f"Study {escape(self.study.name)}: best {escape(self.study.objective.metric)}, test accuracy"
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_TITLES = ("data set", "method", "budget", "trials", "failed", "epochs", "best", "test accuracy", "state")


def _test_accuracy(cell: CellResult) -> float | None:
    tested = [r.test_accuracy for r in cell.evaluation.retrainings] if cell.evaluation else []
    return sum(tested) / len(tested) if tested else None


def _line(cell: CellResult, progress: CellProgress) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(progress).items() if name not in ("name", "budget_left")}
    return {"dataset": cell.cell.dataset, "method": cell.cell.method.label, **shown, "test_accuracy": _test_accuracy(cell)}


def _html(cell: CellResult, progress: CellProgress) -> list[str]:
    """The cells of a row, in the order of the titles."""
    budget = f'<progress max="1" value="{progress.share:.3f}"></progress> {progress.share:.0%}'
    counts = [str(n) for n in (progress.trials, progress.failed, progress.epochs)]
    scores = ["–" if score is None else f"{score:.4f}" for score in (progress.best, _test_accuracy(cell))]
    own = " (trains its own models)" if progress.is_system else ""
    return [escape(cell.cell.dataset), escape(cell.cell.method.label) + own, budget, *counts, *scores, escape(progress.state)]
