"""Notes of parent runs show every text literally, and stay within MLflow's length limit."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from made import made_store, made_study
from tuneoff.core.store.study_store import read_study
from tuneoff.tracking.notes import LONGEST, escaped, search_note, study_note


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](http://host/x.png)",
        "a | b",
        "**b** _i_ `c` # h",
        "http://x.y",
    ],
)
def test_nothing_in_a_text_is_markup(text: str) -> None:
    shown = escaped(text)
    assert not set(shown.replace("&#", "")) & set("<>[]()!|*_`#:/&")
    assert html.unescape(shown) == text


def test_a_text_stays_on_its_line() -> None:
    assert escaped("a\n| b\t c") == "a &#124; b c"


def test_a_long_note_is_cut_between_lines_and_says_so(tmp_path: Path) -> None:
    space = {f"a_{i}": {"type": "float", "low": 0.0, "high": 1.0} for i in range(400)}
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0], space=space)
    result = read_study(made_store(tmp_path, study))
    note = search_note(study, result.cells[0].searches[0], ["x" * 9000])
    assert len(note) <= LONGEST
    assert note.splitlines()[-1].startswith("… and ")
    assert note.splitlines()[-3].endswith("|")


def test_a_studys_note_has_a_line_a_cell_and_the_failures(tmp_path: Path) -> None:
    note = study_note(read_study(made_store(tmp_path)))
    assert sum(line.startswith(("| mnist", "| fashion")) for line in note.splitlines()) == 8
    assert "tuner failed: RuntimeError&#58; the oven &#60;script&#62;" in note
