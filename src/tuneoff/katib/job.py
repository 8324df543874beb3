"""The Kubernetes Job that trains one trial of a Katib Experiment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..core.cluster_settings import Cluster
from ..core.errors import StudyError
from ..core.runtime.images import image_in
from ..core.study import Cell, Dataset, Resources, Study, Tracking
from .algorithms import Algorithm
from .budget import CHECKPOINTS, RESOURCE, Plan
from .trial import STUDY

MOUNT, SCRATCH = "/data", "/tmp"

CONTAINER = "train"


@dataclass(frozen=True)
class Place:
    """Where and in which image the trials run, in addition to the settings of the study's cluster section."""

    namespace: str
    image: str
    data: str  # pvc://CLAIM/FOLDER or s3://bucket/prefix, with one folder of prepared data per data set
    parallel: int = 1
    secret: str | None = None  # a Kubernetes secret, all keys of which become environment variables


def place_of(
    study: Study, namespace: str | None, image: str | None, data: str | None, parallel: int, secret: str | None
) -> Place:
    """Return where the trials run. Values that are None come from the study's cluster section and resources."""
    cluster = study.cluster
    own = image_in(cluster.images, "tuner", gpu=bool(study.resources.of("tuner").gpu))
    return Place(namespace or cluster.namespace or "kubeflow", image or own, data or _data_of(study), parallel, secret)


def _data_of(study: Study) -> str:
    """Return the default location of prepared data: `prepared` next to the record, on S3 or on the study's volume."""
    volume, artifacts = study.cluster.volume, study.artifacts
    if artifacts is not None and artifacts.startswith("s3://"):
        return f"{artifacts.rstrip('/')}/prepared"
    if volume is None:
        return "pvc://tuneoff/prepared"
    folder = artifacts.removeprefix(volume.mount) if artifacts is not None and volume.holds(artifacts) else f"/runs/{study.name}"
    return f"pvc://{volume.claim}{folder.rstrip('/')}/prepared"


# The trials


def job_of(study: Study, algorithm: Algorithm, cell: Cell, seed: int, plan: Plan, place: Place) -> dict[str, Any]:
    """Return the Job that trains one configuration. It has no name, because Katib names it."""
    folder, volumes, mounts = _data(place.data, study.cluster, cell.dataset)
    epochs = f"${{trialParameters.{RESOURCE}}}" if algorithm.name == "hyperband" else str(plan.epochs)
    arguments = ["--data", folder, "--epochs", epochs, "--seed", str(seed), "--trial", "${trialParameters.trial-name}"]
    if algorithm.name == "pbt":
        arguments += ["--checkpoint", CHECKPOINTS]
    arguments += [f"{name}=${{trialParameters.{name}}}" for name in study.space]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": place.image,
        "command": ["python", "-m", "tuneoff.components.tuner.one"],
        "args": arguments,
        "env": _environment(study.cluster, _as_told(study, cell, seed)),
        "resources": _resources(study.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}, *mounts],
    }
    if study.cluster.images.pull_policy:
        container["imagePullPolicy"] = study.cluster.images.pull_policy
    if place.secret:
        container["envFrom"] = [{"secretRef": {"name": place.secret}}]
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            **({"runAsNonRoot": True} if study.cluster.run_as_non_root else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
        **_nodes(study.cluster),
    }
    template = {"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}, "spec": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": template}}


def _nodes(cluster: Cluster) -> dict[str, Any]:
    """Return the account, pull secrets, node selector and tolerations of a trial's pod: those of the tuner step, if set."""
    place = cluster.of("tuner")
    named = {"tolerationSeconds": "seconds", **{name: name for name in ("key", "operator", "value", "effect")}}
    tolerations = [
        {theirs: value for theirs, ours in named.items() if (value := getattr(taint, ours)) is not None}
        for taint in place.tolerations or ()
    ]
    wanted = {
        "serviceAccountName": cluster.service_account,
        "imagePullSecrets": [{"name": name} for name in cluster.images.pull_secrets],
        "nodeSelector": dict(place.node_selector or {}),
        "tolerations": tolerations,
    }
    return {name: value for name, value in wanted.items() if value}


def _environment(cluster: Cluster, told: Study) -> list[dict[str, Any]]:
    """Return a trial's environment variables: writable folders, the cluster section's variables and secrets, and the study."""
    texts = {"HOME": SCRATCH, "TMPDIR": SCRATCH, **cluster.env}
    texts[STUDY] = told.model_dump_json(exclude_none=True, exclude={"cluster"})
    secrets = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for secret, variables in cluster.secrets.items()
        for variable, key in variables.items()
    ]
    return [*({"name": name, "value": text} for name, text in texts.items()), *secrets]


def _as_told(study: Study, cell: Cell, seed: int) -> Study:
    """Return the study for a trial: only the settings for training, nothing about this machine."""
    here = {"datasets": [Dataset(name=cell.dataset)], "methods": [cell.method], "seeds": [seed]}
    return study.model_copy(update={**here, "resources": Resources(), "tracking": Tracking(), "artifacts": None})


PVC = re.compile(r"pvc://([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(/[A-Za-z0-9_./-]*)?")
S3 = re.compile(r"s3://[A-Za-z0-9._-]{1,255}(/[A-Za-z0-9_./-]*)?")


def _data(place: str, cluster: Cluster, dataset: str) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the folder of the prepared data set in a trial's pod, and the pod's volumes and mounts (all of them read-only)."""
    claim = PVC.fullmatch(place)
    if claim is None and not S3.fullmatch(place):
        raise StudyError(f"--data {place!r} is not valid. Give pvc://CLAIM/FOLDER or s3://bucket/prefix of the prepared data.")
    mounts = {} if cluster.volume is None else {cluster.volume.claim: cluster.volume.mount}
    if claim is not None:
        mounts.setdefault(claim[1], MOUNT)
    mount_paths = [SCRATCH, CHECKPOINTS, *mounts.values()]
    if cluster.volume is not None and mount_paths.count(cluster.volume.mount) > 1:
        raise StudyError(
            f"cluster.volume.mount {cluster.volume.mount!r} is a folder that trials use themselves. Mount the volume elsewhere."
        )
    folder = f"{place.rstrip('/')}/{dataset}"
    if claim is not None:
        folder = "/".join([mounts[claim[1]], *filter(None, (claim[3] or "").split("/")), dataset])
    names = dict(zip(mounts, ("data", "more"), strict=False))
    volumes = [{"name": names[c], "persistentVolumeClaim": {"claimName": c, "readOnly": True}} for c in mounts]
    return folder, volumes, [{"name": names[c], "mountPath": path, "readOnly": True} for c, path in mounts.items()]


def _resources(resources: Resources) -> dict[str, Any]:
    own = resources.of("tuner")
    wanted = {"cpu": own.cpu, "memory": own.memory, resources.gpu_type: str(own.gpu) if own.gpu else None}
    given = {name: value for name, value in wanted.items() if value}
    return {"requests": given, "limits": dict(given)} if given else {}
