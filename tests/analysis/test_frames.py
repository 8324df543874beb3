"""Trials and curves as CSV and Parquet."""

from __future__ import annotations

import csv as reader
import io

import pandas as pd
import pytest

from made_search import made, search
from tuneoff.analysis.frames import csv, parquet, trials_frame
from tuneoff.analysis.trial_rows import trial_row
from tuneoff.core.problem import Status
from tuneoff.core.space import Space
from tuneoff.core.study import ObjectiveSettings

SPACE = Space.model_validate(
    {
        "text": {"type": "categorical", "values": ["=1+1", "-1", "@x", "+y", "fine"]},
        "mixed": {"type": "categorical", "values": [1, "two"]},
        "flag": {"type": "categorical", "values": [True, False]},
        "shift": {"type": "float", "low": -1, "high": 1},
        "loss": {"type": "int", "low": -5, "high": 5, "when": {"flag": [True]}},
    }
)


def frame(*trials):
    record = search(*trials)
    return trials_frame([trial_row(record, t, ObjectiveSettings()) for t in record.trials], SPACE)


def config(text="fine", mixed=1, flag=True, shift=-0.5, loss=-3):
    return {"text": text, "mixed": mixed, "flag": flag, "shift": shift} | ({"loss": loss} if flag else {})


def cells(table):
    return next(reader.DictReader(io.StringIO(csv(table).decode())))


@pytest.mark.parametrize("reason", ["\t=1+1", "\r=1+1", "\n=1+1"])
def test_a_reason_that_hides_a_formula_behind_white_space_is_guarded(reason):
    assert cells(frame(made(status=Status.FAILED, reason=reason, config=config())))["reason"] == "'" + reason.replace("\r", "\n")


def test_a_carriage_return_begins_no_row():
    table = frame(made(status=Status.FAILED, reason="no\r=1+1", config=config()))
    (row,) = reader.DictReader(io.StringIO(csv(table).decode()))
    assert row["reason"] == "no\n=1+1"


@pytest.mark.parametrize("text", ["=1+1", "-1", "@x", "+y"])
def test_a_text_that_a_spreadsheet_would_run_is_guarded(text):
    assert cells(frame(made(0.5, config=config(text=text))))["hp.text"] == "'" + text


def test_a_reason_is_guarded_too():
    table = frame(made(status=Status.FAILED, reason='=HYPERLINK("x")', config=config()))
    assert cells(table)["reason"] == '\'=HYPERLINK("x")'


def test_numbers_stay_numbers():
    found = cells(frame(made(0.5, config=config())))
    assert (found["hp.shift"], found["hp.loss"], found["objective"], found["hp.text"]) == ("-0.5", "-3", "0.5", "fine")


def test_an_inactive_hyperparameter_and_a_missing_score_are_empty():
    found = cells(frame(made(status=Status.FAILED, config=config(flag=False))))
    assert (found["hp.loss"], found["objective"], found["parent"]) == ("", "", "")


def test_parquet_keeps_types_and_texts():
    table = pd.read_parquet(
        io.BytesIO(parquet(frame(made(0.5, config=config(text="=1+1", mixed="two")), made(0.6, config=config()))))
    )
    assert table["hp.text"].tolist() == ["=1+1", "fine"]
    assert table["hp.mixed"].tolist() == ["two", "1"]
    assert table["hp.flag"].tolist() == [True, True]
    assert str(table["hp.loss"].dtype) == "Int64"
    assert str(table["hp.shift"].dtype) == "float64"


def test_no_trials_give_an_empty_table_with_the_same_columns():
    empty, full = trials_frame([], SPACE), frame(made(0.5, config=config()))
    assert list(empty.columns) == list(full.columns)
    assert empty.dtypes.tolist() == full.dtypes.tolist()
    assert len(pd.read_parquet(io.BytesIO(parquet(empty)))) == 0
