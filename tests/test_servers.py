"""PostgreSQL, S3 and MLflow, started on this machine by the commands and settings of the manifests, and a study through them."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from arrived import missing
from made import made_study, write_evaluation, write_search
from test_manifests import PODMAN, config, containers, pods
from tuneoff.core import layout
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.core.study import Study
from tuneoff.report.report import report
from tuneoff.tracking import Tracker, sync_study
from tuneoff.tracking.mlflow.runs import connect

sys.path.insert(0, str(Path(__file__).parent / "tracking"))
from mlflow_server import free_port
from tracked import empty_server, shown

PASSWORD = 'it\'s 100% "odd" $HOME @:/'
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def program(name: str) -> str:
    """A program of PostgreSQL, where Debian has it or on the path."""
    folders = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} not found: install PostgreSQL (Debian's package postgresql)")
    return found


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """A PostgreSQL server that wants a password, with the database `mlflow`; its port."""
    initdb, pg_ctl, createdb = map(program, ("initdb", "pg_ctl", "createdb"))
    folder = Path(tempfile.mkdtemp(prefix="tuneoff-postgres-"))  # pytest closes its own folders to other users
    data, password, port = folder / "data", folder / "password", free_port()
    password.write_text(PASSWORD)
    data.mkdir()
    user: dict[str, Any] = {"stdout": subprocess.DEVNULL, "check": True, "cwd": "/"}
    if os.geteuid() == 0:  # it refuses to run as root
        user["user"] = "postgres"
        for place in (folder, data, password):
            shutil.chown(place, "postgres")
    subprocess.run([initdb, "-D", data, "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", password, "--no-sync"], **user)
    options = f"-p {port} -h 127.0.0.1 -k {data} -c fsync=off"
    subprocess.run([pg_ctl, "-D", data, "-w", "-l", data / "log", "-o", options, "start"], **user)
    try:
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        subprocess.run([createdb, "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "mlflow"], **user, env=environment)
        yield port
    finally:
        subprocess.run([pg_ctl, "-D", data, "-m", "immediate", "stop"], **user)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 server on loopback with the buckets that the manifests name, to which the environment leads."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            environment.setenv(name, value)
        client = boto3.client("s3")
        (buckets,) = [v["value"] for v in containers(PODMAN)["s3/s3"]["env"] if v["name"] == "S3_BUCKET"]
        for bucket in buckets.split(","):
            client.create_bucket(Bucket=bucket)
        yield client
    moto.stop()


@dataclass(frozen=True)
class Server:
    """MLflow as the manifests start it, but for its port."""

    port: int
    migrations: list[str]  # what each migration said

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, host: str) -> int:
        """The status of a GET that calls the server by this name."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status


@pytest.fixture(scope="module")
def mlflow(postgres: int, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The init container's command twice, as at a restart, and then the container's."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    settings = {
        key: value.replace("127.0.0.1:5432", f"127.0.0.1:{postgres}").replace(":5000", f":{port}")
        for key, value in config(PODMAN).items()
    }
    environment = {
        **os.environ,
        **settings,
        "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PGUSER": "mlflow",
        "PGPASSWORD": PASSWORD,
        "HOME": str(folder),
    }
    spec = pods(PODMAN)["mlflow"]["spec"]
    (migration,), (container,) = spec["initContainers"], spec["containers"]
    migrations = []
    for _ in range(2):
        done = subprocess.run(migration["command"], env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        migrations.append(done.stdout + done.stderr)
    command = [argument.replace("5000", str(port)) for argument in [*container["command"], *container["args"]]]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    server = Server(port, migrations)
    try:
        _wait_for(server, folder / "log")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(800)


def _wait_for(server: Server, log: Path) -> None:
    deadline = time.monotonic() + 800
    while True:
        try:
            if server.answer("/health", "probe") == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)


def ended_study(place: str, *methods: str) -> tuple[Store, Study]:
    """A study that has ended, with its report, in a store: a cell a method, eight trials each; nothing is tracked yet."""
    study = made_study(datasets=["mnist"], methods=list(methods), seeds=[0], evaluation={"seeds": 1})
    store = open_store(place)
    claim(store, study)
    for cell in study.cells:
        write_search(store, study, cell, 0)
        write_evaluation(store, study, cell)
    report(store)
    return store, study


def test_migrating_again_changes_nothing(mlflow: Server) -> None:
    first, second = mlflow.migrations
    assert "Creating initial MLflow database tables" in first
    assert "Creating initial MLflow database tables" not in second


def test_the_server_answers_to_its_services_names_and_to_no_other(mlflow: Server) -> None:
    experiments = "/api/2.0/mlflow/experiments/search?max_results=1"
    for name in ("mlflow", "mlflow.tuneoff", "mlflow.tuneoff.svc.cluster.local", "localhost"):
        assert mlflow.answer(experiments, f"{name}:{mlflow.port}") == 200, name
    assert mlflow.answer(experiments, "mlflow.tuneoff") == 403, "the port belongs to the name"
    assert mlflow.answer(experiments, f"rebound.example:{mlflow.port}") == 403
    assert mlflow.answer("/health", "10.1.2.3:5000") == 200, "probes call it by the pod's address"


def test_steps_that_report_at_once_lose_and_double_nothing(mlflow: Server, s3: Any, tmp_path: Path) -> None:
    """Two tuner steps, each with a tracker of its own, over a record on S3, on PostgreSQL, files through the server."""
    store, study = ended_study("s3://tuneoff/study", "random", "hyperband")
    result = read_study(store)
    Tracker(store, study, result.id, mlflow.uri).prepare()

    def step(number: int) -> None:
        cell = result.cells[number]
        tracker = Tracker(store, study, result.id, mlflow.uri)
        tracker.deliver(cell.cell, cell.searches)
        tracker.deliver_evaluation(cell.cell)

    with ThreadPoolExecutor(len(result.cells)) as steps:
        list(steps.map(step, range(len(result.cells))))
    assert sync_study(store, mlflow.uri).trials == 0, "there was nothing left to send"
    assert missing(store, mlflow.uri) == []

    client = connect(mlflow.uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == study.experiment]
    assert experiment.artifact_location.startswith("mlflow-artifacts:/"), "whoever logs needs no key of the bucket"
    files = [item["Key"] for item in s3.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert files
    assert not any(key.startswith("study/") for key in files)

    other = empty_server(tmp_path / "other.db")
    sync_study(store, f"sqlite:///{tmp_path / 'other.db'}")
    assert shown(client) == shown(other), "PostgreSQL behind a server and SQLite show the same"


def test_what_has_not_arrived_is_named(mlflow: Server) -> None:
    store, study = ended_study("s3://tuneoff/lost", "bayes")
    Tracker(store, study, read_study(store).id, mlflow.uri).prepare()
    assert missing(store, mlflow.uri)[0].startswith("the record has 8 trials, but MLflow has 0")
    store.delete(layout.REPORT + "results.json")
    store.delete(layout.evaluation("mnist", "bayes") + "evaluation.json")
    assert missing(store, mlflow.uri)[:2] == ["mnist/bayes: no evaluation", f"{layout.REPORT}results.json does not exist"]
