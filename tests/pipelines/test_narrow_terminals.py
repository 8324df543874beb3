"""No command cuts a number in a terminal of 80 columns."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console, RenderableType
from tuneoff.commands.tables import _Bar
from tuneoff.components.core.storage import FolderStore
from tuneoff.components.core.stored import StudyResult, claim, read_study
from tuneoff.pipelines.looking import best, cells, chosen, overview, trials_table
from tuneoff.pipelines.progress import CellProgress, table
from tuneoff.pipelines.tablebuild import Progress

from made import made_store, made_study
from tabled import study_file
from tuneoff.cli import cli

COLUMNS = 80
CUT_NUMBER = re.compile(r"\d[\d.,:]*…")
LONG = "a-method-with-the-longest-label-1234567x"
WIDE_SPACE = {
    f"hyperparameter_{i:02d}": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "grid_points": 2} for i in range(20)
} | {
    "optimizer": {
        "type": "categorical",
        "values": ["an optimizer whose name takes much more than a line of 80 columns " * 2, "Adam"],
    }
}
LIMITS = {"trials": 12_345, "epochs": 1_234_567, "seconds": 7_654_321, "epochs_per_trial": 9}


def shown(what: RenderableType, width: int = COLUMNS) -> list[str]:
    """Return the lines that a terminal of this width shows."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue().splitlines()


def words(lines: list[str]) -> set[str]:
    return set(re.split(r"[\s,()]+", " ".join(lines)))


def scores(result: StudyResult) -> set[str]:
    """Return every score of every trial as the table writes it."""
    rows = chosen(result, None, None)
    values = [v for r in rows for v in (r.objective, r.accuracy, r.val_accuracy, r.loss, r.val_loss)]
    values += [v for r in rows if not r.own_models for v in r.config.values()]
    return {f"{v:.4g}" for v in values if isinstance(v, float)}


@pytest.fixture(scope="module", params=["plain", "wide space", "long names", "all limits"])
def result(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    changes: dict[str, dict[str, object]] = {
        "plain": {},
        "wide space": {"space": WIDE_SPACE, "methods": ["random", "bayes"], "seeds": [0]},
        "long names": {"methods": [{"name": "random", "label": LONG}, "flaml"], "seeds": [0, 123_456], "budget": LIMITS},
        "all limits": {"budget": LIMITS, "seeds": [0]},
    }
    return read_study(made_store(tmp_path_factory.mktemp("study"), made_study(**changes[request.param])))


@pytest.mark.parametrize("width", [COLUMNS, 120, 30])
def test_the_table_of_trials_has_every_score_whole(result: StudyResult, width: int) -> None:
    lines = shown(trials_table(result, chosen(result, None, None)), width)
    assert scores(result) <= words(lines)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)


@pytest.mark.parametrize("width", [COLUMNS, 120, 30])
def test_the_table_of_cells_has_every_number_whole(result: StudyResult, width: int) -> None:
    progress = cells(result)
    lines = shown(overview(progress), width)
    numbers = [n for c in progress if not c.own_models for n in (str(c.trials), str(c.epochs), f"{c.best or 0:.4f}")]
    tests = [c.state.removeprefix("test ") for c in progress if c.state.startswith("test ")]
    limits = [f"{left:,.0f}" for c in progress for left in c.budget_left.values() if left is not None]
    assert {*numbers, *tests, *" ".join(limits).replace(",", " ").split()} <= words(lines)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)


CELL = CellProgress(
    "fashion_mnist/optuna-tpe-hyperband",
    share=0.4236,
    trials=12_345,
    failed=678,
    epochs=123_456,
    best=0.98765,
    seconds_left=123_723.4,
    state="searching",
    budget_left={"trials": 7_655.0, "epochs": 76_544.0, "seconds": 360_000.0},
    backlog=12_345,
    tracking_trouble=None,
)


@pytest.mark.parametrize("state", ["searching", "test 0.9765", "failed: OSError: [Errno 28] no space is left, " + "12 " * 40])
def test_a_cell_with_all_numbers_keeps_them_and_the_whole_reason_of_its_failure(state: str) -> None:
    lines = shown(table([CELL, replace(CELL, name="x/y", state=state)]))
    assert {"12345", "678", "123456", "0.9877", "34:22:03"} <= words(lines)
    assert words([state]) <= words(lines)
    assert max(map(cell_len, lines)) <= COLUMNS
    assert "…" not in "".join(lines)


def test_a_study_that_has_not_begun_is_shown_too(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    claim(store, made_study())
    empty = read_study(store)
    assert len(shown(overview(cells(empty)))) >= 9
    assert shown(trials_table(empty, []))[0].startswith("dataset")


def test_the_progress_of_a_table_build_has_every_number_whole() -> None:
    bar = _Bar()
    bar.show(Progress(done=12_345, trainings=1_234_567, seconds_left=360_000.0, failed=1_234))
    lines = shown(bar._bar.get_renderable())
    assert {"12345/1234567", "100", "00"} <= words(lines)
    assert {"1,222,222", "1,234"} <= set(" ".join(lines).split())
    assert "…" not in "".join(lines)


# The commands themselves, in a real terminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has really run: three methods on a table of recorded trainings."""
    place = tmp_path_factory.mktemp("run")
    file = study_file(place, methods=["grid", "sklearn-random", {"name": "random", "label": LONG}], seeds=[0, 1])
    done = CliRunner().invoke(cli, ["run", str(file), "--out", str(place / "out")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return place


def terminal(*arguments: str) -> str:
    """Return what a command prints in a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "dumb", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-m", "tuneoff", *arguments], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so at the end of a terminal's output
            part = b""
        if not part:
            break
        output += part
    os.close(ours)
    assert process.wait() == 0, output.decode()
    return output.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["status", "trials", "best"])
def test_a_command_about_a_study_shows_every_number_whole(folder: Path, command: str) -> None:
    output = terminal(command, str(folder / "out"))
    assert "…" not in output
    assert max(map(cell_len, output.splitlines())) <= COLUMNS
    found = read_study(FolderStore(folder / "out"))
    rows = chosen(found, None, None)
    if command == "status":
        assert {f"{c.best:.4f}" for c in cells(found)} <= words(output.splitlines())
    else:
        listed = rows if command == "trials" else best(found, rows, 1)
        assert {f"{r.objective:.4g}" for r in listed if r.objective is not None} <= words(output.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [("methods",), ("datasets",), ("plan", "STUDY"), ("validate", "STUDY"), ("advise", "--budget", "4", "--dir", "DIR")],
    ids=lambda arguments: arguments[0],
)
def test_no_other_table_cuts_a_number(folder: Path, arguments: tuple[str, ...]) -> None:
    names = {"STUDY": str(folder / "study.yaml"), "DIR": str(folder / "out")}
    output = terminal(*(names.get(argument, argument) for argument in arguments))
    assert output.strip()
    assert not CUT_NUMBER.search(output)


def test_json_has_the_numbers_of_the_table(folder: Path) -> None:
    found = json.loads(terminal("status", str(folder / "out"), "--json"))
    assert [c["name"].partition("/")[2] for c in found["cells"]] == ["grid", "sklearn-random", LONG]
