"""Serve a study's MLflow and TensorBoard pages on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from ..core import layout
from ..core.errors import StudyError
from ..core.store.open import open_store
from ..core.store.study_store import read_study
from ..tracking import Tracker, tracking_uri

HOST = "127.0.0.1"
MLFLOW_VIEW = "workflowType=machine_learning&viewStateShareKey=tuneoff-trials"
"""The query of a saved view that shows the trials with their metrics. By default, MLflow shows no metrics."""
START_PATIENCE_SECONDS = 60.0


def serve(folder: Path, mlflow_port: int, tensorboard_port: int, say: Callable[[str], None]) -> None:
    """Start both servers, print their addresses once they answer, and wait for Ctrl-C or SIGTERM.

    Args:
        folder: The study's output folder.
        mlflow_port: The port for MLflow. If it is taken, a free one is used.
        tensorboard_port: The port for TensorBoard. If it is taken, a free one is used.
        say: Prints a line.

    Raises:
        StudyError: The folder has no MLflow database, or a server does not start.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    store = open_store(str(folder))
    result = read_study(store)
    uri = tracking_uri(result.study, str(folder))
    if uri.startswith("sqlite:") and not (folder / layout.MLFLOW_DATABASE).is_file():
        raise StudyError(f"{folder} has no {layout.MLFLOW_DATABASE}. Run `tuneoff sync {folder}` to create it.")
    experiment = Tracker(store, result.study, result.id, uri).prepare()
    mlflow, tensorboard = free_port(mlflow_port), free_port(tensorboard_port)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            servers.append(_start(_tensorboard(folder, tensorboard), scratch))
            if uri.startswith("sqlite:"):
                servers.append(_start(_mlflow(folder, uri, mlflow), scratch))
                uri = f"http://{HOST}:{mlflow}"
            _await(uri, servers)
            _await(f"http://{HOST}:{tensorboard}", servers)
            say(f"MLflow:      {uri}/#/experiments/{experiment}/runs?{MLFLOW_VIEW}")
            say(f"TensorBoard: http://{HOST}:{tensorboard}/#hparams")
            say("Press Ctrl-C to stop both.")
            while all(server.poll() is None for server in servers):
                time.sleep(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
        for server in servers:
            server.wait()


def _start(command: list[str], folder: str) -> subprocess.Popen[bytes]:
    """Start a server in its own process group, so that its child processes can be stopped with it."""
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=quiet, stderr=quiet, start_new_session=True)


def _mlflow(folder: Path, uri: str, port: int) -> list[str]:
    artifacts = (folder / layout.MLFLOW_ARTIFACTS).absolute().as_uri()
    places = ["--backend-store-uri", uri, "--default-artifact-root", artifacts, "--no-serve-artifacts"]
    hosts = ["--host", HOST, "--port", str(port), "--allowed-hosts", f"{HOST}:{port},localhost:{port}"]
    return [sys.executable, "-m", "mlflow", "server", *places, *hosts, "--workers", "1"]


def _tensorboard(folder: Path, port: int) -> list[str]:
    logs = str((folder / layout.TENSORBOARD).absolute())
    return [sys.executable, "-m", "tensorboard.main", "--logdir", logs, "--host", HOST, "--port", str(port)]


def free_port(wanted: int) -> int:
    """Return the wanted port, or a free one if it is taken.

    Raises:
        StudyError: No port is free.
    """
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StudyError(f"No port is free on {HOST}. Stop another server and try again.")


def _await(address: str, servers: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if any(server.poll() is not None for server in servers):
            break
        try:
            urlopen(address, timeout=5).close()
        except (URLError, OSError):
            time.sleep(0.3)
        else:
            return
    raise StudyError(f"{address} did not answer. Run `tuneoff ui` again or use another port.")
