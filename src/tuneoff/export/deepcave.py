"""Export a study as DeepCAVE runs in its data frame format: a folder per search with trials.csv and configspace.csv."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..analysis.frames import HYPERPARAMETER, guarded
from ..analysis.trial_rows import TrialRow, trial_row
from ..core.problem import Status
from ..core.record.state import SearchRecord
from ..core.space import Categorical, Float, Int, Space, Value
from ..core.store.study_store import StudyResult
from ..core.study import ObjectiveSettings

_STATUS = {
    Status.COMPLETED: "success",
    Status.STOPPED: "success",  # DeepCAVE drops the scores of pruned trials; the budget column has the epochs
    Status.DIVERGED: "crashed",
    Status.FAILED: "crashed",
}
_FIXED = ("config_id", "status", "start_time", "end_time", "budget", "seed")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_. -]*")
_READ_AS_SOMETHING_ELSE = {"true", "false", "nan", "na", "none", "null", "inf", "infinity"}


def write_runs(result: StudyResult, folder: Path) -> None:
    """Write one folder per search that has a finished trial.

    Trials without an outcome are left out, because DeepCAVE has no status for them. Systems that train their own models are left
    out too, because their configurations do not belong to the search space.
    """
    folder.mkdir()
    for cell in result.cells:
        for search in cell.searches:
            if search.told and not search.is_system:
                _write_run(search, result.study.space, result.study.objective, folder / run_name(search))


def run_name(search: SearchRecord) -> str:
    """Return the folder's name. It has no dots, because DeepCAVE cuts the name at its last dot."""
    return f"{search.dataset}+{search.method}+seed-{search.seed}".replace(".", ",")


def _write_run(search: SearchRecord, space: Space, goal: ObjectiveSettings, folder: Path) -> None:
    folder.mkdir()
    columns = {name: column_name(name) for name in space}
    rows = [trial_row(search, t, goal) for t in search.told]
    metric = _metric_column(rows, goal)
    _write(folder / "configspace.csv", _space_table(space, columns))
    _write(folder / "trials.csv", [_trial(row, space, columns, metric) for row in rows])


def column_name(name: str) -> str:
    """Return a hyperparameter's column name. A name that DeepCAVE uses for another column gets a prefix."""
    return HYPERPARAMETER + name if name in _FIXED or name.startswith("metric") else name


def category(value: Value) -> str:
    """Write a category so that no CSV reader takes it for a number, a truth value or a missing value: [16], [true], relu."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _READ_AS_SOMETHING_ELSE:
        return value
    return f"[{json.dumps(value, ensure_ascii=False)}]"


def _space_table(space: Space, columns: Mapping[str, str]) -> list[dict[str, Any]]:
    many = max((len(p.values) for _, p in space.items() if isinstance(p, Categorical)), default=0)
    head = ("name", "type", "log", "lower", "upper", "default", "distribution", *(f"item_{i}" for i in range(many)), "ordered")
    empty = dict.fromkeys(head, "")
    return [{**empty, "name": columns[name], **_range_or_items(parameter)} for name, parameter in space.items()]


def _range_or_items(parameter: Categorical | Int | Float) -> dict[str, Any]:
    if isinstance(parameter, Categorical):
        items = [category(v) for v in parameter.values]
        numbered = {f"item_{i}": item for i, item in enumerate(items)}
        return {"type": "categorical", "log": False, "default": items[0], "ordered": False, **numbered}
    kind = "integer" if isinstance(parameter, Int) else "float"
    bounds = {"lower": parameter.low, "upper": parameter.high}
    return {"type": kind, "log": parameter.log, "distribution": "uniform", "ordered": False, **bounds}


def _trial(row: TrialRow, space: Space, columns: Mapping[str, str], metric: str) -> dict[str, Any]:
    began = row.started_at if row.started_at is not None else row.asked_at
    values = {columns[name]: _value(row.config.get(name), parameter) for name, parameter in space.items()}
    return {
        "config_id": row.config_id,
        **values,
        metric: row.objective,
        "status": _STATUS[Status(row.status)],
        "start_time": began,
        "end_time": row.told_at,
        "budget": row.epochs,
        "seed": row.seed,
        "tuneoff.trial": row.trial,
        "tuneoff.parent": row.parent,
        "tuneoff.status": row.status,
        "tuneoff.reason": None if row.reason is None else guarded(row.reason),
        "tuneoff.seconds": row.seconds,
        "tuneoff.inactive": " ".join(columns[name] for name in space if name not in row.config),
    }


def _value(value: Value | None, parameter: Categorical | Int | Float) -> Value:
    """Return a value. DeepCAVE needs a value for an inactive parameter too: its first category or its lower bound."""
    if isinstance(parameter, Categorical):
        return category(parameter.values[0] if value is None else value)
    return parameter.low if value is None else value


def _metric_column(rows: Iterable[TrialRow], goal: ObjectiveSettings) -> str:
    scores = [r.objective for r in rows if r.objective is not None]
    low, high = min(0, math.floor(min(scores, default=0))), max(1, math.ceil(max(scores, default=1)))
    return f"metric:{goal.metric} [{low}.0; {high}.0] ({'maximize' if goal.sign < 0 else 'minimize'})"


def _write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as target:
        table = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
