"""How long the report of a large study takes, from its record alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuneoff.components.core.storage import FolderStore
from tuneoff.components.reporter.report import report

from .lines import Line
from .made_record import made_study, write_study

GOAL_SECONDS = 10.0


@dataclass(frozen=True)
class Size:
    """Trials in all, over 8 cells and 5 seeds."""

    trials: int


FULL = Size(10_000)
QUICK = Size(400)


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Write the records, then the report with all its figures and tables, in this process."""
    with tempfile.TemporaryDirectory() as place:
        store = FolderStore(Path(place))
        trials = write_study(store, made_study(size.trials))
        note(f"report: {trials} trials are made")
        began, cpu = time.monotonic(), time.process_time()
        report(store)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return [Line(f"report of {trials} trials", seconds, "s", GOAL_SECONDS, note=f"{cpu:.1f} s of a processor")]
