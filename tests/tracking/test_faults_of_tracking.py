"""A search with an MLflow server that is slow, fails, loses answers, refuses writes or is replaced; or with a broken SQLite."""

from __future__ import annotations

import json
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from faulty import Fault, Proxy, Spoil, calm, half_of
from made import made_study
from mlflow_server import free_port, running_server
from toy import Curve, Halving, essence, run_toy, toy_spec
from tracked import empty_server, shown, write_prepared
from tuneoff.core import layout
from tuneoff.core.problem import Checkpoint, Epoch, Limits, Trial
from tuneoff.core.record.events import Event, parse
from tuneoff.core.record.state import reduce_events
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.core.study import ObjectiveSettings, Study
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search
from tuneoff.tracking import Delivery, Tracker, attempt_within, delivery, sync_study
from tuneoff.tracking.mlflow import sqlite
from tuneoff.tracking.mlflow.runs import connect

SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "n": {"type": "int", "low": 1, "high": 9}}
EPOCHS = 12
WAITING_SECONDS = 20.0
"""A toy search costs milliseconds, and seconds on a busy machine. MLflow's client gives a silent server up after so long, and
SQLite a locked file: a search that takes longer has waited for one of them."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Start two real MLflow servers in parallel, because a start is slow, and yield their addresses."""
    ports = (free_port(), free_port())
    with ExitStack() as running, ThreadPoolExecutor(2) as pool:
        started = []
        for port in ports:
            folder = tmp_path_factory.mktemp("server")
            empty_server(folder / layout.MLFLOW_DATABASE)
            started.append(pool.submit(running.enter_context, running_server(folder, port)))
        for server in started:
            server.result()
        yield f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"


@pytest.fixture
def proxy(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the first server that spoils no call yet. The experiments of the test are deleted afterwards."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE_SECONDS", 0.1)
    with Proxy(servers[0], calm).running() as proxy:
        yield proxy
    for server in servers:
        client = connect(server)
        for experiment in client.search_experiments():
            client.rename_experiment(experiment.experiment_id, f"{experiment.name}-{experiment.experiment_id}")
            client.delete_experiment(experiment.experiment_id)


@dataclass
class Tracked:
    """A toy search in a store, with a thread that delivers its trials to an MLflow server at the same time."""

    store: FolderStore
    uri: str
    study: Study = field(init=False)
    lines: list[str] = field(default_factory=list)
    seconds: float = 0.0
    backlog: str | None = None

    def __post_init__(self) -> None:
        budget = {"epochs": EPOCHS, "epochs_per_trial": 6}
        self.study = made_study(
            datasets=["mnist"], methods=["random"], seeds=[0], space=SPACE, budget=budget, tracking={"uri": self.uri}
        )
        self.id = claim(self.store, self.study)
        write_prepared(self.store, "mnist")
        self.tracker = Tracker(self.store, self.study, self.id, self.uri)

    def search(
        self, objective: Any = None, patience_seconds: float = 60.0, before_close: Callable[[], object] = lambda: True
    ) -> list[Event]:
        """Search to the end and wait for `before_close`, then for at most `patience_seconds` until everything is delivered."""
        (cell,) = self.study.cells
        record = Writer(self.store.journal(layout.events("mnist", "random", 0)))
        record.open(study_id=self.id)

        def deliver() -> int:
            return self.tracker.deliver(cell, [reduce_events(tuple(record.events), "mnist", "random", 0)])

        self.sender = sender = Delivery(
            deliver, every_seconds=0.05, waiting=lambda: self.tracker.waiting, report=self.lines.append
        )
        sender.start()
        begun = time.monotonic()
        limits = Limits(epochs=EPOCHS)
        Search(toy_spec(), Halving(), objective or Curve(), record, Budget(limits), ObjectiveSettings(), NoCheckpoints()).run()
        self.seconds = time.monotonic() - begun
        until(before_close)
        self.backlog = sender.close(patience_seconds)
        record.close()
        return list(record.events)

    def rest(self) -> None:
        """Wait until the delivery thread ends, as it would with its process, so that it does not write later."""
        self.sender._thread.join()

    def level(self, folder: Path, uri: str) -> bool:
        """Return whether the server shows the same as an empty server after a sync: nothing is lost or duplicated."""
        reference = empty_server(folder / "reference.db")
        sync_study(self.store, f"sqlite:///{folder}/reference.db")
        return shown(connect(uri)) == shown(reference)


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[dict[str, Any]]:
    return essence(run_toy(tmp_path / "undisturbed", limits=Limits(epochs=EPOCHS)))


def writes(fault: Fault) -> Spoil:
    """Give every write this fault. A search of runs is a POST too, but reads."""
    return lambda method, path: fault if method != "GET" and not path.endswith("/search") else None


@dataclass
class Paused(Curve):
    """The toy objective, but it calls `meanwhile` before a trial."""

    before: int
    meanwhile: Callable[[], None]

    def __post_init__(self) -> None:
        super().__init__()

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        if trial.id == self.before:
            self.meanwhile()
        yield from super().__call__(trial, checkpoint)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 800
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# A server


def test_of_a_server_that_fails_half_of_the_calls_or_loses_its_answers_nothing_is_lost_or_doubled(
    proxy: Proxy, servers: tuple[str, str], tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    proxy.spoil = half_of(0)
    tracked = Tracked(FolderStore(tmp_path / "store"), proxy.uri)
    assert essence(tracked.search()) == undisturbed
    assert tracked.seconds < WAITING_SECONDS
    assert {"500", "503", "drop", "lost", "slow"} <= set(proxy.spoilt)
    tracked.rest()
    proxy.spoil = calm
    sync_study(tracked.store)
    assert tracked.level(tmp_path, servers[0])


def test_a_server_that_answers_every_write_with_an_error_after_it_has_written_doubles_nothing(
    proxy: Proxy, servers: tuple[str, str], tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    proxy.spoil = writes("lost")
    tracked = Tracked(FolderStore(tmp_path / "store"), proxy.uri)
    assert essence(tracked.search(patience_seconds=3.0, before_close=lambda: proxy.spoilt)) == undisturbed
    assert tracked.backlog is not None
    assert set(proxy.spoilt) == {"lost"}
    tracked.rest()
    proxy.spoil = calm
    sync_study(tracked.store)
    assert tracked.level(tmp_path, servers[0])


def test_a_call_that_makes_a_run_is_sent_once_even_where_its_answer_is_lost(proxy: Proxy, tmp_path: Path) -> None:
    made: list[str] = []

    def spoil(method: str, path: str) -> Fault | None:
        if path.endswith("/runs/create"):
            made.append(path)
            return "lost"
        return None

    proxy.spoil = spoil
    tracked = Tracked(FolderStore(tmp_path / "store"), proxy.uri)
    with pytest.raises(Exception, match="500"):
        tracked.tracker.prepare()
    assert len(made) == 1
    tracked.tracker.prepare()
    assert len(made) == 1, "the run that was made is found"


@pytest.mark.parametrize("fault", ["403", "405"])
def test_a_server_that_may_only_be_read_is_one_sentence_and_gets_all_when_it_may_be_written(
    proxy: Proxy, servers: tuple[str, str], tmp_path: Path, undisturbed: list[dict[str, Any]], fault: Fault
) -> None:
    proxy.spoil = writes(fault)
    tracked = Tracked(FolderStore(tmp_path / "store"), proxy.uri)
    assert essence(tracked.search(patience_seconds=1.0, before_close=lambda: tracked.lines)) == undisturbed
    assert tracked.seconds < WAITING_SECONDS
    assert len(tracked.lines) == 1
    assert tracked.lines[0].startswith("Tracking: the server is lost (")
    assert fault in tracked.lines[0]
    (cell,) = read_study(tracked.store).cells
    assert cell.backlog == len(cell.searches[0].told)
    assert f"{cell.backlog} trials are not in MLflow yet" in (tracked.backlog or "")
    tracked.rest()
    proxy.spoil = calm
    assert sync_study(tracked.store).trials == cell.backlog
    assert tracked.level(tmp_path, servers[0])


def test_an_empty_server_in_the_old_ones_place_in_mid_run_is_brought_level(
    proxy: Proxy, servers: tuple[str, str], tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    tracked = Tracked(FolderStore(tmp_path / "store"), proxy.uri)

    def swap() -> None:
        until(lambda: len(tracked.tracker._mlflow.delivered) == 3)
        proxy.upstream = servers[1]

    assert essence(tracked.search(Paused(before=3, meanwhile=swap))) == undisturbed
    assert tracked.backlog is None
    assert tracked.tracker.waiting == 0
    sync_study(tracked.store)
    assert tracked.level(tmp_path, servers[1])


def test_a_search_does_not_wait_for_a_server_that_never_answers(tmp_path: Path, undisturbed: list[dict[str, Any]]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        tracked = Tracked(FolderStore(tmp_path / "store"), f"http://127.0.0.1:{silent.getsockname()[1]}")
        lines: list[str] = []
        begun = time.monotonic()
        assert not attempt_within(0.5, tracked.tracker.prepare, lines.append)
        assert lines == [
            "Tracking: the server cannot be used (no answer within 0.5 s). The record is complete. Run `tuneoff sync` to send it."
        ]
        assert essence(tracked.search(patience_seconds=0.5)) == undisturbed
        assert time.monotonic() - begun < WAITING_SECONDS
        assert "(the server is slow). The record has them. Run `tuneoff sync` to send them." in (tracked.backlog or "")


# SQLite


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SQLite file with MLflow's tables and a short lock timeout."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(sqlite, "LOCK_PATIENCE_SECONDS", 0.2)
    file = tmp_path / "database" / layout.MLFLOW_DATABASE
    file.parent.mkdir()
    empty_server(file)
    return file


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """Put the file on a separate disk that is full."""
    data, disk = file.read_bytes(), file.parent
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        file.write_bytes(data)
        filler = disk / "filler"
        with suppress(OSError), open(filler, "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
        yield
        filler.unlink()
        data = file.read_bytes()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        file.write_bytes(data)


@contextmanager
def failing_disk(file: Path) -> Iterator[None]:
    """Let writes to all but the first pages fail, which SQLite reports as an I/O error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let another connection hold the write lock."""
    other = sqlite3.connect(file)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Overwrite the pages of the file; afterwards, move the file away, as the message advises."""
    file.write_bytes(file.read_bytes()[:4096] + b"\xa5" * 400_000)
    yield
    file.rename(file.with_suffix(".damaged"))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (full_disk, "is on a full disk (database or disk is full): free some space"),
        (failing_disk, "cannot be read or written (disk I/O error): check the disk"),
        (locked, "is locked by another process (database is locked): end that process"),
        (damaged, "is damaged (database disk image is malformed): move it away, and Tuneoff creates a new one"),
    ],
)
def test_a_broken_sqlite_file_is_reported_once_the_search_continues_and_sync_sends_the_rest(
    database: Path, tmp_path: Path, undisturbed: list[dict[str, Any]], broken: Callable[[Path], Any], said: str
) -> None:
    tracked = Tracked(FolderStore(tmp_path / "store"), f"sqlite:///{database}")
    with broken(database):
        assert essence(tracked.search(patience_seconds=1.0, before_close=lambda: tracked.lines)) == undisturbed
        assert tracked.seconds < WAITING_SECONDS
        tracked.rest()
    why = f"MLflow's database {database} {said}"
    assert tracked.lines == [f"Tracking: the server is lost ({why}); the search continues, and its results are sent later."]
    (cell,) = read_study(tracked.store).cells
    told = len(cell.searches[0].told)
    assert cell.backlog == told
    assert (
        tracked.backlog == f"{told} trials are not in MLflow yet ({why}). The record has them. Run `tuneoff sync` to send them."
    )
    parse(tracked.store.journal_lines(layout.events("mnist", "random", 0)))
    sync = subprocess.run(
        [sys.executable, "-m", "tuneoff", "sync", tracked.store.uri, "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(sync.stdout)["trials"] == told
    with closing(sqlite3.connect(database)) as there:
        keys = [key for (key,) in there.execute("SELECT value FROM tags WHERE key = 'tuneoff.key' ORDER BY value")]
    search = f"{tracked.id}/mnist/random/0"
    assert keys == sorted([tracked.id, search, *(f"{search}/{t.trial.id}" for t in cell.searches[0].told)])
