"""Export trials and epochs as tables for other programs: data frames, CSV and Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..core.space import Categorical, Float, Int, Space
from ..core.store.study_store import StudyResult
from .trial_rows import METRICS, TrialRow

_WHOLE = "Int64"
_COLUMNS: dict[str, str] = {
    "dataset": "str",
    "method": "str",
    "seed": _WHOLE,
    "trial": _WHOLE,
    "config_id": _WHOLE,
    "parent": _WHOLE,
    "inherit": "str",
    "status": "str",
    "objective": "float64",
    "counted_epoch": _WHOLE,
    **dict.fromkeys(METRICS, "float64"),
    "first_epoch": _WHOLE,
    "target_epoch": _WHOLE,
    "epochs": _WHOLE,
    "trained_epochs": _WHOLE,
    "seconds": "float64",
    "method_seconds": "float64",
    "attempts": _WHOLE,
    "asked_at": "float64",
    "started_at": "float64",
    "told_at": "float64",
    "device": "str",
    "peak_memory_bytes": _WHOLE,
    "reason": "str",
    "own_models": "boolean",
}
HYPERPARAMETER = "hp."
"""Prefix of the hyperparameter columns, so that a hyperparameter named `loss` or `seed` does not clash with another column."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def trials_frame(rows: Sequence[TrialRow], space: Space) -> pd.DataFrame:
    """Return a table with one row for each trial: one column for each field, then one for each hyperparameter of the space.

    A value that a trial does not have is missing. A system that trains its own models has no hyperparameter values of the space;
    its own configuration is JSON in the column `own_config`.
    """
    fields = {name: _series([getattr(r, name) for r in rows], kind) for name, kind in _COLUMNS.items()}
    fields["own_config"] = _series([json.dumps(r.config) if r.own_models else None for r in rows], "str")
    for name, parameter in space.items():
        kind = _kind(parameter)
        values = [None if r.own_models else r.config.get(name) for r in rows]
        fields[HYPERPARAMETER + name] = _series([_text(v) for v in values] if kind == "str" else values, kind)
    return pd.DataFrame(fields)


def epochs_frame(result: StudyResult) -> pd.DataFrame:
    """Return a table with one row for each trained epoch, by cell, seed, trial and epoch; a metric without a value is missing."""
    trained = [(s, t, e) for cell in result.cells for s in cell.searches for t in s.trials for e in t.curve]
    metrics = dict.fromkeys([*METRICS, *(name for _, _, e in trained for name in e.metrics)])
    return pd.DataFrame(
        {
            "dataset": _series([s.dataset for s, _, _ in trained], "str"),
            "method": _series([s.method for s, _, _ in trained], "str"),
            "seed": _series([s.seed for s, _, _ in trained], _WHOLE),
            "trial": _series([t.trial.id for _, t, _ in trained], _WHOLE),
            "epoch": _series([e.number for _, _, e in trained], _WHOLE),
            **{name: _series([e.metrics.get(name) for _, _, e in trained], "float64") for name in metrics},
            "seconds": _series([e.seconds for _, _, e in trained], "float64"),
        }
    )


def csv(frame: pd.DataFrame) -> bytes:
    """Return the table as CSV (UTF-8).

    A text that a spreadsheet would run as a formula is prefixed with an apostrophe. Numbers are not changed.
    """
    safe = frame.copy()
    for name in safe.columns:
        if pd.api.types.is_string_dtype(safe[name].dtype):
            safe[name] = safe[name].map({text: guarded(text) for text in safe[name].dropna().unique()})
    return safe.to_csv(index=False, lineterminator="\n").encode()


def parquet(frame: pd.DataFrame) -> bytes:
    """Return the table as Parquet; texts are not changed."""
    target = io.BytesIO()
    frame.to_parquet(target, index=False)
    return target.getvalue()


def _series(values: Sequence[Any], kind: str) -> pd.Series[Any]:
    return pd.Series(list(values), dtype=kind)


def _kind(parameter: Categorical | Int | Float) -> str:
    """Return the pandas data type of a hyperparameter's column."""
    if isinstance(parameter, Int):
        return _WHOLE
    if isinstance(parameter, Float):
        return "float64"
    kinds = {type(v) for v in parameter.values}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return _WHOLE
    return "float64" if kinds <= {int, float} else "str"


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def guarded(text: str) -> str:
    """Return the text, prefixed with an apostrophe if a spreadsheet would run it as a formula."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")  # a bare CR is not quoted and would start a new row
    return "'" + lines if text.startswith(_FORMULA) else lines
