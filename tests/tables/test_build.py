"""Building a table: every training is on disk before the next starts, and a killed or shared build gives the same table."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from small import small_study
from tuneoff.core.errors import StudyError
from tuneoff.core.problem import Epoch, Trial
from tuneoff.core.space import Space, key_of
from tuneoff.core.table import METRICS, RecordedTraining, Table, TableInfo, read_table, write_table
from tuneoff.study_file.check import read_study
from tuneoff.tables import build as tablebuild
from tuneoff.tables.build import Progress, Shard, build, said, wanted
from tuneoff.tables.card import lines

GRID: dict[str, Any] = {
    "space": {
        "filters1": {"type": "categorical", "values": [2, 4]},
        "neurons": {"type": "categorical", "values": [8]},
        "learning_rate": {"type": "categorical", "values": [0.001, 0.01]},
    },
    "methods": ["grid"],
    "budget": {"trials": 4, "epochs_per_trial": 2},
    "noise": {"configurations": 1, "seeds": [0, 1]},
}
TRAININGS = 5
ALL = Shard()


def built(folder: Path, study: Path, shard: Shard = ALL, partial: bool = False) -> tuple[Any, list[Progress]]:
    seen: list[Progress] = []
    found = build(read_study(study), folder / "table.parquet", shard, 1, seen.append, lambda line: None, partial)
    return found, seen


def numbers(table: Table) -> dict[tuple[str, int], list[dict[str, float]]]:
    """All that a table says but for its seconds."""
    return {(str(t.config), t.seed): [dict(e.metrics) for e in t.curve] for t in table}


class Formula:
    """In the worker's place: a formula of configuration, seed and epoch, for tests of what is around the training."""

    device = "formula"

    def __init__(self, *parts: Any) -> None:
        self._seed = 0

    def serve_search(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, trial: Trial, checkpoint: None) -> Generator[Epoch, None, None]:
        for number in range(1, trial.proposal.target_epoch + 1):
            value = (hash(key_of(trial.proposal.config)) % 1000 + self._seed) / 1001 - 1 / (number + 1000)
            yield Epoch(number, dict.fromkeys(METRICS, value), 0.5)

    def close(self) -> None:
        pass


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tablebuild, "Worker", Formula)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study and its table, built undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    found, seen = built(folder, small_study(folder, **GRID))
    assert [p.done for p in seen] == list(range(TRAININGS + 1))
    assert (found.missing, found.stopped, found.info.complete) == (0, False, True)
    return folder


def test_a_table_has_every_point_with_the_studys_seeds_and_some_with_more(whole: Path) -> None:
    table = read_table(str(whole / "table.parquet"))
    assert len({str(t.config) for t in table}) == 4
    assert sorted(t.seed for t in table) == [0, 0, 0, 0, 1]
    assert [len(t.curve) for t in table] == [2] * TRAININGS
    for training in table:
        for epoch in training.curve:
            assert set(epoch.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"}
            assert epoch.seconds > 0
    assert len({str(n) for n in numbers(table).values()}) == TRAININGS, "seeds and configurations differ"


def test_a_table_says_how_it_was_made(whole: Path) -> None:
    info = read_table(str(whole / "table.parquet")).info
    assert info.study is not None
    assert info.study["space"]["filters1"]["values"] == [2, 4]
    assert info.prepared is not None
    (made,) = info.made
    assert {"processor", "cores", "platform"} == set(made.hardware)
    assert {"python", "keras", "numpy"} <= set(made.versions)


def test_a_card_says_that_the_seconds_of_different_processors_cannot_be_compared(whole: Path) -> None:
    file = whole / "table.parquet"
    info = read_table(str(file)).info
    (made,) = info.made
    other = made.model_copy(update={"hardware": made.hardware | {"processor": "another"}})
    assert not [line for line in lines(file, info) if "different processors" in line]
    assert [line for line in lines(file, info.model_copy(update={"made": (made, other)})) if "different processors" in line]


def test_a_build_that_was_killed_goes_on_and_gives_the_same_table(whole: Path, tmp_path: Path) -> None:
    study = small_study(tmp_path, **GRID)
    journal = tmp_path / "table.parquet.building" / "shard-1-of-1.jsonl"
    command = [
        sys.executable,
        "-m",
        "tuneoff",
        "table",
        "build",
        str(study),
        "--out",
        str(tmp_path / "table.parquet"),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 800
    while trained(journal) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = trained(journal)
    assert 1 <= before < TRAININGS
    assert not (tmp_path / "table.parquet").exists()
    with open(journal, "ab") as file:
        file.write(b'{"config":{"filters1":2,')
    _, seen = built(tmp_path, study)
    assert seen[0].done == before, "no training that was on disk was made again"
    assert numbers(read_table(str(tmp_path / "table.parquet"))) == numbers(read_table(str(whole / "table.parquet")))


def trained(journal: Path) -> int:
    return journal.read_bytes().count(b'"curve"') if journal.exists() else 0


@pytest.mark.usefixtures("formula")
def test_shards_share_the_trainings_and_the_last_one_writes_the_table(tmp_path: Path) -> None:
    study = small_study(tmp_path, **GRID)
    first, _ = built(tmp_path, study, Shard(1, 2))
    assert (first.info, first.missing) == (None, 2)
    second, seen = built(tmp_path, study, Shard(2, 2))
    assert (second.missing, seen[-1].trainings) == (0, 2)
    shared = numbers(read_table(str(tmp_path / "table.parquet")))
    (tmp_path / "alone").mkdir()
    built(tmp_path / "alone", study)
    assert shared == numbers(read_table(str(tmp_path / "alone" / "table.parquet")))


def test_what_was_begun_as_another_study_is_left_alone(whole: Path) -> None:
    for changes, said_so in (
        ({"training": {"batch_size": 16}}, "was started with other settings in the section training. Give another --out"),
        ({"budget": {"trials": 4, "epochs_per_trial": 3}}, r"was started with budget\.epochs_per_trial = 2"),
    ):
        study = small_study(whole, **{**GRID, **changes})
        with pytest.raises(StudyError, match=said_so):
            built(whole, study)


@pytest.mark.usefixtures("formula")
def test_a_larger_grid_and_more_seeds_keep_what_was_trained(tmp_path: Path) -> None:
    built(tmp_path, small_study(tmp_path, **GRID))
    _, seen = built(tmp_path, small_study(tmp_path, **{**GRID, "seeds": [0, 1], "noise": None}))
    assert seen[0].done == TRAININGS
    assert len(list(read_table(str(tmp_path / "table.parquet")))) == 8


@pytest.mark.usefixtures("formula")
def test_a_table_with_gaps_is_written_only_where_it_is_asked_for(tmp_path: Path) -> None:
    study = small_study(tmp_path, **GRID)
    built(tmp_path, study, Shard(1, 2))
    assert not (tmp_path / "table.parquet").exists()
    found, _ = built(tmp_path, study, Shard(1, 2), partial=True)
    assert (found.missing, found.info.trainings, found.info.complete) == (2, 3, False)


@pytest.mark.usefixtures("formula")
def test_a_table_with_gaps_goes_on_where_nothing_else_is_left_of_its_build(tmp_path: Path) -> None:
    study = small_study(tmp_path, **GRID)
    built(tmp_path, study, Shard(1, 2), partial=True)
    before = numbers(read_table(str(tmp_path / "table.parquet")))
    shutil.rmtree(tmp_path / "table.parquet.building")
    found, seen = built(tmp_path, study)
    table = read_table(str(tmp_path / "table.parquet"))
    assert (seen[0].done, seen[-1].done) == (3, TRAININGS)
    assert (found.missing, found.info.complete, len(table.info.made)) == (0, True, 1)
    assert before.items() <= numbers(table).items()
    (tmp_path / "alone").mkdir()
    built(tmp_path / "alone", study)
    assert read_table(str(tmp_path / "alone" / "table.parquet")).info.fingerprint == table.info.fingerprint


def test_a_table_of_another_study_is_not_overwritten(whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "table.parquet", tmp_path)
    study = small_study(tmp_path, **GRID)  # on a file of its own
    with pytest.raises(
        StudyError, match=r"table\.parquet was started with other settings in the section datasets\. Give another --out"
    ):
        built(tmp_path, study)


def test_an_imported_table_is_not_overwritten(tmp_path: Path) -> None:
    epochs = tuple(Epoch(n, {"val_accuracy": 0.5}, 1.0) for n in (1, 2))
    space = Space.model_validate({"units": {"type": "categorical", "values": [8]}})
    info = TableInfo(name="mine", dataset="mine", space=space, epochs=2, origin="csv curves.csv")
    write_table(tmp_path / "table.parquet", info, [RecordedTraining({"units": 8}, 0, epochs)])
    with pytest.raises(StudyError, match=r"is a table that was imported from csv curves\.csv\. Give another --out"):
        built(tmp_path, small_study(tmp_path, **GRID))


@pytest.mark.parametrize(
    ("changes", "said_so"),
    [
        ({"split": {"folds": 3}}, r"The study has split\.folds, .* Give split\.validation instead"),
        (
            {"space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}, "methods": ["random"]},
            "x is a range without step or grid_points",
        ),
    ],
)
def test_what_no_table_can_be_made_of_is_refused_before_anything_is_written(changes: Any, said_so: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=said_so):
        built(tmp_path, small_study(tmp_path, **{**GRID, **changes}))
    assert not list(tmp_path.glob("table*"))


def test_the_order_of_the_trainings_is_the_same_every_time_and_mixes_the_grid(tmp_path: Path) -> None:
    study = read_study(small_study(tmp_path, **{**GRID, "space": {"neurons": {"type": "int", "low": 1, "high": 50, "step": 1}}}))
    order = [config["neurons"] for config, _ in wanted(study)]
    assert order == [config["neurons"] for config, _ in wanted(study)]
    assert sorted(order[:50]) == list(range(1, 51))  # type: ignore[type-var]
    assert order[:50] != list(range(1, 51))


def test_what_is_left_is_said_in_words() -> None:
    assert said(Progress(2, 10, 0, 7300.0)) == ", 8 left, about 2 h 02 min"
    assert said(Progress(10, 10, 1, 0.0)) == ", 1 failed in this run"
