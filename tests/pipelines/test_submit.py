"""Test `tuneoff submit` with KFP's own client and a fake KFP server, over a real connection."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_kfp import FAILS, SUCCEEDS, FakeKfp
from faulty import Fault, Proxy, calm
from made import made_store, made_study
from on_kfp import VOLUME, a_study, submitted, tuneoff
from tuneoff.cluster import follow_run, kfp_server
from tuneoff.cluster.kfp_server import KfpServer, Login
from tuneoff.cluster.preconditions import store_on_cluster
from tuneoff.core.errors import StudyError
from tuneoff.core.store.folder import FolderStore
from tuneoff.pipelines import submit as submitting
from tuneoff.pipelines.submit import missing_cells, submit
from tuneoff.study_file.check import study_of


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKfp]:
    """Run a fake server, with short pauses in the client."""
    monkeypatch.setattr(follow_run, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(submitting, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(kfp_server, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNEOFF_SOURCES", "cache")
    with FakeKfp().running() as server:
        yield server


# Starting


def test_a_study_becomes_a_pipeline_with_a_version_an_experiment_and_a_run(kfp: FakeKfp) -> None:
    done, said = submitted(kfp, a_study(tracking={"uri": "http://mlflow:5000"}))
    (pipeline,), (version,), (experiment,), (run,) = kfp.pipelines, kfp.versions, kfp.experiments, kfp.runs
    assert pipeline["display_name"] == "tuneoff-made"
    assert re.fullmatch("[0-9a-f]{12}", version["display_name"])
    assert experiment["display_name"] == "tuneoff/made"
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipeline-0", "pipeline_version_id": "pipeline_version-0"}
    assert run["runtime_config"]["parameters"] == {"store": "/results/runs/made", "tracking": "http://mlflow:5000"}
    assert done.link == f"{kfp.uri}/#/runs/details/run-0"
    assert f"Started {run['display_name']}: {done.link}" in said


def test_the_uploaded_pipeline_is_the_compiled_one(kfp: FakeKfp, tmp_path: Path) -> None:
    submitted(kfp)
    submitting.compile_study(a_study(), tmp_path / "compiled.yaml")
    assert list(kfp.uploaded.values()) == [(tmp_path / "compiled.yaml").read_text()]


def test_a_study_is_uploaded_once_and_a_changed_study_is_a_new_version(kfp: FakeKfp) -> None:
    submitted(kfp, wait=True)
    _, said = submitted(kfp, wait=True)
    assert any(line.endswith("(already uploaded)") for line in said)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)
    submitted(kfp, a_study(resources={"memory": "8Gi"}), wait=True)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, 2, 3)


def test_the_run_uses_the_studys_service_account(kfp: FakeKfp) -> None:
    submitted(kfp, a_study(cluster={**VOLUME, "service_account": "tuneoff"}))
    assert kfp.runs[0]["service_account"] == "tuneoff"


def test_an_active_run_is_found_and_not_started_twice(kfp: FakeKfp) -> None:
    submitted(kfp)
    kfp.script = lambda number: [("RUNNING", {})]
    done, said = submitted(kfp)
    assert len(kfp.runs) == 1
    assert done.run.id == "run-0"
    assert any(line.startswith("The study is running already as tuneoff-made-") for line in said)
    submitted(kfp, a_study(artifacts="s3://nobucket/elsewhere", cluster={}))
    assert len(kfp.runs) == 2, "another store is another run"


# Following


def test_each_change_of_a_step_is_reported_once(kfp: FakeKfp) -> None:
    done, said = submitted(kfp, wait=True)
    assert (done.run.state, done.runs) == ("SUCCEEDED", 1)
    assert [line for line in said if (": " in line and " on " in line) or line.startswith(("prepare", "report"))][-5:] == [
        "prepare mnist: 1 running",
        "prepare mnist: 1 succeeded",
        "tune on mnist: 1 running, 1 succeeded",
        "tune on mnist: 2 succeeded",
        "report: 1 succeeded",
    ]
    assert said[-1].endswith("has ended: SUCCEEDED")


def test_a_readable_record_is_shown(kfp: FakeKfp, tmp_path: Path) -> None:
    place = tmp_path / "volume"
    study = a_study(cluster={"volume": {"claim": "results", "mount": str(place)}})
    made_store(place / "runs" / "made", study)
    shown: list[int] = []
    submitted(
        kfp, study, wait=True, watch=lambda result: shown.append(sum(len(s.told) for c in result.cells for s in c.searches))
    )
    assert set(shown) == {24 + 3 * 3}


# What a cluster took away


def test_cells_that_lost_their_pods_are_restarted(kfp: FakeKfp, tmp_path: Path) -> None:
    """The second run finds one finished cell in the record, and finishes the other."""
    study = a_study(cluster={"volume": {"claim": "results", "mount": str(tmp_path)}})
    root = tmp_path / "runs" / "made"
    whole = FolderStore(tmp_path / "whole")
    made_store(whole.root, a_study(methods=["random", "grid", "bayes"]))

    def began(number: int) -> None:
        made_store(root, study) if number == 0 else None
        if number == 0:
            FolderStore(root).delete("failures/mnist/grid/tuner.json")
        else:
            name = "evaluations/mnist/grid/evaluation.json"
            FolderStore(root).write(name, whole.read(name))

    root.mkdir(parents=True)
    kfp.began = began
    kfp.script = lambda number: FAILS if number == 0 else SUCCEEDS
    done, said = submitted(kfp, study, wait=True, again=3)
    assert (done.run.state, done.runs, done.missing) == ("SUCCEEDED", 2, ())
    assert any("1 cells lost their pods or their store. Restarting it (1 of 3)." in line for line in said)
    assert kfp.runs[0]["pipeline_version_reference"] == kfp.runs[1]["pipeline_version_reference"]
    assert kfp.runs[0]["runtime_config"] == kfp.runs[1]["runtime_config"]


def test_cells_with_a_recorded_failure_are_not_restarted(kfp: FakeKfp, tmp_path: Path) -> None:
    study = a_study(cluster={"volume": {"claim": "results", "mount": str(tmp_path)}})
    (tmp_path / "runs" / "made").mkdir(parents=True)
    kfp.began = lambda number: made_store(tmp_path / "runs" / "made", study) and None
    kfp.script = lambda number: FAILS
    done, _ = submitted(kfp, study, wait=True, again=3)
    assert (done.run.state, done.runs, done.missing) == ("FAILED", 1, ())
    assert done.failed == ("mnist/grid: tuner failed: RuntimeError: the oven <script>alert(1)</script> is cold",)
    assert missing_cells(FolderStore(tmp_path / "runs" / "made")) == ()


def test_without_a_readable_record_a_failed_run_is_restarted_up_to_the_limit(kfp: FakeKfp) -> None:
    kfp.script = lambda number: FAILS
    done, said = submitted(kfp, wait=True, again=2)
    assert (done.run.state, done.runs, done.missing, len(kfp.runs)) == ("FAILED", 3, None, 3)
    assert said[0] == (
        "The record at /results/runs/made is on the cluster's volume. This machine can show only the states that KFP reports."
    )


def test_a_canceled_run_is_left_alone(kfp: FakeKfp) -> None:
    kfp.script = lambda number: [("CANCELING", {}), ("CANCELED", {})]
    done, _ = submitted(kfp, wait=True, again=2)
    assert (done.run.state, done.runs) == ("CANCELED", 1)


# A server that fails


@pytest.mark.parametrize("fault", ["500", "503", "lost", "drop"])
def test_nothing_is_created_twice_if_a_call_fails_once(kfp: FakeKfp, fault: Fault) -> None:
    spoilt: set[str] = set()

    def each_once(method: str, path: str) -> Fault | None:
        call = f"{method} {path.partition('?')[0]}"
        if call in spoilt or (call == "POST /apis/v2beta1/runs" and fault != "lost"):
            return None
        spoilt.add(call)
        return fault

    with Proxy(kfp.uri, calm).running() as proxy:
        server = KfpServer(Login(proxy.uri))
        proxy.spoil = each_once
        done = submit(a_study(), server, wait=True)
    assert done.run.state == "SUCCEEDED"
    made = {"pipelines", "pipelines/upload_version", "experiments", *(["runs"] if fault == "lost" else [])}
    assert {c for c in spoilt if c.startswith("POST")} == {f"POST /apis/v2beta1/{what}" for what in made}
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 1)


def test_a_run_that_cannot_be_started_raises_one_sentence(kfp: FakeKfp) -> None:
    with Proxy(kfp.uri, calm).running() as proxy:
        server = KfpServer(Login(proxy.uri))
        proxy.spoil = lambda method, path: "500" if method == "POST" and path.endswith("/runs") else None
        with pytest.raises(
            StudyError, match=r"^KFP at http://127\.0\.0\.1:\d+ answered 500 \(.*\)\. Look at the log of ml-pipeline\.$"
        ):
            submit(a_study(), server)


def test_an_address_without_a_server_raises_one_sentence_soon(kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kfp_server, "FIRST_PATIENCE_SECONDS", 0.1)
    with pytest.raises(
        StudyError, match=r"^KFP at http://127\.0\.0\.1:9 cannot be reached \(.*\)\. Check --host and the network\.$"
    ):
        KfpServer(Login("http://127.0.0.1:9"))
    with pytest.raises(StudyError, match=r"^--host 'kfp' is not an http\(s\) address\. Give KFP's address, such as"):
        KfpServer(Login("kfp"))


# Logging in


def test_each_way_of_logging_in_works(kfp: FakeKfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.token = "open sesame"
    file = tmp_path / "token"
    file.write_text("open sesame\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    for login in (
        Login(kfp.uri, token="open sesame"),
        Login(kfp.uri, token_file=file),
        Login(kfp.uri, service_account=True),
    ):
        KfpServer(login).experiment("x")
    assert len(kfp.experiments) == 1


def test_a_token_file_is_read_again_for_each_call(kfp: FakeKfp, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    kfp.token = "first"
    server = KfpServer(Login(kfp.uri, token_file=file))
    kfp.token = "second"
    file.write_text("second")
    server.experiment("x")
    assert len(kfp.experiments) == 1


def test_a_refused_login_names_the_login_options(kfp: FakeKfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.token = "open sesame"
    with pytest.raises(StudyError, match=r"^KFP at http.* refused the login \(401\)\. Give --token-file, --existing-token"):
        KfpServer(Login(kfp.uri, token="guess"))
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(StudyError, match="Use it only in a pod with a token for KFP"):
        KfpServer(Login(kfp.uri, service_account=True))


def test_the_namespace_is_sent_only_to_a_multi_user_kfp(kfp: FakeKfp) -> None:
    assert KfpServer(Login(kfp.uri, namespace="team")).namespace is None
    kfp.many_users = True
    submit(a_study(), KfpServer(Login(kfp.uri, namespace="team")))
    assert (kfp.pipelines[0]["namespace"], kfp.experiments[0]["namespace"]) == ("team", "team")


# The location of the record


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"artifacts": "s3://bucket/runs/"}, "s3://bucket/runs"),
        ({"cluster": VOLUME}, "/results/runs/made"),
        ({"cluster": VOLUME, "artifacts": "/results/mine"}, "/results/mine"),
        ({"cluster": VOLUME, "artifacts": "s3://bucket/runs"}, "s3://bucket/runs"),
    ],
)
def test_the_record_is_in_storage_that_all_pods_share(changes: dict[str, Any], place: str) -> None:
    assert store_on_cluster(made_study(**changes)) == place


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "The study names no storage that all pods share. Set artifacts: s3://bucket/prefix, or cluster.volume with a claim.",
        ),
        ({"artifacts": "/here/runs"}, "artifacts: '/here/runs' is a folder on this machine. Give an s3:// URI, or a path on"),
        ({"artifacts": "/here/runs", "cluster": VOLUME}, "artifacts: '/here/runs' is a folder on this machine"),
    ],
)
def test_storage_that_pods_do_not_share_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError) as caught:
        store_on_cluster(made_study(**changes))
    assert str(caught.value).startswith(sentence)


def test_the_examples_in_the_docs_are_valid_on_a_cluster() -> None:
    page = Path(__file__).parents[2] / "docs" / "submit.md"
    examples = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        study = {"name": "made", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 4}, **yaml.safe_load(example)}
        assert store_on_cluster(study_of(study)) in ("/tuneoff/runs/made", "s3://bakeoffs/first")


# The command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    study = {"name": "made", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 4}, "cluster": VOLUME}
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(study))
    return tmp_path / "made.yaml"


def test_the_exit_code_depends_on_the_runs_state(
    kfp: FakeKfp, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit_it = ("submit", file, "--host", kfp.uri, "--wait", "--again", "0")
    assert tuneoff(monkeypatch, capsys, *submit_it)[0] == 0
    kfp.script = lambda number: FAILS
    assert tuneoff(monkeypatch, capsys, *submit_it)[0] == 1
    kfp.script = lambda number: [("CANCELED", {})]
    code, _, err = tuneoff(monkeypatch, capsys, *submit_it)
    assert code == 3
    assert err == "tuneoff: The run was canceled. Run the same command again to continue the study.\n"


def test_without_wait_the_command_returns_once_the_run_has_started(
    kfp: FakeKfp, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.script = lambda number: [("RUNNING", {})]
    code, out, _ = tuneoff(monkeypatch, capsys, "submit", file, "--host", kfp.uri, "--json")
    assert code == 0
    assert json.loads(out) == {
        "study": "made", "run": "run-0", "state": "RUNNING", "link": f"{kfp.uri}/#/runs/details/run-0", "runs": 1, "missing": [],
    }  # fmt: skip


def test_a_multi_user_kfp_needs_a_namespace(
    kfp: FakeKfp, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.many_users = True
    code, _, err = tuneoff(monkeypatch, capsys, "submit", file, "--host", kfp.uri)
    assert code == 2
    remedy = "Give --namespace, or set cluster.namespace in the study."
    assert err == f"tuneoff: KFP at {kfp.uri} has several users, so a run needs a namespace. {remedy}\n"
    assert kfp.runs == []
