"""A study handed to other programs: each file is read back by the program itself, or by the rules that it documents."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from click.testing import CliRunner

from made import made_store, made_study
from tuneoff.analysis.trial_rows import TrialRow, trial_rows
from tuneoff.cli.main import cli
from tuneoff.core.errors import StudyError
from tuneoff.core.problem import Status
from tuneoff.core.record.state import SearchRecord
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import StudyResult, read_study
from tuneoff.export import export
from tuneoff.export.deepcave import category, column_name

SPACE: dict[str, Any] = {
    "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.95, "step": 0.1, "when": {"optimizer": ["SGD"]}},
    "learning_rate": {"type": "float", "low": 0.0001, "high": 0.1, "log": True},
    "units": {"type": "int", "low": 16, "high": 250, "step": 16},
    "seed": {"type": "categorical", "values": [1, True, "1", "=1+1"]},
}
CELL = ("mnist", "hyperband", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cells of two searches, the last one failed; the space has a condition, steps, and values that are easily confused."""
    folder = tmp_path_factory.mktemp("made")
    made_store(folder, made_study(space=SPACE, methods=["random", "hyperband"], seeds=[0, 1]))
    return folder


@pytest.fixture(scope="module")
def result(place: Path) -> StudyResult:
    """The same with each search's first trial stopped by its method."""
    found = read_study(FolderStore(place))
    cells = (replace(c, searches=tuple(first_stopped(s) for s in c.searches)) for c in found.cells)
    return replace(found, cells=tuple(cells))


def first_stopped(search: SearchRecord) -> SearchRecord:
    first, *others = search.trials
    assert first.trial.outcome is not None
    outcome = replace(first.trial.outcome, status=Status.STOPPED)
    return replace(search, trials=(replace(first, trial=replace(first.trial, outcome=outcome)), *others))


@pytest.fixture(scope="module")
def rows(result: StudyResult) -> list[TrialRow]:
    """The trials of the search that is looked at."""
    return [r for r in trial_rows(result) if (r.dataset, r.method, r.seed) == CELL]


# Optuna


@pytest.fixture(scope="module")
def storage(result: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> optuna.storages.RDBStorage:
    folder = tmp_path_factory.mktemp("optuna")
    export(result, "optuna", folder / "why? #1" / "made.db")
    file = (folder / "why? #1" / "made.db").rename(folder / "made.db")
    return optuna.storages.RDBStorage(f"sqlite:///{file}")


@pytest.fixture(scope="module")
def study(storage: optuna.storages.RDBStorage) -> optuna.Study:
    return optuna.load_study(study_name="made/mnist/hyperband/seed-1", storage=storage)


def test_there_is_an_optuna_study_for_every_search(storage: optuna.storages.RDBStorage, result: StudyResult) -> None:
    names = optuna.get_all_study_names(storage)
    assert names == [f"made/{c.cell.dataset}/{c.cell.method.label}/seed-{s.seed}" for c in result.cells for s in c.searches]


def test_a_trial_keeps_its_number_score_state_and_parameters(study: optuna.Study, rows: list[TrialRow]) -> None:
    states = {"completed": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL", "diverged": "FAIL", "running": "RUNNING"}
    assert [t.number for t in study.trials] == [r.trial for r in rows]
    assert [t.state.name for t in study.trials] == [states[r.status] for r in rows]
    assert [t.value for t in study.trials] == [r.objective for r in rows]
    assert [t.state.name for t in study.trials][:2] == ["PRUNED", "COMPLETE"]
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert study.best_trial.number == max((r for r in rows if r.status == "completed"), key=lambda r: r.objective or 0).trial
    assert study.metric_names == ["val_accuracy"]


def test_an_inactive_parameter_is_left_out_and_values_that_optuna_would_confuse_are_told_apart(
    study: optuna.Study, rows: list[TrialRow]
) -> None:
    wanted = [{**r.config, "seed": json.dumps(r.config["seed"])} for r in rows]
    assert [t.params for t in study.trials] == wanted
    assert {"momentum" in t.params for t in study.trials} == {True, False}
    found = {name: d for t in study.trials for name, d in t.distributions.items()}
    assert found == {
        "optimizer": optuna.distributions.CategoricalDistribution(["SGD", "Adam"]),
        "momentum": optuna.distributions.FloatDistribution(0.0, 0.9, step=0.1),
        "learning_rate": optuna.distributions.FloatDistribution(0.0001, 0.1, log=True),
        "units": optuna.distributions.IntDistribution(16, 240, step=16),
        "seed": optuna.distributions.CategoricalDistribution(["1", "true", '"1"', '"=1+1"']),
    }


def test_every_epoch_is_an_intermediate_value(study: optuna.Study, result: StudyResult) -> None:
    search = next(s for c in result.cells for s in c.searches if (s.dataset, s.method, s.seed) == CELL)
    for trial, record in zip(study.trials, search.trials, strict=True):
        assert trial.intermediate_values == {e.number: e.metrics["val_accuracy"] for e in record.curve}
    assert list(study.trials[4].intermediate_values) == [4, 5, 6, 7, 8, 9], "it continues trial 1 after three epochs"


def test_times_are_the_recorded_ones_and_the_rest_is_in_attributes(study: optuna.Study, rows: list[TrialRow]) -> None:
    for trial, row in zip(study.trials, rows, strict=True):
        assert row.started_at is not None
        assert row.told_at is not None
        assert trial.datetime_start == datetime.fromtimestamp(row.started_at)
        assert trial.datetime_complete == datetime.fromtimestamp(row.told_at)
        for name in ("seed", "status", "epochs", "seconds", "val_loss", "parent", "reason"):
            assert trial.user_attrs.get(name) == getattr(row, name), name
    assert study.trials[4].user_attrs["parent"] == 1
    assert study.trials[6].user_attrs["reason"] == "ValueError: no such layer"
    facts = {"study": "made", "dataset": "mnist", "method": "hyperband", "seed": 1, "ended": "the budget is used up"}
    assert facts.items() <= study.user_attrs.items()


def test_the_trial_that_was_tested_has_its_test_accuracy(storage: optuna.storages.RDBStorage, result: StudyResult) -> None:
    study = optuna.load_study(study_name="made/mnist/hyperband/seed-0", storage=storage)
    tested = [t for t in study.trials if "test_accuracy" in t.user_attrs]
    (cell,) = [c for c in result.cells if c.cell.name == "mnist/hyperband"]
    assert cell.evaluation is not None
    assert [t.number for t in tested] == [cell.evaluation.trial]
    assert tested[0].user_attrs["test_accuracies"] == [r.test_accuracy for r in cell.evaluation.retrainings]


def test_a_trial_in_flight_is_running_there(storage: optuna.storages.RDBStorage) -> None:
    last = optuna.load_study(study_name="made/fashion_mnist/hyperband/seed-0", storage=storage).trials[-1]
    assert (last.state.name, list(last.intermediate_values), last.datetime_complete) == ("RUNNING", [1], None)


def test_optuna_dashboard_shows_studies_and_trials(storage: optuna.storages.RDBStorage, rows: list[TrialRow]) -> None:
    import optuna_dashboard

    page = optuna_dashboard.wsgi(storage)

    def get(path: str, query: str = "") -> Any:
        said: list[str] = []
        request = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO()}
        request |= {"SERVER_NAME": "here", "SERVER_PORT": "1", "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr}
        body = b"".join(page(request, lambda status, headers, error=None: said.append(status)))
        assert said == ["200 OK"]
        return json.loads(body)

    shown = {s["study_name"]: s for s in get("/api/studies")["study_summaries"]}
    assert len(shown) == 8
    one = get(f"/api/studies/{shown['made/mnist/hyperband/seed-1']['study_id']}", "after=0")
    assert one["directions"] == ["maximize"]
    assert one["objective_names"] == ["val_accuracy"]
    assert [t["state"] for t in one["trials"]] == ["Pruned"] + ["Complete"] * 4 + ["Fail"] * 2 + ["Complete"]
    assert [t["values"][0] for t in one["trials"] if "values" in t] == [r.objective for r in rows if r.objective is not None]


# DeepCAVE: "Pandas DataFrame" among its converters


@pytest.fixture(scope="module")
def runs(result: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deepcave") / "made"
    export(result, "deepcave", folder)
    return folder


def test_there_is_a_run_for_every_search(runs: Path) -> None:
    assert len(list(runs.iterdir())) == 8
    for run in runs.iterdir():
        assert sorted(p.name for p in run.iterdir()) == ["configspace.csv", "trials.csv"]
        assert run.stem == run.name, "DeepCAVE names a run by its folder, up to a dot"


def test_its_space_is_as_deepcave_reads_it(runs: Path) -> None:
    space = pd.read_csv(runs / "mnist+hyperband+seed-1" / "configspace.csv").set_index("name")
    assert space["type"].to_dict() == {
        "optimizer": "categorical",
        "momentum": "float",
        "learning_rate": "float",
        "units": "integer",
        "hp.seed": "categorical",
    }
    assert space["log"].to_dict() == {name: name == "learning_rate" for name in space.index}
    assert space.loc["learning_rate", ["lower", "upper", "distribution"]].tolist() == [0.0001, 0.1, "uniform"]
    items = [c for c in space.columns if c.startswith("item_")]
    assert space.loc["hp.seed", items].tolist() == ["[1]", "[true]", '["1"]', '["=1+1"]']
    assert space.loc["optimizer", items].dropna().tolist() == ["SGD", "Adam"]
    categorical = space[space["type"] == "categorical"]
    assert all(row["default"] in row[items].tolist() for _, row in categorical.iterrows()), "it must be one of the items"


def test_its_trials_are_as_deepcave_reads_them(runs: Path, rows: list[TrialRow]) -> None:
    trials = pd.read_csv(runs / "mnist+hyperband+seed-1" / "trials.csv")
    (metric,) = [c for c in trials.columns if c.startswith("metric")]
    found = re.match(r"metric:(\w+) \[(-?\d+\.?\d*|[-+]inf); (-?\d+\.?\d*|[-+]inf)\] \((\w+)\)", metric)
    assert found is not None
    assert found.groups() == ("val_accuracy", "0.0", "1.0", "maximize")
    scores = [r.objective for r in rows]
    assert [None if pd.isna(v) else v for v in trials[metric]] == pytest.approx(scores)
    assert trials["status"].tolist() == ["success"] * 5 + ["crashed"] * 2 + ["success"]
    assert trials["budget"].tolist() == [r.epochs for r in rows]
    assert trials["config_id"].tolist() == [r.config_id for r in rows]
    assert set(trials["seed"]) == {1}
    assert (trials["end_time"] >= trials["start_time"]).all()
    assert trials["tuneoff.reason"].dropna().tolist() == ["loss is nan after epoch 1", "ValueError: no such layer"]


def test_every_value_is_one_that_its_space_allows_and_what_was_inactive_is_said(runs: Path, rows: list[TrialRow]) -> None:
    """The format has no conditions: DeepCAVE refuses a configuration without a value."""
    run = runs / "mnist+hyperband+seed-1"
    space, trials = pd.read_csv(run / "configspace.csv").set_index("name"), pd.read_csv(run / "trials.csv")
    items = [c for c in space.columns if c.startswith("item_")]
    for name, kind in space["type"].items():
        if kind == "categorical":
            assert set(trials[name]) <= set(space.loc[name, items].dropna())
        else:
            assert trials[name].between(space.loc[name, "lower"], space.loc[name, "upper"]).all()
            assert pd.api.types.is_integer_dtype(trials[name]) == (kind == "integer")
    inactive = ["momentum" if "momentum" not in r.config else None for r in rows]
    assert [None if pd.isna(v) else v for v in trials["tuneoff.inactive"]] == inactive
    assert [trials["momentum"][i] for i, name in enumerate(inactive) if name] == [0.0] * sum(n is not None for n in inactive)


@pytest.mark.parametrize(
    ("value", "text"),
    [("relu", "relu"), (16, "[16]"), (0.5, "[0.5]"), (True, "[true]"), ("16", '["16"]'), ("None", '["None"]'), ("", '[""]')],
)
def test_a_category_is_text_to_every_reader_of_csv(value: Any, text: str) -> None:
    assert category(value) == text
    assert pd.read_csv(io.StringIO(f"x\n{csv_field(text)}\n"))["x"].tolist() == [text]


def csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def test_a_hyperparameter_that_has_the_name_of_a_column_is_renamed() -> None:
    assert [column_name(n) for n in ("seed", "status", "metric_x", "units")] == ["hp.seed", "hp.status", "hp.metric_x", "units"]


# CSV, and what all have in common


def test_csv_has_a_row_a_trial_and_a_row_an_epoch_and_no_formulas(result: StudyResult, tmp_path: Path) -> None:
    export(result, "csv", tmp_path / "new" / "tables")
    with open(tmp_path / "new" / "tables" / "trials.csv", newline="") as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == len(trial_rows(result))
    texts = {t["hp.seed"] for t in trials}
    assert texts == {"1", "true", "'=1+1"}, "a category that begins like a formula is guarded"
    curves = pd.read_csv(tmp_path / "new" / "tables" / "curves.csv")
    assert len(curves) == sum(len(t.curve) for c in result.cells for s in c.searches for t in s.trials)
    assert list(curves.columns[:5]) == ["dataset", "method", "seed", "trial", "epoch"]


@pytest.mark.parametrize("kind", ["optuna", "deepcave", "csv"])
def test_the_command_prints_what_it_wrote_and_never_overwrites(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
    run = CliRunner().invoke(cli, ["export", str(place), "--to", kind], catch_exceptions=False)
    written = Path(run.output.strip())
    assert written.name == {"optuna": "made-optuna.db", "deepcave": "made-deepcave", "csv": "made-csv"}[kind]
    assert list(tmp_path.iterdir()) == [written.absolute()]
    with pytest.raises(StudyError, match=rf"^{written} exists already\. Give another --out, or remove it first\.$"):
        CliRunner().invoke(cli, ["export", str(place), "--to", kind], catch_exceptions=False)
    assert {p: p.stat().st_mtime_ns for p in place.rglob("*")} == before, "the study is only read"


def test_an_export_that_fails_leaves_nothing(result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuneoff.export.epochs_frame", broken)
    with pytest.raises(OSError, match="No space"):
        export(result, "csv", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_the_extra_is_named(result: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneoff.core.runtime.extras.importable", lambda name: name != "optuna")
    with pytest.raises(
        StudyError, match=r"needs Optuna, which is not installed\. Install it: pip install 'tuneoff\[export\]'\.$"
    ):
        export(result, "optuna", tmp_path / "out.db")
    assert list(tmp_path.iterdir()) == []


def test_a_format_is_for_figures_alone(result: StudyResult, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--format png is only for --to figures"):
        export(result, "csv", tmp_path / "csv", "png")
    assert not list(tmp_path.iterdir())
