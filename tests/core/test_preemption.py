"""Searches in processes that are killed, stopped and overtaken, with their record on an S3 server in another process."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest

from faulty import Proxy, half_of
from toy import Curve, Halving, essence, toy_spec
from tuneoff.core.problem import Limits
from tuneoff.core.record.events import Event, parse
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.open import open_store
from tuneoff.core.store.s3 import S3Store
from tuneoff.core.study import ObjectiveSettings
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search

BUCKET = "bucket"
LOG = "record/toy.jsonl"
EPOCHS = 40

STEP = """
import sys, time
from toy import Curve
from test_preemption import search

class Slow(Curve):
    def __call__(self, trial, checkpoint):
        for epoch in super().__call__(trial, checkpoint):
            time.sleep(float(sys.argv[2]))
            yield epoch

print("ready", flush=True)
sys.stdin.readline()
search(sys.argv[1], Slow())
"""


def search(uri: str, objective: Curve) -> list[Event]:
    """Run or resume a toy search, with its record in the store, until it ends."""
    record = Writer(open_store(uri).journal(LOG))
    if record.ended is None:
        record.open(study_id="toy")
        Search(
            toy_spec(), Halving(), objective, record, Budget(Limits(epochs=EPOCHS)), ObjectiveSettings(), NoCheckpoints()
        ).run()
    record.close()
    return list(record.events)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> object:
    return essence(search(str(tmp_path_factory.mktemp("whole")), Curve()))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start moto's S3 server in a process, with one bucket, and yield its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        uri = f"http://127.0.0.1:{port}"
        boto3.session.Session("key", "hidden", region_name="us-east-1").client("s3", endpoint_url=uri).create_bucket(
            Bucket=BUCKET
        )
        yield uri
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["folder", "s3", "s3 that fails"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of the record: a shared volume, S3, or an S3 that fails a fifth of the calls in every way."""
    if request.param == "folder":
        return str(tmp_path / "volume")
    proxy: Proxy = request.getfixturevalue("proxy")
    if request.param == "s3 that fails":
        spoil, drawn = half_of(7), random.Random(7)
        proxy.spoil = lambda method, path: spoil(method, path) if drawn.random() < 0.4 else None
    return f"s3://{BUCKET}/{request.node.name}"


def waiting_step(uri: str, epoch_seconds: float) -> subprocess.Popen[str]:
    """Start the search in a child process, as a pod would run it. It waits until `begin` is called."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "support"), *(p for p in [os.environ.get("PYTHONPATH")] if p)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command, pipe = [sys.executable, "-c", STEP, uri, str(epoch_seconds)], subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def step(uri: str, epoch_seconds: float = 0.05) -> subprocess.Popen[str]:
    """Start the search in a child process and let it begin."""
    return begin(waiting_step(uri, epoch_seconds))


def events(uri: str) -> list[Event]:
    return parse(open_store(uri).journal_lines(LOG))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 800
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ended(process: subprocess.Popen[str]) -> str:
    """Wait until the process ends and return its stderr."""
    try:
        return process.communicate(timeout=800)[1]
    finally:
        process.kill()
        process.wait()


def told(found: list[Event]) -> list[int]:
    return [e["trial"] for e in found if e["event"] == "told"]


@pytest.mark.timeout(1800)
def test_a_step_that_is_killed_again_and_again_loses_no_finished_trial(place: str, undisturbed: object) -> None:
    finished: list[int] = []
    for _ in range(2):
        process, wanted = step(place), len(finished) + 2
        _until(lambda wanted=wanted: len(told(events(place))) >= wanted)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        _ended(process)
        now = told(events(place))
        assert now[: len(finished)] == finished
        finished = now
    assert essence(search(place, Curve())) == undisturbed
    assert len(told(events(place))) == len(set(told(events(place)))), "no trial has two outcomes"


@pytest.mark.timeout(1800)
def test_a_step_that_was_paused_until_its_successor_finished_can_no_longer_write(proxy: Proxy, undisturbed: object) -> None:
    uri = f"s3://{BUCKET}/stopped"
    first = step(uri)
    try:
        _until(lambda: len(told(events(uri))) >= 2)
        first.send_signal(signal.SIGSTOP)
        _until(lambda: "State:\tT" in Path(f"/proc/{first.pid}/status").read_text())
        before = told(events(uri))
        assert essence(search(uri, Curve())) == undisturbed
        whole = events(uri)
        first.send_signal(signal.SIGCONT)
        said = _ended(first)
    finally:
        first.kill()
    assert first.returncode == 1
    assert f"Overtaken: {uri}/{LOG} has been taken over by another process" in said
    assert events(uri) == whole, "it has written nothing since"
    assert told(whole)[: len(before)] == before
    assert {e["attempt"] for e in whole} == {1, 2}


@pytest.mark.timeout(1800)
def test_of_two_steps_that_run_at_the_same_time_the_newest_continues(proxy: Proxy, undisturbed: object) -> None:
    uri = f"s3://{BUCKET}/two"
    second, first = waiting_step(uri, 0.0), step(uri, 1.0)
    try:
        _until(lambda: len(told(events(uri))) >= 1)
        begin(second)
        said = _ended(first), _ended(second)
    finally:
        first.kill()
        second.kill()
    assert "Overtaken" in said[0]
    assert (first.returncode, second.returncode) == (1, 0), said[1]
    found = events(uri)
    assert essence(found) == undisturbed
    attempts = [e["attempt"] for e in found]
    assert attempts == sorted(attempts), "once the second has begun, the first has written nothing"


def test_a_writer_that_is_not_the_first_opens_the_record_as_the_next_attempt(proxy: Proxy) -> None:
    store = S3Store(f"s3://{BUCKET}/late")
    first, second = Writer(store.journal(LOG)), Writer(store.journal(LOG))
    first.open(study_id="toy")
    second.open(study_id="toy")
    assert (first.attempt, second.attempt) == (1, 2)
    assert [e["attempt"] for e in events(store.uri)] == [1, 2]
