"""Test the reasons why pods wait, with recorded API answers: a missing image, secret, claim, GPU or memory."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tuneoff.cluster.kubernetes_api import workflow_of
from tuneoff.cluster.pending_pods import (
    Waiting,
    failed_messages,
    in_words,
    of_events,
    refused_pods,
    starting_slowly,
    step_of,
    waiting_pods,
)

RECORDED = Path(__file__).parents[1] / "support" / "recorded"
PODS: dict[str, Any] = {
    pod["metadata"]["name"]: pod for pod in json.loads((RECORDED / "pods-that-wait.json").read_text())["items"]
}
NODES = [{"status": {"allocatable": {"cpu": "2", "memory": "24Gi"}}}]
LABELS = {"tuneoff/step": "tuner", "tuneoff/dataset": "mnist", "tuneoff/method": "random"}


def of(name: str, nodes: list[Any] | None = NODES) -> Waiting | None:
    found = waiting_pods([PODS[name]], nodes)
    return found[0] if found else None


def labelled(name: str, **labels: str) -> dict[str, Any]:
    pod: dict[str, Any] = copy.deepcopy(PODS[name])
    pod["metadata"]["labels"] |= LABELS | labels
    return pod


@pytest.mark.parametrize(
    ("pod", "begins", "ends"),
    [
        ("wait-image", "ErrImagePull registry.example.org/none/tuner:1 (", "no such host)"),
        ("wait-secret", 'CreateContainerConfigError: secret "not-there" not found', "found"),
        ("wait-claim", 'no node can run it: persistentvolumeclaim "not-there" not found', "found"),
        (
            "wait-gpu",
            "no node can run it: 1 Insufficient nvidia.com/gpu; it requests 1 nvidia.com/gpu, more than any node",
            "empty",
        ),
        ("wait-memory", "no node can run it: 1 Insufficient memory; it requests 500Gi memory, more than any node has", "empty"),
    ],
)
def test_a_pod_that_can_never_start_has_a_reason_and_is_hopeless(pod: str, begins: str, ends: str) -> None:
    found = of(pod)
    assert found is not None
    assert found.reason.startswith(begins)
    assert found.reason.endswith(ends)
    assert found.hopeless


def test_a_pod_that_has_ended_waits_for_nothing() -> None:
    assert of("killed-memory") is None


def test_a_pod_that_would_fit_on_an_empty_node_waits_for_others_to_end() -> None:
    pod = copy.deepcopy(PODS["wait-memory"])
    pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = "20Gi"
    (found,) = waiting_pods([pod], NODES)
    assert not found.hopeless
    assert found.reason == "no node can run it: 1 Insufficient memory; it requests 20Gi memory"


def test_without_a_list_of_nodes_a_lack_of_room_is_not_hopeless() -> None:
    found = of("wait-memory", None)
    assert found is not None
    assert not found.hopeless
    claim = of("wait-claim", None)
    assert claim is not None
    assert claim.hopeless, "a claim that is not there is said by the scheduler itself"


@pytest.mark.parametrize(
    ("message", "hopeless"),
    [
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 nodes", True),
        ("0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: present}. preemption: 0/3", True),
        ("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3 nodes", True),
        ("0/3 nodes are available: 3 Too many pods. preemption: 0/3 nodes are available", False),
    ],
)
def test_the_schedulers_message_decides_whether_waiting_is_hopeless(message: str, hopeless: bool) -> None:
    pod = copy.deepcopy(PODS["wait-claim"])
    pod["status"]["conditions"][0]["message"] = message
    (found,) = waiting_pods([pod], NODES)
    assert found.hopeless is hopeless
    assert "preemption" not in found.reason


def test_pods_with_the_same_reason_share_one_line() -> None:
    pods = [labelled("wait-secret"), labelled("wait-secret", **{"tuneoff/method": "bayes"}), labelled("wait-image")]
    first, second = in_words(waiting_pods(pods, NODES))
    assert first == (
        'Waiting: tuner of mnist/random, tuner of mnist/bayes (2 pods): CreateContainerConfigError: secret "not-there" not found'
    )
    assert second.startswith("Waiting: tuner of mnist/random: ErrImagePull registry.example.org/none/tuner:1")
    assert step_of(PODS["wait-image"]) == "a pod of KFP"


def test_a_volume_that_cannot_be_mounted_is_found_in_events() -> None:
    pod = labelled("wait-secret")
    pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ContainerCreating"}}
    assert waiting_pods([pod], NODES) == []
    assert starting_slowly(pod)
    message = 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found'
    found = of_events(pod, [{"reason": "BackOff", "message": "x"}, {"reason": "FailedMount", "message": message}])
    assert found == Waiting("wait-secret", "tuner of mnist/random", f"FailedMount: {message}", True)
    assert of_events(pod, [{"reason": "Unhealthy", "message": "x"}]) is None
    assert not starting_slowly(PODS["wait-image"])


# Argo's workflow

QUOTA = 'pods "x" is forbidden: exceeded quota: studies, requested: requests.cpu=2, used: requests.cpu=4, limited: requests.cpu=4'
LARGE = "Error: Request entity too large: limit is 3145728"


def workflow(nodes: dict[str, Any], compressed: bool = False) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": "Error", "message": LARGE}
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    return {"status": status | ({"compressedNodes": packed} if compressed else {"nodes": nodes})}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_full_quota_is_found_in_the_workflow_and_is_not_hopeless(compressed: bool) -> None:
    nodes = {
        "a": {"id": "a", "type": "Pod", "phase": "Pending", "message": QUOTA},
        "b": {"id": "b", "type": "Pod", "phase": "Failed", "message": "OOMKilled (exit code 137)"},
        "c": {"id": "c", "type": "Pod", "phase": "Failed", "message": "OOMKilled (exit code 137)"},
        "d": {"id": "d", "type": "DAG", "phase": "Failed", "message": "child failed"},
    }
    found = workflow_of(workflow(nodes, compressed))
    assert (found.phase, found.message) == ("Error", LARGE)
    (wait,) = refused_pods(found)
    assert wait.reason.startswith("it waits for room in a quota: studies, requested: requests.cpu=2")
    assert not wait.hopeless
    assert failed_messages(found) == ["OOMKilled (exit code 137)"]
