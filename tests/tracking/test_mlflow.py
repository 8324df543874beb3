"""The runs in MLflow, over SQLite; and that nothing is lost or duplicated when a server fails at any call."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made import made_study
from tracked import Unreliable, client_of, empty_server, runs_of, shown, small_store
from tuneoff.core import layout
from tuneoff.core.errors import StudyError
from tuneoff.core.record.events import parse, proposal_fields
from tuneoff.core.record.state import read_search, reduce_events
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import StudyResult, read_study, write_failure
from tuneoff.tracking import Counts, Tracker, backlog, sync_study, tracking_uri
from tuneoff.tracking.mlflow.runs import STATE, clean, connect
from tuneoff.tracking.mlflow.view import MlflowView


def one(client: Any, kind: str, trial: int | None = None) -> Any:
    """Return the only run of a kind, or the trial with this number."""
    found = [r for r in runs_of(client) if r.data.tags["tuneoff.kind"] == kind]
    return next(r for r in found if trial is None or r.data.tags["tuneoff.trial"] == str(trial))


class TestWhatIsShown:
    @pytest.fixture(scope="class")
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
        study = made_study(datasets=["mnist"], methods=["hyperband"], seeds=[0])
        store = small_store(tmp_path_factory.mktemp("shown"), study, broken=False)
        assert sync_study(store) == Counts(trials=8, event_files=8, searches=1)
        return store

    @pytest.fixture(scope="class")
    def client(self, store: FolderStore) -> Any:
        return client_of(store)

    def test_study_search_and_trial_are_nested(self, client: Any) -> None:
        study, search, trial = one(client, "study"), one(client, "search"), one(client, "trial", 0)
        assert "mlflow.parentRunId" not in study.data.tags
        assert search.data.tags["mlflow.parentRunId"] == study.info.run_id
        assert trial.data.tags["mlflow.parentRunId"] == search.info.run_id

    def test_a_trial_carries_its_configuration_and_flat_tags(self, store: FolderStore, client: Any) -> None:
        record = read_search(store, "mnist", "hyperband", 0).trials[4]
        trial = one(client, "trial", 4)
        assert trial.data.params == {k: str(v) for k, v in record.trial.proposal.config.items()}
        study_id = read_study(store).id
        expected = {
            "tuneoff.key": f"{study_id}/mnist/hyperband/0/4",
            "tuneoff.study": "made",
            "tuneoff.study_id": study_id,
            "tuneoff.dataset": "mnist",
            "tuneoff.method": "hyperband",
            "tuneoff.seed": "0",
            "tuneoff.trial": "4",
            "tuneoff.config_id": "1",
            "tuneoff.parent": "1",
            "tuneoff.first_epoch": "3",
            "tuneoff.epochs": "6",
            "tuneoff.status": "completed",
        }
        assert expected.items() <= trial.data.tags.items()

    def test_epochs_are_steps_and_the_trials_own_metrics_have_names_of_their_own(self, store: FolderStore, client: Any) -> None:
        record = read_search(store, "mnist", "hyperband", 0).trials[4]
        trial = one(client, "trial", 4)
        history = client.get_metric_history(trial.info.run_id, "val_accuracy")
        assert [(m.step, m.value) for m in history] == [(e.number, e.metrics["val_accuracy"]) for e in record.curve]
        assert [m.timestamp for m in history] == sorted(m.timestamp for m in history)
        best = max(e.metrics["val_accuracy"] for e in record.curve)
        assert trial.data.metrics["objective"] == trial.data.metrics["best_val_accuracy"] == best
        assert trial.data.metrics["epochs_trained"] == 6
        assert trial.data.metrics["ask_seconds"] == 0.02

    def test_times_and_status_are_the_records(self, store: FolderStore, client: Any) -> None:
        record = read_search(store, "mnist", "hyperband", 0).trials[6]
        failed = one(client, "trial", 6)
        assert failed.info.status == "FAILED"
        assert (failed.info.start_time, failed.info.end_time) == (
            round((record.started_at or 0) * 1000),
            round((record.told_at or 0) * 1000),
        )
        assert failed.data.tags["tuneoff.reason"] == "ValueError: no such layer"
        assert one(client, "trial", 0).info.status == "FINISHED"

    def test_a_metric_that_is_nan_is_left_out(self, client: Any) -> None:
        diverged = one(client, "trial", 5)
        assert diverged.info.status == "FAILED"
        assert "loss" not in diverged.data.metrics
        assert "objective" not in diverged.data.metrics
        assert diverged.data.metrics["accuracy"] == 0.1

    def test_a_search_shows_its_best_so_far_over_the_epochs_spent(self, store: FolderStore, client: Any) -> None:
        search = one(client, "search")
        curve = client.get_metric_history(search.info.run_id, "best_objective")
        assert [m.step for m in curve][:4] == [3, 6, 9, 12]
        assert [m.value for m in curve] == sorted(m.value for m in curve)
        record = read_search(store, "mnist", "hyperband", 0)
        assert search.data.metrics["spent_epochs"] == record.spent.epochs == curve[-1].step
        assert search.data.metrics["failed_trials"] == 2
        assert json.loads(search.data.tags["tuneoff.best_config"]) == dict(record.incumbent.trial.proposal.config)  # type: ignore[union-attr]

    def test_a_search_has_its_data_set_and_a_copy_of_its_record(self, store: FolderStore, client: Any) -> None:
        search = one(client, "search")
        (data,) = search.inputs.dataset_inputs
        assert (data.dataset.name, data.dataset.digest) == ("mnist", "ab" * 18)
        copy = client.download_artifacts(search.info.run_id, "record.jsonl")
        assert Path(copy).read_bytes() == store.read(layout.events("mnist", "hyperband", 0))

    def test_the_study_has_its_budget_best_and_end(self, client: Any) -> None:
        study = one(client, "study")
        assert study.info.status == "FINISHED"
        assert study.data.params["budget.trials"] == "8"
        assert study.data.metrics["best_objective/mnist"] == one(client, "search").data.metrics["best_objective"]
        assert "| mnist | hyperband |" in study.data.tags["mlflow.note.content"]

    def test_the_page_offers_tables_with_metrics_and_hyperparameters(self, client: Any) -> None:
        tags = client.get_experiment_by_name("tuneoff/made").tags
        view = json.loads(json.loads(tags["mlflow.sharedViewState.tuneoff-trials"])["state"])
        assert view["searchFilter"] == "tags.`tuneoff.kind` = 'trial'"
        assert {"metrics.`objective`", "params.`dropout`", "tags.`tuneoff.method`"} <= set(view["selectedColumns"])
        assert len(client.search_runs(["1"], view["searchFilter"], order_by=["metrics.`objective` DESC"])) == 8

    def test_artifacts_lie_in_the_output_folder(self, store: FolderStore, client: Any) -> None:
        assert one(client, "search").info.artifact_uri.startswith(f"file://{store.uri}/{layout.MLFLOW_ARTIFACTS}/")


class TestNothingIsLostOrDoubled:
    def test_repeating_changes_nothing(self, tmp_path: Path) -> None:
        store = small_store(tmp_path, broken=False)
        assert sync_study(store).trials == 8
        before = shown(client_of(store))
        assert sync_study(store) == Counts()
        assert shown(client_of(store)) == before

    def test_an_empty_server_in_the_old_ones_place_is_brought_level(self, tmp_path: Path) -> None:
        store = small_store(tmp_path / "a", broken=False)
        sync_study(store)
        before = shown(client_of(store))
        other = small_store(tmp_path / "b").root / layout.MLFLOW_DATABASE
        uri = f"sqlite:///{other}"
        assert backlog(store, uri) == 8
        assert sync_study(store, uri).trials == 8
        assert backlog(store, uri) == 0
        assert shown(connect(uri)) == before

    def test_trial_by_trial_gives_the_same_as_all_at_once(self, tmp_path: Path) -> None:
        store = small_store(tmp_path, broken=False)
        result = read_study(store)
        tracker = Tracker(store, result.study, result.id, tracking_uri(result.study, store.uri))
        tracker.prepare()
        whole = result.cells[0].searches[0]
        for number in range(9):
            so_far = part_of(store, whole, number)
            assert tracker.deliver(result.cells[0].cell, [so_far]) == int(number > 0)
        assert tracker.deliver(result.cells[0].cell, [whole]) == 0
        assert tracker.waiting == 0
        tracker.finish()
        grown = shown(client_of(store))
        other = f"sqlite:///{small_store(tmp_path / 'other').root / layout.MLFLOW_DATABASE}"
        sync_study(store, other)
        assert grown == shown(connect(other))

    def test_whatever_call_fails_before_or_after_it_has_written(self, tmp_path: Path) -> None:
        store = small_store(tmp_path)
        result = with_one_trial(store)
        calm = Unreliable(client_of(store), fails_at=10**9)
        expected = delivered(store, calm, result)
        assert calm.writes == 15
        for number in range(calm.writes):
            for written in (False, True):
                server = empty_server(tmp_path / f"{number}-{written}.db")
                client = Unreliable(server, fails_at=number, written=written)
                got = delivered(store, client, result)
                assert client.failures == 1
                assert got == expected, f"write {number} ({client.failed}), {'answer lost' if written else 'not written'}"

    def test_doubles_made_by_a_retrying_client_are_removed(self, tmp_path: Path) -> None:
        store = small_store(tmp_path)
        sync_study(store)
        client = client_of(store)
        before = shown(client)
        trial = one(client, "trial", 1)
        study = one(client, "study")
        for run in (trial, trial, study, study):
            tags = {name: value for name, value in run.data.tags.items() if name != STATE}
            client.create_run("1", start_time=run.info.start_time, tags=tags, run_name=run.info.run_name)
        sync_study(store)
        assert shown(client) == before

    def test_a_deleted_run_is_created_again(self, tmp_path: Path) -> None:
        store = small_store(tmp_path)
        sync_study(store)
        client = client_of(store)
        before = shown(client)
        client.delete_run(one(client, "search").info.run_id)
        sync_study(store)
        assert shown(client) == before

    def test_a_deleted_experiment_is_restored(self, tmp_path: Path) -> None:
        store = small_store(tmp_path)
        sync_study(store)
        client = client_of(store)
        before = shown(client)
        client.delete_experiment("1")
        sync_study(store)
        assert shown(client) == before

    def test_two_processes_deliver_two_cells_at_the_same_time(self, tmp_path: Path) -> None:
        study = made_study(datasets=["mnist"], methods=["random", "grid"], seeds=[0])
        store = small_store(tmp_path, study, broken=False)
        study_id = read_study(store).id
        uri = tracking_uri(study, store.uri)
        Tracker(store, study, study_id, uri).prepare()
        program = (
            "import sys; from pathlib import Path; from tuneoff.tracking.tracker import open_tracker;"
            "from tuneoff.core.store.folder import FolderStore;"
            "tracker, result = open_tracker(FolderStore(Path(sys.argv[1]))); cell = result.cells[int(sys.argv[2])];"
            "sys.exit(tracker.deliver(cell.cell, cell.searches) != 8)"
        )
        both = [subprocess.Popen([sys.executable, "-c", program, store.uri, str(n)]) for n in (0, 1)]
        assert [process.wait(800) for process in both] == [0, 0]
        assert sync_study(store).trials == 0
        runs = shown(client_of(store))
        assert len(runs) == 1 + 2 + 16
        assert {run["info"][1] for run in runs.values()} == {"FINISHED", "FAILED"}


def with_one_trial(store: FolderStore) -> StudyResult:
    """Return the store's study at the time when the first trial of its only search had ended."""
    result = read_study(store)
    (cell,) = result.cells
    return replace(result, cells=(replace(cell, searches=(part_of(store, cell.searches[0], 1),)),))


def part_of(store: FolderStore, search: Any, ended: int) -> Any:
    """Return the search at the time when this many of its trials had ended."""
    events = parse(store.journal_lines(layout.events(search.dataset, search.method, search.seed)))
    told = [i for i, event in enumerate(events) if event["event"] == "told"]
    end = told[ended - 1] + 1 if ended else 1
    return reduce_events(events[:end], search.dataset, search.method, search.seed)


def delivered(store: FolderStore, client: Unreliable, result: StudyResult) -> Any:
    """Return what the server shows after deliveries that were repeated until one succeeded."""
    view = MlflowView(store, result.study, result.id, f"sqlite:///{store.root}/unused.db", client)
    for _ in range(3):
        try:
            for cell in result.cells:
                view.deliver(cell.cell, cell.searches)
            view.finish(result)
            break
        except ConnectionError:
            continue
    return shown(client)


def test_a_failed_cell_is_seen_in_its_searches_and_in_the_study(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    write_failure(store, layout.failure("tuner", "mnist", "random"), "tuner", RuntimeError("<script>alert(1)</script> | _x_"))
    sync_study(store)
    client = client_of(store)
    study, search = one(client, "study"), one(client, "search")
    assert (study.info.status, search.info.status) == ("FAILED", "FAILED")
    for run in (study, search):
        note = run.data.tags["mlflow.note.content"]
        assert "script" in note
        assert "<" not in note
        assert "_x_" not in note
    store.delete(layout.failure("tuner", "mnist", "random"))
    sync_study(store)
    assert one(client, "search").info.status == "RUNNING"


def test_the_environment_does_not_say_where_runs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small_store(tmp_path)
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    assert sync_study(store).trials == 3
    assert {run.info.experiment_id for run in runs_of(client_of(store))} == {"1"}
    assert not (tmp_path / "mlruns").exists()


def test_values_are_cut_to_the_limits_of_mlflow(tmp_path: Path) -> None:
    space = {"text": {"type": "categorical", "values": ["é" * 7000]}}
    space |= {f"p{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(240)}
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0], space=space)
    store = small_store(tmp_path, study)
    sync_study(store)
    params = one(client_of(store), "trial", 0).data.params
    assert len(params) == 241
    assert len(params["text"]) == 6000


def test_a_folder_with_an_awkward_name_works(tmp_path: Path) -> None:
    store = small_store(tmp_path / "50% of a #1 ü?", broken=False)
    sync_study(store)
    assert len(runs_of(client_of(store))) == 10
    (copy,) = store.names(layout.MLFLOW_ARTIFACTS)
    assert store.read(copy) == store.read(layout.events("mnist", "random", 0))


def test_names_become_valid_mlflow_names() -> None:
    assert clean("val_accuracy") == "val_accuracy"
    assert clean("a<b>|é") == "a_b___"
    assert clean("../x//y/.") == "x/y"
    assert clean("//") == "_"


def test_where_runs_go_is_the_study_files_server_or_the_output_folder() -> None:
    assert tracking_uri(made_study(), "/tmp/x") == "sqlite:////tmp/x/mlflow.db"
    assert tracking_uri(made_study(tracking={"uri": "https://mlflow.example"}), "s3://b/p") == "https://mlflow.example"
    with pytest.raises(StudyError, match=r"s3://b/p is not a folder.*Set tracking.uri"):
        tracking_uri(made_study(), "s3://b/p")
    with pytest.raises(StudyError, match=r"'file:///tmp/mlruns'.*http\(s\) URI"):
        tracking_uri(made_study(tracking={"uri": "file:///tmp/mlruns"}), "/tmp/x")
    with pytest.raises(StudyError) as refused:
        tracking_uri(made_study(tracking={"uri": "ftp://me:secret@host"}), "/tmp/x")
    assert "secret" not in str(refused.value)


def test_a_database_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        sync_study(store, f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_search_that_continues_after_its_end_is_running_again(tmp_path: Path) -> None:
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0])
    store = small_store(tmp_path, study, broken=False)
    sync_study(store)
    client = client_of(store)
    assert one(client, "search").info.status == "FINISHED"
    writer = Writer(store.journal(layout.events("mnist", "random", 0)))
    writer.open()
    writer.append(
        "asked", trial=8, seconds=0.1, **proposal_fields(read_search(store, "mnist", "random", 0).trials[0].trial.proposal)
    )
    writer.close()
    sync_study(store)
    assert one(client, "search").info.status == "RUNNING"
    assert one(client, "study").info.status == "RUNNING"


def test_a_study_that_has_ended_leaves_its_database_counted_so_that_searches_are_quick(tmp_path: Path) -> None:
    store = small_store(tmp_path, broken=False)
    sync_study(store)
    with closing(sqlite3.connect(store.root / layout.MLFLOW_DATABASE)) as database:
        counted = dict(database.execute("SELECT tbl, stat FROM sqlite_stat1 WHERE tbl = 'latest_metrics'"))
    assert int(counted["latest_metrics"].split()[0]) > 8
