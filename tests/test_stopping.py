"""Stopping a study: by the signal's first time, by `tuneoff stop`, or by a signal to one step; and going on afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command import events, scores, start, tuneoff
from small import small_study
from toy import essence, run_toy
from tuneoff.core.problem import Limits
from tuneoff.core.record.events import parse
from tuneoff.core.record.state import reduce_events
from tuneoff.core.store import stop_request
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.stop_request import Stopping
from tuneoff.core.store.study_store import read_study


class After:
    """Says that it is time to stop at its n-th question."""

    def __init__(self, questions: int) -> None:
        self._left = questions

    def __call__(self) -> bool:
        self._left -= 1
        return self._left < 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 25), max_size=6))
def test_a_search_stopped_at_any_epoch_goes_on_as_if_it_had_not_been(stops: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = run_toy(Path(folder, "whole"), limits=Limits(epochs=20))
        for questions in stops:
            run_toy(Path(folder, "log"), limits=Limits(epochs=20), stopping=After(questions))
        assert essence(run_toy(Path(folder, "log"), limits=Limits(epochs=20))) == essence(undisturbed)


def test_a_stop_is_not_counted_among_a_trials_kills(tmp_path: Path) -> None:
    for _ in range(15):
        run_toy(tmp_path / "log", stopping=After(1))
    (*_, last) = reduce_events(parse((tmp_path / "log").read_bytes().splitlines()), "", "", 0).trials
    assert last.status == "running"
    assert last.attempts == 0


def test_a_request_is_found_soon_and_withdrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_request, "LOOK_EVERY_SECONDS", 0.0)
    store = FolderStore(tmp_path)
    asked = Stopping(store)
    assert not asked()
    stop_request.request(store, "me")
    assert asked()
    assert asked.signal is None
    stop_request.withdraw(store)
    assert asked(), "once true, true for good"
    assert not Stopping(store)()


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from tuneoff.core.store.stop_request import Stopping
from tuneoff.core.store.folder import FolderStore
asked = Stopping(FolderStore(Path(sys.argv[1])))
with asked.heeding_signals():
    os.kill(os.getpid(), signal.SIGTERM)
    print(asked(), asked.signal, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("not reached")
"""


def test_the_second_signal_does_what_it_usually_does(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "True SIGTERM\n"
    assert done.returncode == -signal.SIGTERM


# A study


BUDGET = {"epochs": 60, "epochs_per_trial": 6}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study, and the folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    study = small_study(folder, methods=["random"], budget=BUDGET, resources={"retries": 1})
    code, said = tuneoff("run", study, "--out", folder / "out")
    assert code == 0, said
    return study, folder / "out"


def until_it_trains(out: Path, process: subprocess.Popen[str]) -> None:
    _until(lambda: b'"event":"epoch"' in _record(out), process)


def _record(out: Path) -> bytes:
    log = out / "record" / "bars" / "random" / "seed-0.jsonl"
    return log.read_bytes() if log.exists() else b""


def _until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 800
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.timeout(1800)
def test_a_study_stopped_while_it_trains_writes_its_report_and_goes_on(whole: tuple[Path, Path], tmp_path: Path) -> None:
    study, undisturbed = whole
    out = tmp_path / "out"
    for number, how in enumerate(["SIGINT", "stop", "SIGTERM"]):
        known = _record(out)
        process = start("run", study, "--out", out)
        _until(lambda known=known: b'"event":"epoch"' in _record(out)[len(known) :], process)
        if how == "stop":
            answer = f"Asked the study in {out} to stop. The running epochs finish, and the report is written.\n"
            assert tuneoff("stop", out) == (0, answer)
        else:
            process.send_signal(getattr(signal, how))
        said = process.communicate(timeout=800)[0]
        assert process.returncode == 3, said
        assert "Stopped on request: 1 of 1 cells are unfinished. Run the same command again to continue." in said
        assert "Traceback" not in said
        assert (out / "report" / "report.html").stat().st_size > 10_000
        assert read_study(FolderStore(out)).cells[0].failures == ()
        stopped = parse(_record(out).splitlines())
        assert stopped[-1]["event"] in ("cut", "told")
        assert sum(e["event"] == "opened" for e in stopped) == number + 1, "KFP has not tried the step again"
        assert "stopped" in tuneoff("status", out)[1]
    code, said = tuneoff("run", study, "--out", out)
    assert code == 0, said
    assert events(out) == events(undisturbed)
    assert scores(read_study(FolderStore(out))) == scores(read_study(FolderStore(undisturbed)))


def test_asked_twice_a_run_ends_at_once_and_nothing_of_it_lives_on(whole: tuple[Path, Path], tmp_path: Path) -> None:
    study, _ = whole
    process = start("run", study, "--out", tmp_path / "out")
    until_it_trains(tmp_path / "out", process)
    process.send_signal(signal.SIGINT)
    _until(lambda: (tmp_path / "out" / "stop.json").exists(), process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=800)[0]
    assert "Interrupted. The finished epochs are on record" in said
    assert process.returncode in (1, 3), said
    before = _record(tmp_path / "out")
    time.sleep(0.5)
    assert _record(tmp_path / "out") == before


def test_a_step_that_is_told_to_end_fails_so_that_it_is_tried_again_and_goes_on(whole: tuple[Path, Path], tmp_path: Path) -> None:
    study, undisturbed = whole
    cell = ["--dataset", "bars", "--method", "random", "--out", tmp_path]
    assert tuneoff("step", "data_prep", study, "--dataset", "bars", "--out", tmp_path)[0] == 0
    process = start("step", "tuner", study, *cell)
    until_it_trains(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=800)[0]
    assert process.returncode == 3, said
    assert said.splitlines()[-1] == (
        "tuneoff: bars/random: stopped on request; what was searched is on record. Run the same command again to continue."
    )
    assert not (tmp_path / "failures").exists()
    assert tuneoff("step", "tuner", study, *cell)[0] == 0
    assert events(tmp_path) == events(undisturbed)


def test_what_does_not_run_cannot_be_stopped(whole: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = whole
    assert tuneoff("stop", out) == (2, f"tuneoff: No process is running the study in {out}, so there is nothing to stop.\n")
    assert tuneoff("stop", tmp_path)[0] == 2
    assert not (out / "stop.json").exists()


def test_a_stop_in_json(whole: tuple[Path, Path], tmp_path: Path) -> None:
    study, _ = whole
    process = subprocess.Popen(
        [sys.executable, "-m", "tuneoff", "run", str(study), "--out", str(tmp_path / "out"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "support"), os.environ.get("PYTHONPATH", "")]),
        },
    )
    until_it_trains(tmp_path / "out", process)
    process.send_signal(signal.SIGINT)
    assert json.loads(process.communicate(timeout=800)[0])["stopped"] is True
