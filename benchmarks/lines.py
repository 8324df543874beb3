"""One measured number with its goal, and the table of all numbers."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from tuneoff.core.runtime.machine import cores, processor, versions


@dataclass(frozen=True)
class Line:
    """One measured number. A goal is an upper limit ("<=") or a lower limit (">="); None for additional information."""

    name: str
    measured: float
    unit: str
    goal: float | None = None
    rule: Literal["<=", ">="] = "<="
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.measured <= self.goal if self.rule == "<=" else self.measured >= self.goal

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the cells of the line in the table."""
        goal = "" if self.goal is None else f"{self.rule} {self.goal:g} {self.unit}"
        met = {True: "met", False: "NOT MET", None: ""}[self.met]
        return self.name, goal, f"{self.measured:.3g} {self.unit}", met, self.note


def table(lines: Iterable[Line]) -> str:
    """Return all lines as a table with a header."""
    rows = [("what", "goal", "measured", "", "note"), *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([padded[0], "  ".join("-" * width for width in widths), *padded[1:]])


def machine() -> dict[str, Any]:
    """Return the data on which results depend: processor, cores, memory, load, versions."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(
            "tuneoff", "keras", "tensorflow-cpu", "tensorflow", "keras-tuner", "scikit-optimize", "mlflow", "numpy"
        ),
    }


def as_json(facts: dict[str, Any], lines: Iterable[Line]) -> dict[str, Any]:
    """Return the machine's data and all lines, each with whether its goal is met."""
    return {"machine": facts, "lines": [{**asdict(line), "met": line.met} for line in lines]}
