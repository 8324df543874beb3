"""Systems that train models of their own: marked wherever they are named, and compared by seconds and test score alone."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from made import made_store, made_study
from tuneoff.analysis.frames import trials_frame
from tuneoff.analysis.trial_rows import trial_rows
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study
from tuneoff.inspect.progress import cell_progress, line, table
from tuneoff.report.report import report

MARK = "trains its own models"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """A study of `random` and the system `flaml`, and `bayes`, whose tuner failed on the last data set."""
    study = made_study(methods=["random", "flaml", "bayes"], budget={"trials": 8, "seconds": 90, "epochs_per_trial": 9})
    made = made_store(tmp_path_factory.mktemp("made"), study)
    report(made, {"tuneoff": "0"})
    return made


def rows_naming(page: str, method: str) -> list[str]:
    return [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if re.search(rf"</i>{method}</span>", row)]


def test_every_row_and_legend_of_the_page_that_names_a_system_marks_it(store: FolderStore) -> None:
    page = store.read("report/report.html").decode()
    rows = rows_naming(page, "flaml")
    assert len(rows) > 4
    assert all(MARK in row for row in rows)
    legends = re.findall(r"<li><label>.*?</li>", page, re.DOTALL)
    assert [MARK in entry for entry in legends] == [False, True, False] * 2 + [False, False]  # the statistics name no system
    assert not any(MARK in row for row in rows_naming(page, "random"))


def test_a_system_has_its_test_score_and_its_time_and_no_rank(store: FolderStore) -> None:
    results = json.loads(store.read("report/results.json"))
    systems = [s for s in results["scores"] if s["own_models"]]
    assert {s["method"] for s in systems} == {"flaml"}
    assert all(s["test"] and s["usage"]["training_seconds"] > 0 for s in systems)
    for answer in results["answers"]:
        assert "flaml" not in {answer["leader"], answer["runner_up"], *answer["winners"], *answer["level"]}
    for dataset in results["datasets"]:
        assert "flaml" not in {m["method"] for m in [*dataset["ten_best"], *dataset["learning"]]}
        assert all(m["method"] != "flaml" for curve in dataset["curves"].values() for m in curve)


def test_the_markdown_marks_it_and_says_what_it_reached(store: FolderStore) -> None:
    text = store.read("report/report.md").decode()
    row = next(x for x in text.splitlines() if x.startswith("| mnist | flaml"))
    assert f"flaml ({MARK}) | complete | – | – | 3 |" in row
    assert re.search(rf"flaml {MARK}: \S+ ± \S+ % on the test images, after .+ per seed\.", text)


def test_its_configurations_are_its_own_column_and_none_of_the_spaces(store: FolderStore) -> None:
    result = read_study(store)
    frame = trials_frame(trial_rows(result), result.study.space)
    own = frame[frame["own_models"]]
    assert set(own["method"]) == {"flaml"}
    assert own[[c for c in frame.columns if c.startswith("hp.")]].isna().all(axis=None)
    assert all(isinstance(json.loads(text), dict) for text in own["own_config"])
    assert frame[~frame["own_models"]]["own_config"].isna().all()


def test_its_line_of_progress_marks_it_and_its_row_too(store: FolderStore) -> None:
    result = read_study(store)
    shown = Console(width=200, file=io.StringIO())
    shown.print(table([cell_progress(result, cell) for cell in result.cells]))
    rows = shown.file.getvalue().splitlines()[1:]  # type: ignore[attr-defined]
    assert [MARK in row for row in rows] == [False, True, False] * 2
    assert [MARK in line(cell_progress(result, cell)) for cell in result.cells] == [False, True, False] * 2
