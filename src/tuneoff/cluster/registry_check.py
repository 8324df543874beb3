"""Check whether an image is in its registry, without a login, through the registry's HTTP API (version 2)."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from typing import Any

DOCKER_HUB = "docker.io"
DOCKER_HUB_API = "registry-1.docker.io"
PATIENCE_SECONDS = 5.0
MOST_TOKEN_BYTES = 1_000_000
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Presence(StrEnum):
    """Whether a registry has an image."""

    THERE = "there"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reference:
    """The full name of an image, as nodes list it: `tuneoff/tuner:0.1.0` is docker.io, tuneoff/tuner, 0.1.0."""

    host: str
    name: str
    version: str
    """A tag, or a digest (sha256:…)."""

    @classmethod
    def of(cls, image: str) -> Reference:
        """Parse an image name as container runtimes do."""
        name, at, digest = image.partition("@")
        last = name.rpartition("/")[2]
        tag = last.partition(":")[2]
        name = name.removesuffix(f":{tag}") if tag else name
        first, slash, rest = name.partition("/")
        host, name = (first, rest) if slash and ("." in first or ":" in first or first == "localhost") else (DOCKER_HUB, name)
        host = DOCKER_HUB if host == f"index.{DOCKER_HUB}" else host
        if host == DOCKER_HUB and "/" not in name:
            name = f"library/{name}"
        return cls(host, name, digest if at else tag or "latest")

    def __str__(self) -> str:
        return f"{self.host}/{self.name}{'@' if ':' in self.version else ':'}{self.version}"


class Registries:
    """Look up images in their registries. A registry that does not answer is asked only once."""

    def __init__(self) -> None:
        self._silent: dict[str, str] = {}

    def look(self, reference: Reference) -> tuple[Presence, str]:
        """Return whether the registry has the image, and the reason if that is unknown (else an empty text)."""
        host = DOCKER_HUB_API if reference.host == DOCKER_HUB else reference.host
        if host in self._silent:
            return Presence.UNKNOWN, self._silent[host]
        try:
            status = _status_of(host, reference)
        except (OSError, HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or error
            self._silent[host] = f"{host} does not answer ({' '.join(str(why).split())[:160]})"
            return Presence.UNKNOWN, self._silent[host]
        if status == 200:
            return Presence.THERE, ""
        if status == 404:
            return Presence.MISSING, ""
        if status in (401, 403):
            return Presence.UNKNOWN, f"{host} requires a login for it, or does not have it (HTTP status {status})"
        return Presence.UNKNOWN, f"{host} answered with HTTP status {status}"


def _status_of(host: str, reference: Reference) -> int:
    """Return the HTTP status of the image's manifest. If the registry requires a public token, get one and ask again."""
    name, version = (urllib.parse.quote(part, safe="/:") for part in (reference.name, reference.version))
    local = re.fullmatch(r"(localhost|127\.0\.0\.1)(:\d+)?", host) is not None
    url = f"{'http' if local else 'https'}://{host}/v2/{name}/manifests/{version}"
    status, challenge = _head(url, local, None)
    if status != 401:
        return status
    token = _anonymous_token(challenge, local)
    return status if token is None else _head(url, local, token)[0]


def _head(url: str, local: bool, token: str | None) -> tuple[int, str]:
    """Return the status of a HEAD request and the authentication challenge (empty if none is given)."""
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": ", ".join(MANIFESTS)})
    if token is not None:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with _opener(local).open(request, timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status), ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("WWW-Authenticate", "")


def _anonymous_token(challenge: str, local: bool) -> str | None:
    """Return a token of the challenge's realm, requested without credentials, or None if the realm issues none."""
    kind, _, rest = challenge.partition(" ")
    fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    realm = urllib.parse.urlsplit(fields.get("realm", ""))
    if kind.lower() != "bearer" or realm.scheme not in (("https", "http") if local else ("https",)) or "@" in realm.netloc:
        return None
    query = urllib.parse.urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    url = urllib.parse.urlunsplit(realm._replace(query="&".join(filter(None, [realm.query, query]))))
    try:
        with _opener(local).open(url, timeout=PATIENCE_SECONDS) as answer:
            body: Any = json.loads(answer.read(MOST_TOKEN_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        return None
    token = (body.get("token") or body.get("access_token")) if isinstance(body, dict) else None
    return token if isinstance(token, str) and re.fullmatch(r"[!-~]+", token) else None


def _opener(local: bool) -> urllib.request.OpenerDirector:
    """Return a URL opener that uses the proxies of the environment, except for a registry on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})) if local else urllib.request.build_opener()
