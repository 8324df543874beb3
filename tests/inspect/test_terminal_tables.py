"""Status, trials and best trials of a study, read from its record alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from made import made_store
from tuneoff.cli.main import cli
from tuneoff.core.errors import StudyError
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study
from tuneoff.inspect.terminal_tables import best, chosen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    made_store(folder)
    return folder


def say(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_status_has_a_line_per_cell_and_changes_nothing(place: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
    shown = json.loads(say("status", str(place), "--json"))
    assert shown["study"] == "made"
    assert len(shown["cells"]) == 8
    assert shown["cells"][0]["trials"] == 24
    assert shown["cells"][0]["failed"] == 6
    assert shown["cells"][-1]["state"].startswith("failed: RuntimeError: the oven")
    assert "fashion_mnist/hyperband" in say("status", str(place))
    assert {p: p.stat().st_mtime_ns for p in place.rglob("*")} == before


def test_watching_ends_when_every_cell_has_finished_or_failed(place: Path) -> None:
    assert "mnist/grid" in say("status", str(place), "--watch")


def test_trials_lists_all_trials_or_those_of_a_cell(place: Path) -> None:
    rows = json.loads(say("trials", str(place), "--format", "json"))
    assert len(rows) == 7 * 3 * 8 + 3 * 4
    some = json.loads(say("trials", str(place), "--format", "json", "--dataset", "mnist", "--method", "hyperband"))
    assert {(r["dataset"], r["method"]) for r in some} == {("mnist", "hyperband")}
    assert [r["trial"] for r in some if r["parent"] is not None] == [4, 4, 4]
    table = list(csv.DictReader(io.StringIO(say("trials", str(place), "--format", "csv"))))
    assert len(table) == len(rows)
    assert "hp.dropout" in table[0]


def test_best_is_the_best_by_the_objective(place: Path) -> None:
    result = read_study(_store(place))
    rows = chosen(result, "mnist", "random")
    scores = sorted((r.objective for r in rows if r.objective is not None), reverse=True)
    assert [r.objective for r in best(result, rows, 3)] == scores[:3]
    assert len(json.loads(say("best", str(place), "--format", "json"))) == 8
    assert "learning_rate" in say("best", str(place), "--top", "2")


@pytest.mark.parametrize("command", ["trials", "best"])
def test_table_json_and_csv_show_the_same_trials_of_the_same_cell(place: Path, command: str) -> None:
    options = [command, str(place), "--dataset", "fashion_mnist", "--method", "bayes", "--top", "2"]
    found = json.loads(say(*options, "--format", "json"))
    assert [(r["dataset"], r["method"]) for r in found] == [("fashion_mnist", "bayes")] * 2
    assert found[0]["objective"] >= found[1]["objective"]
    table = list(csv.DictReader(io.StringIO(say(*options, "--format", "csv"))))
    assert [(int(r["seed"]), int(r["trial"]), float(r["objective"])) for r in table] == [
        (r["seed"], r["trial"], r["objective"]) for r in found
    ]
    head, *lines = say(*options, "--format", "table").splitlines()
    assert head.split()[:4] == ["dataset", "method", "seed", "trial"]
    assert [line.split()[:4] for line in lines] == [["fashion_mnist", "bayes", str(r["seed"]), str(r["trial"])] for r in found]


@pytest.mark.parametrize("command", ["trials", "best"])
def test_top_counts_for_each_method_and_data_set(place: Path, command: str) -> None:
    found = json.loads(say(command, str(place), "--format", "json", "--top", "3"))
    assert len(found) == 8 * 3
    assert found == json.loads(say("best", str(place), "--format", "json", "--top", "3"))
    refused = CliRunner().invoke(cli, [command, str(place), "--top", "0"])
    assert refused.exit_code == 2
    assert "0 is not in the range x>=1" in refused.output


def test_an_unknown_method_is_an_error_that_lists_the_methods(place: Path) -> None:
    with pytest.raises(StudyError, match=r"--method 'tpe' is not in the study\. Choose from: grid, random, bayes, hyperband\."):
        chosen(read_study(_store(place)), None, "tpe")


def _store(place: Path) -> FolderStore:
    return FolderStore(place)
