"""A fake KFP server for tests. It answers the calls of the REST API (v2beta1) that KFP's client makes, and runs nothing."""

from __future__ import annotations

import email
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serving import Quiet, Serving

States = list[tuple[str, dict[str, str]]]
"""The course of a run: at each request, its next state and the states of its tasks by name. The last entry is repeated.

A name may end in #1, #2, ... The names are those of the real API server (recorded/, KFP 2.17): Argo's nodes, with a driver and
an attempt for each.
"""


def argo(**tasks: str) -> dict[str, str]:
    """Return tasks and their states, with the other nodes that KFP lists for them. `tune_2` is the task tune-2.

    A value may contain several states, one for each iteration of the task's loop.
    """
    found = {"root-driver": "SUCCEEDED", "exit-handler-1": "RUNNING", "iteration-iterations(0:0)": "RUNNING"}
    for task, states in tasks.items():
        name = task.replace("_", "-")
        for number, state in enumerate(states.split()):
            found |= {f"{name}-driver#{number}": "SUCCEEDED", f"{name}#{number}": state, f"{name}(0)#{number}": state}
            found |= {f"executor#{name}{number}": state, f"executor(0)#{name}{number}": state}
    return found


SUCCEEDS: States = [
    ("PENDING", {}),
    ("RUNNING", argo(data_prep="RUNNING")),
    ("RUNNING", argo(data_prep="SUCCEEDED", tune="RUNNING SUCCEEDED")),
    ("SUCCEEDED", argo(data_prep="SUCCEEDED", tune="SUCCEEDED SUCCEEDED", report="SUCCEEDED")),
]
FAILS: States = [("RUNNING", argo(tune="RUNNING")), ("FAILED", argo(tune="FAILED", report="SUCCEEDED"))]


class FakeKfp(Serving):
    """Stores created objects. `script` maps a run's number, from 0, to its course. `began` is called when a run is created."""

    def __init__(self) -> None:
        self.many_users = False
        self.version: str | None = "2.17.0"
        self.token: str | None = None
        self.forbidden: set[str] = set()  # namespaces
        self.script: Callable[[int], States] = lambda number: SUCCEEDS
        self.began: Callable[[int], None] = lambda number: None
        self.pipelines: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.uploaded: dict[str, str] = {}
        self.calls: list[str] = []
        self.lock = threading.Lock()
        self.clock: Callable[[], float] = time.monotonic  # seconds; runs are dated to the second
        self.workflows_gone = False
        self.ended: list[str] = []  # runs that were terminated
        self.deleted: list[str] = []  # runs that were deleted
        self._looks: dict[str, int] = {}
        super().__init__(_handler(self))

    def look(self, run: dict[str, Any]) -> dict[str, Any]:
        """Return the run's state at this request, and advance its course."""
        states = self.script(self.runs.index(run))
        look = min(self._looks.get(run["run_id"], 0), len(states) - 1)
        self._looks[run["run_id"]] = look + 1
        state, steps = states[look]
        run["state"] = state = "CANCELED" if run["run_id"] in self.ended else state
        details = [{"display_name": n.partition("#")[0], "state": s, "task_id": n} for n, s in steps.items()]
        return {**run, "run_details": {"task_details": details}}

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Return status and JSON for one call."""
        route = path.removeprefix("/apis/v2beta1/")
        match method, route:
            case "GET", "healthz":
                return 200, {"multi_user": self.many_users}
            case "GET", "/apis/v1beta1/healthz" if self.version:
                return 200, {"tag_name": self.version, "commit_sha": "unknown", "multi_user": self.many_users}
            case "GET", "pipelines":
                return 200, _listed("pipelines", self.pipelines, query)
            case "POST", "pipelines":
                return self._made(self.pipelines, "pipeline_id", body)
            case "POST", "pipelines/upload_version":
                made = {"display_name": query["name"], "pipeline_id": query["pipelineid"]}
                self.uploaded[query["name"]] = body
                return self._made(self.versions, "pipeline_version_id", made)
            case "GET", "experiments":
                return 200, _listed("experiments", self.experiments, query)
            case "POST", "experiments":
                return self._made(self.experiments, "experiment_id", body)
            case "GET", "runs":
                if query.get("namespace") in self.forbidden:
                    return 403, {"message": f"User is not authorized to list runs in {query['namespace']}"}
                wanted = query.get("experiment_id")
                there = [r for r in self.runs if r["run_id"] not in self.deleted]
                return 200, _listed("runs", [r for r in there if wanted in (None, "", r["experiment_id"])], query)
            case "POST", "runs":
                second = datetime(2026, 11, 30, tzinfo=UTC) + timedelta(seconds=int(self.clock()))
                created = second.isoformat().replace("+00:00", "Z")
                status, made = self._made(self.runs, "run_id", {**body, "state": "PENDING", "created_at": created})
                self.began(len(self.runs) - 1)
                return status, made
            case "GET", _ if found := re.fullmatch(r"pipelines/([^/]+)/versions", route):
                mine = [v for v in self.versions if v["pipeline_id"] == found[1]]
                return 200, _listed("pipeline_versions", mine, query)
            case "GET", _ if found := re.fullmatch(r"runs/([^/]+)", route):
                run = next((r for r in self.runs if r["run_id"] == found[1] and found[1] not in self.deleted), None)
                return (200, self.look(run)) if run else (404, not_there(found[1]))
            case "POST", _ if found := re.fullmatch(r"runs/([^/:]+):terminate", route):
                if self.workflows_gone:
                    return 500, {
                        "code": 13,
                        "message": "Failed to terminate a run: workflows.argoproj.io not found",
                        "details": [],
                    }
                self.ended.append(found[1])
                return 200, {}
            case "DELETE", _ if found := re.fullmatch(r"runs/([^/]+)", route):
                self.deleted.append(found[1])
                return 200, {}
        return 404, {"message": "Not Found"}

    def _made(self, entries: list[dict[str, Any]], key: str, body: dict[str, Any]) -> tuple[int, Any]:
        if key != "run_id" and any(e["display_name"] == body["display_name"] for e in entries):
            return 409, {"message": f"Already exist error: {body['display_name']}"}
        entries.append({key: f"{key.removesuffix('_id')}-{len(entries)}", **body})
        return 200, entries[-1]


def not_there(run_id: str) -> dict[str, Any]:
    """Return the real server's answer for a run that does not exist."""
    recorded: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "run-not-there.json").read_text())
    text = json.dumps(recorded).replace("00000000-0000-0000-0000-000000000000", run_id)
    answer: dict[str, Any] = json.loads(text)
    return answer


def _listed(name: str, entries: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    if query.get("filter"):
        (predicate,) = json.loads(query["filter"])["predicates"]
        entries = [e for e in entries if e["display_name"] == predicate["stringValue"]]
    return {name: entries[::-1] if query.get("sort_by", "").endswith("desc") else entries}


def _handler(kfp: FakeKfp) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def _serve(self) -> None:
            place = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query = {k: v[0] for k, v in parse_qs(place.query).items()}
            with kfp.lock:
                kfp.calls.append(f"{self.command} {place.path}")
                if kfp.token is not None and self.headers.get("Authorization") != f"Bearer {kfp.token}":
                    status, said = 401, {"message": "Request header error: there is no user identity header."}
                else:
                    status, said = kfp.answer(self.command, place.path, query, self._body(raw))
            self.answer_json(status, said)

        def _body(self, raw: bytes) -> Any:
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/"):
                (part,) = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + raw).get_payload()  # type: ignore[misc]
                return part.get_payload(decode=True).decode()  # type: ignore[union-attr]
            return json.loads(raw) if raw else None

        do_GET = do_POST = do_DELETE = _serve

    return Handler
