"""Run the command `tuneoff` in a process of its own, and read what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from toy import essence
from tuneoff.core.record.events import parse
from tuneoff.core.store.study_store import StudyResult


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    command = [sys.executable, "-m", "tuneoff", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def tuneoff(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the command."""
    process = start(*arguments)
    said, _ = process.communicate(timeout=800)
    return process.returncode, said


def events(out: Path) -> dict[str, Any]:
    """What each search did, without times; and that no trial was told twice."""
    found = {}
    for log in sorted((out / "record").rglob("*.jsonl")):
        search = parse(log.read_bytes().splitlines())
        told = [e["trial"] for e in search if e["event"] == "told"]
        assert len(told) == len(set(told))
        found[log.relative_to(out).as_posix()] = [
            {k: v for k, v in e.items() if k not in ("peak_memory_bytes", "left")} for e in essence(search)
        ]
    return found


def scores(result: StudyResult) -> list[list[float]]:
    return [[r.test_accuracy for r in c.evaluation.retrainings] if c.evaluation else [] for c in result.cells]
