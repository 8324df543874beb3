"""The benchmarks' own arithmetic, and their cheap parts at a tiny size; what they measure is measured by `make bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import __main__ as command
from benchmarks import replay, report, resume
from benchmarks.bookkeeping_search import shares
from benchmarks.lines import Line, table
from benchmarks.made_record import made_study, search_events, write_study
from benchmarks.search import TimedSearch, equal

from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study


def test_a_goal_is_met_on_its_own_side() -> None:
    assert Line("a", 1.5, "times", 1.5, ">=").met is True
    assert Line("a", 1.4, "times", 1.5, ">=").met is False
    assert Line("a", 9.9, "s", 10.0).met is True
    assert Line("a", 10.1, "s", 10.0).met is False
    assert Line("a", 10.1, "s").met is None


def test_the_table_says_what_is_not_met() -> None:
    rows = table([Line("slow", 11.0, "s", 10.0), Line("told", 3.0, "trials/min", note="alone")]).splitlines()
    assert rows[2].split() == ["slow", "<=", "10", "s", "11", "s", "NOT", "MET"]
    assert rows[3].split() == ["told", "3", "trials/min", "alone"]


def test_trials_per_minute_and_equal_configurations() -> None:
    ours = TimedSearch(30.0, 50.0, (({"x": 1}, {"x": 2}), ({"x": 3}, {"x": 4})))
    theirs = TimedSearch(60.0, 90.0, (({"x": 1}, {"x": 2}), ({"x": 3}, {"x": 5})))
    assert ours.trials_per_minute == 8.0
    assert equal(ours, theirs) == (3, 4)


def test_seconds_between_trials_are_without_training_and_without_the_method() -> None:
    events = [
        {"event": "asked", "trial": 0, "time": 100.0, "seconds": 9.0},
        {"event": "epoch", "trial": 0, "time": 102.0, "seconds": 2.0},
        {"event": "asked", "trial": 1, "time": 103.0, "seconds": 0.25},
        {"event": "epoch", "trial": 1, "time": 107.0, "seconds": 4.0},
    ]
    assert shares(events) == (6.0, 0.75)


def test_a_made_study_is_read_as_a_real_one(tmp_path: Path) -> None:
    assert write_study(FolderStore(tmp_path), made_study(80, epochs_per_trial=2)) == 80
    searches = [search for cell in read_study(FolderStore(tmp_path)).cells for search in cell.searches]
    assert sum(len(s.told) for s in searches) == 80
    assert all(s.ended and s.spent.epochs == 2 * len(s.trials) for s in searches)


def test_a_made_search_is_the_same_every_time() -> None:
    first, second = (list(search_events(made_study(40).space, 3, 2, "a")) for _ in range(2))
    assert first == second != list(search_events(made_study(40).space, 3, 2, "b"))


def test_report_and_resume_measure_something() -> None:
    (made,) = report.measure(report.QUICK, print)
    (resumed,) = resume.measure(resume.QUICK, print)
    assert made.name == "report of 400 trials"
    assert resumed.name == "resume grid with 40 trials"
    assert made.measured > 0 < resumed.measured


def test_replay_measures_its_rate_and_a_comparison() -> None:
    rate, comparison = replay.measure(replay.QUICK, print)
    assert rate.name == "table look-ups, trials per second"
    assert comparison.name == "2 seeds of 2 methods on a table"
    assert rate.measured > 0 < comparison.measured


def test_the_command_writes_figures_only_where_it_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "measure", lambda part, size: [Line(part, 11.0, "s", 10.0)])
    file = tmp_path / "results" / "today.json"
    assert command.main(["--only", "report"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert command.main(["--quick", "--only", "report", "resume", "--out", str(file)]) == 0
    found = json.loads(file.read_text())
    assert [(line["name"], line["met"]) for line in found["lines"]] == [("report", False), ("resume", False)]
    assert found["machine"]["cores"] >= 1


def test_a_part_that_is_not_there_is_left_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command.measure("tracking_search", "QUICK") == []
    assert "left out" in capsys.readouterr().err
