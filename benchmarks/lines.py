"""A measured figure beside its goal, and the table of them."""

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
    """One figure. A goal is a number to stay under ("<=") or to reach (">="); None for a figure that is told beside it."""

    name: str
    measured: float
    unit: str
    goal: float | None = None
    rule: Literal["<=", ">="] = "<="
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.measured <= self.goal if self.rule == "<=" else self.measured >= self.goal

    def cells(self) -> tuple[str, str, str, str, str]:
        """The line as the table shows it."""
        goal = "" if self.goal is None else f"{self.rule} {self.goal:g} {self.unit}"
        met = {True: "met", False: "NOT MET", None: ""}[self.met]
        return self.name, goal, f"{self.measured:.3g} {self.unit}", met, self.note


def table(lines: Iterable[Line]) -> str:
    """All lines under one head, in columns."""
    rows = [("what", "goal", "measured", "", "note"), *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([padded[0], "  ".join("-" * width for width in widths), *padded[1:]])


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, memory, load, versions."""
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
    """The machine's facts and all lines, with whether each goal is met."""
    return {"machine": facts, "lines": [{**asdict(line), "met": line.met} for line in lines]}
