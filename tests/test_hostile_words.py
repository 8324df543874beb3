"""Whatever an exception says, and whatever a file is called: no view breaks, and no terminal obeys it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from made import made_store, made_study
from tuneoff.core import layout
from tuneoff.core.errors import plain
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study, write_failure
from tuneoff.report.report import report
from tuneoff.tracking.notes import study_note

HOSTILE = "=1+1 <script>alert(1)</script> [x](javascript:y) | [/bold] \x1b[2J\x07\0 \udcff \u202e ]]> \r --"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """A study whose tuner step failed with hostile words, and with a category that is one."""
    space = {"a": {"type": "categorical", "values": ["=1+1", "<script>alert(1)</script>", "[/bold]"]}}
    study = made_study(datasets=["mnist"], methods=["random", "bayes"], seeds=[0], space=space)
    store = made_store(tmp_path_factory.mktemp("hostile"), study)
    write_failure(store, layout.failure("tuner", "mnist", "bayes"), "tuner", RuntimeError(HOSTILE))
    report(store)
    return store


def commands(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "tuneoff", *arguments], capture_output=True, timeout=800, check=False)


def unprintable(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c).startswith("C") and c not in "\n\t"}


def test_a_foreign_text_keeps_its_lines_and_loses_its_powers() -> None:
    assert plain("a\n\tb – é") == "a\n\tb – é"
    assert plain("\x1b[2J\0\udcff\r") == "\\x1b[2J\\x00\\udcff\\r"


def texts(store: FolderStore) -> Iterator[tuple[str, str]]:
    for name in ("report/report.html", "report/report.md", "report/trials.csv", "report/curves.csv"):
        yield name, store.read(name).decode()


def test_the_report_shows_them_as_they_are(store: FolderStore) -> None:
    for name, text in texts(store):
        assert not unprintable(text), name
    html, markdown = store.read("report/report.html").decode(), store.read("report/report.md").decode()
    assert "<script" not in html + markdown
    assert "\\x1b[2J" in html
    assert "[x](" not in markdown
    trials = list(csv.DictReader(io.StringIO(store.read("report/trials.csv").decode())))
    assert {row["hp.a"] for row in trials} <= {"'=1+1", "<script>alert(1)</script>", "[/bold]"}


def test_a_note_for_mlflow_holds_no_markup(store: FolderStore) -> None:
    note = study_note(read_study(store))
    assert "alert" in note
    assert not set(note.replace("**", "").replace("&#", "")) & set("<>[]()!*`") - set("()")
    assert not unprintable(note)


@pytest.mark.parametrize("command", ["status", "trials", "best"])
def test_a_terminal_shows_them_and_does_not_obey(store: FolderStore, command: str) -> None:
    answer = commands(command, store.uri)
    assert answer.returncode == 0, answer.stderr
    assert not unprintable(answer.stdout.decode())


def test_a_file_whose_name_is_no_text_is_checked_like_any_other(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "study.yaml").write_text("name: small\ndatasets: [mnist]\nmethods: [random]\nbudget: {trials: 4}\n")
    answer = commands("validate", str(folder / "study.yaml"))
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert b"\\udcff/study.yaml is valid" in answer.stdout
