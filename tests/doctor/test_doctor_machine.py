"""Test `tuneoff doctor`: each finding is ok, a warning or failing, and has a remedy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from made import made_study
from tuneoff.core.errors import StudyError
from tuneoff.core.finding import Finding, State
from tuneoff.doctor import machine
from tuneoff.doctor.machine import examine
from tuneoff.study_file.required_packages import require_for


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Do not start TensorFlow, and remove servers from the environment."""
    monkeypatch.setattr(machine, "_gpu", lambda: Finding("GPU", State.OK, "none"))
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "cache"))
    for name in ("MLFLOW_TRACKING_URI", *machine._AWS):
        monkeypatch.delenv(name, raising=False)


def found(folder: Path, tracking: str | None = None, kfp: str | None = None) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(folder, tracking, kfp)}


class Answer(BaseHTTPRequestHandler):
    """Answer as a healthy MLflow server, and refuse KFP's health check with 403."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 403)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_complete_machine_has_no_failing_finding(tmp_path: Path) -> None:
    lines = found(tmp_path / "runs")
    assert not [f for f in lines.values() if f.state is State.FAILING]
    assert lines["extra pipeline"].state is State.OK
    assert "kfp 2." in lines["versions"].said
    assert lines["data sets"].remedy == "tuneoff data fetch mnist"
    assert not (tmp_path / "runs").exists()
    assert not {"MLflow server", "KFP server", "S3"} & set(lines), "what nobody named is not looked for"


def test_named_servers_are_checked(tmp_path: Path, server: str) -> None:
    lines = found(tmp_path, server.replace("//", "//me:secret@"), server)
    assert lines["MLflow server"].state is State.OK
    assert "secret" not in lines["MLflow server"].said
    assert (lines["KFP server"].state, "403" in lines["KFP server"].said) == (State.FAILING, True)
    gone = found(tmp_path, "http://127.0.0.1:9")["MLflow server"]
    assert (gone.state, "cannot be reached" in gone.said) == (State.FAILING, True)


def test_a_folder_that_is_not_writable_is_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    finding = found(tmp_path)["output folder"]
    assert finding.state is State.FAILING
    assert "Permission denied" in finding.said
    assert finding.remedy


def test_incomplete_s3_credentials_are_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert found(tmp_path)["S3"].state is State.FAILING
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert found(tmp_path)["S3"] == Finding("S3", State.OK, "credentials are set")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert found(tmp_path)["S3"].state is State.OK, "a 403 is an answer"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert found(tmp_path)["S3"].state is State.FAILING


def test_missing_packages_are_reported_with_one_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("kfp", "skopt") else object())
    with pytest.raises(StudyError, match=r"pip install 'tuneoff\[pipeline,skopt\]'"):
        require_for(made_study())


def test_a_method_of_another_environment_is_refused_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "neps" else object())
    sentence = r"^Method priorband .*: make setup-neps, or pip install 'tuneoff\[neps\]' in a virtual environment of its own\.$"
    with pytest.raises(StudyError, match=sentence):
        require_for(made_study(methods=["random", "priorband"]))
