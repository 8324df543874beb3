"""Prepare the document of a study file for validation: find relative paths, and narrow steps that are too many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .faults import Found, Place, quoted
from .table_binding import table_of, with_table

MAX_STEPS = 10_000
"""A range with a step may have at most this many values."""


# Preparing a document


def located(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the relative paths of data sets and of the table absolute, from the study file's folder or the current folder."""
    listed, on_table = document.get("datasets"), table_of(document.get("objective"))
    if isinstance(listed, list):
        document = {**document, "datasets": [_located_entry(d, folder) for d in listed]}
    if on_table is not None and "://" not in on_table[0]:
        document = {**document, "objective": with_table(document["objective"], _found(on_table[0], folder))}
    return document


def _located_entry(entry: Any, folder: Path) -> Any:
    path = entry.get("path") if isinstance(entry, dict) else entry
    if not isinstance(path, str) or not (isinstance(entry, dict) or path.endswith(".npz") or "/" in path):
        return entry
    return {**(entry if isinstance(entry, dict) else {}), "path": path if "://" in path else _found(path, folder)}


def _found(path: str, folder: Path) -> str:
    try:
        here = Path(path).expanduser()
        beside = folder / here
        return str((beside if beside.exists() or not here.exists() else here).absolute())
    except (OSError, ValueError, RuntimeError):  # not a valid file name on this system, or an unknown user after ~
        return path


def narrowed(document: dict[str, Any]) -> tuple[dict[str, Any], list[Found]]:
    """Remove steps that give a range too many values. Returns the new document, and a fault for each removed step."""
    space = document.get("space")
    if not isinstance(space, dict):
        return document, []
    many = {name: values for name, p in space.items() if (values := _steps(p)) > MAX_STEPS}
    most = f"at most {MAX_STEPS:,} are allowed: give a larger step, or none"
    found: list[Found] = [
        (("space", name, "step"), f"{quoted(space[name]['step'])} gives {values:.3g} values, and {most}")
        for name, values in many.items()
    ]
    narrowed = {name: without(p, "step") | {"grid_points": 2} if name in many else p for name, p in space.items()}
    return {**document, "space": narrowed}, found


def _steps(parameter: Any) -> float:
    """Return how many steps a range has; 0 if the parameter is not a numeric range with a step."""
    match parameter:
        case {"low": int() | float() as low, "high": int() | float() as high, "step": int() | float() as step} if step > 0:
            steps = (high - low) / step
            return steps if not math.isnan(steps) else 0
        case _:
            return 0


def without(entry: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in fields}


def listed_entries(document: Mapping[str, Any], section: str) -> Iterator[tuple[Place, Any]]:
    """Yield the entries of a section with their places."""
    entries = document.get(section)
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        yield (section, number), entry
