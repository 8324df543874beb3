"""Helpers for tests that submit a study to a fake KFP server and follow it."""

from __future__ import annotations

from typing import Any

import pytest

from fake_kfp import FakeKfp
from made import made_study
from tuneoff.cli.main import main
from tuneoff.cluster.kfp_server import KfpServer, Login
from tuneoff.core.study import Study
from tuneoff.pipelines import submit as submitting

VOLUME = {"volume": {"claim": "results", "mount": "/results"}}


def a_study(**changes: Any) -> Study:
    """Return a study of two cells whose record is on the cluster's volume. `changes` replace its sections."""
    return made_study(**{"datasets": ["mnist"], "methods": ["random", "grid"], "cluster": VOLUME, **changes})


def submitted(kfp: FakeKfp, study: Study | None = None, **options: Any) -> tuple[submitting.Submitted, list[str]]:
    """Submit the study, and return the result and the messages for the user."""
    said: list[str] = []
    return submitting.submit(study or a_study(), KfpServer(Login(kfp.uri)), note=said.append, **options), said


def tuneoff(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run the command, and return its exit code and its output on both streams."""
    monkeypatch.setattr("sys.argv", ["tuneoff", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err
