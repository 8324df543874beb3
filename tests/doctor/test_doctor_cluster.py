"""Test `tuneoff submit --check` with fake KFP and Kubernetes servers: each missing resource is reported with a remedy."""

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
from fake_registry import FakeRegistry
from made import made_study
from small import small_npz
from tuneoff._version import __version__
from tuneoff.cli.main import main
from tuneoff.cluster import kfp_server, registry_check
from tuneoff.cluster.kfp_server import Login
from tuneoff.cluster.user_modules import own_code_notes
from tuneoff.core.cluster_settings import Images
from tuneoff.core.finding import Finding, State
from tuneoff.core.store.dataset_copies import put_input
from tuneoff.core.store.open import open_store
from tuneoff.core.study import Dataset, Study
from tuneoff.doctor.cluster import examine

SPACE = "namespaces/team"
CLUSTER = {
    "namespace": "team",
    "service_account": "trainer",
    "volume": {"claim": "results"},
    "env": {"TUNEOFF_CACHE": "/tuneoff/datasets"},
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
IMAGES = [f"docker.io/tuneoff/{name}:{__version__}" for name in ("data_prep", "tuner-gpu", "evaluator", "reporter")]
GPU_TAINT = [{"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"}]


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKfp]:
    monkeypatch.setattr(kfp_server, "FIRST_PATIENCE_SECONDS", 0.1)
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeKfp().running() as server:
        yield server


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """Replace Docker Hub by a fake registry that has every image of the study."""
    with FakeRegistry().running() as server:
        monkeypatch.setattr(registry_check, "DOCKER_HUB_API", server.host)
        server.images = {image.removeprefix("docker.io/") for image in IMAGES} | {f"tuneoff/tuner:{__version__}"}
        yield server


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKubernetes]:
    """Run a fake cluster that has everything the study needs, with a kubeconfig for it."""
    with FakeKubernetes().running() as server:
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(server.kubeconfig(tmp_path / "config"))
        )
        value = base64.b64encode(b"x").decode()
        claim = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
        server.objects = {
            SPACE: {"metadata": {"name": "team"}},
            f"{SPACE}/serviceaccounts/trainer": {"metadata": {"name": "trainer"}},
            f"{SPACE}/secrets/s3-keys": {"data": {"id": value, "secret": value}},
            f"{SPACE}/secrets/registry": {"data": {".dockerconfigjson": value}},
            f"{SPACE}/persistentvolumeclaims/results": claim,
            f"{SPACE}/resourcequotas": {"items": [quota()]},
            "nodes": {
                "items": [
                    node({"cpu": "4", "memory": "15Gi"}, images=IMAGES),
                    node({"cpu": "7500m", "memory": "60Gi", "nvidia.com/gpu": "1"}, {"pool": "gpu"}, GPU_TAINT, IMAGES),
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
    """Return a line for each finding that is not ok."""
    found = examine(study or a_study(), Login(kfp.uri, **login))
    return [_line(f) for f in found if f.state is not State.OK]


def _line(finding: Finding) -> str:
    return f"{finding.state} {finding.what}: {finding.said}{f' [{finding.remedy}]' if finding.remedy else ''}"


def test_a_complete_cluster_has_only_ok_findings(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    found = list(examine(a_study(), Login(kfp.uri)))
    assert {f.state for f in found} == {State.OK}
    said = {f.what: f.said for f in found}
    assert said["KFP version"] == "2.17.0"
    assert said["record"] == "at /tuneoff/runs/made, on the cluster's volume: cannot be checked from this machine"
    assert said["volume"] == "results is bound, ReadWriteMany"
    assert said["GPU"] == "nvidia.com/gpu on 1 of 2 nodes"
    assert [f.said for f in found if f.what == "nodes"] == [
        "data_prep fits on 1 of 2", "tuner fits on 1 of 2", "evaluator fits on 1 of 2", "reporter fits on 1 of 2",
    ]  # fmt: skip


def test_the_check_starts_and_creates_nothing(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    faults(kfp)
    assert {call.partition(" ")[0] for call in kfp.calls} == {"GET"}
    assert kfp.experiments == kfp.pipelines == []


# KFP


def test_the_rest_is_checked_if_kfp_does_not_answer(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    found = [_line(f) for f in examine(a_study(), Login("http://127.0.0.1:9")) if f.state is not State.OK]
    (said,) = found
    assert said.startswith("failing KFP: KFP at http://127.0.0.1:9 cannot be reached (")


def test_an_old_or_unknown_version_of_kfp_is_a_warning(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kfp.version = "2.5.0"
    (said,) = faults(kfp)
    assert said.startswith(
        "warning KFP version: KFP 2.5.0 is older than 2.17, the version that the pipeline is compiled for [upgrade KFP"
    )
    kfp.version = None
    assert faults(kfp) == ["warning KFP version: the server does not report its version [make sure that it is 2.17 or newer]"]


def test_a_multi_user_kfp_needs_a_namespace_and_rights_in_it(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kfp.many_users = True
    (said, *_) = faults(kfp)
    assert said == (
        "failing KFP namespace: this KFP has several users, so a run needs a namespace [give --namespace, or set"
        " cluster.namespace]"
    )
    assert faults(kfp, namespace="team") == []
    kfp.forbidden = {"team"}
    (said,) = faults(kfp, namespace="team")
    assert "does not allow this in namespace team (403: User is not authorized to list runs in team)" in said


def test_a_study_without_a_tracking_server_is_a_warning(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    (said,) = faults(kfp, a_study(tracking={}))
    assert said.startswith("warning MLflow: the study names no MLflow server, so trials are only in the record")


# Kubernetes


def test_without_a_kubeconfig_the_unchecked_things_are_listed(
    kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert faults(kfp) == [
        "warning Kubernetes: this machine has no kubeconfig and is not a pod: namespace, service account, secrets, volume, quota"
        " and nodes were not checked"
    ]


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        (SPACE, "failing namespace: there is no namespace 'team' [create it, or name another in the study]"),
        (f"{SPACE}/serviceaccounts/trainer", "failing service account: there is no service account 'trainer' in namespace"),
        (f"{SPACE}/secrets/s3-keys", "failing secret: there is no secret 's3-keys' in namespace team [kubectl -n team"
         " create secret generic s3-keys --from-literal=id=… --from-literal=secret=…]"),
        (f"{SPACE}/secrets/registry", "failing secret: there is no secret 'registry' in namespace team [kubectl"),
        (f"{SPACE}/persistentvolumeclaims/results", "failing volume: there is no claim 'results' in namespace team [create it"),
    ],
)  # fmt: skip
def test_a_missing_object_is_named(kfp: FakeKfp, kubernetes: FakeKubernetes, gone: str, sentence: str) -> None:
    del kubernetes.objects[gone]
    (said,) = faults(kfp)
    assert said.startswith(sentence)


def test_a_secret_without_the_key_is_named(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    del kubernetes.objects[f"{SPACE}/secrets/s3-keys"]["data"]["secret"]
    assert faults(kfp) == ["failing secret: 's3-keys' has no key secret [add it, or name another key]"]


def test_objects_that_the_account_may_not_read_are_reported(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kubernetes.forbidden = {"secrets", "nodes", "limitranges"}
    not_checked = "not checked: this account has no right to read it [ask a user who has the right, or check with kubectl]"
    assert faults(kfp) == [
        *[f"warning secret: {not_checked}"] * 2,
        f"warning limit range: {not_checked}",
        f"warning nodes: {not_checked}",
    ]


@pytest.mark.parametrize(
    "kind", ["serviceaccounts", "secrets", "persistentvolumeclaims", "resourcequotas", "limitranges", "nodes"]
)
def test_the_rest_is_checked_if_the_api_stops_answering(kfp: FakeKfp, kubernetes: FakeKubernetes, kind: str) -> None:
    kubernetes.silent = {kind}
    found = faults(kfp)
    assert found
    assert all(re.fullmatch(r"warning [a-z ]+: not checked: no answer \(.+\) \[try again\]", said) for said in found), found


def test_a_volume_for_one_node_or_unbound_is_a_warning(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    claim = kubernetes.objects[f"{SPACE}/persistentvolumeclaims/results"]
    claim["status"]["phase"] = "Pending"
    assert faults(kfp)[0].startswith("warning volume: results is Pending, not Bound")
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    assert faults(kfp)[0].startswith(
        "warning volume: results is ReadWriteOnce, so steps on different nodes cannot mount it at the same"
    )


@pytest.mark.parametrize(
    ("hard", "used", "sentence"),
    [
        ({"requests.cpu": "1"}, {},
         "failing quota: data_prep requests 2 cpu, but quota allows 1 requests.cpu in total [request less in resources, or"),
        ({"requests.memory": "20Gi"}, {"requests.memory": "16Gi"},
         "warning quota: data_prep requests 8Gi memory, but only 4Gi of 20Gi requests.memory are free [its pods will wait"),
        ({"pods": "8"}, {"pods": "8"},
         "warning quota: data_prep requests 1 pods, but only 0 of 8 pods are free [its pods will wait"),
        ({"requests.nvidia.com/gpu": "0"}, {}, "failing quota: tuner requests 1 nvidia.com/gpu, but quota allows 0 requests."),
    ],
)  # fmt: skip
def test_a_quota_that_is_too_small_is_reported(
    kfp: FakeKfp, kubernetes: FakeKubernetes, hard: dict[str, str], used: dict[str, str], sentence: str
) -> None:
    kubernetes.objects[f"{SPACE}/resourcequotas"] = {"items": [quota(hard, used or {"pods": "1"})]}
    (said,) = faults(kfp)
    assert said.startswith(sentence)


def test_a_quota_requires_every_pod_to_set_its_request(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kubernetes.objects[f"{SPACE}/resourcequotas"] = {"items": [quota({"limits.memory": "99Gi"})]}
    (said,) = faults(kfp, a_study(resources={"cpu": "2"}))
    assert said == (
        "failing quota: quota limits limits.memory, so every pod must request memory, and data_prep does not"
        " [set resources.memory]"
    )


def test_a_missing_gpu_type_is_reported_with_the_available_ones(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    found = faults(kfp, a_study(resources={**RESOURCES, "gpu_type": "nvidia.com/mig-1g.10gb"}))
    assert found[0] == (
        "failing GPU: no node has nvidia.com/mig-1g.10gb; the nodes have nvidia.com/gpu"
        " [install the device plugin, or set another resources.gpu_type]"
    )


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ({"node_selector": {"pool": "fast"}},
         "failing nodes: no schedulable node has pool=fast [change the node_selector of tuner]"),
        ({"node_selector": {"pool": "gpu"}}, "failing nodes: every node for tuner has taints that it does not tolerate:"
         " nvidia.com/gpu:NoSchedule [add tolerations to cluster.tolerations"),
        ({"node_selector": {}, "tolerations": []}, "failing nodes: no node for tuner has 2 cpu, 8Gi memory, 1 nvidia.com/gpu,"),
    ],
)  # fmt: skip
def test_a_step_that_fits_on_no_node_is_reported(
    kfp: FakeKfp, kubernetes: FakeKubernetes, place: dict[str, Any], sentence: str
) -> None:
    (said,) = faults(kfp, a_study(cluster={**CLUSTER, "steps": {"tuner": place}}))
    assert said.startswith(sentence)


# The pods' account

RESULTS = "workflowtaskresults.argoproj.io"
SUBMITTER = (
    " [remove cluster.service_account, or name an account that KFP's own pods use; the account `tuneoff` of manifests/runs"
    " is only for submitting]"
)


def test_the_rights_are_reviewed_for_the_accounts_full_name(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    assert faults(kfp) == []
    assert [r["resourceAttributes"]["verb"] for r in kubernetes.reviews] == ["create", "patch"]
    review = kubernetes.reviews[0]
    assert review["user"] == "system:serviceaccount:team:trainer"
    assert review["groups"] == ["system:serviceaccounts", "system:serviceaccounts:team", "system:authenticated"]
    assert review["resourceAttributes"] == {
        "namespace": "team", "verb": "create", "group": "argoproj.io", "resource": "workflowtaskresults",
    }  # fmt: skip


def test_an_account_that_cannot_run_a_step_is_reported(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kubernetes.objects[f"{SPACE}/serviceaccounts/trainer"]["automountServiceAccountToken"] = False
    token = "failing service account: KFP's pods cannot run under 'trainer': its token is not mounted"
    assert faults(kfp) == [f"{token} (automountServiceAccountToken: false){SUBMITTER}"]
    kubernetes.denied = {("trainer", "create", RESULTS), ("trainer", "patch", RESULTS)}
    assert faults(kfp) == [f"{token} (automountServiceAccountToken: false), and it may not create and patch {RESULTS}{SUBMITTER}"]
    del kubernetes.objects[f"{SPACE}/serviceaccounts/trainer"]["automountServiceAccountToken"]
    kubernetes.denied = {("trainer", "patch", RESULTS)}
    assert faults(kfp) == [
        f"failing service account: KFP's pods cannot run under 'trainer': it may not patch {RESULTS}{SUBMITTER}"
    ]


@pytest.mark.parametrize(("many_users", "account"), [(False, "pipeline-runner"), (True, "default-editor")])
def test_the_default_account_is_that_of_kfp(kfp: FakeKfp, kubernetes: FakeKubernetes, many_users: bool, account: str) -> None:
    kfp.many_users = many_users
    study = a_study(cluster={**CLUSTER, "service_account": None})
    assert faults(kfp, study, namespace="team") == [
        f"warning service account: there is no service account {account!r} in namespace team, the default of KFP's pods"
        " [if KFP is configured with another account, name it in cluster.service_account]"
    ]
    kubernetes.objects[f"{SPACE}/serviceaccounts/{account}"] = {"metadata": {"name": account}}
    assert faults(kfp, study, namespace="team") == []
    kubernetes.denied = {(account, "create", RESULTS)}
    (said,) = faults(kfp, study, namespace="team")
    assert said.startswith(f"failing service account: KFP's pods cannot run under {account!r}: it may not create {RESULTS} [give")


def test_a_review_of_rights_that_is_forbidden_is_reported(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    kubernetes.forbidden = {"localsubjectaccessreviews"}
    asked = f"not checked: whether 'trainer' may create and patch {RESULTS}, which KFP's pods need"
    command = f"kubectl -n team auth can-i create {RESULTS} --as system:serviceaccount:team:trainer"
    assert faults(kfp) == [f"warning service account: {asked} [ask a user who has the right to run: {command}]"]
    kubernetes.objects[f"{SPACE}/serviceaccounts/trainer"]["automountServiceAccountToken"] = False
    assert [said.partition(":")[0] for said in faults(kfp)] == ["warning service account", "failing service account"]


def test_an_unknown_account_is_not_checked(kubernetes: FakeKubernetes, kfp: FakeKfp) -> None:
    study = a_study(cluster={**CLUSTER, "service_account": None})
    found = [_line(f) for f in examine(study, Login("http://127.0.0.1:9")) if f.state is not State.OK]
    assert found[1:] == [
        "warning service account: not checked: KFP did not say which account its pods use [check again when KFP answers]"
    ]


# Limits


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ({"type": "Container", "max": {"memory": "6Gi"}},
         "failing limit range: data_prep requests 8Gi memory, but bounds allows a container at most 6Gi [request less"),
        ({"type": "Pod", "max": {"cpu": "1"}},
         "failing limit range: data_prep requests 2 cpu, but bounds allows a pod at most 1 ["),
        ({"type": "Container", "min": {"cpu": "3"}},
         "failing limit range: data_prep requests 2 cpu, but bounds allows a container no less than 3 [request more"),
        ({"type": "Container", "max": {"nvidia.com/gpu": "0"}},
         "failing limit range: tuner requests 1 nvidia.com/gpu, but bounds allows a container at most 0 ["),
    ],
)  # fmt: skip
def test_a_limit_range_that_forbids_a_step_is_reported(
    kfp: FakeKfp, kubernetes: FakeKubernetes, limit: dict[str, Any], sentence: str
) -> None:
    limits = {"items": [{"metadata": {"name": "bounds"}, "spec": {"limits": [limit]}}]}
    kubernetes.objects[f"{SPACE}/limitranges"] = limits
    assert faults(kfp)[0].startswith(sentence)
    limit["type"] = "PersistentVolumeClaim"
    assert faults(kfp) == []


# Images


def without(kubernetes: FakeKubernetes, image: str, nodes: slice = slice(None)) -> None:
    """Take an image from the nodes."""
    for each in kubernetes.objects["nodes"]["items"][nodes]:
        each["status"]["images"] = [i for i in each["status"]["images"] if f"/{image}:" not in i["names"][0]]


def with_images(**images: Any) -> Study:
    return a_study(cluster={**CLUSTER, "images": {"pull_secrets": ["registry"], **images}})


def test_no_registry_is_asked_for_images_on_the_nodes(kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry) -> None:
    found = [f.said for f in examine(a_study(), Login(kfp.uri)) if f.what == "image"]
    assert found == [f"{image.removeprefix('docker.io/')} is on the nodes" for image in IMAGES]
    without(kubernetes, "tuner-gpu", slice(1))
    assert faults(kfp) == []
    assert registry.calls == [], "the tuner's pods do not fit on the node that lacks its image"


def test_an_image_that_exists_nowhere_is_reported(kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry) -> None:
    image = f"tuneoff/evaluator:{__version__}"
    without(kubernetes, "evaluator")
    assert faults(kfp) == []
    registry.images.remove(image)
    remedy = "build it with `make images PREFIX=tuneoff IMAGES=evaluator` and push it, or set another in cluster.images"
    assert faults(kfp) == [f"failing image: the registry has no image {image} (it is on 0 of 1 nodes) [{remedy}]"]
    kubernetes.forbidden = {"nodes"}
    assert f"failing image: the registry has no image {image} (the nodes were not checked) [{remedy}]" in faults(kfp)


def test_an_image_that_cannot_be_checked_is_reported_with_the_reason(
    kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry
) -> None:
    registry.wants_token = registry.private = True
    without(kubernetes, "evaluator")
    image = f"tuneoff/evaluator:{__version__}"
    assert faults(kfp) == [
        f"warning image: {image} was not checked: {registry.host} requires a login for it, or does not have it (HTTP status 401)"
        " (it is on 0 of 1 nodes) [make sure that the nodes can pull it; if it needs a login, set cluster.images.pull_secrets]"
    ]


def test_an_image_with_a_custom_name_is_looked_up_by_that_name(
    kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry
) -> None:
    image = f"{registry.host}/mine/search:7"
    study = with_images(names={"tuner-gpu": image})
    assert faults(kfp, study) == [
        f"failing image: the registry has no image {image} (it is on 0 of 1 nodes) [build and push it, or set another image in"
        " cluster.images.names]"
    ]
    registry.images.add("mine/search:7")
    assert faults(kfp, study) == []


def test_images_that_are_never_pulled_must_be_on_the_nodes(
    kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry
) -> None:
    study = with_images(pull_policy="Never")
    assert faults(kfp, study) == []
    without(kubernetes, "evaluator")
    remedy = "[load it into every node, or let the nodes pull it (cluster.images.pull_policy)]"
    image = f"tuneoff/evaluator:{__version__}"
    assert faults(kfp, study) == [f"failing image: {image} is on 0 of 1 nodes, and pull_policy is Never {remedy}"]
    for each in kubernetes.objects["nodes"]["items"]:
        each["status"]["images"] += [{"names": [f"docker.io/library/other:{n}"]} for n in range(50)]
    assert faults(kfp, study) == [
        f"warning image: {image} is listed by 0 of 1 nodes, and a node lists only its 50 largest images {remedy}"
    ]
    kubernetes.forbidden = {"nodes"}
    assert f"warning image: {image} was not checked: the nodes could not be read {remedy}" in faults(kfp, study)
    assert registry.calls == []


def test_images_that_are_always_pulled_must_be_in_their_registry(
    kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry
) -> None:
    registry.images.clear()
    assert faults(kfp) == []
    found = faults(kfp, with_images(pull_policy="Always"))
    assert [said.partition(" (it is")[0] for said in found] == [
        f"failing image: the registry has no image {image.removeprefix('docker.io/')}" for image in IMAGES
    ]


# The user's modules


def test_a_model_of_the_user_is_not_in_the_stock_images(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    study = a_study(model="own_model:build", space=space)
    stock = f"tuneoff/tuner-gpu:{__version__} and tuneoff/evaluator:{__version__}"
    said = f"the model's module 'own_model' is not in the images {stock}"
    remedy = "add it in an image layer (docs/images.md), and set your image in cluster.images"
    assert faults(kfp, study) == [f"failing user code: {said} [{remedy}]"]
    assert own_code_notes(study) == [f"The{said[3:]}: {remedy}."]
    assert own_code_notes(a_study()) == []


def test_a_users_method_is_needed_only_in_the_tuners_image(kubernetes: FakeKubernetes, kfp: FakeKfp) -> None:
    study = a_study(methods=["random", {"name": "own_method:Mine", "label": "mine"}])
    (note,) = own_code_notes(study)
    assert note.startswith("The module of method own_method:Mine 'own_method' is not in the image tuneoff/tuner-gpu:")


def test_the_content_of_a_users_images_cannot_be_checked(
    kfp: FakeKfp, kubernetes: FakeKubernetes, registry: FakeRegistry
) -> None:
    space = {"x": {"type": "float", "low": 0, "high": 1}}
    mine = f"{registry.host}/mine"
    images = {"prefix": mine, "names": {"tuner-gpu": f"{mine}/search:7"}}
    study = a_study(model="own_model:build", space=space, cluster={**CLUSTER, "images": images})
    assert own_code_notes(study) == [
        f"The model's module 'own_model' must be in the images {mine}/search:7 and {mine}/evaluator:{__version__}, which this"
        " machine cannot check: make sure that a layer of your image adds it (docs/images.md)."
    ]
    one = study.model_copy(update={"cluster": study.cluster.model_copy(update={"images": Images(names=images["names"])})})
    (note,) = own_code_notes(one)
    assert note.startswith(
        f"The model's module 'own_model' is not in the image tuneoff/evaluator:{__version__}: add it in an image layer"
    )


# Data sets, size


def test_each_data_set_is_checked_at_the_place_where_pods_read_it(
    kfp: FakeKfp, kubernetes: FakeKubernetes, tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEOFF_CACHE", str(tmp_path / "cache"))
    small_npz(tmp_path / "mine.npz")
    bucket.upload_file(str(tmp_path / "mine.npz"), "tuneoff", "data/far.npz")
    names = [
        str(tmp_path / "mine.npz"),
        str(tmp_path / "none.npz"),
        "s3://tuneoff/data/far.npz",
        "mnist",
        "s3://tuneoff/data/f.npz",
    ]
    here = {"artifacts": "s3://tuneoff/made", "datasets": names, "cluster": {**CLUSTER, "env": {}}}
    said = [_line(f) for f in examine(a_study(**here), Login(kfp.uri)) if f.what == "data"]
    assert said[0].startswith(f"ok data: mine: submit will copy {tmp_path}/mine.npz (0.0 MB)")
    assert said[1] == (f"failing data: The file '{tmp_path}/none.npz' of data set 'none' does not exist. Correct the path")
    assert said[2] == "ok data: far is at s3://tuneoff/data/far.npz"
    assert said[4] == "failing data: f: s3://tuneoff/data/f.npz does not exist [upload it, or correct the path]"
    assert said[3].startswith("warning data: mnist is neither in the store nor on this machine: submit, or else each pod, must")
    small_npz(tmp_path / "mnist.npz")
    put_input(open_store("s3://tuneoff/made"), Dataset(name="mnist"), tmp_path / "mnist.npz")
    assert "ok data: mnist is in the store" in [_line(f) for f in examine(a_study(**here), Login(kfp.uri))]


def test_with_a_volume_pods_download_data_and_cannot_reach_local_files(
    kfp: FakeKfp, kubernetes: FakeKubernetes, tmp_path: Path
) -> None:
    small_npz(tmp_path / "mine.npz")
    study = a_study(datasets=["mnist", str(tmp_path / "mine.npz")], cluster={**CLUSTER, "env": {}})
    fetched, mine = [_line(f) for f in examine(study, Login(kfp.uri)) if f.what == "data"]
    assert fetched.startswith(
        "warning data: mnist: the pods download it themselves, because this machine cannot write to the store"
    )
    assert mine.startswith(f"failing data: mine: '{tmp_path}/mine.npz' is on this machine, which cannot write to the store")


def test_a_too_large_study_and_a_setting_without_effect_are_reported(kfp: FakeKfp, kubernetes: FakeKubernetes) -> None:
    methods = [{"name": "random", "label": f"random-{number}"} for number in range(100)]
    large, no_effect = faults(
        kfp, a_study(methods=methods, datasets=["mnist", "cifar10"], cluster={**CLUSTER, "ttl_seconds": 60})
    )
    assert large.startswith(
        "failing size: The study has 2 data sets × 100 methods = 200 cells. Its workflow would grow to about 1.8"
    )
    assert no_effect.startswith("warning pods: cluster.ttl_seconds has no effect on KFP 2.17")


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


def test_the_command_prints_one_line_per_finding_and_fails_if_one_is_failing(
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
        "failing volume there is no claim 'results' in namespace team: create it, or name another in cluster.volume.claim"
    )
    assert kfp.runs == kfp.pipelines == []


def test_warnings_have_exit_code_0_and_all_findings_are_available_as_json(
    kfp: FakeKfp, kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kfp.version = "2.5.0"
    code, out, _ = check(monkeypatch, capsys, tmp_path, kfp, "--json")
    assert code == 0
    assert [f["what"] for f in json.loads(out) if f["state"] == "warning"] == ["KFP version"]
