"""A real `mlflow server` on loopback that is away when the search begins, comes, and is gone again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tracked import shown, small_store

from made import made_study
from tuneoff.components.core import layout
from tuneoff.components.core.stored import read_study
from tuneoff.components.core.tracking import Delivery, Tracker, backlog, sync_study
from tuneoff.components.core.tracking.mlflow_runs import connect


@contextmanager
def running_server(folder: Path, port: int, *options: str, host: str = "") -> Iterator[None]:
    """An MLflow server over the SQLite file in `folder`, which holds the artifacts as well; `host` is how it is asked."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
        *options,
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"http://{host or f'127.0.0.1:{port}'}/health", folder / "log")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(800)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 800
    while True:
        try:
            urllib.request.urlopen(url, timeout=20).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
        assert lines[1:] == ["Tracking: the server is back, and has everything again."]
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
