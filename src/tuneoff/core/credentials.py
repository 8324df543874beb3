"""Take user names and passwords out of texts before they are shown or written."""

from __future__ import annotations

import re

_URI = re.compile(r"(?<=//)\S*@")


def without_credentials(text: str) -> str:
    """Return `text` with the user and password of every URI in it taken out.

    The scheme may be missing, as in `//me:password@host`. A password may contain any character except white space, `@` and `/`
    included. So everything between `//` and the last `@` before the next white space is removed. A path with an `@` in it is cut
    too: a shortened address is better than half a password.
    """
    return _URI.sub("", text)


def has_credentials(uri: str) -> bool:
    """Return whether a URI seems to carry a user or a password: an `@` in its host, or a `:` and later an `@` anywhere."""
    address = uri.partition("://")[2]
    return "@" in re.split(r"[/?#]", address)[0] or re.search(r":.*@", address, re.DOTALL) is not None
