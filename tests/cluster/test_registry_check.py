"""Test looking up images in registries without a login."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fake_registry import TOKEN, FakeRegistry
from tuneoff.cluster import registry_check
from tuneoff.cluster.registry_check import Presence, Reference, Registries

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().running() as server:
        server.images = {"team/tuner:1", f"team/tuner@{DIGEST}"}
        yield server


def look(registry: FakeRegistry, image: str) -> tuple[Presence, str]:
    return Registries().look(Reference.of(f"{registry.host}/{image}"))


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        ("tuneoff/tuner:0.1.0", "docker.io/tuneoff/tuner:0.1.0"),
        ("tuner", "docker.io/library/tuner:latest"),
        ("docker.io/alpine:3.23", "docker.io/library/alpine:3.23"),
        ("index.docker.io/tuneoff/tuner:1", "docker.io/tuneoff/tuner:1"),
        ("registry.example.org/team/tuner:1", "registry.example.org/team/tuner:1"),
        ("registry:5000/team/tuner", "registry:5000/team/tuner:latest"),
        ("localhost/tuner:1", "localhost/tuner:1"),
        (f"tuneoff/tuner@{DIGEST}", f"docker.io/tuneoff/tuner@{DIGEST}"),
        (f"tuneoff/tuner:1@{DIGEST}", f"docker.io/tuneoff/tuner@{DIGEST}"),
    ],
)
def test_an_image_name_is_parsed_as_container_runtimes_do(image: str, whole: str) -> None:
    assert str(Reference.of(image)) == whole


def test_an_image_is_found_by_tag_or_digest_or_is_missing(registry: FakeRegistry) -> None:
    assert look(registry, "team/tuner:1") == (Presence.THERE, "")
    assert look(registry, f"team/tuner@{DIGEST}") == (Presence.THERE, "")
    assert look(registry, "team/tuner:2") == (Presence.MISSING, "")
    assert {authorization for _, authorization in registry.calls} == {None}
    assert "application/vnd.oci.image.index.v1+json" in registry.accepted
    assert "application/vnd.docker.distribution.manifest.v2+json" in registry.accepted


def test_a_public_token_is_fetched_once_and_sent_only_to_the_registry(registry: FakeRegistry) -> None:
    registry.wants_token = True
    assert look(registry, "team/tuner:1") == (Presence.THERE, "")
    token = "/token?service=fake&scope=repository%3Ateam%2Ftuner%3Apull"
    manifest = "/v2/team/tuner/manifests/1"
    assert registry.calls == [(manifest, None), (token, None), (manifest, f"Bearer {TOKEN}")]
    assert look(registry, "team/tuner:2") == (Presence.MISSING, "")


def test_docker_hubs_api_has_another_host(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_check, "DOCKER_HUB_API", registry.host)
    assert Registries().look(Reference.of("team/tuner:1")) == (Presence.THERE, "")


def test_an_image_that_needs_a_login_is_unknown(registry: FakeRegistry) -> None:
    registry.wants_token = registry.private = True
    unknown = Presence.UNKNOWN, f"{registry.host} requires a login for it, or does not have it (HTTP status 401)"
    assert look(registry, "team/tuner:1") == unknown
    registry.realm = ""
    assert look(registry, "team/tuner:1") == unknown


@pytest.mark.parametrize(
    "challenge",
    ["", 'Basic realm="registry"', 'Bearer realm="http://tokens.example.org/"', 'Bearer realm="https://me:key@tokens.example.org/"',
     'Bearer realm="file:///etc/hostname"'],
)  # fmt: skip
def test_a_token_is_requested_only_over_https_and_without_credentials(challenge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_check, "_opener", lambda local: pytest.fail("nothing is to be asked"))
    assert registry_check._anonymous_token(challenge, local=False) is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_any_other_http_status_is_unknown(registry: FakeRegistry, status: int) -> None:
    registry.broken = status
    assert look(registry, "team/tuner:1") == (Presence.UNKNOWN, f"{registry.host} answered with HTTP status {status}")


def test_a_registry_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def late(*arguments: object) -> None:
        asked.append(arguments)
        raise TimeoutError("timed out")

    monkeypatch.setattr(registry_check, "_head", late)
    registries = Registries()
    unknown = Presence.UNKNOWN, "registry.example.org does not answer (timed out)"
    for name in ("tuner", "evaluator"):
        assert registries.look(Reference.of(f"registry.example.org/{name}:1")) == unknown
    assert len(asked) == 1


def test_a_registry_that_cannot_be_reached_is_reported() -> None:
    presence, why = Registries().look(Reference.of("127.0.0.1:9/tuner:1"))
    assert presence is Presence.UNKNOWN
    assert why.startswith("127.0.0.1:9 does not answer (")
