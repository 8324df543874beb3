"""Test a Katib trial: parsing values, printing epochs for Katib's collector, and continuing from a parent's weights."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from small import MOODS, small_npz
from tuneoff.core.errors import StudyError
from tuneoff.core.problem import Epoch
from tuneoff.core.space import Space
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.study import Dataset, Split, Study
from tuneoff.data.prepare import prepare
from tuneoff.katib import trial
from tuneoff.katib.trial import STUDY, config_of, fetched, line_of, read_epochs, read_line, text_of

SPACE = Space.model_validate(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
        "rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "layers": {"type": "int", "low": 2, "high": 8, "step": 2},
        "batch_norm": {"type": "categorical", "values": [True, False]},
        "width": {"type": "categorical", "values": [16, 32, "auto"]},
    }
)
TEXTS = {"dropout": "0.2", "rate": "0.01", "layers": "4", "batch_norm": "true", "width": "32"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dropout", "0.30000000000000004", 0.3),
        ("dropout", "0.096", 0.096),
        ("rate", "0.10000000000000002", 0.1),
        ("rate", "1e-04", 0.0001),
        ("layers", "4", 4),
        ("layers", "4.0", 4),
        ("batch_norm", "false", False),
        ("width", "auto", "auto"),
        ("width", "16", 16),
    ],
)
def test_a_text_is_parsed_as_the_value_that_it_denotes(name: str, text: str, value: object) -> None:
    found = config_of(SPACE, {**TEXTS, name: text})[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("dropout", t) for t in ("0.5", "-0.1", "nan", "inf", "", "much")),
        *(("layers", t) for t in ("3", "4.5", "10", "two")),
        *(("batch_norm", t) for t in ("True", "1", "")),
        *(("width", t) for t in ("16.0", "64", "Auto")),
    ],
)
def test_a_text_outside_the_space_is_refused_with_the_allowed_values(name: str, text: str) -> None:
    with pytest.raises(StudyError, match=name):
        config_of(SPACE, {**TEXTS, name: text})


def test_a_configuration_must_have_each_parameter_and_no_other() -> None:
    with pytest.raises(StudyError, match="width has no value"):
        config_of(SPACE, {name: text for name, text in TEXTS.items() if name != "width"})
    with pytest.raises(StudyError, match="depth is not a parameter"):
        config_of(SPACE, {**TEXTS, "depth": "3"})


def test_every_value_of_a_space_survives_a_round_trip_as_text() -> None:
    for name, parameter in SPACE.items():
        for value in parameter.levels() or [1e-4, 0.0123, 0.1]:
            assert config_of(SPACE, {**TEXTS, name: text_of(value)})[name] == value


NOW = datetime(2026, 11, 25, 1, 2, 3, 456_789, UTC)


def test_a_line_has_a_time_and_every_finite_number() -> None:
    line = line_of(Epoch(3, {"loss": math.nan, "val_loss": 2.5e-05, "val_accuracy": 0.875}, 1.0), 4.25, NOW)
    assert line == "2026-11-25T01:02:03.456Z epoch=3 val_loss=2.5e-05 val_accuracy=0.875 seconds=4.25"
    assert read_line(line) == {"epoch": 3, "val_loss": 2.5e-05, "val_accuracy": 0.875, "seconds": 4.25}


def test_printed_epochs_are_parsed_after_a_loggers_prefix_and_a_restart() -> None:
    curve = [Epoch(n, {"loss": 1 / n, "val_loss": 2 / n}, 2.0) for n in (1, 2, 3)]
    lines = [line_of(epoch, 2.0 * epoch.number, NOW) for epoch in curve]
    noise = ["epochs 1 to 3 on cpu", "I1125 01:00:00 13 main.go:139] warning: x=1", ""]
    logged = [f"I1125 01:00:00.123456      13 main.go:139] {line}" for line in lines]
    assert [e.number for e in read_epochs([*noise, *logged])] == [1, 2, 3]
    assert read_epochs([*noise, *logged])[2].metrics == {"loss": pytest.approx(1 / 3), "val_loss": pytest.approx(2 / 3)}
    assert [e.seconds for e in read_epochs([*lines[:2], *lines])] == [2.0, 2.0, 2.0]


def test_data_on_s3_is_copied_without_its_test_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "bucket")
    monkeypatch.setattr(trial, "open_store", lambda uri: store)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(StudyError, match=r"s3://bucket/mnist contains no prepared data: dataset.json is missing"):
        fetched("s3://bucket/mnist", tmp_path / "scratch")
    for name in ("dataset.json", "x_train.npy", "y_validation.npy", "x_test.npy", "y_test.npy", "other/x_train.npy"):
        store.write(name, b"{}")
    folder = fetched("s3://bucket/mnist", tmp_path / "scratch")
    assert sorted(p.name for p in folder.iterdir()) == ["dataset.json", "x_train.npy", "y_validation.npy"]
    assert fetched(str(tmp_path), tmp_path / "scratch") == tmp_path, "a folder is read where it is"


# Trained for real


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(Dataset(name="bars", path=str(small_npz(folder / "bars.npz"))), Split(), folder / "bars", lambda line: None)
    return folder / "bars"


def run(data: Path, study: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the trial as its pod starts it."""
    command = [sys.executable, "-m", "tuneoff.katib.trial", "--data", str(data), *arguments]
    path = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, STUDY: study, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=800)


def told(**changes: object) -> str:
    space = {"dropout": {"type": "float", "low": 0.0, "high": 0.5}, "learning_rate": {"type": "float", "low": 0.001, "high": 0.1}}
    sections = {"name": "s", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 1}, "space": space}
    return Study.model_validate({**sections, **changes}).model_dump_json(exclude_none=True)


def test_a_trial_continues_from_its_parents_weights_and_prints_the_sample_format(data: Path, tmp_path: Path) -> None:
    values = ("dropout=0.1", "learning_rate=0.01")
    done = run(data, told(), "--epochs", "2", "--checkpoint", str(tmp_path), "--trial", "a", *values)
    assert done.returncode == 0, done.stderr
    shape = re.compile(r"\d+(\.\d+)?(e[+-]\d+)?")
    sample = (Path(__file__).parents[2] / "src" / "tuneoff" / "katib" / "trial_template.txt").read_text().splitlines()
    assert [shape.sub("0", line) for line in done.stdout.splitlines()] == [shape.sub("0", line) for line in sample[:3]]
    assert [p.name for p in tmp_path.iterdir()] == ["weights-000002.npz"]

    after = run(
        data, told(), "--epochs", "1", "--checkpoint", str(tmp_path), "--trial", "b", "dropout=0.2", "learning_rate=0.012"
    )
    assert after.returncode == 0, after.stderr
    first, last = read_epochs(done.stdout.splitlines()), read_epochs(after.stdout.splitlines())
    assert [e.number for e in (*first, *last)] == [1, 2, 3]
    assert last[0].metrics["loss"] < first[0].metrics["loss"]
    assert [p.name for p in tmp_path.iterdir()] == ["weights-000003.npz"], "the parent's are no longer needed"


def test_a_diverging_training_fails_without_printing_nan(data: Path) -> None:
    done = run(data, told(model="small:moody", space=MOODS), "--epochs", "2", "mood=diverging")
    assert done.returncode == 1
    assert "diverged: loss is not a finite number after epoch 1" in done.stderr
    assert "nan" not in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("study", "arguments", "sentence"),
    [
        ("{}", ("--epochs", "1", "a=1"), "does not contain a valid study in JSON: name"),
        ("", ("--epochs", "1", "a=1"), "does not contain a valid study in JSON"),
        (told(), ("--epochs", "1", "dropout=0.1"), "learning_rate has no value"),
        (told(), ("--epochs", "1", "dropout"), "'dropout' does not have the form NAME=VALUE"),
    ],
)
def test_bad_input_prints_one_sentence_and_has_exit_code_2(
    tmp_path: Path, study: str, arguments: tuple[str, ...], sentence: str
) -> None:
    done = run(tmp_path, study, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert sentence in line
