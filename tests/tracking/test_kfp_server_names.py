"""Tracking under KFP, which may name an MLflow server and its own run to each step; with a real `mlflow server`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from made import made_study
from mlflow_server import free_port, running_server
from tracked import runs_of, small_store
from tuneoff.core.errors import StudyError
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study
from tuneoff.tracking import Tracker, sync_study
from tuneoff.tracking.mlflow.runs import KEY, PARENT, connect, named_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server that accepts only one host name, as in a cluster, and yield its address under that name."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    small_store(folder)  # brings the schema
    with running_server(folder, port, "--allowed-hosts", f"localhost:{port}", host=f"localhost:{port}"):
        yield f"http://localhost:{port}"


@pytest.fixture
def study_store(tmp_path: Path, server: str) -> FolderStore:
    study = made_study(
        name=tmp_path.name[:30].strip("_0"), datasets=["mnist"], methods=["random"], seeds=[0], tracking={"uri": server}
    )
    return small_store(tmp_path / "store", study, broken=False)


@pytest.fixture
def kfp_run(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Create a run as KFP does for a step, and set the variables that KFP sets. No S3 key is set."""
    client = connect(server)
    experiment = client.get_experiment_by_name("kfp") or client.get_experiment(client.create_experiment("kfp"))
    run = client.create_run(experiment.experiment_id, run_name="tune")
    for name, value in {
        "MLFLOW_RUN_ID": run.info.run_id,
        "MLFLOW_TRACKING_URI": server,
        "MLFLOW_EXPERIMENT_ID": experiment.experiment_id,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return client.get_run(run.info.run_id)


def of_study(server: str, store: FolderStore) -> dict[str, Any]:
    """The study's runs by their keys."""
    study_id = read_study(store).id
    return {r.data.tags[KEY]: r for r in runs_of(connect(server)) if r.data.tags.get("tuneoff.study_id") == study_id}


def test_our_runs_are_children_of_kfps_run_which_is_neither_resumed_nor_changed(
    server: str, study_store: FolderStore, kfp_run: Any
) -> None:
    sync_study(study_store)
    found = of_study(server, study_store)
    study_id = read_study(study_store).id
    parents = {key: run.data.tags[PARENT] for key, run in found.items()}
    assert parents.pop(study_id) == kfp_run.info.run_id
    search = f"{study_id}/mnist/random/0"
    assert parents.pop(search) == found[study_id].info.run_id
    assert set(parents.values()) == {found[search].info.run_id}
    assert len(parents) == 8
    assert {r.info.experiment_id for r in found.values()} != {kfp_run.info.experiment_id}
    now = connect(server).get_run(kfp_run.info.run_id)
    assert (now.info.status, now.data.metrics, now.data.params) == ("RUNNING", {}, {})
    assert now.data.tags == kfp_run.data.tags


def test_a_later_step_with_another_run_of_kfps_finds_the_studys_as_it_was(
    server: str, study_store: FolderStore, kfp_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = read_study(study_store)
    Tracker(study_store, result.study, result.id, server).prepare()
    other = connect(server).create_run(kfp_run.info.experiment_id, run_name="evaluate")
    monkeypatch.setenv("MLFLOW_RUN_ID", other.info.run_id)
    sync_study(study_store)
    found = of_study(server, study_store)
    assert found[result.id].data.tags[PARENT] == kfp_run.info.run_id
    assert len(found) == 1 + 1 + 8


def test_a_run_of_another_server_is_no_parent(
    server: str, study_store: FolderStore, kfp_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "ab" * 16)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    sync_study(study_store)
    assert PARENT not in of_study(server, study_store)[read_study(study_store).id].data.tags


def test_artifacts_go_through_the_server_without_a_key_of_s3(server: str, study_store: FolderStore, kfp_run: Any) -> None:
    result = read_study(study_store)
    sync_study(study_store)
    run = of_study(server, study_store)[f"{result.id}/mnist/random/0"]
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert [f.path for f in connect(server).list_artifacts(run.info.run_id)] == ["record.jsonl"]


def test_the_error_of_a_rejected_host_name_names_the_option_to_start_the_server_with(
    server: str, study_store: FolderStore
) -> None:
    port = server.rpartition(":")[2]
    with pytest.raises(StudyError) as caught:
        sync_study(study_store, f"http://127.0.0.1:{port}")
    name = f"127.0.0.1:{port}"
    assert (
        str(caught.value)
        == f"the MLflow server rejects the host name {name} (403): start it with --allowed-hosts {name}, port included"
    )


def test_where_the_study_names_no_server_it_is_the_one_that_kfp_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.mlflow:5000")
    assert named_server("") == "http://mlflow.mlflow:5000"
    assert named_server("http://mine:5000") == "http://mine:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(StudyError, match="no MLflow server is named: set tracking"):
        connect("")
