"""Duration of the report of a large study, from its record alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuneoff.core.store.folder import FolderStore
from tuneoff.report.report import report

from .lines import Line
from .made_record import made_study, write_study


@dataclass(frozen=True)
class Made:
    """A generated study: its total number of trials, its shape, and the goal of its report in seconds."""

    trials: int
    datasets: int
    methods: int
    seeds: int
    goal: float


@dataclass(frozen=True)
class Size:
    """The studies to report on."""

    studies: tuple[Made, ...]


FULL = Size((Made(10_000, 2, 4, 5, 10.0), Made(432_000, 3, 40, 30, 60.0)))
"""The second has the size of a comparison of all methods on three tables, with 120 trials per search."""
QUICK = Size((Made(400, 2, 4, 5, 10.0),))


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Write the records, then measure the report with all its figures and tables, in this process."""
    return [_measured(made, note) for made in size.studies]


def _measured(made: Made, note: Callable[[str], None]) -> Line:
    with tempfile.TemporaryDirectory() as place:
        store = FolderStore(Path(place))
        trials = write_study(store, made_study(made.trials, made.seeds, 10, made.methods, made.datasets))
        note(f"report: {trials} trials generated")
        began, cpu = time.monotonic(), time.process_time()
        report(store)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return Line(f"report of {trials} trials", seconds, "s", made.goal, note=f"{cpu:.1f} processor seconds")
