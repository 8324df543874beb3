"""Every step's outputs pass the conversion that KFP's launcher does on a cluster, with every kind of study.

The plain kind is looked at in test_end_to_end.py.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

import tabled
from launcher import Refused, converted, outputs_of
from small import SPACE, small_study
from tuneoff.components.core.artifacts import metadata


def ran(file: Path) -> dict[str, dict[str, Any]]:
    """The study's outputs, after a run of it."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "support"), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "tuneoff", "run", str(file), "--out", str(file.parent / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return outputs_of(file.parent / "out")


def test_a_study_with_folds_and_a_model_of_its_own_whose_trials_diverge(tmp_path: Path) -> None:
    moods = {"mood": {"type": "categorical", "values": ["good", "diverging"]}}
    grid = [{"name": "grid", "label": "grid"}]
    file = small_study(tmp_path, split={"folds": 2}, model="small:moody", space=moods, methods=grid)
    found = ran(file)
    assert found["data-prep/prepared"]["folds"] == 2
    assert found["tune/metrics"]["trials"] == 2


def test_a_study_of_a_system_that_trains_its_own_models(tmp_path: Path) -> None:
    budget = {"trials": 2, "seconds": 4, "epochs_per_trial": 1}
    found = ran(small_study(tmp_path, methods=["flaml"], budget=budget, space=SPACE))
    assert found["evaluate/metrics"].keys() == {"test_accuracy", "test_loss"}


def test_a_study_of_a_table(tmp_path: Path) -> None:
    found = ran(tabled.study_file(tmp_path))
    assert found["tune/metrics"]["trials"] == 6


# The rules themselves


def value_of(value: Any) -> struct_pb2.Value:
    return json_format.ParseDict(value, struct_pb2.Value())


def test_the_launcher_refuses_a_null_and_takes_everything_else() -> None:
    with pytest.raises(Refused, match="null_value"):
        converted(value_of(None))
    assert [converted(value_of(v)) for v in ("a", 2, True, [1, "b"], {"c": 1})] == ["a", 2.0, 1, [1.0, "b"], {"c": 1.0}]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=5) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_whatever_a_step_says_its_metadata_can_be_stored(values: dict[str, Any]) -> None:
    found = metadata(values)
    text = json.dumps(found, allow_nan=False)
    for value in json_format.ParseDict(json.loads(text), struct_pb2.Struct()).fields.values():
        converted(value)
    lost = [v for k, v in values.items() if k not in found]
    assert all(v is None or isinstance(v, bytes) or (isinstance(v, float) and not math.isfinite(v)) for v in lost)
