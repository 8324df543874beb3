"""An MLflow client that repeats failed calls if repeating them is harmless."""

from __future__ import annotations

import time
from typing import Any

TRIES = 5
PAUSE_SECONDS = 0.05
"""The pause before the second try. It doubles before each further try."""
PATIENCE_SECONDS = 5.0
"""No try begins later than this after the first one, so that a call to a hanging server is not repeated."""


class Retrying:
    """Forwards every call to the client and retries calls that may be repeated.

    Calls that create something are made once, because the answer may be lost after the server has written: the caller must
    query the server first. All other calls have the same effect if they are repeated.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if name.startswith(("create", "_")) or not callable(attribute):
            return attribute
        return lambda *args, **kwargs: _tried(lambda: attribute(*args, **kwargs))


def _tried(call: Any) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = PAUSE_SECONDS
    for _ in range(TRIES - 1):
        try:
            return call()
        except Exception as error:
            if not _passes(error) or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause *= 2
    return call()


def _passes(error: Exception) -> bool:
    """Return whether a retry may succeed, because the server did not reject the call."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return isinstance(error, OSError)  # the errors of requests are OSErrors
    status = int(error.get_http_status_code())
    return status >= 500 or status == 429
