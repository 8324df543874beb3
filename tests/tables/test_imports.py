"""Tables from finished studies of other programs: from CSV, Optuna and MLflow, and how much of the grid they cover."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tuneoff.cli.table import table
from tuneoff.core.errors import StudyError
from tuneoff.core.table import read_table
from tuneoff.study_file.check import check_file
from tuneoff.tables.imports import Run, coverage, numbered, runs_of, whole_part, without_constants, write_imported


def csv_file(folder: Path, left_out: tuple[tuple[int, str], ...] = (), extra: str = "") -> Path:
    lines = ["hp.units,optimizer,epoch,val_accuracy,seconds"]
    for units, optimizer in itertools.product((8, 16, 32), ("SGD", "Adam")):
        if (units, optimizer) not in left_out:
            lines += [f"{units},{optimizer},{epoch},0.{units:02}{epoch},1.5" for epoch in (2, 1, 3)]
    file = folder / "curves.csv"
    file.write_text("\n".join(lines) + "\n" + extra)
    return file


def imported(folder: Path, file: Path, kind: str = "csv", name: str | None = None, subgrid: bool = False) -> Any:
    return write_imported(runs_of(kind, str(file), name), "My Own", f"{kind} {file.name}", folder / "own.parquet", subgrid)


def test_a_csv_of_curves_becomes_a_table_that_a_study_can_search(tmp_path: Path) -> None:
    found = imported(tmp_path, csv_file(tmp_path))
    assert "6 of the 6 points (100.0%) of the grid" in coverage(found.info)
    assert found.info.space.grid_levels() == {"units": [8, 16, 32], "optimizer": ["Adam", "SGD"]}
    table = read_table(str(tmp_path / "own.parquet"))
    curve = table.training({"units": 16, "optimizer": "Adam"}, 0).curve
    assert [(e.number, e.metrics, e.seconds) for e in curve] == [(n, {"val_accuracy": float(f"0.16{n}")}, 1.5) for n in (1, 2, 3)]
    (tmp_path / "study.yaml").write_text("name: own\nobjective: replay:own.parquet\nmethods: [random]\nbudget: {trials: 3}\n")
    study, faults = check_file(tmp_path / "study.yaml")
    assert faults == []
    assert study is not None
    assert [d.name for d in study.datasets] == ["my-own"]


def test_gaps_are_counted_and_the_largest_whole_part_can_be_kept(tmp_path: Path) -> None:
    file = csv_file(tmp_path, left_out=((32, "SGD"),))
    found = imported(tmp_path, file)
    assert "5 of the 6 points (83.3%)" in coverage(found.info)
    assert "No study can search it" in coverage(found.info)
    part = imported(tmp_path, file, subgrid=True)
    assert (part.info.complete, part.info.points, part.left_out) == (True, 4, 1)
    assert part.info.space.grid_levels() == {"units": [8, 16], "optimizer": ["Adam", "SGD"]}


def test_the_value_with_the_most_gaps_is_left_out_first() -> None:
    values = {"a": [1, 2, 3], "b": [1, 2, 3]}
    present = [{"a": a, "b": b} for a, b in itertools.product((1, 2, 3), repeat=2) if (a, b) not in ((3, 1), (3, 2))]
    assert whole_part(present, values) == {"a": [1, 2], "b": [1, 2, 3]}  # type: ignore[arg-type]
    assert whole_part([], values) == {"a": [], "b": []}


def test_runs_of_equal_values_are_seeds(tmp_path: Path) -> None:
    runs = [Run({"x": x}, numbered({0: {"val_loss": x}}, 2.0)) for x in (1, 2, 1)]
    info = write_imported(runs, "twice", "test", tmp_path / "t.parquet").info
    assert (info.trainings, info.points, info.epochs, info.seconds) == (3, 2, 1, "clock")
    assert sorted((t.config["x"], t.seed) for t in read_table(str(tmp_path / "t.parquet"))) == [(1, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ("8,SGD,1,0.5,1\n", r"the epochs of .*'units': 8.* are \[1, 1, 2, 3\]\. Give 1, 2, 3"),
        ("8,SGD,4,much,1\n", "line 20: val_accuracy is 'much', which is not a number"),
        ("8,SGD,first,0.5,1\n", "line 20: epoch is 'first', which is not a number"),
        ("64,,1,0.5,1\n", "not every run has a value of optimizer"),
    ],
)
def test_a_faulty_csv_is_refused_with_its_place(extra: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=sentence):
        imported(tmp_path, csv_file(tmp_path, extra=extra))
    assert not (tmp_path / "own.parquet").exists()


def test_a_csv_without_epochs_or_scores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,score\n1,2\n")
    with pytest.raises(StudyError, match="needs the column epoch and one column per hyperparameter, but has x, score"):
        imported(tmp_path, tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("x,epoch,loss\n1,1,2\n")
    with pytest.raises(StudyError, match="neither val_accuracy nor val_loss"):
        imported(tmp_path, tmp_path / "b.csv")


def test_an_optuna_study_becomes_a_table(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = {"rate": [0.1, 0.2, 0.3], "kind": ["a", "b"]}
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/study.db",
        study_name="mine",
        direction="maximize",
        sampler=optuna.samplers.GridSampler(grid, seed=0),
    )

    def objective(trial: Any) -> float:
        rate, kind = trial.suggest_float("rate", 0.0, 1.0), trial.suggest_categorical("kind", ["a", "b"])
        for step in range(3):
            trial.report(rate + step / 100, step)
        return float(rate + (kind == "b"))

    study.optimize(objective, n_trials=6)
    found = imported(tmp_path, tmp_path / "study.db", "optuna")
    assert (found.info.complete, found.info.points, found.info.epochs) == (True, 6, 3)
    curve = read_table(str(tmp_path / "own.parquet")).training({"rate": 0.2, "kind": "b"}, 0).curve
    assert [e.metrics for e in curve] == [{"val_accuracy": pytest.approx(0.2 + step / 100)} for step in range(3)]
    with pytest.raises(StudyError, match=r"holds the studies mine\. Give one of them as --study"):
        imported(tmp_path, tmp_path / "study.db", "optuna", "other")


def test_an_mlflow_experiment_becomes_a_table_of_what_it_varied(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/runs.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("mine", artifact_location=str(tmp_path / "artifacts"))
    for units, flag in itertools.product((8, 16), (True, False)):
        run = client.create_run(experiment)
        for name, value in (("opt.units", units), ("flag", flag), ("epochs", 2)):
            client.log_param(run.info.run_id, name, value)
        for step in (1, 2):
            client.log_metric(run.info.run_id, "val_loss", units / 100 + step, step=step)
        client.set_terminated(run.info.run_id)
    found = imported(tmp_path, tmp_path / "runs.db", "mlflow", "mine")
    assert (found.info.complete, found.info.epochs) == (True, 2)
    assert found.info.space.grid_levels() == {"opt_units": [8, 16], "flag": [False, True]}
    with pytest.raises(StudyError, match=r"has no experiment 'yours'\. Give one of mine"):
        imported(tmp_path, tmp_path / "runs.db", "mlflow", "yours")


@pytest.mark.parametrize("kind", ["optuna", "mlflow"])
def test_a_source_that_cannot_be_read_is_named_without_credentials(kind: str) -> None:
    pytest.importorskip(kind)
    with pytest.raises(StudyError, match="cannot be read as an") as refused:
        runs_of(kind, "nodatabase://me:pass@word@host/runs", None)
    assert str(refused.value).startswith("nodatabase://host/runs cannot be read")
    assert "word@" not in str(refused.value)


def test_the_table_does_not_keep_the_credentials_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"a": 1}, {"a": 2}
    runs = [Run(c, numbered({1: {"val_accuracy": 0.5}}, 1.0)) for c in config]
    monkeypatch.setattr("tuneoff.tables.imports.runs_of", lambda kind, source, name: runs)
    command = ["import", "http://me:secret@host", "--from", "mlflow", "--out", str(tmp_path / "t.parquet")]
    done = CliRunner().invoke(table, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert read_table(str(tmp_path / "t.parquet")).info.origin == "mlflow host"


def test_what_is_the_same_in_all_runs_is_no_hyperparameter() -> None:
    runs = [Run({"x": x, "batch": 32}, ()) for x in (1, 2)]
    assert [r.config for r in without_constants(runs)] == [{"x": 1}, {"x": 2}]
