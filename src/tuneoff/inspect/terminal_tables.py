"""Show a study's cells, trials and best trials from its record alone, while it runs or afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ..analysis.trial_rows import METRICS, TrialRow, ranked, trial_rows
from ..core.errors import StudyError
from ..core.store.study_store import StudyResult
from .progress import CellProgress, cell_progress, table, tracking_note

SHOWN = ("dataset", "method", "seed", "trial", "status", "epochs", "objective", *METRICS)
"""The columns of a table of trials before those of the hyperparameters."""
KEYS = 4
"""The first columns of `SHOWN`, which identify a trial."""
LEAST_TEXT = 12
"""The smallest width to which a column of text is folded."""


def cells(result: StudyResult) -> list[CellProgress]:
    """Return the progress of each cell."""
    return [cell_progress(result, cell) for cell in result.cells]


def status_json(result: StudyResult) -> dict[str, Any]:
    """Return the progress of the study as JSON data, for scripts."""
    return {"study": result.study.name, "cells": [asdict(cell) for cell in cells(result)]}


def overview(cells: list[CellProgress]) -> RenderableType:
    """Return the cells as a table, with a sentence about trials that the tracking server lacks, if any."""
    note = tracking_note(cells)
    return Group(table(cells), Text(note)) if note else table(cells)


def watch(read: Callable[[], StudyResult], console: Console, every_seconds: float = 2.0) -> None:
    """Show the cells and update them until each has finished or failed, or until Ctrl-C.

    This only reads the record, so it cannot disturb a run.
    """
    from rich.live import Live

    with Live(console=console, refresh_per_second=2) as live:
        while True:
            current = cells(read())
            live.update(overview(current), refresh=True)
            if all(cell.state.startswith(("test ", "finished", "failed", "stopped", "collected")) for cell in current):
                return
            time.sleep(every_seconds)


def chosen(result: StudyResult, dataset: str | None, method: str | None) -> list[TrialRow]:
    """Return the trials of a data set and a method.

    Args:
        result: The study with its record.
        dataset: The name of a data set, or None for all.
        method: The label of a method, or None for all.

    Raises:
        StudyError: The study has no such data set or method.
    """
    study = result.study
    for option, wanted, names in (
        ("--dataset", dataset, [d.name for d in study.datasets]),
        ("--method", method, [m.label for m in study.methods]),
    ):
        if wanted is not None and wanted not in names:
            raise StudyError(f"{option} {wanted!r} is not in the study. Choose from: {', '.join(names)}.")
    return [r for r in trial_rows(result) if dataset in (None, r.dataset) and method in (None, r.method)]


def best(result: StudyResult, rows: Sequence[TrialRow], top: int) -> list[TrialRow]:
    """Return the `top` best trials of each method on each data set, with the cells in the study's order."""
    best_rows: list[TrialRow] = []
    for cell in result.cells:
        rows_of_cell = [r for r in rows if (r.dataset, r.method) == (cell.cell.dataset, cell.cell.method.label)]
        best_rows += ranked(rows_of_cell, result.study.objective)[:top]
    return best_rows


class TrialTable:
    """A table of trials that adapts to the width of the terminal and never cuts a number.

    If the columns do not fit next to each other, they are split into several tables that repeat the first columns. On a very
    narrow terminal, each trial is a paragraph.
    """

    def __init__(self, result: StudyResult, rows: Sequence[TrialRow]) -> None:
        self._columns = [_Column(name, [_shown(row, name) for row in rows]) for name in SHOWN]
        for name in result.study.space:
            values = [None if row.own_models else row.config.get(name) for row in rows]
            self._columns.append(_Column(name, [_text(value) for value in values], any(isinstance(v, str) for v in values)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, keys, others = options.max_width, self._columns[:KEYS], self._columns[KEYS:]
        if _width(self._columns) > width:
            keys = _folded(keys, width - _GAP - max(column.least for column in others))
            others = [_folded([column], width - _width(keys) - _GAP)[0] for column in others]
            if any(_width([*keys, column]) > width for column in others):
                yield from self._paragraphs()
                return
        while others:
            taken = 1
            while taken < len(others) and _width([*keys, *others[: taken + 1]]) <= width:
                taken += 1
            yield _grid([*keys, *others[:taken]])
            others = others[taken:]
            if others:
                yield Text("")

    def _paragraphs(self) -> RenderResult:
        titles = [column.title for column in self._columns]
        for texts in zip(*(column.texts for column in self._columns), strict=True):
            yield Text(", ".join(f"{title} {text}" for title, text in zip(titles, texts, strict=True)), overflow="fold")


def trials_table(result: StudyResult, rows: Sequence[TrialRow]) -> TrialTable:
    """Return a table of trials for a terminal: the scores first, then the hyperparameters."""
    return TrialTable(result, rows)


_GAP = 2
"""The space between two columns."""


@dataclass(frozen=True)
class _Column:
    """A column of a table of trials. Only a column of text may be narrower than its widest entry; its entries are then folded."""

    title: str
    texts: list[str]
    is_text: bool = False
    limit: int | None = None  # the width to which the entries are folded

    @property
    def width(self) -> int:
        return self.limit or max(cell_len(text) for text in (self.title, *self.texts))

    @property
    def least(self) -> int:
        return min(self.width, LEAST_TEXT) if self.folds else self.width

    @property
    def folds(self) -> bool:
        return self.is_text or self.title in _TEXT


_TEXT = ("dataset", "method", "status")


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _folded(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Return the columns with those of text narrowed, the widest first, until all fit into the width if possible."""
    narrowed = list(columns)
    while (excess := _width(narrowed) - width) > 0:
        widest = max((c for c in narrowed if c.width > c.least), key=lambda c: c.width, default=None)
        if widest is None:
            break
        narrowed[narrowed.index(widest)] = replace(widest, limit=max(widest.least, widest.width - excess))
    return narrowed


def _grid(columns: Sequence[_Column]) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(
            column.title,
            justify="left" if column.title in _TEXT else "right",
            width=column.width,
            no_wrap=column.limit is None,
            overflow="fold",
        )
    for texts in zip(*(column.texts for column in columns), strict=True):
        grid.add_row(*(Text(text) for text in texts))
    return grid


def _shown(row: TrialRow, name: str) -> str:
    if name == "method" and row.own_models:
        return f"{row.method} (trains its own models)"
    return _text(getattr(row, name))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
