"""A fake Kubernetes API for tests, which answers its client from a few objects and stores nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import yaml

from serving import Quiet, Serving


class FakeKubernetes(Serving):
    """Serves `objects`, which are keyed by their path below /api/v1/ and include lists.

    Requests for `forbidden` kinds are refused. Requests for `silent` kinds get no answer: the connection is closed.
    `denied` contains the (account, verb, resource.group) that a review of access, sent by POST, refuses.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.forbidden: set[str] = set()
        self.silent: set[str] = set()
        self.denied: set[tuple[str, str, str]] = set()
        self.reviews: list[dict[str, Any]] = []
        super().__init__(_handler(self))

    def kubeconfig(self, file: Path) -> Path:
        """Write a kubeconfig for this server, and return its path."""
        named = {"clusters": "cluster", "users": "user", "contexts": "context"}
        parts: dict[str, Any] = {"cluster": {"server": self.uri}, "user": {}, "context": {"cluster": "fake", "user": "fake"}}
        text = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
        file.write_text(yaml.safe_dump(text | {many: [{"name": "fake", one: parts[one]}] for many, one in named.items()}))
        return file

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and JSON for a path below /api/v1/."""
        if kind_of(path) in self.forbidden:
            return 403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}
        if not path:
            return 200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
        if path in self.objects:
            return 200, self.objects[path]
        if path.endswith(("resourcequotas", "limitranges", "nodes")):
            return 200, {"items": []}
        return 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}

    def review(self, path: str, spec: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and JSON for a LocalSubjectAccessReview."""
        if kind_of(path) in self.forbidden:
            return 403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}
        self.reviews.append(spec)
        asked = spec["resourceAttributes"]
        key = (spec["user"].rpartition(":")[2], asked["verb"], f"{asked['resource']}.{asked['group']}")
        return 201, {"spec": spec, "status": {"allowed": key not in self.denied}}


def kind_of(path: str) -> str:
    return re.sub(r"^namespaces/[^/]+/", "", path).partition("/")[0]


def node(
    allocatable: dict[str, str],
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    images: Iterable[str] = (),
) -> Any:
    """Return a node in the format of the API."""
    status = {"allocatable": allocatable, "images": [{"names": [name], "sizeBytes": 1} for name in images]}
    return {"metadata": {"labels": labels or {}}, "spec": {"taints": taints or []}, "status": status}


def _handler(kubernetes: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/api/v1").strip("/")
            if kind_of(path) in kubernetes.silent:
                self.close_connection = True
                return
            status, said = kubernetes.answer(path)
            self.answer_json(status, said)

        def do_POST(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/apis/authorization.k8s.io/v1/")
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if kind_of(path) in kubernetes.silent:
                self.close_connection = True
                return
            self.answer_json(*kubernetes.review(path, sent["spec"]))

    return Handler
