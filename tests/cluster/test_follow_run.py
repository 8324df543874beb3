"""Test following a run: step names of a real API server, pods that never start, deleted, duplicate and interrupted runs."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server_api import V2beta1Run
from kfp_server_api.api_client import ApiClient

from fake_kfp import FAILS, SUCCEEDS, FakeKfp, argo
from faulty import Proxy, calm
from made import made_store, made_study
from on_kfp import VOLUME, a_study, submitted, tuneoff
from small import small_npz
from tuneoff.cluster import follow_run, kfp_server
from tuneoff.cluster.follow_run import Follower, steps_in_words, task_titles
from tuneoff.cluster.kfp_server import KfpServer, Login, Run, _run
from tuneoff.cluster.kubernetes_api import Workflow
from tuneoff.cluster.workflow_size import refuse_too_large, workflow_bytes
from tuneoff.core.errors import DataError, RunGone, StoreAway, StudyError
from tuneoff.core.store.dataset_copies import input_copy, put_input, read_input
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_failures, write_failure
from tuneoff.core.study import Dataset
from tuneoff.pipelines import submit as submitting
from tuneoff.pipelines.submit import missing_cells, submit
from tuneoff.study_file.check import read_study

RECORDED = Path(__file__).parents[1] / "support" / "recorded"
PODS: dict[str, Any] = {
    pod["metadata"]["name"]: pod for pod in json.loads((RECORDED / "pods-that-wait.json").read_text())["items"]
}


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKfp]:
    monkeypatch.setattr(follow_run, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(follow_run, "LOOK_AT_PODS_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(follow_run, "LOOK_AT_LOGS_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(submitting, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(kfp_server, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNEOFF_SOURCES", "cache")
    with FakeKfp().running() as server:
        yield server


class View:
    """A fake of Kubernetes' view of the runs. `pods` and `workflow` may be changed."""

    namespace = "kubeflow"

    def __init__(self, pods: list[Any] | None = None, workflow: Any = None) -> None:
        self._pods, self._workflow = pods or [], workflow
        self.lines: list[str] = []

    def pods(self, run_id: str) -> list[Any]:
        return self._pods

    def nodes(self) -> list[Any]:
        return [{"status": {"allocatable": {"cpu": "2", "memory": "24Gi"}}}]

    def warnings(self, pod: str) -> list[Any]:
        return []

    def last_line(self, pod: str, begins: str) -> str | None:
        return self.lines.pop(0) if self.lines else None

    def workflow(self, run_id: str) -> Any:
        return self._workflow


# Names as the real server gives them


def recorded(name: str) -> Run:
    """Return a recorded answer, parsed by KFP's own client."""

    class Answer:
        data = (RECORDED / f"{name}.json").read_text()

    run: V2beta1Run = ApiClient().deserialize(Answer(), "V2beta1Run")
    return _run(run)


def test_the_steps_of_recorded_runs_are_listed_by_data_set() -> None:
    one = task_titles(made_study(datasets=["mnist"], methods=["random", "bayes"]))
    assert steps_in_words(recorded("run-succeeded"), one) == (
        "prepare mnist: 1 succeeded", "tune on mnist: 1 succeeded", "evaluate on mnist: 1 succeeded", "report: 1 succeeded",
    )  # fmt: skip
    failed = steps_in_words(recorded("run-cell-failed"), one)
    assert failed[:2] == ("prepare mnist: 1 succeeded", "tune on mnist: 1 failed, 1 succeeded")
    assert failed[-1] == "report: 1 succeeded"
    assert steps_in_words(recorded("run-account-without-token"), one) == ()
    four = task_titles(made_study(datasets=["mnist", "fashion_mnist", "cifar10", "s3://b/x.npz"]))
    assert [line.split(":")[0] for line in steps_in_words(recorded("run-too-large"), four)] == [
        "prepare mnist", "prepare fashion_mnist", "prepare cifar10", "prepare x",
    ]  # fmt: skip


def test_a_recorded_run_is_parsed_completely() -> None:
    run = recorded("run-succeeded")
    assert (run.state, run.error, run.store) == ("SUCCEEDED", None, "s3://tuneoff/one")
    assert run.created_at.startswith("2026-11-30T19:44:35")
    assert recorded("run-too-large").state == "FAILED"


def test_the_fake_server_uses_the_step_names_of_recorded_runs() -> None:
    shape = Counter(re.sub(r"\d+", "0", step.name) for step in recorded("run-succeeded").steps)
    for name in argo(data_prep="RUNNING", tune="RUNNING", evaluate="RUNNING", report="RUNNING"):
        assert re.sub(r"\d+", "0", name.partition("#")[0]) in shape, name


# Pods that wait


def test_the_reason_why_a_pod_waits_is_reported_once(kfp: FakeKfp) -> None:
    done, said = submitted(kfp, wait=True, view=View([PODS["wait-image"]]))
    assert done.run.state == "SUCCEEDED"
    assert len([line for line in said if line.startswith("Waiting: a pod of KFP: ErrImagePull registry.example.org")]) == 1


def test_a_pod_that_can_never_start_ends_the_run(kfp: FakeKfp) -> None:
    kfp.script = lambda number: [("RUNNING", argo(data_prep="RUNNING"))]
    study = a_study(cluster={**VOLUME, "pending_seconds": 1})
    began = time.monotonic()
    done, said = submitted(kfp, study, wait=True, again=3, view=View([PODS["wait-secret"]]))
    assert 1 <= time.monotonic() - began < 200
    assert kfp.ended == ["run-0"]
    assert done.ended is not None
    assert done.ended.startswith('a pod of KFP: CreateContainerConfigError: secret "not-there" not found. It could not start for')
    assert len(kfp.runs) == 1, "another run would wait for the same"
    assert said[-1].endswith("(cluster.pending_seconds).")


def test_a_full_quota_is_waited_for_without_limit(kfp: FakeKfp) -> None:
    message = 'pods "x" is forbidden: exceeded quota: studies, requested: cpu=2'
    nodes = ({"id": "a", "type": "Pod", "phase": "Pending", "message": message},)
    kfp.script = lambda number: [*[("RUNNING", argo(tune="PENDING"))] * 150, *SUCCEEDS]
    study = a_study(cluster={**VOLUME, "pending_seconds": 1})
    done, said = submitted(kfp, study, wait=True, view=View(workflow=Workflow("Running", "", nodes)))
    assert done.run.state == "SUCCEEDED"
    assert kfp.ended == []
    assert "Waiting: a step: it waits for room in a quota: studies, requested: cpu=2" in said


def test_without_kubernetes_a_silent_run_suggests_a_kubectl_command(kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_run, "SILENCE_SECONDS", 0.2)
    kfp.script = lambda number: [*[("RUNNING", argo(data_prep="RUNNING"))] * 60, *SUCCEEDS]
    _, said = submitted(kfp, wait=True)
    (line, *_) = [line for line in said if line.startswith("No news for")]
    assert "kubectl --namespace kubeflow get pods --selector pipeline/runid=run-0" in line


def test_progress_comes_from_the_tuners_logs_if_the_record_cannot_be_read(kfp: FakeKfp) -> None:
    pod = {
        "metadata": {"name": "p", "labels": {"tuneoff/step": "tuner", "tuneoff/dataset": "mnist", "tuneoff/method": "grid"}},
        "status": {"phase": "Running"},
    }
    view = View([pod])
    view.lines = ["mnist/grid: 3 trials, best val_accuracy 0.9"] * 2 + ["mnist/grid: 4 trials, best val_accuracy 0.9"]
    kfp.script = lambda number: [*[("RUNNING", argo(tune="RUNNING"))] * 5, *SUCCEEDS]
    _, said = submitted(kfp, wait=True, view=view)
    assert [line for line in said if line.startswith("mnist/grid:")] == [
        "mnist/grid: 3 trials, best val_accuracy 0.9",
        "mnist/grid: 4 trials, best val_accuracy 0.9",
    ]


# Runs that fail without a reason


def test_a_run_that_fails_without_a_reason_shows_the_reason_of_argo(kfp: FakeKfp) -> None:
    message = "Error: Request entity too large: limit is 3145728"
    kfp.script = lambda number: FAILS
    done, said = submitted(kfp, wait=True, again=3, view=View(workflow=Workflow("Error", message, ())))
    assert any(line.endswith(f"has ended: FAILED ({message})") for line in said)
    assert len(kfp.runs) == 1, "a workflow that is too large is so every time"
    assert done.ended == f"{message}. Split the study into several studies with fewer data sets each"
    _, said = submitted(kfp, wait=True, again=0)
    assert any(line.startswith("KFP gives no reason. Ask Argo: kubectl --namespace kubeflow get workflow") for line in said)


def test_a_run_without_any_started_step_is_not_restarted(kfp: FakeKfp) -> None:
    """This happens with an account without a token: all of KFP's own pods fail, in every run."""
    kfp.script = lambda number: [("FAILED", {"root-driver": "FAILED", "report-driver": "FAILED"})]
    done, _ = submitted(kfp, wait=True, again=3)
    assert len(kfp.runs) == 1
    assert done.ended == (
        "no step of the run has started: its pods, or KFP's own pods, failed earlier. Run `tuneoff submit --check`"
    )


def test_the_reason_of_a_failed_pod_is_reported(kfp: FakeKfp) -> None:
    nodes = ({"id": "a", "type": "Pod", "phase": "Failed", "message": "OOMKilled (exit code 137)"},)
    kfp.script = lambda number: FAILS
    _, said = submitted(kfp, wait=True, again=0, view=View(workflow=Workflow("Failed", "child failed", nodes)))
    assert "A pod of the run failed: OOMKilled (exit code 137). Give the step more resources.memory." in said


# Runs that are gone, doubled, interrupted or deleted


def test_new_replaces_a_run_whose_workflow_was_deleted(kfp: FakeKfp) -> None:
    submitted(kfp)
    kfp.script = lambda number: [("RUNNING", {})] if number == 0 else SUCCEEDS
    kfp.workflows_gone = True
    _, said = submitted(kfp, view=View(workflow=False))
    assert said[-1].startswith("Note: The cluster of this kubeconfig has no workflow of tuneoff-made-")
    assert "give --new to start another run. Otherwise select KFP's cluster with --kube-context." in said[-1]
    done, said = submitted(kfp, wait=True, new=True)
    assert (done.run.id, done.run.state) == ("run-1", "SUCCEEDED")
    assert kfp.deleted == ["run-0"], "KFP refuses to terminate it, so that it is taken out of its list"
    assert any(line.startswith("Ended tuneoff-made-") for line in said)


def test_following_ends_when_the_workflow_is_deleted(kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_run, "GONE_SECONDS", 0.3)
    kfp.script = lambda number: [("RUNNING", argo(tune="RUNNING"))]
    kfp.workflows_gone = True
    view = View(workflow=Workflow("Running", "", ()))
    looks = iter([Workflow("Running", "", ())] * 3)
    monkeypatch.setattr(view, "workflow", lambda run_id: next(looks, False))
    done, _ = submitted(kfp, wait=True, again=3, view=view)
    assert len(kfp.runs) == 1
    assert done.ended == (
        "the run: its workflow has disappeared from the cluster, but KFP shows it as running. Give --new to start another run"
    )


def test_a_kubeconfig_of_another_cluster_does_not_end_the_run(kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the run has no workflow and no pods, which proves nothing about the run."""
    monkeypatch.setattr(follow_run, "GONE_SECONDS", 0.1)
    monkeypatch.setattr(follow_run, "SILENCE_SECONDS", 0.3)
    kfp.script = lambda number: [*[("RUNNING", argo(tune="RUNNING"))] * 100, *SUCCEEDS]
    done, said = submitted(kfp, a_study(cluster={**VOLUME, "pending_seconds": 1}), wait=True, view=View(workflow=False))
    assert (done.run.state, done.ended, kfp.ended) == ("SUCCEEDED", None, [])
    assert any("No news for" in line and "select KFP's cluster with --kube-context" in line for line in said)


def test_the_note_about_an_active_run_says_how_to_start_another(kfp: FakeKfp) -> None:
    kfp.script = lambda number: [("RUNNING", {})]
    submitted(kfp)
    _, said = submitted(kfp)
    assert any("To start another run, give --new, or end this run in KFP." in line for line in said)


def test_two_submissions_in_the_same_second_leave_one_run(kfp: FakeKfp) -> None:
    """Both saw no run and started one; the server dates both to the same second."""
    kfp.clock = lambda: 0.0
    kfp.script = lambda number: [("RUNNING", {})]
    server = KfpServer(Login(kfp.uri))
    experiment, pipeline = server.experiment("tuneoff/made"), submitting._upload(a_study(), server, lambda line: None)
    kfp.began = lambda number: kfp.runs.append({**kfp.runs[0], "run_id": "run-9", "state": "RUNNING"}) if number == 0 else None
    said: list[str] = []
    first = submitting._start_one(a_study(), server, experiment, pipeline, "/results/runs/made", said.append)
    assert first.id == "run-0", "of two runs of the same second, the one with the first id stays"
    kfp.began = lambda number: None
    second = submitting._start_one(a_study(), server, experiment, pipeline, "/results/runs/made", said.append)
    assert second.id == "run-0"
    assert kfp.deleted == ["run-2"]
    assert said[-1].startswith("Another submission started this study at the same moment, as tuneoff-made-")


def test_a_run_deleted_in_kfp_raises_run_gone(kfp: FakeKfp) -> None:
    server = KfpServer(Login(kfp.uri))
    submitted(kfp)
    kfp.deleted.append("run-0")
    with pytest.raises(RunGone, match=r"^The run run-0 no longer exists in KFP: it was deleted\."):
        server.run("run-0")


def test_a_server_that_stops_answering_for_a_while_is_reported(kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kfp_server, "NOTE_AFTER_SECONDS", 0.05)
    with Proxy(kfp.uri, calm).running() as proxy:
        server = KfpServer(Login(proxy.uri))
        run = submit(a_study(), server).run
        said: list[str] = []
        server.note = said.append
        proxy.spoil = lambda method, path: None if said else "503"
        assert server.run(run.id, 120.0).id == run.id
    assert [line.split("(")[0] for line in said] == [
        f"KFP at {proxy.uri} does not answer ", said[1],
    ]  # fmt: skip
    assert re.fullmatch(rf"KFP at {proxy.uri} answers again after \d+ s\.", said[1])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    study = {"name": "made", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 4}, "cluster": VOLUME}
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(study))
    return tmp_path / "made.yaml"


def test_ctrl_c_says_that_the_run_continues_and_has_its_own_exit_code(
    kfp: FakeKfp, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Follower) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Follower, "to_the_end", interrupted)
    code, _, err = tuneoff(monkeypatch, capsys, "submit", file, "--host", kfp.uri, "--wait")
    assert code == 130
    assert err == (
        f"tuneoff: Interrupted. The run continues on the cluster: {kfp.uri}/#/runs/details/run-0."
        " The same command watches it again.\n"
    )


def test_a_run_deleted_while_it_is_followed_has_exit_code_1(
    kfp: FakeKfp, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.script = lambda number: [("RUNNING", {})]
    kfp.began = lambda number: kfp.deleted.append(f"run-{number}")
    code, _, err = tuneoff(monkeypatch, capsys, "submit", file, "--host", kfp.uri, "--wait")
    assert code == 1
    assert err.startswith("tuneoff: The run run-0 no longer exists in KFP: it was deleted. The record still has its results.")


# What the store is given, and what of it counts


def test_a_new_run_forgets_the_failures_of_an_earlier_run(kfp: FakeKfp, tmp_path: Path) -> None:
    study = a_study(cluster={"volume": {"claim": "results", "mount": str(tmp_path)}})
    store = made_store(tmp_path / "runs" / "made", study)
    assert read_failures(store, study.cells[-1])
    submitted(kfp, study)
    assert not read_failures(store, study.cells[-1])


def test_the_store_of_another_study_is_refused_before_anything_starts(kfp: FakeKfp, tmp_path: Path) -> None:
    cluster = {"volume": {"claim": "results", "mount": str(tmp_path)}}
    made_store(tmp_path / "runs" / "made", a_study(cluster=cluster))
    with pytest.raises(StudyError, match=r"holds another study: .*\(on a cluster, another place in artifacts\)"):
        submitted(kfp, a_study(cluster=cluster, split={"seed": 7}))
    assert kfp.runs == kfp.pipelines == []


def test_a_cell_that_failed_because_its_store_was_away_is_run_again(tmp_path: Path) -> None:
    study = a_study()
    store = made_store(tmp_path, study)
    store.delete("failures/mnist/grid/tuner.json")
    write_failure(store, "failures/mnist/grid/tuner.json", "tuner", StoreAway("The store is away."))
    assert missing_cells(store) == ("mnist/grid",)
    write_failure(store, "failures/mnist/grid/tuner.json", "tuner", StudyError("The study is wrong."))
    assert missing_cells(store) == ()


def test_a_local_file_is_copied_once_and_pods_get_the_same_bytes(tmp_path: Path) -> None:
    store, said = FolderStore(tmp_path / "store"), list[str]()
    dataset = Dataset(name="mine", path=str(small_npz(tmp_path / "mine.npz")))
    sent = put_input(store, dataset, tmp_path / "mine.npz")
    assert sent is not None
    assert put_input(store, dataset, tmp_path / "mine.npz") is None
    with input_copy(store, dataset, said.append) as copy:
        assert copy is not None
        assert copy.read_bytes() == (tmp_path / "mine.npz").read_bytes()
    assert said[0].startswith("mine: from the study's store, 0.0 MB (")
    with input_copy(store, Dataset(name="mnist"), said.append) as none:
        assert none is None


def test_a_changed_file_is_refused_after_the_study_has_prepared_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    dataset = Dataset(name="mine", path=str(small_npz(tmp_path / "mine.npz")))
    put_input(store, dataset, tmp_path / "mine.npz")
    small_npz(tmp_path / "mine.npz", images=120)
    assert put_input(store, dataset, tmp_path / "mine.npz") is not None, "nothing has been prepared from it yet"
    store.write("data/mine/dataset.json", b"{}")
    small_npz(tmp_path / "mine.npz", images=60)
    with pytest.raises(DataError, match=r"mine\.npz has changed since this study was first submitted"):
        put_input(store, dataset, tmp_path / "mine.npz")


def test_a_damaged_copy_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    dataset = Dataset(name="mine", path=str(small_npz(tmp_path / "mine.npz")))
    put_input(store, dataset, tmp_path / "mine.npz")
    store.write("inputs/mine.npz", b"torn")
    with (
        pytest.raises(DataError, match=r"inputs/mine\.npz has the SHA-256 sum .*\. Delete it and submit the study again\.$"),
        input_copy(store, dataset, lambda line: None),
    ):
        pass
    store.write("inputs/mine.json", b"{")
    assert read_input(store, "mine") is None


# Size


def test_a_study_too_large_for_one_workflow_is_refused_with_a_remedy() -> None:
    methods = [{"name": "random", "label": f"r{number}"} for number in range(45)]
    refuse_too_large(made_study(datasets=["mnist", "cifar10"], methods=methods, seeds=list(range(100))))
    with pytest.raises(StudyError, match=r"= 135 cells\. Its workflow would grow to about 1\.3 MiB.* into several studies"):
        refuse_too_large(made_study(datasets=["mnist", "cifar10", "fashion_mnist"], methods=methods))


def test_the_estimated_size_is_close_to_measured_sizes() -> None:
    """Bytes of the workflows of two finished runs: the quickstart's 8 cells, and 12 methods on two data sets."""
    study = read_study(str(Path(__file__).parents[2] / "manifests" / "overlays" / "kind" / "study.yaml"))
    assert workflow_bytes(study) == pytest.approx(174_069, rel=0.05)
    methods = [{"name": "random", "label": f"r{number}"} for number in range(12)]
    larger = made_study(datasets=["mnist", "fashion_mnist"], methods=methods, seeds=[0])
    assert workflow_bytes(larger) == pytest.approx(312_819, rel=0.05)
