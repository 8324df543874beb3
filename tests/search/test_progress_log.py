"""What a tuner step says of its searches: a line a trial, a line a minute, all that was lost or retried, and a last line."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made import made_study, write_search
from small import small_study
from toy import Curve, Halving, Plain, toy_search
from tuneoff.core.problem import Epoch, Limits, Status
from tuneoff.core.record.budget_use import clock_text
from tuneoff.core.record.state import SearchRecord, read_search, reduce_events
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.journal import FileJournal
from tuneoff.core.store.stop_request import Stopped
from tuneoff.core.study import Split, Study
from tuneoff.data.prepare import prepare
from tuneoff.search import progress_log
from tuneoff.search.progress_log import SearchLog, progress_line, summary_line
from tuneoff.search.searches import tune
from tuneoff.study_file.check import read_study

WHERE = "mnist/random, seed 0: "


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_log, "LOOK_EVERY_SECONDS", 0.005)


def toy_study(**changes: Any) -> Study:
    sections = {"datasets": ["mnist"], "methods": ["random"], "seeds": [0], "budget": {"epochs": 40, "epochs_per_trial": 6}}
    return made_study(**{**sections, **changes})


def log_of(record: Writer, lines: list[str], study: Study | None = None) -> SearchLog:
    """The log of one toy search with seed 0."""
    study = study or toy_study()

    def records() -> list[SearchRecord]:
        return [reduce_events(tuple(record.events), "mnist", "random", 0)]

    return SearchLog(study, study.cells[0], records, lambda: {0: record}, lines.append)


def logged(file: Path, **parts: Any) -> tuple[list[str], Writer]:
    """Run a toy search to its end, or to the error that its objective raises, and return the lines and the record."""
    lines: list[str] = []
    search, record = toy_search(file, **parts)
    log = log_of(record, lines)
    log.start()
    try:
        search.run()
    except KeyboardInterrupt:
        pass
    finally:
        log.close()
        record.close()
    return lines, record


class Killed(Curve):
    """An objective that is interrupted, as by a kill, after the first epoch of a trial."""

    def __init__(self, trial: int) -> None:
        super().__init__()
        self._trial = trial

    def __call__(self, trial: Any, checkpoint: Any) -> Iterator[Epoch]:  # type: ignore[override]
        for epoch in super().__call__(trial, checkpoint):
            yield epoch
            if trial.id == self._trial:
                raise KeyboardInterrupt


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 800
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Trials


def test_each_trial_that_ends_is_a_line_with_its_figures(tmp_path: Path) -> None:
    lines, record = logged(tmp_path / "log", method=Halving())
    search = reduce_events(record.events, "mnist", "random", 0)
    told = [line for line in lines if re.search(r"trial \d+(, which continues trial \d+,)? (completed|stopped)", line)]
    assert len(told) == len(search.told) > 5
    best = None
    for line, trial in zip(told, search.told, strict=True):
        outcome = trial.trial.outcome
        assert outcome is not None
        assert outcome.loss is not None
        best = min(outcome.loss, best) if best is not None else outcome.loss
        parent = trial.trial.proposal.parent
        name = f"trial {trial.trial.id}" + ("" if parent is None else f", which continues trial {parent},")
        epochs = f"{outcome.trained_epochs} epoch" + ("s" if outcome.trained_epochs > 1 else "")
        assert line == (
            f"{WHERE}{name} {outcome.status.value}, val_accuracy {-outcome.loss:.4f} after {epochs} in {outcome.seconds:.1f} s"
            f" (best so far {-best:.4f})"
        )
    assert any("continues trial" in line for line in told)
    assert search.ended is not None
    assert lines[-2] == f"{WHERE}the search ended: {search.ended['reason']}"
    assert lines[-1].startswith(
        f"mnist/random: 1 of 1 search ended: {len(search.told)} trials, {search.spent.epochs} of 40 epochs,"
    )


def test_trials_that_fail_or_diverge_say_why(tmp_path: Path) -> None:
    lines, record = logged(
        tmp_path / "log", method=Plain(points=3), objective=Curve(diverging=(1,), failing=(0,)), limits=Limits(trials=3)
    )
    seconds = next(e["seconds"] for e in record.events if e["event"] == "told")
    assert lines[0] == f"{WHERE}trial 0 failed in {seconds:.1f} s (no result so far): ValueError: no such layer"
    why = "loss is no finite number after epoch 2"
    assert re.fullmatch(rf"{WHERE}trial 1 diverged after 2 epochs in \d+\.\d s \(no result so far\): {why}", lines[1])
    assert lines[2].startswith(f"{WHERE}trial 2 completed, val_accuracy ")


def test_a_metric_that_is_minimised_is_shown_in_its_own_direction(tmp_path: Path) -> None:
    record = Writer(FileJournal(tmp_path / "log", patience_seconds=0.2))
    record.open(study_id="toy")
    lines: list[str] = []
    log = log_of(record, lines, toy_study(objective={"metric": "val_loss"}))
    told = {"trained_epochs": 1, "trainings": 1, "seconds": 2.0, "reason": None, "device": "", "peak_memory_bytes": None}
    for number, loss in enumerate((0.5, 0.75)):
        proposal = {"config": {}, "target_epoch": 1, "parent": None, "inherit": "state"}
        record.append("asked", trial=number, seconds=0.0, **proposal)
        record.append("started", trial=number, worker="")
        record.append("told", trial=number, status="completed", loss=loss, **told)
    log.start()
    log.close()
    record.close()
    assert lines[:2] == [
        f"{WHERE}trial 0 completed, val_loss 0.5000 after 1 epoch in 2.0 s (best so far 0.5000)",
        f"{WHERE}trial 1 completed, val_loss 0.7500 after 1 epoch in 2.0 s (best so far 0.5000)",
    ]


# What was lost or retried


def test_a_worker_that_dies_and_the_trial_that_is_trained_again_are_lines(tmp_path: Path) -> None:
    lines, _ = logged(tmp_path / "log", method=Plain(points=2), objective=Curve(deadly={0: 1, 1: 3}), limits=Limits(trials=2))
    died, again = "the worker that trained trial {} died by signal 9", "trial {} is trained again, since its worker died"
    assert lines[:2] == [WHERE + died.format(0), WHERE + again.format(0)]
    assert lines[2].startswith(f"{WHERE}trial 0 completed")
    assert lines[3:8] == [WHERE + text.format(1) for text in (died, again, died, again, died)]
    assert lines[8].endswith(": its worker died 3 times, the last time by signal 9")


def test_an_attempt_after_a_kill_says_what_it_found_and_what_it_trains_again(tmp_path: Path) -> None:
    first, _ = logged(tmp_path / "log", method=Plain(points=4), objective=Killed(2), limits=Limits(trials=4))
    assert sum("completed" in line for line in first) == 2
    assert first[-1].startswith("mnist/random: 0 of 1 search ended: 2 trials, ")
    lines, _ = logged(tmp_path / "log", method=Plain(points=4), limits=Limits(trials=4))
    assert lines[:2] == [
        f"{WHERE}continues its record: 2 trials ended before, and trial 2 had begun",
        f"{WHERE}trial 2 is trained again, since the run was killed while it trained",
    ]
    assert [line.split()[4] for line in lines if "completed" in line] == ["2", "3"], "the trials before are not told again"


def test_weights_and_models_that_are_lost_are_lines(tmp_path: Path) -> None:
    record = Writer(FileJournal(tmp_path / "log", patience_seconds=0.2))
    record.open(study_id="toy")
    lines: list[str] = []
    log = log_of(record, lines)
    record.append("restored", trial=4, reason="its checkpoint is lost")
    record.append("anew", reason="the system was begun anew:\n this model is lost")
    log.start()
    log.close()
    record.close()
    assert lines[:2] == [
        f"{WHERE}trial 4 is trained again, uncharged, since its checkpoint is lost",
        f"{WHERE}the trials before lose their results: the system was begun anew: this model is lost",
    ]


def test_a_search_that_fails_is_a_line_at_once_although_others_go_on() -> None:
    lines: list[str] = []
    study = toy_study()
    log = SearchLog(study, study.cells[0], lambda: [SearchRecord("mnist", "random", 0)], report=lines.append)
    log.start()
    log.failed(0, f"{WHERE}method random failed in ask: KeyError: 'x'.")
    _until(lambda: len(lines) > 0)
    assert lines == [f"{WHERE}the search failed: method random failed in ask: KeyError: 'x'."]
    log.close()


# The line of the minute


def test_progress_is_a_line_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_log, "PROGRESS_EVERY_SECONDS", 0.02)
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0])
    store = FolderStore(tmp_path)
    write_search(store, study, study.cells[0], 0, broken=True)
    search, lines = read_search(store, "mnist", "random", 0), list[str]()
    log = SearchLog(study, study.cells[0], lambda: [search], report=lines.append, unsent=lambda searches: 2)
    began = time.monotonic()
    log.start()
    _until(lambda: len(lines) > 2)
    log.close()
    longest = math.ceil(time.monotonic() - began)
    assert search.incumbent is not None
    assert search.incumbent.trial.outcome is not None
    best = f"best val_accuracy {-(search.incumbent.trial.outcome.loss or 0):.4f}"
    spent = search.spent
    left = clock_text(spent.seconds * 5 / 3)
    progress = (
        f"mnist/random: 3 of 8 trials, 27 epochs, {best}, 1 in training (1 epoch so far), about {left} left,"
        " 2 ended trials not in MLflow yet"
    )
    assert len(lines) > 2
    assert set(lines[:-1]) == {progress}
    ended = f"mnist/random: 0 of 1 search ended: 3 of 8 trials, 27 epochs, {best}; this step searched for "
    assert lines[-1] in [ended + clock_text(seconds) for seconds in range(longest + 1)]


def test_all_seeds_and_every_limit_are_in_the_line(tmp_path: Path) -> None:
    study = made_study(
        datasets=["mnist"],
        methods=["hyperband"],
        seeds=[0, 1, 2],
        budget={"trials": 8, "epochs": 100, "seconds": 50, "epochs_per_trial": 9},
    )
    store = FolderStore(tmp_path)
    for seed in (0, 1):
        write_search(store, study, study.cells[0], seed, broken=seed == 1)
    searches = [read_search(store, "mnist", "hyperband", seed) for seed in study.seeds]
    line = progress_line(study, study.cells[0], searches)
    epochs, seconds = sum(s.spent.epochs for s in searches), sum(s.spent.seconds for s in searches)
    assert line.startswith(f"mnist/hyperband: 11 trials (2 failed), 10 of 24 configurations, {epochs} of 300 epochs, ")
    assert f", {seconds:,.0f} of 150 s, best val_accuracy 0." in line
    assert "MLflow" not in line
    assert summary_line(study, study.cells[0], searches, 3725).startswith("mnist/hyperband: 1 of 3 searches ended: 11 trials")
    assert summary_line(study, study.cells[0], searches, 3725).endswith("; this step searched for 1:02:05")


def test_before_the_first_trial_nothing_is_estimated() -> None:
    study = toy_study()
    line = progress_line(study, study.cells[0], [SearchRecord("mnist", "random", 0)])
    assert line == "mnist/random: 0 trials, 0 of 40 epochs, no result so far"


# It never disturbs


def test_a_report_that_raises_and_records_that_cannot_be_read_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_log, "PROGRESS_EVERY_SECONDS", 0.01)
    search, record = toy_search(tmp_path / "log", method=Plain(points=5))
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if "trial 1 " in line:
            raise BrokenPipeError

    reads = 0

    def unreadable() -> list[SearchRecord]:
        nonlocal reads
        reads += 1
        raise OSError("no such device")

    study = toy_study()
    log = SearchLog(study, study.cells[0], unreadable, lambda: {0: record}, report)
    log.start()
    search.run()
    _until(lambda: reads > 2)
    log.close()
    record.close()
    assert [line.split()[4] for line in lines if "completed" in line] == ["0", "1", "2", "3", "4"], "each once"
    assert sum("no such device" in line for line in lines) == 1, "a fault is said once"


def test_a_reader_that_has_stopped_reading_does_not_hold_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_log, "CLOSE_PATIENCE_SECONDS", 0.1)
    search, record = toy_search(tmp_path / "log", method=Plain(points=5))
    study, full = toy_study(), threading.Event()
    log = SearchLog(study, study.cells[0], list, lambda: {0: record}, lambda line: full.wait() and None)
    log.start()
    search.run()
    log.close()  # returns although the reader never reads
    record.close()
    full.set()


def test_a_line_leaves_the_process_at_once() -> None:
    code = "import os; from tuneoff.core.runtime.machine import say; say('trial 0 completed'); os._exit(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "trial 0 completed\n"


# The step


def test_a_step_tells_its_search_and_the_next_attempt_what_it_continues(tmp_path: Path) -> None:
    file = small_study(tmp_path, budget={"trials": 2, "epochs_per_trial": 4}, methods=["random"])
    study, store = read_study(file), FolderStore(tmp_path / "out")
    prepare(study.datasets[0], Split(), tmp_path / "data", lambda line: None)
    lines: list[str] = []

    def search(stop: Any) -> None:
        lines.clear()
        tune(study, study.cells[0], tmp_path / "data", store, f"sqlite:///{tmp_path}/mlflow.db", lines.append, stop)

    def stopping() -> bool:
        return any(t.trial.id == 1 and t.curve for t in read_search(store, "bars", "random", 0).trials)

    with pytest.raises(Stopped):
        search(stopping)
    where = "bars/random, seed 0: "
    assert lines[0].startswith(f"{where}trial 0 completed, val_accuracy 0.")
    assert lines[1] == f"{where}trial 1 is cut short, since the study is asked to stop"
    assert lines[2].startswith("bars/random: 0 of 1 search ended: 1 of 2 trials, 4 epochs, best val_accuracy 0.")
    search(lambda: False)
    assert lines[0] == f"{where}continues its record: 1 trial ended before, and trial 1 had begun"
    assert lines[1] == f"{where}trial 1 is trained again, since the study was stopped while it trained"
    assert lines[2].startswith(f"{where}trial 1 completed, val_accuracy 0.")
    assert lines[3] == f"{where}the search ended: all 2 trials of the budget are used"
    assert lines[4].startswith("bars/random: 1 of 1 search ended: 2 of 2 trials, 8 epochs, best val_accuracy 0.")
    assert len(lines) == 5
    (found,) = [read_search(store, "bars", "random", 0)]
    assert [t.trial.outcome.status for t in found.told if t.trial.outcome] == [Status.COMPLETED] * 2
