"""A real `mlflow server` on loopback that is unavailable when the search begins, starts later, and stops again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from made import made_study
from mlflow_server import free_port, running_server
from tracked import shown, small_store
from tuneoff.core import layout
from tuneoff.core.store.study_store import read_study
from tuneoff.tracking import Delivery, Tracker, backlog, sync_study
from tuneoff.tracking.mlflow.runs import connect


def test_a_server_that_is_away_at_first_gets_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0], tracking={"uri": uri})
    store = small_store(tmp_path / "store", study, broken=False)
    (cell,) = read_study(store).cells
    tracker, lines = Tracker(store, study, read_study(store).id, uri), list[str]()

    def sync() -> int:
        return tracker.deliver(cell.cell, cell.searches)

    delivery = Delivery(sync, every_seconds=0.1, waiting=lambda: tracker.waiting, report=lines.append)
    delivery.start()
    while not lines:
        time.sleep(0.05)
    assert lines[0].startswith("Tracking: the server is lost")
    assert tracker.waiting == 8
    assert len(store.names(layout.TENSORBOARD)) == 9, "TensorBoard's files do not wait for MLflow's server"

    folder = small_store(tmp_path / "server").root
    with running_server(folder, port):
        assert delivery.close(patience_seconds=30) is None
        assert lines[1:] == ["Tracking: the server is back and up to date."]
        assert (tracker.waiting, backlog(store)) == (0, 0)
        tracker.finish()
        there = shown(connect(uri))
        assert sync_study(store).trials == 0
        assert shown(connect(uri)) == there
    assert len(there) == 1 + 1 + 8

    other = f"sqlite:///{small_store(tmp_path / 'other').root / layout.MLFLOW_DATABASE}"
    sync_study(store, other)
    assert shown(connect(other)) == there, "a server and SQLite show the same"

    late = Delivery(lambda: int(sync_study(store).trials), every_seconds=0.1, waiting=lambda: 8, report=lines.append)
    late.start()
    assert "8 trials are not in MLflow yet (MlflowException" in (late.close(patience_seconds=15.0) or "")
