"""Read a KFP run's pods, its Argo workflow and the cluster's nodes through Kubernetes' API, if this machine can reach it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import StudyError

PATIENCE_SECONDS = 10

Json = Mapping[str, Any]


def configuration_of(context: str | None) -> Any:
    """Return the client configuration for Kubernetes, from the kubeconfig or, inside a pod, from its service account.

    Args:
        context: Context of the kubeconfig; None for the current context.

    Raises:
        StudyError: The context does not exist, or there is neither a kubeconfig nor a service account.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = 0
    try:
        config.load_kube_config(context=context, client_configuration=configuration)
    except (config.ConfigException, OSError, TypeError) as error:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            missing = f"the kubeconfig has no context {context!r} ({error})"
            why = missing if context else "this machine has no kubeconfig and is not a pod"
            raise StudyError(why) from error
    return configuration


@dataclass(frozen=True)
class Workflow:
    """The parts of a run's Argo workflow that KFP does not report."""

    phase: str
    message: str
    nodes: tuple[Json, ...]


class RunView:
    """Read the runs in a namespace from Kubernetes. Every method returns None if access is forbidden or no server answers."""

    def __init__(self, configuration: Any, namespace: str) -> None:
        from kubernetes import client

        api = client.ApiClient(configuration)
        self._core, self._objects = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self.namespace = namespace

    def pods(self, run_id: str) -> list[Json] | None:
        """Return the run's pods as JSON objects of the API server."""
        return self._listed(self._core.list_namespaced_pod, self.namespace, label_selector=_label(run_id))

    def nodes(self) -> list[Json] | None:
        return self._listed(self._core.list_node)

    def warnings(self, pod: str) -> list[Json] | None:
        """Return the pod's warning events, oldest first."""
        selector = f"involvedObject.name={pod},type=Warning"
        events = self._listed(self._core.list_namespaced_event, self.namespace, field_selector=selector)
        return None if events is None else sorted(events, key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")

    def last_line(self, pod: str, begins: str) -> str | None:
        """Return the last line that starts with `begins` among the latest 50 lines that the pod's step has printed."""
        text = self._asked(self._core.read_namespaced_pod_log, pod, self.namespace, container="main", tail_lines=50)
        lines = [] if text is None else text.decode(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.startswith(begins)), None)

    def workflow(self, run_id: str) -> Workflow | bool | None:
        """Return the run's workflow, or False if the cluster has none."""
        body = self._asked(
            self._objects.list_namespaced_custom_object,
            *("argoproj.io", "v1alpha1", self.namespace, "workflows"),
            label_selector=_label(run_id),
        )
        if body is None:
            return None
        items = json.loads(body).get("items") or []
        return workflow_of(items[0]) if items else False

    def _listed(self, call: Callable[..., Any], *arguments: str, **options: Any) -> list[Json] | None:
        body = self._asked(call, *arguments, **options)
        return None if body is None else list(json.loads(body).get("items") or [])

    def _asked(self, call: Callable[..., Any], *arguments: str, **options: Any) -> bytes | None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = call(*arguments, **options, _request_timeout=PATIENCE_SECONDS, _preload_content=False)
        except (ApiException, HTTPError, OSError):
            return None
        data: bytes = answer.data
        return data


def view_of(namespace: str, context: str | None = None) -> RunView | None:
    """Return a view of the namespace's runs, or None if this machine cannot read them."""
    try:
        view = RunView(configuration_of(context), namespace)
    except (StudyError, ImportError):
        return None
    return view if view.pods("none") is not None else None


def workflow_of(item: Json) -> Workflow:
    """Return the state of a workflow object. Argo compresses the nodes of a large workflow; they are decompressed here."""
    status = item.get("status") or {}
    nodes = status.get("nodes") or {}
    if not nodes and status.get("compressedNodes"):
        nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    return Workflow(str(status.get("phase") or ""), str(status.get("message") or ""), tuple(nodes.values()))


def _label(run_id: str) -> str:
    return f"pipeline/runid={run_id}"
