"""A fake registry of container images for tests. It can require no token, a public token, or a login."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from serving import Quiet, Serving

TOKEN = "anybody"


class FakeRegistry(Serving):
    """Serves `images` (NAME:TAG or NAME@DIGEST). `calls` records each request with its Authorization header."""

    def __init__(self) -> None:
        self.images: set[str] = set()
        self.wants_token = False
        self.private = False
        """Whether its public tokens grant no access, as for a repository that needs a login."""
        self.realm: str | None = None
        """Address that issues tokens; None for this server."""
        self.broken: int | None = None
        self.calls: list[tuple[str, str | None]] = []
        self.accepted = ""
        super().__init__(_handler(self))

    @property
    def host(self) -> str:
        return self.uri.removeprefix("http://")

    def status(self, path: str, authorization: str | None) -> int:
        """Return the status for a HEAD request."""
        name, _, version = path.removeprefix("/v2/").partition("/manifests/")
        if self.broken is not None:
            return self.broken
        if self.wants_token and (authorization != f"Bearer {TOKEN}" or self.private):
            return 401
        return 200 if f"{name}{'@' if ':' in version else ':'}{version}" in self.images else 404


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def do_HEAD(self) -> None:
            authorization = self.headers["Authorization"]
            registry.calls.append((self.path, authorization))
            registry.accepted = self.headers["Accept"]
            status = registry.status(self.path, authorization)
            self.send_response(status)
            if status == 401:
                realm = f"{registry.uri}/token" if registry.realm is None else registry.realm
                scope = "repository:team/tuner:pull"
                self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="fake",scope="{scope}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            registry.calls.append((self.path, self.headers["Authorization"]))
            self.answer_json(200, {"token": TOKEN})

    return Handler
