"""Explain why pods of a run have not started, and whether they can start at all, from Kubernetes' pods, nodes and events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .kubernetes_api import Json, Workflow

IMAGE_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
)
CONTAINER_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")
MOUNT_REASONS = ("FailedMount", "FailedAttachVolume")
NEVER_SCHEDULED = (
    re.compile(r'persistentvolumeclaim ".*" not found'),
    re.compile(r"unbound immediate PersistentVolumeClaims"),
    re.compile(r"didn't match Pod's node affinity/selector"),
    re.compile(r"untolerated taint"),
)
"""Scheduler messages of pods that ending other pods does not help: they need a change by a user, or a new node."""
LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class Waiting:
    """A pod that has not started. `hopeless` means that it cannot start unless a user changes something."""

    pod: str
    what: str  # the step, such as `tuner of mnist`
    reason: str
    hopeless: bool


def waiting_pods(pods: Iterable[Json], nodes: Sequence[Json] | None) -> list[Waiting]:
    """Return the waiting pods, each with its reason. `nodes` is None if the nodes cannot be listed."""
    return [w for pod in pods if (w := _waiting(pod, nodes))]


def _waiting(pod: Json, nodes: Sequence[Json] | None) -> Waiting | None:
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    cause = _of_containers(pod) or _of_scheduling(pod, nodes)
    if cause is None:
        return None
    reason, hopeless = cause
    return Waiting(pod["metadata"]["name"], step_of(pod), reason, hopeless)


def step_of(pod: Json) -> str:
    """Return the step that a pod runs, from the pipeline's labels. KFP's own pods do not have these labels."""
    labels = pod["metadata"].get("labels") or {}
    step = labels.get("tuneoff/step")
    if step is None:
        return "a pod of KFP"
    cell = "/".join(labels[key] for key in ("tuneoff/dataset", "tuneoff/method") if key in labels)
    return f"{step} of {cell}" if cell else str(step)


def starting_slowly(pod: Json) -> bool:
    """Return whether a pod has a node but no container reports why it has not started. Its events may give the reason."""
    conditions = {c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or []}
    states = [next(iter(s.get("state") or {}), "") for s in _container_statuses(pod)]
    pending = (pod.get("status") or {}).get("phase") == "Pending" and conditions.get("PodScheduled") == "True"
    return pending and _of_containers(pod) is None and all(state in ("waiting", "") for state in states)


def of_events(pod: Json, events: Sequence[Json]) -> Waiting | None:
    """Return why a pod with a node has not started, from its warning events, or None if they give no reason."""
    mounting = [e for e in events if e.get("reason") in MOUNT_REASONS]
    if not mounting:
        return None
    last = mounting[-1]
    return Waiting(pod["metadata"]["name"], step_of(pod), f"{last['reason']}: {brief(str(last.get('message')))}", True)


def _container_statuses(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _of_containers(pod: Json) -> tuple[str, bool] | None:
    """Return why a container of the pod has not started, and whether it never can."""
    for container in _container_statuses(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        if reason in IMAGE_REASONS:
            # Between two attempts the kubelet reports ImagePullBackOff, with the error of the last attempt in the message.
            reason = "ErrImagePull" if reason == "ImagePullBackOff" else reason
            return f"{reason} {container['image']}" + (f" ({brief(message)})" if message else ""), True
        if reason in CONTAINER_REASONS:
            return f"{reason}: {brief(message)}" if message else reason, True
    return None


def _of_scheduling(pod: Json, nodes: Sequence[Json] | None) -> tuple[str, bool] | None:
    """Return why the scheduler has found no node for the pod, and whether it never can."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        message = str(condition.get("message") or condition.get("reason") or "")
        reason = re.sub(r"^\d+/\d+ nodes are available: ", "", message).partition(" preemption: ")[0]
        reason = reason.removesuffix(" no new claims to deallocate,").removesuffix(". not found").rstrip(". ")
        never = any(pattern.search(message) for pattern in NEVER_SCHEDULED)
        if "Insufficient" in message and not never and nodes is not None:
            needs = requests_of(pod)
            never = not any(_could_hold(node, needs) for node in nodes)
            reason += f"; it requests {_in_words(needs)}" + (", more than any node has, even if empty" if never else "")
        return f"no node can run it: {brief(reason)}", never
    return None


def requests_of(pod: Json) -> dict[str, str]:
    """Return the total of each resource that the pod's containers request."""
    from kubernetes.utils import parse_quantity

    asked: dict[str, list[str]] = {}
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        for name, amount in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
            asked.setdefault(name, []).append(str(amount))
    return {name: amounts[0] if len(amounts) == 1 else str(sum(map(parse_quantity, amounts))) for name, amounts in asked.items()}


def _could_hold(node: Json, needs: Mapping[str, str]) -> bool:
    from kubernetes.utils import parse_quantity

    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return all(
        name in allocatable and parse_quantity(allocatable[name]) >= parse_quantity(amount) for name, amount in needs.items()
    )


def _in_words(needs: Mapping[str, str]) -> str:
    return ", ".join(f"{amount} {name}" for name, amount in sorted(needs.items()))


def refused_pods(workflow: Workflow) -> list[Waiting]:
    """Return the workflow nodes whose pod Kubernetes rejects because a quota is full. Argo tries again until it has room."""
    return [
        Waiting(str(node.get("id")), "a step", f"it waits for room in a quota: {brief(_of_quota(str(node['message'])))}", False)
        for node in workflow.nodes
        if node.get("phase") == "Pending" and "exceeded quota" in str(node.get("message"))
    ]


def _of_quota(message: str) -> str:
    return message[message.index("exceeded quota") :].removeprefix("exceeded quota:").strip()


def failed_messages(workflow: Workflow) -> list[str]:
    """Return the messages of the workflow's failed or lost pods, without duplicates."""
    messages = [str(n.get("message")) for n in workflow.nodes if n.get("type") == "Pod" and n.get("phase") in ("Failed", "Error")]
    return [brief(message) for message in dict.fromkeys(messages) if message and message != "None"]


def in_words(waits: Sequence[Waiting]) -> list[str]:
    """Return one line per reason, with the steps that wait for it."""
    by_reason: dict[str, list[str]] = {}
    for wait in waits:
        by_reason.setdefault(wait.reason, []).append(wait.what)
    return [f"{_counted(steps)}: {reason}" for reason, steps in by_reason.items()]


def _counted(steps: list[str]) -> str:
    names = list(dict.fromkeys(steps))
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"Waiting: {shown}" if len(steps) == 1 else f"Waiting: {shown} ({len(steps)} pods)"


def brief(message: str) -> str:
    """Return a message on one line. A long message is cut at the beginning, because its cause is at the end."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_MESSAGE else "… " + line[-LONGEST_MESSAGE:].partition(" ")[2]
