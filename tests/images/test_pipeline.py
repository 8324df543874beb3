"""Test a whole study with each step in its own container, with MLflow, PostgreSQL and S3 servers started from the manifests."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import ASKED, RIGHTS, ROOT, daemon, image, podman, real_images, workplace

from arrived import missing
from tuneoff.core.record.state import SearchRecord, read_search
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import StudyResult, read_study
from tuneoff.data import fetch
from tuneoff.data.registry import BUILTINS
from tuneoff.study_file import check

STUDY = os.environ.get("STUDY", "studies/quickstart.yaml")
STAND_INS = {"mlflow": "stand-in-mlflow", "postgres": "stand-in-postgres", "seaweedfs": "stand-in-s3"}
PORTS = {"postgres": 5432, "s3": 8333, "mlflow": 5000}
SECRETS = {"PGUSER": "mlflow", "PGPASSWORD": "for-the-test", "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "for-test"}
S3 = {**SECRETS, "AWS_ENDPOINT_URL": "http://127.0.0.1:8333", "AWS_DEFAULT_REGION": "us-east-1"}
MLFLOW = "http://127.0.0.1:5000"
KUBECTL = Path(sys.executable).with_name("kubectl")
PATIENCE_SECONDS = 900.0

pytestmark = [pytest.mark.timeout(7200), pytest.mark.skipif(not ASKED, reason="takes minutes: make container-test")]


def standing_in(manifests: str) -> str:
    """Return the manifests with our replacement images instead of those of a registry."""
    documents = list(yaml.safe_load_all(manifests))
    for document in documents:
        pod = document.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            name = container["image"].rpartition("/")[2].partition(":")[0]
            container["image"] = image(STAND_INS[name])
    return yaml.safe_dump_all(documents, sort_keys=False)


def wait_for(port: int, what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(1)
    pytest.fail(f"{what} does not listen on port {port}: {podman('ps', '--all').stdout}")


def play(manifests: Path) -> None:
    podman("kube", "play", str(manifests))
    for what, port in PORTS.items():
        wait_for(port, what)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start MLflow, PostgreSQL and S3 from manifests/podman, yield the manifest file, and remove everything afterwards."""
    image("stand-in-mlflow")
    folder = tmp_path_factory.mktemp("manifests")
    rendered = subprocess.run([KUBECTL, "kustomize", "manifests/podman"], cwd=ROOT, capture_output=True, text=True, check=True)
    (folder / "servers.yaml").write_text(standing_in(rendered.stdout))
    try:
        subprocess.run(["sh", "manifests/secrets.sh", "podman"], cwd=ROOT, env={**os.environ, **SECRETS}, check=True)
        play(folder / "servers.yaml")
        yield folder / "servers.yaml"
    finally:
        podman("kube", "down", str(folder / "servers.yaml"), check=False)
        podman("secret", "rm", "mlflow-postgres", "mlflow-s3", check=False)
        podman("volume", "rm", "postgres", "s3", check=False)


@pytest.fixture(scope="module")
def s3(servers: Path) -> Iterator[None]:
    """Set this process's environment so that it reaches the S3 server as the containers do."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in S3.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def result(s3: None, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Run the study's pipeline in containers, and return what it stored on S3."""
    for step in ("data_prep", "tuner", "evaluator", "reporter"):
        image(step)
    study = check.read_study(str(ROOT / STUDY))
    for dataset in study.datasets:
        if dataset.name in BUILTINS:
            fetch.fetch(dataset.name)
    folder, store = workplace(tmp_path_factory.mktemp("kfp")), f"s3://tuneoff/{study.name}"
    command = [sys.executable, str(Path(__file__).with_name("in_containers.py")), str(ROOT / STUDY), store, MLFLOW, str(folder)]
    with daemon(tmp_path_factory.mktemp("podman")) as address:
        known = {**os.environ, "DOCKER_HOST": address}
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    (folder / "log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return read_study(open_store(store))


def test_all_cells_are_evaluated_and_all_trials_and_the_report_are_stored(result: StudyResult) -> None:
    """Check the same results that `make cluster-test` checks on a cluster."""
    assert missing(open_store(f"s3://tuneoff/{result.study.name}"), MLFLOW) == []


def test_the_report_on_s3_names_every_method(result: StudyResult) -> None:
    page = open_store(f"s3://tuneoff/{result.study.name}").read("report/report.html").decode()
    assert all(c.cell.method.label in page for c in result.cells)


def test_mlflows_runs_are_in_postgresql(result: StudyResult) -> None:
    assert runs_in_postgresql() >= trials_in_mlflow(result.study.experiment) > 0


def trials_in_mlflow(called: str) -> int:
    """Return the number of trials of an experiment in MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(MLFLOW)
    experiment = client.get_experiment_by_name(called)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return len([run for run in runs if run.data.tags["tuneoff.kind"] == "trial"])


def in_postgresql(*command: str, **options: Any) -> str:
    """Return the output of a command in PostgreSQL's container. Its name depends on the release of podman."""
    container = podman("ps", "--quiet", "--filter", "name=^postgres-pod.*-postgres$").stdout.strip()
    return podman("exec", "--interactive", container, *command, **options).stdout


def runs_in_postgresql(database: str = "mlflow") -> int:
    count = "select count(*) from runs"
    return int(in_postgresql("psql", "--username", SECRETS["PGUSER"], "--tuples-only", "--command", count, database))


TRIALS = 12


def search_on_s3(study: str) -> SearchRecord:
    return read_search(open_store(f"s3://tuneoff/{study}"), "fashion", "random", 0)


@pytest.mark.parametrize(("signal", "exit_code"), [("KILL", 137), ("TERM", 3)])
def test_a_tuner_whose_container_was_removed_continues_from_its_record_on_s3(
    s3: None, tmp_path: Path, signal: str, exit_code: int
) -> None:
    """After SIGTERM, which the container's first process receives, the running epoch finishes."""
    name = f"away-{signal.lower()}"
    place = workplace(tmp_path / "place")
    real_images(place / "fashion.npz")
    study = {
        "name": name,
        "datasets": [{"name": "fashion", "path": "fashion.npz", "image_size": 14}],
        "methods": ["random"],
        "budget": {"trials": TRIALS, "epochs_per_trial": 2},
        "artifacts": f"s3://tuneoff/{name}",
        "tracking": {"uri": MLFLOW},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    step = ["/work/study.yaml", "--dataset", "fashion", "--out", "/work/out"]
    shared = [
        *RIGHTS,
        "--network",
        "host",
        "--volume",
        f"{place}:/work",
        *(f"--env={name}" for name in S3 if name.startswith("AWS_")),
    ]
    podman("run", "--rm", *shared, image("data_prep"), "tuneoff", "step", "data_prep", *step)
    search = [*shared, image("tuner"), "tuneoff", "step", "tuner", *step, "--method", "random"]

    container = podman("run", "--detach", *search).stdout.strip()
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while len(search_on_s3(name).told) < 2:
            assert time.monotonic() < until, podman("logs", container).stdout
            time.sleep(0.2)
        podman("kill", "--signal", signal, container)
        assert int(podman("wait", container, timeout=PATIENCE_SECONDS).stdout) == exit_code, podman("logs", container).stdout
    finally:
        podman("rm", "--force", container)
    before = search_on_s3(name)
    assert 2 <= len(before.told) < TRIALS, "it was to be taken away in the middle"

    podman("run", "--rm", *search)
    after = search_on_s3(name)
    assert after.told[: len(before.told)] == before.told
    assert (len(after.told), before.attempts, after.attempts) == (TRIALS, 1, 2)
    assert trials_in_mlflow(f"tuneoff/{name}") == TRIALS


def test_the_database_is_backed_up_and_restored_as_in_the_docs(result: StudyResult) -> None:
    (dump,) = re.findall(r"exec deployment/postgres -- sh -c '([^']+)'", (ROOT / "docs" / "cluster.md").read_text())
    backup = in_postgresql("sh", "-c", dump)
    in_postgresql("createdb", "--username", SECRETS["PGUSER"], "restored")
    in_postgresql("psql", "--quiet", "--username", SECRETS["PGUSER"], "restored", input=backup)
    assert runs_in_postgresql("restored") == runs_in_postgresql() > 0


def test_mlflows_data_survives_a_restart(servers: Path, result: StudyResult) -> None:
    before = trials_in_mlflow(result.study.experiment)
    podman("kube", "down", str(servers))
    play(servers)
    assert trials_in_mlflow(result.study.experiment) == before > 0
