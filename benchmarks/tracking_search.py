"""Duration of MLflow's search over thousands of trials, on SQLite and PostgreSQL, directly and by a server's REST API.

Tuneoff's tracker writes the first trials from a generated record. The other trials are copies of these rows inside the SQL store,
with their own ids, keys and values. Writing them with the tracker or by REST takes many times as long and leaves the same rows.
If PostgreSQL's programs or driver are not installed, its line is left out with a note. On a busy machine, read the CPU seconds
of this process: with SQLite and without a server they are the complete cost of a search.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneoff.core import layout
from tuneoff.core.problem import Epoch, Outcome, Proposal, Status
from tuneoff.core.record.events import epoch_fields, outcome_fields, proposal_fields
from tuneoff.core.record.state import SearchRecord, reduce_events
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim
from tuneoff.core.study import Cell, Study
from tuneoff.tracking import Tracker
from tuneoff.tracking.mlflow.runs import Runs, connect
from tuneoff.tracking.mlflow.sqlite import speed_up_searches

from .lines import Line

GOAL_SECONDS = 2.0
REPEATS = 3
EPOCHS = 10
WRITTEN = 100
"""Number of trials that the tracker writes."""
TABLES = ("runs", "tags", "params", "metrics", "latest_metrics")
POSTGRESQL = ("initdb", "pg_ctl", "createdb")
FOLDERS = ("/usr/lib/postgresql/*/bin",)


class Missing(Exception):
    """A program or driver of a store is not installed."""


@dataclass(frozen=True)
class Size:
    """Trials in the store, a multiple of WRITTEN, and the kinds of store."""

    trials: int
    stores: tuple[str, ...] = ("SQLite", "PostgreSQL")


FULL = Size(5000)
QUICK = Size(WRITTEN, stores=("SQLite",))


def made_study() -> Study:
    """Return a study with two data sets, two methods, five seeds and WRITTEN trials in total."""
    return Study.model_validate(
        {
            "name": "many",
            "datasets": ["mnist", "fashion_mnist"],
            "methods": ["random", "bayes"],
            "budget": {"trials": WRITTEN // 20, "epochs_per_trial": EPOCHS},
            "seeds": [0, 1, 2, 3, 4],
        }
    )


def made_search(study: Study, cell: Cell, seed: int) -> SearchRecord:
    """Return a complete search that uses the budget's trials, each trained to its last epoch."""
    rng = random.Random(f"{cell.name}/{seed}")
    time_ = 1.7e9
    events: list[dict[str, Any]] = []

    def note(event: str, **fields: Any) -> None:
        events.append({"event": event, "time": time_, **fields})

    note("opened", versions={"keras": "3"}, host="host")
    for trial in range(study.budget.trials or 0):
        note("asked", trial=trial, seconds=0.01, **proposal_fields(Proposal(_config(study, rng), EPOCHS)))
        note("started", trial=trial)
        peak = rng.uniform(0.5, 0.95)
        curve = tuple(Epoch(n, _metrics(peak * (1 - 0.5 / n)), 1.0) for n in range(1, EPOCHS + 1))
        for epoch in curve:
            note("epoch", trial=trial, should_continue=epoch.number < EPOCHS, **epoch_fields(epoch))
        time_ += 12.0
        loss = -curve[-1].metrics["val_accuracy"]
        note("told", trial=trial, **outcome_fields(Outcome(Status.COMPLETED, curve, loss, 11.0, None, "cpu", 10**9)))
    return reduce_events(events, cell.dataset, cell.method.label, seed)


def _config(study: Study, rng: random.Random) -> dict[str, Any]:
    drawn = {
        name: rng.choice(p.values) if p.type == "categorical" else rng.uniform(p.low, p.high) for name, p in study.space.items()
    }
    return study.space.activate(drawn)


def _metrics(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "val_accuracy": accuracy - 0.02, "loss": 1 - accuracy, "val_loss": 1.02 - accuracy}


def fill(uri: str, study: Study, folder: Path, trials: int) -> str:
    """Write this number of trials, the first ones with the tracker. Returns the study's id."""
    store = FolderStore(folder / "store")
    study_id = claim(store, study)
    tracker = Tracker(store, study, study_id, uri)
    for cell in study.cells:
        tracker.deliver(cell, [made_search(study, cell, seed) for seed in study.seeds])
    copy_trials(uri, trials // WRITTEN - 1)
    speed_up_searches(uri)  # like the tracker at the end of a study
    return study_id


def copy_trials(uri: str, times: int) -> None:
    """Copy the rows of all trials this number of times."""
    import sqlalchemy as sql

    engine = sql.create_engine(uri)
    tables = sql.MetaData()
    tables.reflect(engine, only=list(TABLES))
    tags = tables.tables["tags"]
    with engine.begin() as database:
        trial = (tags.c.key == "tuneoff.kind") & (tags.c.value == "trial")
        originals = list(database.execute(sql.select(tags.c.run_uuid).where(trial)).scalars())
        rows = {name: _rows(database, tables.tables[name], originals) for name in TABLES}
        for number in range(1, times + 1):
            ids = {original: uuid.uuid4().hex for original in originals}
            for name, originals_of_table in rows.items():
                copies = [_copied(row, ids, number) for row in originals_of_table]
                database.execute(sql.insert(tables.tables[name]), copies)
    engine.dispose()


def _rows(database: Any, table: Any, runs: list[str]) -> list[dict[str, Any]]:
    return [dict(row) for row in database.execute(table.select().where(table.c.run_uuid.in_(runs))).mappings()]


def _copied(row: dict[str, Any], ids: dict[str, str], number: int) -> dict[str, Any]:
    """Return a copy of a row. Numbers differ slightly, so that sorting has work to do, and keys are unique."""
    changed = {"run_uuid": ids[row["run_uuid"]]}
    if row.get("key") == "tuneoff.key":
        changed["value"] = f"{row['value']}-{number}"
    elif isinstance(row.get("value"), float):
        changed["value"] = row["value"] * (1 - number / 1000)
    return {**row, **changed}


def searches(uri: str, study: Study, study_id: str) -> dict[str, Callable[[], int]]:
    """Return searches by name. Each returns its number of runs."""
    client = connect(uri)
    experiment = client.get_experiment_by_name(study.experiment).experiment_id

    def page(condition: str, size: int = 100) -> int:
        return len(client.search_runs([experiment], condition, max_results=size, order_by=["metrics.`objective` DESC"]))

    def everything() -> int:
        count, token = 0, None
        while True:
            found = client.search_runs(
                [experiment], kind, max_results=1000, order_by=["metrics.`objective` DESC"], page_token=token
            )
            count, token = count + len(found), found.token
            if not token:
                return count

    def learn() -> int:
        runs = Runs(client, experiment, study_id)
        runs.learn(dataset="mnist", method="bayes")
        return len(runs._known)

    kind = "tags.`tuneoff.kind` = 'trial'"
    cell = f"{kind} and tags.`tuneoff.dataset` = 'mnist' and tags.`tuneoff.method` = 'bayes'"
    return {
        "the page's view of trials, best first, 100 rows": lambda: page(kind),
        "one cell's trials, best first, 100 rows": lambda: page(cell),
        "one cell's best trial": lambda: page(cell, 1),
        "all of a cell's runs, as the tracker asks": learn,
        "all trials, best first": everything,
    }


def timed(store: str, found: dict[str, Callable[[], int]], note: Callable[[str], None]) -> list[Line]:
    """Time each search several times, after one warm-up."""
    lines = []
    for name, search in found.items():
        note(f"{store}: {name}")
        count, walls, cpus = search(), [], []
        for _ in range(REPEATS):
            wall, cpu = time.perf_counter(), time.process_time()
            search()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        median, slowest, cpu = statistics.median(walls), max(walls), statistics.median(cpus)
        told = f"{count} runs, slowest {slowest:.2f} s, {cpu:.2f} s CPU"
        lines.append(Line(f"MLflow, {store}: {name}", median, "s", GOAL_SECONDS, note=told))
    return lines


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Yield the URI of a new SQLite file."""
    yield f"sqlite:///{folder / layout.MLFLOW_DATABASE}"


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server on loopback. Yields its URI, or raises Missing if PostgreSQL is not installed."""
    programs = {name: path for name in POSTGRESQL if (path := _program(name))}
    if absent := [name for name in POSTGRESQL if name not in programs]:
        raise Missing(f"{', '.join(absent)} not found: install PostgreSQL (Debian's package postgresql)")
    if importlib.util.find_spec("psycopg2") is None:
        raise Missing("psycopg2 not found: pip install psycopg2-binary")
    data, port = folder / "postgresql", free_port()
    data.mkdir()
    as_user: dict[str, Any] = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/"}
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user["user"] = "postgres"
        shutil.chown(data, "postgres")
        folder.chmod(0o755)
    subprocess.run([programs["initdb"], "-D", data, "-A", "trust", "-U", "postgres"], **as_user)
    options = f"-p {port} -h 127.0.0.1 -k {data}"
    subprocess.run([programs["pg_ctl"], "-D", data, "-w", "-l", data / "log", "-o", options, "start"], **as_user)
    try:
        subprocess.run([programs["createdb"], "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "mlflow"], **as_user)
        yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/mlflow"
    finally:
        subprocess.run([programs["pg_ctl"], "-D", data, "-m", "immediate", "stop"], **as_user)


def _program(name: str) -> str | None:
    places = [str(place) for pattern in FOLDERS for place in sorted(Path("/").glob(pattern[1:]))]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """Start an MLflow server on loopback in front of the store. Yields its URI."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", uri, "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _wait_for(url: str, patience_seconds: float = 120.0) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


STORES = {"SQLite": sqlite, "PostgreSQL": postgresql}


def measured(name: str, trials: int, note: Callable[[str], None]) -> list[Line]:
    """Time all searches on one kind of store, directly and by a server. Raises Missing if the store is not installed."""
    study = made_study()
    with tempfile.TemporaryDirectory(prefix="tuneoff-bench-") as place:
        folder = Path(place)
        with STORES[name](folder) as uri:
            begun = time.perf_counter()
            study_id = fill(uri, study, folder, trials)
            note(f"{name}: {trials} trials written in {time.perf_counter() - begun:.0f} s")
            lines = timed(name, searches(uri, study, study_id), note)
            with served(uri, folder) as address:
                return lines + timed(f"{name} by REST", searches(address, study, study_id), note)


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Time every search on every kind of store that is installed."""
    lines: list[Line] = []
    for name in size.stores:
        try:
            lines += measured(name, size.trials, note)
        except Missing as error:
            note(f"{name}: left out: {error}.")
    return lines
