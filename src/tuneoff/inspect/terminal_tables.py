"""Looking at a study from its record alone, while it runs or after: its cells, its trials, its best."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..analysis.trial_rows import METRICS, TrialRow, ranked, trial_rows
from ..core.errors import StudyError
from ..core.store.study_store import StudyResult
from .progress import CellProgress, cell_progress, table, tracking_note

SHOWN = ("dataset", "method", "seed", "trial", "status", "epochs", "objective", *METRICS)


def cells(result: StudyResult) -> list[CellProgress]:
    """Where each cell stands."""
    return [cell_progress(result, cell) for cell in result.cells]


def status_json(result: StudyResult) -> dict[str, Any]:
    """Where the study stands, for scripts."""
    return {"study": result.study.name, "cells": [asdict(cell) for cell in cells(result)]}


def overview(cells: list[CellProgress]) -> RenderableType:
    """The cells as a table, and what tracking lacks in a sentence below."""
    note = tracking_note(cells)
    return Group(table(cells), Text(note)) if note else table(cells)


def watch(read: Callable[[], StudyResult], console: Console, every_seconds: float = 2.0) -> None:
    """Show the cells again and again until each has ended or failed, or until Ctrl-C. Only reads, so that it can harm no run."""
    from rich.live import Live

    with Live(console=console, refresh_per_second=2) as live:
        while True:
            now = cells(read())
            live.update(overview(now), refresh=True)
            if all(cell.state.startswith(("test ", "failed", "stopped", "collected")) for cell in now):
                return
            time.sleep(every_seconds)


def chosen(result: StudyResult, dataset: str | None, method: str | None) -> list[TrialRow]:
    """The trials of a data set, of a method (by label), or all; StudyError where the study has no such thing."""
    study = result.study
    for what, wanted, known in (
        ("--dataset", dataset, [d.name for d in study.datasets]),
        ("--method", method, [m.label for m in study.methods]),
    ):
        if wanted is not None and wanted not in known:
            raise StudyError(f"{what} {wanted!r} is not in the study: choose {', '.join(known)}.")
    return [r for r in trial_rows(result) if dataset in (None, r.dataset) and method in (None, r.method)]


def best(result: StudyResult, rows: Sequence[TrialRow], top: int) -> list[TrialRow]:
    """The `top` best trials of each method on each data set, cells in the study's order."""
    found: list[TrialRow] = []
    for cell in result.cells:
        own = [r for r in rows if (r.dataset, r.method) == (cell.cell.dataset, cell.cell.method.label)]
        found += ranked(own, result.study.objective)[:top]
    return found


def trials_table(result: StudyResult, rows: Sequence[TrialRow]) -> Table:
    """Trials as a table for people: figures, then hyperparameters."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in (*SHOWN, *result.study.space):
        grid.add_column(name, justify="left" if name in ("dataset", "method", "status") else "right")
    for row in rows:
        figures = [
            _cell(f"{row.method} (trains its own models)" if name == "method" and row.own_models else getattr(row, name))
            for name in SHOWN
        ]
        grid.add_row(*figures, *(_cell(None if row.own_models else row.config.get(name)) for name in result.study.space))
    return grid


def _cell(value: Any) -> Text:
    if value is None:
        return Text("–")
    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))
