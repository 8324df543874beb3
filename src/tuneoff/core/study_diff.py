"""Compare a study with the one recorded in a store: which changes extend it, and which make it a different study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .study import Study

LIMITS = ("trials", "epochs", "seconds")


@dataclass(frozen=True)
class Change:
    """One difference: a sentence without a final stop, and whether the search can resume after the change."""

    said: str
    extends: bool


def changes(old: Study, new: Study) -> list[Change]:
    """Return the differences that affect results. More budget, seeds, methods, data sets or retrainings extend a study."""
    before, after = old.science(), new.science()
    differences: list[Change] = []
    for section in before:
        if before[section] == after[section]:
            continue
        match section:
            case "datasets":
                differences += _listed(section, _by("name", before[section]), _by("name", after[section]))
            case "methods":
                differences += _listed(section, _by("label", before[section]), _by("label", after[section]))
            case "seeds":
                differences += _listed(section, dict.fromkeys(map(str, old.seeds), 0), dict.fromkeys(map(str, new.seeds), 0))
            case "budget":
                differences += _budget(before[section], after[section])
            case "evaluation":
                more = new.evaluation.seeds > old.evaluation.seeds
                differences.append(Change(_said("evaluation.seeds", old.evaluation.seeds, new.evaluation.seeds), more))
            case _:
                differences += _fields(section, before[section], after[section])
    return differences


def _listed(section: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Compare named entries. New entries extend a study; removed or changed entries do not."""
    added = [name for name in after if name not in before]
    if added:
        yield Change(f"{section}: {', '.join(added)} added", True)
    gone = [name for name in before if name not in after]
    if gone:
        yield Change(f"{section}: {', '.join(gone)} removed", False)
    for name in before:
        if name in after:
            yield from _fields(f"{section} {name}", before[name], after[name])


def _budget(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in before:
        old, new = before[name], after[name]
        if old != new:
            more = name in LIMITS and old is not None and (new is None or new > old)
            yield Change(_said(f"budget.{name}", old, new), more)


def _fields(place: str, before: Any, after: Any) -> Iterator[Change]:
    """Return the innermost fields that differ, with both values. None of these changes extends a study."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                yield from _fields(f"{place}.{name}", before.get(name), after.get(name))
    elif before != after:
        yield Change(_said(place, before, after), False)


def _by(key: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {entry[key]: entry for entry in entries}


def _said(place: str, old: object, new: object) -> str:
    return f"{place} was {_short(old)} and is {_short(new)}"


def _short(value: object) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"
