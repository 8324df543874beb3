"""Strip user names and passwords from texts that name a URI."""

from __future__ import annotations


def _without_credentials(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else uri
