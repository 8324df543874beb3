"""The MLflow and TensorBoard pages of a study, served on loopback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from made import made_store, made_study
from tuneoff.core.errors import StudyError
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim
from tuneoff.inspect.ui import HOST, free_port, serve
from tuneoff.tracking import sync_study


def test_both_pages_answer_and_both_servers_stop_with_the_command(tmp_path: Path) -> None:
    sync_study(made_store(tmp_path, made_study(datasets=["mnist"], methods=["random"], seeds=[0])))
    command = [sys.executable, "-m", "tuneoff", "ui", str(tmp_path), "--mlflow-port", "5871", "--tensorboard-port", "5872"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    addresses = [process.stdout.readline().split()[-1], process.stdout.readline().split()[-1]]
    assert all(urlopen(address, timeout=800).status == 200 for address in addresses)
    process.send_signal(signal.SIGTERM)
    process.wait(800)
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            urlopen(address, timeout=800)


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        assert free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def test_a_folder_without_an_mlflow_database_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    claim(FolderStore(tmp_path), made_study())
    with pytest.raises(StudyError, match=r"has no mlflow.db\. Run `tuneoff sync"):
        serve(tmp_path, 5000, 6006, print)
