"""A Kubernetes API for tests: answers what its client asks for from a few objects, and keeps none."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class FakeKubernetes:
    """Objects by their path below /api/v1/, lists included; `forbidden` are kinds that may not be looked at."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.forbidden: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[FakeKubernetes]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def kubeconfig(self, file: Path) -> Path:
        """A kubeconfig that leads here."""
        named = {"clusters": "cluster", "users": "user", "contexts": "context"}
        parts: dict[str, Any] = {"cluster": {"server": self.uri}, "user": {}, "context": {"cluster": "fake", "user": "fake"}}
        text = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
        file.write_text(yaml.safe_dump(text | {many: [{"name": "fake", one: parts[one]}] for many, one in named.items()}))
        return file

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON for a path below /api/v1/."""
        kind = re.sub(r"^namespaces/[^/]+/", "", path).partition("/")[0]
        if kind in self.forbidden:
            return 403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}
        if not path:
            return 200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
        if path in self.objects:
            return 200, self.objects[path]
        if path.endswith(("resourcequotas", "nodes")):
            return 200, {"items": []}
        return 404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}


def node(allocatable: dict[str, str], labels: dict[str, str] | None = None, taints: list[dict[str, str]] | None = None) -> Any:
    """A node as the API lists it."""
    return {"metadata": {"labels": labels or {}}, "spec": {"taints": taints or []}, "status": {"allocatable": allocatable}}


def _handler(kubernetes: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/api/v1").strip("/")
            status, said = kubernetes.answer(path)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler
