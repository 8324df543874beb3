"""One finding of a check: what was looked at, its state, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a thing is: FAILING means that something which is there, or was asked for, does not work."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's."""

    what: str
    state: State
    said: str
    remedy: str | None = None
