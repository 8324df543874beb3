"""Submit Experiments to a Kubernetes API server, and read Experiments, Trials and logs from it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from ..core.errors import StudyError
from .experiments import Planned
from .exported_files import Found, sort_in, version
from .labels import COLLECTOR_CONTAINER, EXPERIMENT, GROUP, TRIAL, VERSION

# From the cluster, and to it


@contextmanager
def _cluster(what: str) -> Iterator[Any]:
    """Yield the kubernetes client, configured from the kubeconfig or the pod. Its errors become a one-sentence StudyError."""
    try:
        import kubernetes
        import urllib3
    except ImportError:
        raise StudyError("tuneoff katib needs the package kubernetes. Run: pip install 'tuneoff[katib]'") from None
    try:
        _configure(kubernetes.config)
        yield kubernetes.client
    except kubernetes.config.ConfigException as error:
        raise StudyError(f"{what}: no cluster is configured ({error}). Set KUBECONFIG.") from None
    except kubernetes.client.ApiException as error:
        raise StudyError(f"{what}: the cluster refused the request ({_said(error)}).") from None
    except urllib3.exceptions.HTTPError as error:
        raise StudyError(f"{what}: the cluster cannot be reached ({type(error).__name__}). Check KUBECONFIG.") from None


def _configure(config: Any) -> None:
    try:
        config.load_kube_config(os.environ.get("KUBECONFIG"))
    except config.ConfigException:
        config.load_incluster_config()


def _said(error: Any) -> str:
    """Return the API server's message, such as a webhook's, or the reason of the HTTP status."""
    with suppress(ValueError, TypeError, AttributeError):
        message = json.loads(error.body).get("message")
        if message:
            return f"{error.status}: {' '.join(str(message).split())[:500]}"
    if error.status == 404:
        return "404: it has no resource experiments.kubeflow.org, so Katib is not installed"
    return f"{error.status}: {error.reason}"


def submit(planned: Sequence[Planned], namespace: str) -> None:
    """Create the experiments. A dry run first lets the cluster (and Katib's webhook) check all of them, so all start or none."""
    with _cluster(f"namespace {namespace}") as client:
        custom = client.CustomObjectsApi()
        for options in ({"dry_run": "All"}, {}):
            for one in planned:
                custom.create_namespaced_custom_object(
                    GROUP, VERSION, namespace, "experiments", dict(one.manifest), _request_timeout=30, **options
                )


def on_cluster(planned: Sequence[Planned], namespace: str) -> Found:
    """Read the experiments and their trials from the cluster, and the logs of the pods that still exist."""
    found = Found(f"namespace {namespace}")
    with _cluster(found.where) as client:
        read = partial(client.CustomObjectsApi().list_namespaced_custom_object, GROUP, VERSION, namespace, _request_timeout=60)
        for entry in read("experiments")["items"]:
            if entry["metadata"]["name"] in [one.name for one in planned]:
                sort_in(found, {"kind": "Experiment", **entry}, found.where)
        for name in found.experiments:
            for entry in read("trials", label_selector=f"{EXPERIMENT}={name}")["items"]:
                sort_in(found, {"kind": "Trial", **entry}, found.where)
            _read_logs(client, found, namespace, f"{EXPERIMENT}={name}")
        with suppress(client.ApiException):  # not every account may read that namespace
            deployment = client.AppsV1Api().read_namespaced_deployment("katib-controller", "kubeflow", _request_timeout=30)
            found.version = version(client.ApiClient().sanitize_for_serialization(deployment))
    return found


def _read_logs(client: Any, found: Found, namespace: str, selector: str) -> None:
    core = client.CoreV1Api()
    with suppress(client.ApiException):  # without the right to read logs, the results have no curves
        for pod in core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=30).items:
            name = (pod.metadata.labels or {}).get(TRIAL)
            if name:
                with suppress(client.ApiException):
                    found.logs[name] = core.read_namespaced_pod_log(
                        pod.metadata.name, namespace, container=COLLECTOR_CONTAINER, _request_timeout=60
                    )
