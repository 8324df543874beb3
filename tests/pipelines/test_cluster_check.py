"""`tuneoff submit --check` against servers that speak KFP's and Kubernetes' APIs: what is lacking is said in plain sentences."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_kfp import FakeKfp
from fake_kubernetes import FakeKubernetes, node
from made import made_study
from tuneoff.cli import main
from tuneoff.components.core.study import Study
from tuneoff.pipelines import kfp_server
from tuneoff.pipelines.cluster_check import examine
from tuneoff.pipelines.doctor import Finding, State
from tuneoff.pipelines.kfp_server import Login

SPACE = "namespaces/team"
CLUSTER = {
    "namespace": "team",
    "service_account": "tuneoff",
    "volume": {"claim": "results"},
    "secrets": {"s3-keys": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}},
    "images": {"pull_secrets": ["registry"]},
    "steps": {
        "tuner": {
            "node_selector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        }
    },
}
RESOURCES = {"cpu": "2", "memory": "8Gi", "steps": {"tuner": {"gpu": 1}}}
GPU_TAINT = [{"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"}]


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKfp]:
    monkeypatch.setattr(kfp_server, "FIRST_PATIENCE_SECONDS", 0.1)
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeKfp().running() as server:
        yield server


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKubernetes]:
    """A cluster that has all that the study needs, and a kubeconfig that leads to it."""
    with FakeKubernetes().running() as server:
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig(tmp_path / "config"))
        )
        value = base64.b64encode(b"x").decode()
        claim = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
        server.objects = {
            SPACE: {"metadata": {"name": "team"}},
            f"{SPACE}/serviceaccounts/tuneoff": {"metadata": {"name": "tuneoff"}},
            f"{SPACE}/secrets/s3-keys": {"data": {"id": value, "secret": value}},
            f"{SPACE}/secrets/registry": {"data": {".dockerconfigjson": value}},
            f"{SPACE}/persistentvolumeclaims/results": claim,
            f"{SPACE}/resourcequotas": {"items": [quota()]},
            "nodes": {
                "items": [
                    node({"cpu": "4", "memory": "15Gi"}),
                    node({"cpu": "7500m", "memory": "60Gi", "nvidia.com/gpu": "1"}, {"pool": "gpu"}, GPU_TAINT),
                ]
            },
        }
        yield server


def quota(hard: dict[str, str] | None = None, used: dict[str, str] | None = None) -> dict[str, Any]:
    status = {"hard": hard or {"requests.cpu": "20", "pods": "50"}, "used": used or {"requests.cpu": "1"}}
    return {"metadata": {"name": "quota"}, "status": status}


def a_study(**changes: Any) -> Study:
    sections = {"datasets": ["mnist"], "methods": ["random"], "tracking": {"uri": "http://mlflow:5000"}}
    return made_study(**{**sections, "resources": RESOURCES, "cluster": CLUSTER, **changes})


def faults(kfp: FakeKfp, study: Study | None = None, **login: Any) -> list[str]:
    """What is not well, in words."""
    found = examine(study or a_study(), Login(kfp.uri, **login))
    return [_line(f) for f in found if f.state is not State.OK]


def _line(finding: Finding) -> str:
    return f"{finding.state} {finding.what}: {finding.said}{f' [{finding.remedy}]' if finding.remedy else ''}"


def test_a_cluster_that_has_everything_is_well(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    found = list(examine(a_study(), Login(kfp.uri)))
    assert {f.state for f in found} == {State.OK}
    said = {f.what: f.said for f in found}
    assert said["KFP version"] == "2.17.0"
    assert said["record"] == "at /tuneoff/runs/made"
    assert said["volume"] == "results is bound, ReadWriteMany"
    assert said["GPU"] == "nvidia.com/gpu on 1 of 2 nodes"
    assert [f.said for f in found if f.what == "nodes"] == [
        "data_prep fits on 1 of 2", "tuner fits on 1 of 2", "evaluator fits on 1 of 2", "reporter fits on 1 of 2",
    ]  # fmt: skip


def test_nothing_is_started_or_made(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    faults(kfp)
    assert {call.partition(" ")[0] for call in kfp.calls} == {"GET"}
    assert kfp.experiments == kfp.pipelines == []


# KFP


def test_a_kfp_that_does_not_answer_is_said_and_the_rest_still_looked_at(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    found = [_line(f) for f in examine(a_study(), Login("http://127.0.0.1:9")) if f.state is not State.OK]
    (said,) = found
    assert said.startswith("failing KFP: KFP at http://127.0.0.1:9 cannot be reached (")


def test_an_old_kfp_and_one_that_does_not_say_are_noted(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kfp.version = "2.5.0"
    (said,) = faults(kfp)
    assert said.startswith("warning KFP version: KFP 2.5.0 is older than 2.17, which the pipeline is compiled for [upgrade it")
    kfp.version = None
    assert faults(kfp) == ["warning KFP version: the server does not say its version [it must be 2.17 or newer]"]


def test_many_users_need_a_namespace_and_rights_in_it(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kfp.many_users = True
    (said, *_) = faults(kfp)
    assert said == "failing KFP namespace: this KFP has many users [give --namespace, or cluster.namespace]"
    assert faults(kfp, namespace="team") == []
    kfp.forbidden = {"team"}
    (said,) = faults(kfp, namespace="team")
    assert "does not allow this in namespace team (403: User is not authorized to list runs in team)" in said


def test_a_study_without_a_tracking_server_is_noted(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    (said,) = faults(kfp, a_study(tracking={}))
    assert said.startswith("warning MLflow: the study names no server: trials are on record alone")


# Kubernetes


def test_without_a_kubeconfig_it_says_what_was_not_looked_at(
    kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert faults(kfp) == [
        "warning Kubernetes: no kubeconfig, and this is no pod: namespace, secrets, volume, quota and nodes were not looked at"
    ]


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        (SPACE, "failing namespace: there is no namespace 'team' [make it, or name another in the study]"),
        (f"{SPACE}/serviceaccounts/tuneoff", "failing service account: there is no service account 'tuneoff' in namespace"),
        (f"{SPACE}/secrets/s3-keys", "failing secret: there is no secret 's3-keys' in namespace team [kubectl -n team"
         " create secret generic s3-keys --from-literal=id=… --from-literal=secret=…]"),
        (f"{SPACE}/secrets/registry", "failing secret: there is no secret 'registry' in namespace team [kubectl"),
        (f"{SPACE}/persistentvolumeclaims/results", "failing volume: there is no claim 'results' in namespace team [make it"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_named(kfp: FakeKfp, kubernetes: FakeKubernetes, gone: str, sentence: str) -> None:
    del kubernetes.objects[gone]
    (said,) = faults(kfp)
    assert said.startswith(sentence)


def test_a_secret_without_the_key_is_named(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    del kubernetes.objects[f"{SPACE}/secrets/s3-keys"]["data"]["secret"]
    assert faults(kfp) == ["failing secret: 's3-keys' has no key secret [add it, or name another key]"]


def test_what_may_not_be_looked_at_is_said(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kubernetes.forbidden = {"secrets", "nodes"}
    not_looked = "not looked at: this account may not look [ask somebody who may, or look with kubectl]"
    assert faults(kfp) == [f"warning secret: {not_looked}"] * 2 + [f"warning nodes: {not_looked}"]


@pytest.mark.parametrize("kind", ["serviceaccounts", "secrets", "persistentvolumeclaims", "resourcequotas", "nodes"])
def test_an_api_that_stops_answering_half_way_is_said_and_the_rest_looked_at(
    kfp: FakeKfp, kubernetes: FakeKubernetes, kind: str
) -> None:
    kubernetes.silent = {kind}
    found = faults(kfp)
    assert found
    assert all(re.fullmatch(r"warning [a-z ]+: not looked at: no answer \(.+\) \[try again\]", said) for said in found), found


def test_a_volume_for_one_node_or_unbound_is_noted(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    claim = kubernetes.objects[f"{SPACE}/persistentvolumeclaims/results"]
    claim["status"]["phase"] = "Pending"
    assert faults(kfp)[0].startswith("warning volume: results is Pending, not Bound")
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    assert faults(kfp)[0].startswith("warning volume: results is ReadWriteOnce: steps on two nodes cannot mount it at the same")


@pytest.mark.parametrize(
    ("hard", "used", "sentence"),
    [
        ({"requests.cpu": "1"}, {}, "failing quota: data_prep asks for 2 cpu, and quota allows 1 requests.cpu in all [ask for"),
        ({"requests.memory": "20Gi"}, {"requests.memory": "16Gi"},
         "warning quota: data_prep asks for 8Gi memory, and 4Gi of 20Gi requests.memory are left [its pods wait"),
        ({"pods": "8"}, {"pods": "8"}, "warning quota: data_prep asks for 1 pods, and 0 of 8 pods are left [its pods wait"),
        ({"requests.nvidia.com/gpu": "0"}, {}, "failing quota: tuner asks for 1 nvidia.com/gpu, and quota allows 0 requests."),
    ],
)  # fmt: skip
def test_a_quota_that_is_in_the_way_is_said(
    kfp: FakeKfp, kubernetes: FakeKubernetes, hard: dict[str, str], used: dict[str, str], sentence: str
) -> None:
    kubernetes.objects[f"{SPACE}/resourcequotas"] = {"items": [quota(hard, used or {"pods": "1"})]}
    (said,) = faults(kfp)
    assert said.startswith(sentence)


def test_a_quota_wants_every_pod_to_say_its_own(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kubernetes.objects[f"{SPACE}/resourcequotas"] = {"items": [quota({"limits.memory": "99Gi"})]}
    (said,) = faults(kfp, a_study(resources={"cpu": "2"}))
    assert said == (
        "failing quota: quota limits limits.memory, so that every pod must say its own, and data_prep does not"
        " [set resources.memory]"
    )


def test_a_gpu_that_no_node_has_is_said_with_what_there_is(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    found = faults(kfp, a_study(resources={**RESOURCES, "gpu_type": "nvidia.com/mig-1g.10gb"}))
    assert found[0] == (
        "failing GPU: no node has nvidia.com/mig-1g.10gb; there is nvidia.com/gpu"
        " [install the device plugin, or name another resources.gpu_type]"
    )


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ({"node_selector": {"pool": "fast"}}, "failing nodes: no node that takes pods has pool=fast [tuner: node_selector]"),
        ({"node_selector": {"pool": "gpu"}}, "failing nodes: every node for tuner has taints that it does not tolerate:"
         " nvidia.com/gpu:NoSchedule [add them to cluster.tolerations"),
        ({"node_selector": {}, "tolerations": []}, "failing nodes: no node for tuner has 2 cpu, 8Gi memory, 1 nvidia.com/gpu,"),
    ],
)  # fmt: skip
def test_a_step_that_fits_on_no_node_is_said(
    kfp: FakeKfp, kubernetes: FakeKubernetes, place: dict[str, Any], sentence: str
) -> None:
    (said,) = faults(kfp, a_study(cluster={**CLUSTER, "steps": {"tuner": place}}))
    assert said.startswith(sentence)


# The command


def check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, kfp: FakeKfp, *options: str
) -> tuple[int, str, str]:
    sections = {"name": "made", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 4}}
    study = {**sections, "tracking": {"uri": "http://mlflow:5000"}, "resources": RESOURCES, "cluster": CLUSTER}
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(study))
    monkeypatch.setattr("sys.argv", ["tuneoff", "submit", str(tmp_path / "made.yaml"), "--host", kfp.uri, "--check", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_command_prints_a_line_a_finding_and_fails_where_something_is_lacking(
    kfp: FakeKfp, kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = check(monkeypatch, capsys, tmp_path, kfp)
    assert (code, err) == (0, "")
    assert {line.split()[0] for line in out.splitlines()} == {"ok"}
    del kubernetes.objects[f"{SPACE}/persistentvolumeclaims/results"]
    code, out, err = check(monkeypatch, capsys, tmp_path, kfp)
    assert (code, err) == (1, "")
    (failing,) = [line for line in out.splitlines() if not line.startswith("ok")]
    assert " ".join(failing.split()) == (
        "failing volume there is no claim 'results' in namespace team: make it, or name another in cluster.volume.claim"
    )
    assert kfp.runs == kfp.pipelines == []


def test_what_is_only_worth_a_warning_is_exit_code_0_and_all_can_be_had_as_json(
    kfp: FakeKfp, kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kfp.version = "2.5.0"
    code, out, _ = check(monkeypatch, capsys, tmp_path, kfp, "--json")
    assert code == 0
    assert [f["what"] for f in json.loads(out) if f["state"] == "warning"] == ["KFP version"]
