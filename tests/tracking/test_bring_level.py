"""The last step brings MLflow level, with patience for a server that is away or slow, and says what is missing at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faulty import Fault, Proxy, calm
from made import made_store, made_study
from mlflow_server import free_port, running_server
from tracked import empty_server, runs_of, shown
from tuneoff.components.reporter import step
from tuneoff.core import layout
from tuneoff.core.runtime import pod
from tuneoff.core.runtime.machine import RUN_PID
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.core.study import Study
from tuneoff.report.report import ReportSummary
from tuneoff.tracking import Tracker, bring_level, delivery, sync_study
from tuneoff.tracking.mlflow.runs import KEY, connect

LOST = "Tracking: the server is lost ("
BACK = "Tracking: the server is back and up to date."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server; its address."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    empty_server(folder / layout.MLFLOW_DATABASE)
    with ExitStack() as running:
        running.enter_context(running_server(folder, port))
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server that spoils nothing yet, and a step as in a pod. The test's experiment is gone afterwards."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(pod, "end_with_run", lambda: None)
    monkeypatch.delenv(RUN_PID, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with Proxy(server, calm).running() as proxy:
        yield proxy
    client = connect(server)
    for experiment in client.search_experiments():
        client.rename_experiment(experiment.experiment_id, f"{experiment.name}-{experiment.experiment_id}")
        client.delete_experiment(experiment.experiment_id)


def searched(root: Path, uri: str) -> tuple[FolderStore, Study]:
    """A store with one search of eight trials that has ended, and its evaluation."""
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0], evaluation={"seeds": 1}, tracking={"uri": uri})
    return made_store(root, study), study


def left_running(store: FolderStore, uri: str, trials: int = 8) -> None:
    """What a tuner step leaves on the server that ended before its last delivery was through."""
    result = read_study(store)
    (cell,) = result.cells
    (search,) = cell.searches
    tracker = Tracker(store, result.study, result.id, uri)
    tracker.deliver(cell.cell, [replace(search, trials=search.trials[:trials], ended=None)])


def report(store: FolderStore, study: Study, uri: str, folder: Path) -> tuple[dict[str, float], str]:
    """Run the step; returns its metrics and its summary."""
    summary = folder / "summary.md"
    metrics = step.run(study.model_dump_json(), store.uri, uri, None, str(summary))
    return metrics, summary.read_text(encoding="utf-8")


def statuses(uri: str) -> dict[str, str]:
    """The status of each run, by its key without the study's id."""
    return {run.data.tags[KEY].partition("/")[2]: run.info.status for run in runs_of(connect(uri))}


def level_with(store: FolderStore, uri: str, folder: Path) -> bool:
    """Whether the server shows what an empty one shows that is brought level with the store."""
    reference = empty_server(folder / "reference.db")
    sync_study(store, f"sqlite:///{folder}/reference.db")
    return shown(connect(uri)) == shown(reference)


def test_a_search_that_was_left_running_is_finished_and_the_summary_is_silent(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, study = searched(tmp_path / "store", proxy.uri)
    left_running(store, proxy.uri)
    assert statuses(proxy.uri)["mnist/random/0"] == "RUNNING"
    metrics, summary = report(store, study, proxy.uri, tmp_path)
    assert statuses(proxy.uri)["mnist/random/0"] == "FINISHED"
    assert level_with(store, proxy.uri, tmp_path)
    assert any(name.startswith("mnist/random/") for name in metrics)
    assert "Tracking" not in summary + capsys.readouterr().out


def test_a_server_that_is_away_and_comes_back_gets_everything(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, study = searched(tmp_path / "store", proxy.uri)
    left_running(store, proxy.uri, trials=3)
    proxy.spoil = lambda method, path: "drop" if len(proxy.spoilt) < 12 else None
    _, summary = report(store, study, proxy.uri, tmp_path)
    assert len(proxy.spoilt) == 12
    lost, back = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Tracking")]
    assert lost.startswith(LOST)
    assert lost.endswith("; this step retries for 5 minutes.")
    assert back == BACK
    assert "Tracking" not in summary
    assert level_with(store, proxy.uri, tmp_path)
    assert set(statuses(proxy.uri).values()) <= {"FINISHED", "FAILED"}


@pytest.mark.parametrize("fault", ["drop", "503"])
def test_a_server_that_stays_away_fails_no_report_and_what_is_missing_is_said(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(bring_level, "LEVEL_PATIENCE_SECONDS", 1.0)
    store, study = searched(tmp_path / "store", proxy.uri)
    left_running(store, proxy.uri, trials=5)
    proxy.spoil = lambda method, path: fault
    begun = time.monotonic()
    metrics, summary = report(store, study, proxy.uri, tmp_path)
    assert time.monotonic() - begun < 240  # on a busy machine; a server that is waited for costs more
    assert metrics
    assert layout.REPORT + "report.html" in store.names(layout.REPORT)
    lost, missing = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Tracking")]
    assert lost.startswith(LOST)
    assert missing.startswith("Tracking: MLflow is not up to date (")
    assert missing.endswith(
        "): 3 trials and 1 evaluation may be missing; 1 ended search may still be marked as running."
        f" The record is complete. Run `tuneoff sync {store.uri}` to send the rest."
    )
    assert summary.endswith(f"\n\n**Tracking:** {missing.removeprefix('Tracking: ')}\n")
    proxy.spoil = calm
    assert str(sync_study(store, proxy.uri)).startswith("Sent 3 trials and 1 evaluations;"), "the counts were right"
    _, summary = report(store, study, proxy.uri, tmp_path)
    assert "Tracking" not in summary


def test_a_slow_server_gets_more_time_as_long_as_it_takes_something(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring_level, "LEVEL_PATIENCE_SECONDS", 4.0)
    store, study = searched(tmp_path / "store", proxy.uri)
    Tracker(store, study, claim(store, study), proxy.uri).prepare()
    proxy.spoil = lambda method, path: "slow"
    _, summary = report(store, study, proxy.uri, tmp_path)
    assert "Tracking" not in summary + capsys.readouterr().out
    proxy.spoil = calm
    assert level_with(store, proxy.uri, tmp_path)


def test_without_a_named_server_nothing_is_tried(proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, study = searched(tmp_path / "store", proxy.uri)
    _, summary = report(store, study, "", tmp_path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Tracking")]
    assert line.startswith("Tracking: no MLflow server is named")
    assert "Tracking" not in summary


def test_a_local_run_and_a_table_study_are_left_to_others(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "report", lambda store: ReportSummary((), (), {}, {}, "# report", {"best": 0.5}))
    study = made_study(
        objective="replay:t.parquet", datasets=["mnist"], methods=["random"], seeds=[0], tracking={"uri": proxy.uri}
    )
    assert report(FolderStore(tmp_path / "table"), study, proxy.uri, tmp_path) == ({"best": 0.5}, "# report")
    assert proxy.asked == 0, "thousands of trials on a table are not sent"
    store, study = searched(tmp_path / "store", proxy.uri)
    monkeypatch.setenv(RUN_PID, "1")
    report(store, study, proxy.uri, tmp_path)
    assert list(statuses(proxy.uri)) == [""], "the study's run alone; the run's own process sends the rest"


def test_what_the_step_itself_cannot_do_fails_no_report(
    proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(store: Any) -> Any:
        raise OSError("no such device")

    store, study = searched(tmp_path / "store", proxy.uri)
    monkeypatch.setattr(bring_level, "read_study", unreadable)
    metrics, summary = report(store, study, proxy.uri, tmp_path)
    assert metrics
    said = f"MLflow may not be up to date (OSError: no such device). Run `tuneoff sync {store.uri}` to send the missing results."
    assert summary.endswith(f"**Tracking:** {said}\n")
    assert f"Tracking: {said}\n" in capsys.readouterr().out
