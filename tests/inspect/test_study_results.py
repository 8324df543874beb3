"""The results of a study as data frames for Python and notebooks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tuneoff
from made import made_store, made_study
from tuneoff.analysis.trial_rows import trial_rows
from tuneoff.core.errors import StudyError
from tuneoff.core.store.study_store import Failure, StudyResult, read_study
from tuneoff.core.study import Study
from tuneoff.inspect.study_results import Results

SPACE: dict[str, Any] = {
    "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"optimizer": ["SGD"]}},
    "units": {"type": "int", "low": 16, "high": 256, "when": {"optimizer": ["Adam"]}},
}
SECTIONS = {"name": "small", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 4}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("made")
    made_store(folder, made_study(space=SPACE, methods=["random", "hyperband"], seeds=[0, 1]))
    return tuneoff.load(folder)


# Frames


def test_trials_have_a_row_each_and_a_column_per_hyperparameter(found: Results) -> None:
    rows = trial_rows(found.record)
    assert len(found.trials) == len(rows) == 3 * 2 * 8 + 2 * 4
    assert found.trials["objective"].dropna().tolist() == [r.objective for r in rows if r.objective is not None]
    assert list(found.trials.columns[-3:]) == ["hp.optimizer", "hp.momentum", "hp.units"]


def test_an_inactive_hyperparameter_is_missing_and_types_are_kept(found: Results) -> None:
    trials = found.trials
    sgd = trials["hp.optimizer"] == "SGD"
    assert trials["hp.momentum"].notna().equals(sgd)
    assert trials["hp.units"].isna().equals(sgd)
    kinds = {name: str(trials[name].dtype) for name in ("seed", "trial", "parent", "objective", "hp.momentum", "hp.units")}
    whole = {"seed": "Int64", "trial": "Int64", "parent": "Int64", "hp.units": "Int64"}
    assert kinds == {**whole, "objective": "float64", "hp.momentum": "float64"}


def test_curves_have_a_row_per_epoch_and_join_the_trials(found: Results) -> None:
    curves = found.curves
    recorded = [e for c in found.cells for s in c.searches for t in s.trials for e in t.curve]
    assert curves["epoch"].tolist() == [e.number for e in recorded]
    assert curves["seconds"].tolist() == [e.seconds for e in recorded]
    key = ["dataset", "method", "seed", "trial"]
    best = curves.groupby(key)["val_accuracy"].max()
    scored = found.trials.dropna(subset=["objective"]).set_index(key)["objective"]
    assert best.loc[scored.index].tolist() == pytest.approx(scored.tolist())
    diverged = found.trials[found.trials["status"] == "diverged"][key]
    assert curves.merge(diverged)["loss"].isna().all()


def test_best_is_the_best_of_each_cell_or_of_the_named_cells(found: Results) -> None:
    assert len(found.best()) == 4
    some = found.best(dataset="mnist", method="random", top=3)
    of_cell = found.trials[(found.trials["dataset"] == "mnist") & (found.trials["method"] == "random")]
    assert some["objective"].tolist() == of_cell["objective"].nlargest(3).tolist()
    assert list(some.columns) == list(found.trials.columns)
    with pytest.raises(StudyError, match=r"'minst' is not in the study\. Choose from: mnist, fashion_mnist\.$"):
        found.best(dataset="minst")


def test_status_has_a_row_per_cell_with_its_test_score(found: Results) -> None:
    status = found.status
    assert status["dataset"].tolist() == ["mnist", "mnist", "fashion_mnist", "fashion_mnist"]
    assert status["trials"].tolist() == [16, 16, 16, 6]
    for cell, tested in zip(found.cells, status["test_accuracy"], strict=True):
        scores = [r.test_accuracy for r in cell.evaluation.retrainings] if cell.evaluation else []
        assert pd.isna(tested) if not scores else tested == pytest.approx(sum(scores) / len(scores))
    assert status["state"].iloc[-1].startswith("failed: RuntimeError: the oven")


def test_a_study_without_trials_has_empty_frames_of_the_same_columns(found: Results) -> None:
    cells = tuple(replace(c, searches=tuple(replace(s, trials=(), ended=None) for s in c.searches)) for c in found.cells)
    empty = Results(replace(found.record, cells=cells))
    for frame, full in ((empty.trials, found.trials), (empty.curves, found.curves), (empty.best(), found.best())):
        assert len(frame) == 0
        assert frame.dtypes.to_dict() == full.dtypes.to_dict()
    assert empty.status["best"].isna().all()


def test_loading_a_folder_without_a_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        tuneoff.load(tmp_path)


# In a notebook


def test_a_notebook_shows_a_table_of_cells(found: Results) -> None:
    table = rows_of(found._repr_html_())
    assert table[0] == ["data set", "method", "budget", "trials", "failed", "epochs", "best", "test accuracy", "state"]
    assert [row[:2] for row in table[1:]] == [[c.cell.dataset, c.cell.method.label] for c in found.cells]
    for row, (_, line) in zip(table[1:], found.status.iterrows(), strict=True):
        assert row[2].strip() == f"{line['share']:.0%}"
        assert row[3:7] == [str(line["trials"]), str(line["failed"]), str(line["epochs"]), f"{line['best']:.4f}"]
        assert row[7] == ("–" if pd.isna(line["test_accuracy"]) else f"{line['test_accuracy']:.4f}")


def rows_of(page: str) -> list[list[str]]:
    """The texts of the table's cells, as a browser shows them."""
    rows: list[list[str]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            if tag == "tr":
                rows.append([])
            if tag in ("td", "th"):
                rows[-1].append("")

        def handle_data(self, data: str) -> None:
            if rows:
                rows[-1][-1] += data

    Reader().feed(page)
    return rows


def test_names_and_reasons_are_escaped_in_the_html(found: Results) -> None:
    failing = replace(found.cells[0], failures=(Failure(step="tuner", reason="<script>alert(1)</script> & more", time=0.0),))
    page = Results(replace(found.record, cells=(failing,)))._repr_html_()
    assert "<script>" not in page
    assert "failed: &lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_loading_results_imports_no_framework(found: Results, tmp_path: Path) -> None:
    made_store(tmp_path, made_study(datasets=["mnist"], methods=["random"]))
    script = (
        f"import sys, tuneoff\nfound = tuneoff.load({str(tmp_path)!r})\n"
        "found.trials, found.curves, found.status, found.best(), found._repr_html_()\n"
        "heavy = {'tensorflow', 'keras', 'kfp', 'mlflow', 'optuna', 'sklearn', 'boto3'}\n"
        "print(sorted(heavy & {m.partition('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=800, check=True)
    assert done.stdout == "[]\n"


# Running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Study, Path, tuple[Path, ...]]]:
    """Record the calls of the runner, which finds every study already finished."""
    calls: list[tuple[Study, Path, tuple[Path, ...]]] = []

    def run(study: Study, out: Path, search_path: tuple[Path, ...] = ()) -> StudyResult:
        calls.append((study, out, search_path))
        return read_study(made_store(tmp_path / "store", study))

    monkeypatch.setattr("tuneoff.pipelines.local.run", run)
    monkeypatch.chdir(tmp_path)
    return calls


def test_a_study_runs_the_same_from_a_file_a_dict_or_a_study(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "small.yaml"
    file.write_text("name: small\ndatasets: [mnist]\nmethods: [random]\nbudget: {trials: 4}\n")
    found = tuneoff.run(file)
    tuneoff.run(SECTIONS)
    tuneoff.run(Study.model_validate(SECTIONS), out=tmp_path / "elsewhere")
    assert len(found.trials) == 8
    studies, outs, paths = zip(*asked, strict=True)
    assert studies[0] == studies[1] == studies[2] == Study.model_validate(SECTIONS)
    assert outs == (Path("runs/small"), Path("runs/small"), tmp_path / "elsewhere")
    assert paths == ((tmp_path / "sub", tmp_path), (tmp_path,), (tmp_path,))


def test_an_invalid_dict_gives_a_sentence_per_error_as_a_file_does(asked: list[Any]) -> None:
    with pytest.raises(StudyError) as error:
        tuneoff.run({**SECTIONS, "datasets": ["minst"], "methods": [{"name": "bayes", "settings": {"acq": 1}}]})
    first, second = str(error.value).splitlines()
    assert first.startswith("study: datasets[0]: 'minst' is not a built-in data set (did you mean mnist?)")
    assert second.startswith("study: methods[0].settings.acq: the field is unknown")
    assert asked == []


def test_a_study_object_is_checked_like_a_file(asked: list[Any]) -> None:
    with pytest.raises(StudyError, match=r"study: methods\[0\]\.name: 'rondom' is not a method \(did you mean random"):
        tuneoff.run(Study.model_validate({**SECTIONS, "methods": ["rondom"]}))
    assert asked == []
