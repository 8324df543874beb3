"""Build Katib's experiments and trials as kubectl prints them, in the format of Katib 0.19's controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneoff.katib.experiments import CONTAINER, Planned

CREATED = "2026-11-25T01:00:00Z"


def at(seconds: int) -> str:
    """Return the time a number of seconds after the experiment's creation."""
    return f"2026-11-25T{1 + seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"


def condition(kind: str, message: str, when: str, holds: bool = True) -> dict[str, str]:
    return {
        "lastTransitionTime": when,
        "lastUpdateTime": when,
        "message": message,
        "reason": f"Trial{kind}",
        "status": "True" if holds else "False",
        "type": kind,
    }


def experiment(one: Planned, ended: str | None = "Succeeded", seconds: int = 300) -> dict[str, Any]:
    """Return the experiment's manifest with Katib's status."""
    why = "Experiment has succeeded because max trial count has reached" if ended == "Succeeded" else "Experiment is running"
    conditions = [condition("Created", "Experiment is created", CREATED)]
    conditions.append(condition("Running", "Experiment is running", at(1), holds=ended is None))
    conditions += [condition(ended, why, at(seconds))] if ended else []
    manifest = dict(one.manifest)
    uid = "6b2f1a52-4f9e-4d2c-9c52-0d1f0c7f8a11"
    metadata = {
        **manifest["metadata"],
        "creationTimestamp": CREATED,
        "finalizers": ["update-prometheus-metrics"],
        "generation": 1,
    }
    metadata |= {"resourceVersion": "104211", "uid": uid}
    status = {"conditions": conditions, "currentOptimalTrial": {"observation": {}}, "startTime": CREATED}
    return {**manifest, "metadata": metadata, "status": status}


def observation(metrics: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
    """Return Katib's observation with the smallest, largest and latest value of each metric, as texts."""
    return {"metrics": [{"name": n, "min": least, "max": most, "latest": last} for n, (least, most, last) in metrics.items()]}


def trial(
    one: Planned,
    suffix: str,
    texts: Mapping[str, str],
    begun: int,
    ended: int | None,
    metrics: Mapping[str, tuple[str, str, str]] | None = None,
    status: str = "Succeeded",
    message: str = "Trial has succeeded",
    labels: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Return a trial of the experiment, created and started `begun` seconds after it, and ended at `ended` (None: running)."""
    name = f"{one.name}-{suffix}"
    spec = one.manifest["spec"]
    conditions = [condition("Created", "Trial is created", at(begun))]
    conditions.append(condition("Running", "Trial is running", at(begun), holds=ended is None))
    conditions += [] if ended is None else [condition(status, message, at(ended))]
    owner = {"apiVersion": "kubeflow.org/v1beta1", "blockOwnerDeletion": True, "controller": True, "kind": "Experiment"}
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Trial",
        "metadata": {
            "creationTimestamp": at(begun),
            "finalizers": ["clean-metrics-in-db"],
            "generation": 1,
            "labels": {"katib.kubeflow.org/experiment": one.name, **labels},
            "name": name,
            "namespace": "kubeflow",
            "ownerReferences": [{**owner, "name": one.name, "uid": "6b2f1a52-4f9e-4d2c-9c52-0d1f0c7f8a11"}],
            "resourceVersion": "103998",
            "uid": "0f5c2f7e-6a9c-4c35-8f1f-93b7f0a4b001",
        },
        "spec": {
            "failureCondition": 'status.conditions.#(type=="Failed")#|#(status=="True")#',
            "metricsCollector": {"collector": {"kind": "StdOut"}},
            "objective": spec["objective"],
            "parameterAssignments": [{"name": n, "value": v} for n, v in texts.items()],
            "primaryContainerName": CONTAINER,
            "retainRun": True,
            "runSpec": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "kubeflow"}},
            "successCondition": 'status.conditions.#(type=="Complete")#|#(status=="True")#',
        },
        "status": {
            "conditions": conditions,
            "startTime": at(begun),
            **({} if ended is None else {"completionTime": at(ended)}),
            **({} if metrics is None else {"observation": observation(metrics)}),
        },
    }
