"""Give a study's record as data frames for Python and notebooks. It is a snapshot of the time at which it was read."""

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
    """The results of a study. `record` has everything; the other attributes are views of it.

    In a data frame, a missing value such as an inactive hyperparameter or the score of a failed trial is NaN or <NA>. Accuracies
    are shares of 1, durations are in seconds, and points in time are in seconds since 1970.
    """

    record: StudyResult

    @property
    def study(self) -> Study:
        """The study with every default."""
        return self.record.study

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """The cells (each method on each data set) with their searches, evaluations and failures."""
        return self.record.cells

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A data frame with one row per trial: its request, its status, its scores and a column hp.NAME per hyperparameter."""
        return self._frame(terminal_tables.chosen(self.record, None, None))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A data frame with one row per epoch: dataset, method, seed, trial, epoch, metrics and seconds."""
        return epochs_frame(self.record)

    @cached_property
    def status(self) -> pd.DataFrame:
        """A data frame with one row per cell: its progress, its best score and the mean test accuracy of its retrained winner."""
        lines = [_line(cell, progress) for cell, progress in self._progress]
        return pd.DataFrame(lines).astype({"best": "float64", "test_accuracy": "float64", "seconds_left": "float64"})

    def best(self, dataset: str | None = None, method: str | None = None, top: int = 1) -> pd.DataFrame:
        """Return the best trials by the objective of each method on each data set.

        Args:
            dataset: The name of a data set; by default all.
            method: The label of a method; by default all.
            top: The number of trials of each method on each data set.

        Returns:
            A data frame with the columns of `trials`.

        Raises:
            StudyError: The study has no such data set or method.
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
        """Return a table of the cells as HTML, for notebooks."""
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
    """Return the texts of a row in the order of the titles."""
    budget = f'<progress max="1" value="{progress.share:.3f}"></progress> {progress.share:.0%}'
    counts = [str(n) for n in (progress.trials, progress.failed, progress.epochs)]
    scores = ["–" if score is None else f"{score:.4f}" for score in (progress.best, _test_accuracy(cell))]
    own = " (trains its own models)" if progress.is_system else ""
    return [escape(cell.cell.dataset), escape(cell.cell.method.label) + own, budget, *counts, *scores, escape(progress.state)]
