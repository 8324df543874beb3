"""Warn about a study that is allowed but probably not intended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.runtime.machine import cores
from ..core.study import FORMERLY_REPLAY, Study
from ..methods.registry import find
from .faults import quoted
from .yaml_reader import read


def warnings(study: Study, file: str | Path | None = None) -> list[str]:
    """Return notes on settings that are allowed but probably not intended, and on old spellings in the study file."""
    spelling = [] if file is None else _old_spellings(read(Path(file)).value)
    return [*spelling, *_of_grids(study), *_of_flights(study)]


def _old_spellings(document: Any) -> list[str]:
    objective = document.get("objective") if isinstance(document, dict) else None
    if isinstance(objective, str) and objective.startswith(FORMERLY_REPLAY):
        new = f"table:{objective.removeprefix(FORMERLY_REPLAY)}"
        return [f"objective: replay: is the former spelling and is still read. Write objective: {quoted(new)}."]
    if isinstance(objective, dict) and "replay" in objective:
        return ["objective.replay is the former spelling and is still read. Write objective.table, with path in it."]
    return []


def _of_flights(study: Study) -> Iterator[str]:
    in_flight, resources, trials = study.budget.in_flight, study.resources, _trials(study)
    if trials is not None and in_flight > max(1, trials):
        pays = "one full training" if trials == 1 else f"{trials} full trainings"
        yield f"budget.in_flight: the budget pays for only {pays}, so {in_flight} trials will seldom run at the same time."
    if in_flight > cores() and not (resources.gpu or resources.of("tuner").cpu):
        yield f"budget.in_flight: each search trains in {in_flight} processes at the same time, but there are {cores()} cores."


def _of_grids(study: Study) -> list[str]:
    trials = _trials(study)
    in_order = [m for m in study.methods if find(m.name).name == "sklearn-grid" and m.settings.get("order") != "shuffled"]
    if not in_order or trials is None or study.space.grid_size() <= trials:
        return []
    return [
        f"grid: {trials} trials cover only the first corner of a grid of {study.space.grid_size()} points."
        " With settings: {order: shuffled} they are drawn from the whole grid."
    ]


def _trials(study: Study) -> int | None:
    """Return how many full trainings the budget pays for; None if only the clock limits them."""
    budget = study.budget
    by_epochs = budget.epochs // study.full_epochs if budget.epochs is not None else None
    return min((n for n in (budget.trials, by_epochs) if n is not None), default=None)
