"""A long trial of patience: a small study under random kills, outages and full disks, compared with an undisturbed run.

    python tests/support/soak.py --minutes 60

Each round runs the study anew in a folder on a small disk of its own (a tmpfs, which wants root), against a real MLflow server,
and disturbs it every few seconds until a run of it has come to its end. The record is then compared with the undisturbed run's,
event by event, and the server's runs with the record, trial by trial.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from small import small_study
from toy import essence
from tuneoff.core.record.events import parse
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study

HERE = Path(__file__).parent
DISK_BYTES = 300 * 2**20
MOST_RUNS = 60
STUDY: dict[str, Any] = {
    "methods": ["random", "bayes", {"name": "grid", "settings": {"order": "shuffled"}}, "hyperband"],
    "budget": {"epochs": 24, "epochs_per_trial": 4},
    "seeds": [0, 1],
}


@dataclass
class Server:
    """An MLflow server on loopback, which can be killed, held up and emptied."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, where it does not run."""
        if self.process is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        places = [
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination",
            f"{self.folder}/artifacts",
        ]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, *places], env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, patience_seconds: float = 120.0) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def hold(self, seconds: float) -> None:
        """Let it answer nothing for a while."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.killpg(self.process.pid, signal.SIGCONT)

    def empty(self) -> None:
        """Replace it by an empty one."""
        self.kill()
        shutil.rmtree(self.folder)
        self.start()


@dataclass
class Round:
    """One study under fire: its place, its server, the run that lives, and what has been done to it."""

    place: Path
    server: Server
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.place / "out"

    def run(self, study: Path) -> None:
        """Run the study, again and again, until one run has come to its end in spite of all."""
        while self.runs < MOST_RUNS:
            self.runs += 1
            self.server.start()
            process = tuneoff("run", study, "--out", self.out)
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self.rng.uniform(3.0, 25.0))
                    break
                self._disturb(process)
            said = process.communicate()[0]
            self.log.append(f"run {self.runs}: exit {process.returncode}: {said[-300:]}")
            if "Traceback" in said:
                raise AssertionError(f"a traceback was printed: {said}")
            if process.returncode == 0:
                return
        raise AssertionError(f"not at its end after {MOST_RUNS} runs: {self.log[-1]}")

    def _disturb(self, process: subprocess.Popen[str]) -> None:
        faults: dict[str, Callable[[subprocess.Popen[str]], None]] = {
            "run killed": lambda p: p.kill(),
            "run interrupted": lambda p: p.send_signal(signal.SIGINT),
            "run terminated": lambda p: p.terminate(),
            "stop from outside": lambda p: print(tuneoff("stop", self.out).communicate()[0], end=""),
            "one of its processes killed": self._kill_one,
            "run and all of its processes held": self._hold_all,
            "server killed": lambda p: self.server.kill(),
            "server held": lambda p: self.server.hold(self.rng.uniform(2, 12)),
            "server emptied": lambda p: self.server.empty(),
            "server started": lambda p: self.server.start(),
            "disk full": self._fill_disk,
        }
        name = self.rng.choice(list(faults))
        self.done[name] += 1
        self.log.append(name)
        faults[name](process)

    def _kill_one(self, process: subprocess.Popen[str]) -> None:
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
            if below:
                self.rng.choice(below).kill()

    def _hold_all(self, process: subprocess.Popen[str]) -> None:
        with suppress(psutil.NoSuchProcess):
            held = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for one in held:
                with suppress(psutil.NoSuchProcess):
                    one.suspend()
            time.sleep(self.rng.uniform(1, 8))
            for one in held:
                with suppress(psutil.NoSuchProcess):
                    one.resume()

    def _fill_disk(self, process: subprocess.Popen[str]) -> None:
        filler = self.place / "filler"
        with suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.rng.uniform(1, 8))
        filler.unlink()


def tuneoff(*arguments: object) -> subprocess.Popen[str]:
    """The command, with a terminal's patience for servers that do not answer."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    }
    command = [sys.executable, "-m", "tuneoff", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def done(*arguments: object) -> str:
    process = tuneoff(*arguments)
    said = process.communicate()[0]
    if process.returncode != 0:
        raise AssertionError(f"{arguments[0]}: exit {process.returncode}: {said}")
    return said


CHANGING = ("peak_memory_bytes", "left", "device")
"""What of an event a disturbance may change."""


def searches(out: Path) -> dict[str, list[dict[str, Any]]]:
    """What each search did: its events without times and restarts."""
    return {
        log.relative_to(out).as_posix(): [
            {k: v for k, v in event.items() if k not in CHANGING} for event in essence(parse(log.read_bytes().splitlines()))
        ]
        for log in sorted((out / "record").rglob("*.jsonl"))
    }


def differences(calm: Path, disturbed: Path) -> list[str]:
    """Where the disturbed run's searches and test scores differ from the undisturbed run's."""
    found = []
    ours, theirs = searches(disturbed), searches(calm)
    for name in sorted(ours.keys() | theirs.keys()):
        pairs = zip(ours.get(name, []), theirs.get(name, []), strict=False)
        at = next((f"{a} instead of {b}" for a, b in pairs if a != b), None)
        if at is not None or len(ours.get(name, [])) != len(theirs.get(name, [])):
            found.append(f"{name}: {at or 'events are missing or too many'}")
    for mine, other in zip(read_study(FolderStore(disturbed)).cells, read_study(FolderStore(calm)).cells, strict=True):
        scores = [[r.test_accuracy for r in c.evaluation.retrainings] if c.evaluation else None for c in (mine, other)]
        if scores[0] != scores[1]:
            found.append(f"{mine.cell.name}: test scores {scores[0]} instead of {scores[1]}")
    return found


def untracked(out: Path, uri: str) -> list[str]:
    """Trials of the record that the server lacks, has twice, or has with another curve."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "tuneoff/small"]
    runs = client.search_runs([experiment.experiment_id], "tags.`tuneoff.kind` = 'trial'", max_results=5000)
    key = ("tuneoff.dataset", "tuneoff.method", "tuneoff.seed", "tuneoff.trial")
    sent: dict[tuple[str, ...], list[Any]] = {}
    for run in runs:
        sent.setdefault(tuple(run.data.tags[k] for k in key), []).append(run)
    found = []
    for cell in read_study(FolderStore(out)).cells:
        for search in cell.searches:
            for trial in search.told:
                name = (cell.cell.dataset, cell.cell.method.label, str(search.seed), str(trial.trial.id))
                copies = sent.pop(name, [])
                if len(copies) != 1:
                    found.append(f"{name} is {len(copies)} times on the server")
                    continue
                history = client.get_metric_history(copies[0].info.run_id, "val_accuracy")
                if [m.step for m in history] != [e.number for e in trial.curve]:
                    found.append(f"{name} has epochs {[m.step for m in history]} on the server")
    return found + [f"{name} is not on record" for name in sent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ends = time.monotonic() + options.minutes * 60
    rng = random.Random(options.seed)
    scratch = Path(tempfile.mkdtemp(prefix="soak-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(scratch / "mlflow", probe.getsockname()[1])
    calm = scratch / "calm"
    done("run", small_study(scratch / "calm-study", **STUDY), "--out", calm)
    trials = sum(len(s.told) for c in read_study(FolderStore(calm)).cells for s in c.searches)
    print(f"undisturbed: {trials} trials", flush=True)
    study = small_study(scratch / "study", **STUDY, tracking={"uri": server.uri})
    rounds, runs, faults, wrong = 0, 0, Counter[str](), 0
    try:
        while time.monotonic() < ends:
            place = scratch / f"round-{rounds}"
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", place], check=True)
            server.kill()
            shutil.rmtree(server.folder, ignore_errors=True)
            one = Round(place, server, rng)
            try:
                one.run(study)
                server.start()
                server.wait()
                done("sync", one.out)
                found = differences(calm, one.out) + untracked(one.out, server.uri)
            except AssertionError as error:
                found = [str(error)]
            rounds, runs, faults = rounds + 1, runs + one.runs, faults + one.done
            wrong += bool(found)
            print(f"round {rounds}: {one.runs} runs, {sum(one.done.values())} faults, {len(found)} differences", flush=True)
            for line in found:
                print(f"  {line[:600]}", flush=True)
            if found:
                kept = scratch / f"kept-{rounds}"
                shutil.copytree(place, kept, ignore=shutil.ignore_patterns("filler"))
                shutil.copytree(server.folder, kept / "mlflow")
                (kept / "soak.log").write_text("\n".join(one.log))
                print(f"  kept in {kept}", flush=True)
            subprocess.run(["umount", "-l", place], check=True)
    finally:
        server.kill()
    summary = {
        "rounds": rounds,
        "runs": runs,
        "trials_compared": rounds * trials,
        "rounds_that_differ": wrong,
        "faults": dict(faults),
    }
    print(json.dumps(summary, indent=1))
    if not wrong:
        shutil.rmtree(scratch)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
