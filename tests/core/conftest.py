"""What the tests on S3 servers share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from faulty import Proxy, calm

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the server that spoils nothing yet, and an environment that leads to it."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with Proxy(server, calm).running() as proxy:
        places = {"AWS_ENDPOINT_URL": proxy.uri, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        for name, value in {**places, **KEYS, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
        yield proxy
