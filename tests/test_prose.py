"""The check of prose: what it finds, and what it leaves alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from prose import findings, main


def found(tmp_path: Path, name: str, text: str) -> list[tuple[int, str]]:
    file = tmp_path / name
    file.write_text(text)
    return sorted({(line, phrase) for line, phrase, _ in findings(file)})


def test_docstrings_comments_and_messages_are_read(tmp_path: Path) -> None:
    text = '"""A module of its own."""\n# it goes on\nraise ValueError("nobody did it")\n'
    assert found(tmp_path, "a.py", text) == [(1, "of its own"), (2, "goes on"), (3, "nobody")]


def test_names_and_keys_are_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path, "a.py", 'anew = {"anew": 1}\ndef goes_on() -> None: ...\n') == []


def test_a_phrase_that_is_quoted_on_purpose_is_left_alone(tmp_path: Path) -> None:
    assert found(tmp_path, "a.py", '"""What is left of it."""  # prose: quoted\n') == []


def test_pages_are_read_line_by_line(tmp_path: Path) -> None:
    assert found(tmp_path, "a.md", "One.\nIt is trained anew.\n") == [(2, "anew")]


def test_the_command_prints_what_to_write_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text("It goes on.\n")
    assert main([str(tmp_path / "a.md")]) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("a.md:1: 'goes on': write continues\n")
    assert captured.err == "1 phrase to rewrite\n"
    (tmp_path / "a.md").write_text("It continues.\n")
    assert main([str(tmp_path / "a.md")]) == 0
