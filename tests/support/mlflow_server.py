"""A real `mlflow server` on loopback, for tests."""

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
