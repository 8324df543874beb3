"""Faults of the machine under a search: memory, time, hanging processes, full and broken disks, lost checkpoints, clocks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from command import events, tuneoff
from small import SPACE, small_npz, small_study
from toy import Curve, Halving, essence, run_toy, toy_spec
from tuneoff.core.errors import CellFailed, DataError, RecordError
from tuneoff.core.problem import Limits, Proposal, TrainingFailed, Trial
from tuneoff.core.record.events import parse
from tuneoff.core.record.state import read_search
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.journal import FileJournal
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.core.study import Dataset, ObjectiveSettings, Split, Training
from tuneoff.data.prepare import prepare
from tuneoff.objectives.executor import WorkerDied
from tuneoff.objectives.keras.training_worker import Patience, Worker, Workplace
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import StoredCheckpoints
from tuneoff.search.loop import Search
from tuneoff.search.searches import tune
from tuneoff.study_file.check import read_study as read_study_file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(Dataset(name="bars", path=str(small_npz(folder / "bars.npz"))), Split(), folder / "prepared", lambda line: None)
    return folder / "prepared"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill the disk except for `leave` bytes."""
    filler = disk / "filler"
    with suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with open(filler, "ab") as file:
        file.truncate(max(0, filler.stat().st_size - leave))
    return filler


# A trial's worker


def faulty_worker(data: Path, log: Path, monkeypatch: pytest.MonkeyPatch, **patience: float) -> Worker:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "support"), prepend=os.pathsep)
    made = Worker(Workplace(data, "small:faulty", Training(), ObjectiveSettings(), 1), log, Patience(**patience))
    made.serve_search(0)
    return made


def faulty_trial(fault: str) -> Trial:
    return Trial(0, 0, Proposal({"fault": fault}, 2), 0)


def test_a_worker_survives_what_it_can_and_says_what_happened_where_it_cannot(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(faulty_worker(data, tmp_path / "log", monkeypatch)) as worker:
        with pytest.raises(TrainingFailed, match=r"^out of memory \(.*MemoryError: Unable to allocate 1\.00 PiB"):
            list(worker(faulty_trial("memory"), None))
        assert len(list(worker(faulty_trial("none"), None))) == 2, "the same worker takes the next trial"
        with pytest.raises(WorkerDied, match=r"^by signal 11 \(SIGSEGV\)$"):
            list(worker(faulty_trial("segfault"), None))
        assert len(list(worker(faulty_trial("none"), None))) == 2, "another worker takes the next trial"


def test_a_hanging_worker_is_killed_and_a_trial_over_its_time_has_failed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(faulty_worker(data, tmp_path / "log", monkeypatch, hang_seconds=2.0)) as worker:
        with pytest.raises(WorkerDied, match=r"^since it hung: it said nothing for 2 s$"):
            list(worker(faulty_trial("hanging"), None))
        worker._patience = Patience(trial_seconds=1.5, hang_seconds=60.0)
        with pytest.raises(TrainingFailed, match=r"^it trained for longer than trial_seconds = 1\.5$"):
            list(worker(faulty_trial("slow"), None))
        worker._patience = Patience()
        assert len(list(worker(faulty_trial("none"), None))) == 2, "another worker takes the next trial"


def test_a_search_records_each_fault_gives_up_after_three_deaths_and_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "support"), prepend=os.pathsep)
    faults = ["memory", "segfault", "slow", "none"]
    file = small_study(
        tmp_path,
        methods=["grid"],
        model="small:faulty",
        space={"fault": {"type": "categorical", "values": faults}},
        budget={"trials": 4, "epochs_per_trial": 1, "trial_seconds": 4},
    )
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "support"))
    study, store = read_study_file(file), FolderStore(tmp_path / "out")
    tune(study, study.cells[0], data, store, f"sqlite:///{tmp_path}/mlflow.db", report=lambda line: None)
    (search,) = read_study(store).cells[0].searches
    found = {str(t.trial.proposal.config["fault"]): t for t in search.told}
    assert {fault: t.status for fault, t in found.items()} == {**dict.fromkeys(faults, "failed"), "none": "completed"}
    reasons = {fault: t.trial.outcome.reason or "" for fault, t in found.items() if t.trial.outcome}
    assert reasons["memory"].startswith("out of memory (")
    assert reasons["segfault"] == "its worker died 3 times, the last time by signal 11 (SIGSEGV)"
    assert reasons["slow"] == "it trained for longer than trial_seconds = 4"
    assert found["segfault"].attempts == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import no_such_framework", "bars/random, seed 0: The model's module 'lost_model' cannot be imported: No module named"
         " 'no_such_framework'. Install it, or put it next to the study file."),
        ("import os\nos.kill(os.getpid(), 9)", "bars/random, seed 0: a worker process ended by signal 9 (SIGKILL, possibly out of"
         " memory), before it had trained a trial."),
    ],
)  # fmt: skip
def test_a_model_whose_module_cannot_be_loaded_fails_the_cell_before_a_trial(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    (tmp_path / "lost_model.py").write_text(f"{text}\ndef build(config, input_shape, classes): ...\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    study, store = read_study_file(small_study(tmp_path, model="lost_model:build")), FolderStore(tmp_path / "out")
    with pytest.raises(CellFailed) as failure:
        tune(study, study.cells[0], data, store, f"sqlite:///{tmp_path}/mlflow.db", report=lambda line: None)
    assert str(failure.value) == sentence
    (cell,) = read_study(store).cells
    assert [len(search.told) + search.spent.trials for search in cell.searches] == [0]
    assert [f.reason for f in cell.failures] == [sentence]


# Disks


def test_a_full_disk_under_the_record_is_a_sentence_and_the_record_goes_on_when_there_is_space(small_disk: Path) -> None:
    undisturbed = essence(run_toy(small_disk / "whole"))
    log = small_disk / "log"
    filler = fill(small_disk, leave=8192)
    message = r"log cannot be written \(No space left on device\): free some space, and run the same command"
    with pytest.raises(RecordError, match=message):
        run_toy(log)
    parse(log.read_bytes().splitlines())  # whole lines only
    filler.unlink()
    assert essence(run_toy(log)) == undisturbed


def test_after_a_failed_fsync_nothing_more_is_written_by_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = FileJournal(tmp_path / "log")
    journal.append(b"1")
    broken = True

    def fsync(handle: int) -> None:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RecordError, match=r"log cannot be written \(Input/output error\): check the disk$"):
        journal.append(b"2")
    broken = False
    with pytest.raises(RecordError, match="could not be written: open it again"):
        journal.append(b"3")
    journal.close()
    again = FileJournal(tmp_path / "log")
    assert again.lines() == [b"1"]
    again.append(b"2")
    assert (tmp_path / "log").read_bytes() == b"1\n2\n"
    again.close()


def test_a_full_disk_under_a_checkpoint_stops_the_search_and_fails_no_trial(data: Path, small_disk: Path, tmp_path: Path) -> None:
    with closing(Worker(Workplace(data, "paper-cnn", Training(), ObjectiveSettings(), 1), tmp_path / "log")) as worker:
        worker.serve_search(0)
        fill(small_disk, leave=40_000)
        config = {"filters1": 32, "filters2": 64, "neurons": 512, "dropout": 0.2, "learning_rate": 0.01, "optimizer": "Adam"}
        checkpoints = StoredCheckpoints(FolderStore(tmp_path / "store"), "checkpoints/", small_disk)
        trial = Trial(0, 0, Proposal(config, 1), 0)
        with pytest.raises(CellFailed, match=r"^what a trial has to save cannot be written: No space left on device"):
            list(worker(trial, checkpoints.of(trial)))
        assert [p.name for p in small_disk.iterdir()] == ["filler"], "nothing partial is left behind"
        assert len(list(worker(trial, None))) == 1, "the worker lives"


def test_a_broken_disk_under_a_checkpoint_stops_the_search_and_fails_no_trial(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(faulty_worker(data, tmp_path / "log", monkeypatch)) as worker:
        (tmp_path / "weights").mkdir()
        checkpoints = StoredCheckpoints(FolderStore(tmp_path / "store"), "checkpoints/", tmp_path / "weights")
        trial = faulty_trial("broken disk")
        with pytest.raises(CellFailed, match=r"^what a trial has to save cannot be written: Input/output error"):
            list(worker(trial, checkpoints.of(trial)))
        assert not list((tmp_path / "weights").iterdir()), "nothing partial is left behind"


def test_a_run_on_a_full_disk_ends_in_a_sentence_and_goes_on_when_there_is_space(tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=12m", small_disk], check=True)
    study = small_study(tmp_path, methods=["hyperband"], budget={"epochs": 12, "epochs_per_trial": 3})
    out = small_disk / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "tuneoff", "run", study, "--out", out], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while b'"epoch"' not in (log.read_bytes() if (log := out / "record/bars/hyperband/seed-0.jsonl").exists() else b""):
        assert process.poll() is None
        time.sleep(0.02)
    filler = fill(small_disk)
    said = process.communicate(timeout=800)[0]
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "free some space" in said
    parse(log.read_bytes().splitlines())
    filler.unlink()
    code, said = tuneoff("run", study, "--out", out)
    assert code == 0, said
    (cell,) = read_study(FolderStore(out)).cells
    assert cell.searches[0].ended
    assert cell.evaluation
    assert cell.failures == ()
    assert len(events(out)["record/bars/hyperband/seed-0.jsonl"]) > 12


# Checkpoints


def rungs(folder: Path, worker: Worker, store: FolderStore, between: Any = lambda told: None) -> list[dict[str, Any]]:
    """Search with four trials, each of which resumes the previous one, and return the recorded events."""
    folder.mkdir(parents=True)
    config = {"filters1": 4, "filters2": 4, "neurons": 8, "dropout": 0.2, "learning_rate": 0.01, "optimizer": "Adam"}

    class Chain:
        seconds = 0.0

        def __init__(self) -> None:
            self.told: list[Trial] = []

        def ask(self) -> Proposal:
            between(self.told)
            parent = len(self.told) - 1 if self.told else None
            return Proposal(config, len(self.told) + 1, parent)

        def tell(self, trial: Trial) -> None:
            self.told.append(trial)

        def should_continue(self, *_: object) -> bool:
            return True

        def resumable(self) -> set[int]:
            return {len(self.told) - 1}

    record = Writer(FileJournal(folder / "log"))
    record.open(study_id="x")
    checkpoints = StoredCheckpoints(store, "checkpoints/", folder)
    spec, budget = toy_spec(warm_start=True, stop_rule=False), Budget(Limits(epochs=4))
    Search(spec, Chain(), worker, record, budget, ObjectiveSettings(), checkpoints).run()
    record.close()
    return [dict(e) for e in record.events]


def told(found: list[dict[str, Any]]) -> list[Any]:
    return [e["metrics"] for e in found if e["event"] == "epoch"]


def test_lost_and_damaged_checkpoints_are_trained_again_and_those_that_nobody_can_continue_are_deleted(
    data: Path, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "store")
    seen = []

    def damage(trials: list[Trial]) -> None:
        seen.append(store.names("checkpoints/"))
        if len(trials) == 2:
            (tmp_path / "b" / "trial-0001.npz").unlink()
            store.delete("checkpoints/trial-0001.npz")
        if len(trials) == 3:
            file = tmp_path / "b" / "trial-0002.npz"
            spoilt = bytearray(file.read_bytes())
            spoilt[len(spoilt) // 2] ^= 255
            file.write_bytes(spoilt)

    with closing(Worker(Workplace(data, "paper-cnn", Training(), ObjectiveSettings(), 1), tmp_path / "log")) as worker:
        worker.serve_search(0)
        whole = rungs(tmp_path / "a", worker, FolderStore(tmp_path / "other"))
        found = rungs(tmp_path / "b", worker, store, damage)
    assert told(found) == told(whole)
    assert [(e["trial"], e["reason"]) for e in found if e["event"] == "restored"] == [
        (0, "its checkpoint is missing"),
        (1, "its checkpoint is missing"),
        (0, "its checkpoint is missing"),
        (1, "its checkpoint is missing"),
        (2, "its checkpoint is damaged"),
    ]
    assert [e["trained_epochs"] for e in found if e["event"] == "told"] == [1, 1, 1, 1], "what is trained again is not charged"
    assert seen == [[], *([f"checkpoints/trial-000{number}.npz"] for number in range(4))]
    assert store.names("checkpoints/") == []


def test_hyperband_keeps_only_what_it_can_still_continue(tmp_path: Path) -> None:
    from tuneoff.core.problem import Problem
    from tuneoff.core.space import Space
    from tuneoff.methods.registry import find

    problem = Problem(Space.model_validate(SPACE), 9, 0, tmp_path)
    method: Any = find("hyperband").build(problem, {})
    continued, most = set(), 0
    trials: list[Trial] = []
    open_: set[int] = set()
    for number in range(60):
        proposal = method.ask()
        if not isinstance(proposal, Proposal):
            break
        if proposal.parent is not None:
            assert proposal.parent in open_, "its weights would be gone"
            continued.add(proposal.parent)
        trial = Trial(number, number, proposal, 0)
        (epoch,) = Curve()(replace(trial, proposal=replace(proposal, target_epoch=1)), None)
        from tuneoff.core.problem import Outcome, Status

        trials.append(trial)
        method.tell(replace(trial, outcome=Outcome(Status.COMPLETED, (epoch,), -epoch.metrics["val_accuracy"], 1.0)))
        open_ = method.resumable()
        most = max(most, len(open_))
    assert len(continued) > 5
    assert most < len(trials) / 2


# Clocks and writers


def test_a_clock_set_a_day_forward_and_back_changes_no_budget_and_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuneoff.analysis.best_so_far import progress

    def slow() -> Halving:
        method = Halving()
        method.seconds = 1.0
        return method

    undisturbed = run_toy(tmp_path / "whole", method=slow(), limits=Limits(seconds=40))
    true, shifts, calls = time.time, [0, 86_400, -86_400, 0, -3_600], 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        return true() + shifts[calls // 3 % len(shifts)]

    monkeypatch.setattr(time, "time", jumping)
    disturbed = run_toy(tmp_path / "log", method=slow(), limits=Limits(seconds=40))
    assert calls > 50
    assert [e["trial"] for e in disturbed if e["event"] == "told"] == [e["trial"] for e in undisturbed if e["event"] == "told"]
    spent = [sum(e["seconds"] for e in found if e["event"] == "told") for found in (undisturbed, disturbed)]
    assert spent[1] == pytest.approx(spent[0], abs=1.0)
    (tmp_path / "record/d/m").mkdir(parents=True)
    (tmp_path / "log").rename(tmp_path / "record/d/m/seed-0.jsonl")
    curve = progress(read_search(FolderStore(tmp_path), "d", "m", 0), ObjectiveSettings())
    assert list(curve.trial) == sorted(curve.trial)
    assert (curve.seconds[1:] >= curve.seconds[:-1]).all()


HOLDER = """
import sys
from pathlib import Path
from tuneoff.core.store.folder import FileJournal
journal = FileJournal(Path(sys.argv[1]))
journal.append(b"first")
print("held", flush=True)
sys.stdin.readline()
journal.append(b"second")
"""


def test_a_stopped_writer_keeps_the_record_to_itself_and_goes_on_when_it_wakes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = subprocess.Popen([sys.executable, "-c", HOLDER, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(RecordError, match="is being written by another process"):
        FileJournal(log, patience_seconds=0.3)
    first.send_signal(signal.SIGCONT)
    first.communicate("go on\n", timeout=800)
    assert log.read_bytes() == b"first\nsecond\n"
    FileJournal(log, patience_seconds=5.0).close()


def test_a_failure_that_cannot_be_noted_does_not_hide_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = read_study_file(small_study(tmp_path))
    store = FolderStore(tmp_path / "out")
    claim(store, study)

    def full(name: str, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(DataError, match="holds no prepared data"):
        tune(study, study.cells[0], tmp_path / "no-data", store, f"sqlite:///{tmp_path}/mlflow.db")
    assert "No space left on device" in capsys.readouterr().err
