"""A proxy on loopback before a real server, that spoils the calls it is told to: for tests of outages."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import urlsplit

from serving import Quiet, Serving

Fault = Literal["500", "503", "403", "405", "drop", "lost", "slow"]
"""An answer without asking the server; the connection cut; the server asked, its answer replaced by 500; late by SLOW_SECONDS."""

Spoil = Callable[[str, str], "Fault | None"]
"""Which fault a call has, by its method and path."""

SLOW_SECONDS = 0.2

_BODIES = {
    "500": b"<Error><Code>InternalError</Code><Message>We failed.</Message></Error>",
    "503": b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    "403": b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>",
    "405": b"<Error><Code>MethodNotAllowed</Code><Message>Not here.</Message></Error>",
}


def half_of(seed: int, faults: Sequence[Fault] = ("500", "503", "drop", "lost", "slow")) -> Spoil:
    """Every other call on average has a fault, drawn with the seed."""
    drawn, lock = random.Random(seed), threading.Lock()

    def spoil(method: str, path: str) -> Fault | None:
        with lock:
            return drawn.choice(faults) if drawn.random() < 0.5 else None

    return spoil


class Proxy(Serving):
    """Passes calls on to `upstream` (http://host:port), but for those that `spoil` names a fault for; both may be replaced."""

    def __init__(self, upstream: str, spoil: Spoil) -> None:
        self.upstream = upstream
        self.spoil = spoil
        self.spoilt: list[Fault] = []
        self.asked = 0
        super().__init__(_handler(self))


def calm(method: str, path: str) -> None:
    """No call has a fault."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def _pass(self) -> None:
            proxy.asked += 1
            body = self._body()
            fault = proxy.spoil(self.command, self.path)
            if fault is None:
                return self._answer(*self._forwarded(body))
            proxy.spoilt.append(fault)
            if fault == "drop":
                self.close_connection = True
                return self.connection.close()
            if fault == "slow":
                time.sleep(SLOW_SECONDS)
                return self._answer(*self._forwarded(body))
            if fault == "lost":
                self._forwarded(body)
                return self._answer(500, [], _BODIES["500"])
            self._answer(int(fault), [], _BODIES[fault])
            return None

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            place = urlsplit(proxy.upstream)
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
            dropped = ("transfer-encoding", "content-length", "connection", "expect")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
            try:
                connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            length = {k.lower(): v for k, v in headers}.get("content-length", str(len(body)))
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass

    return Handler
