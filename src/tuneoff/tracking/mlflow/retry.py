"""An MLflow client that makes a call again where the server failed it and repeating can do no harm."""

from __future__ import annotations

import time
from typing import Any

TRIES = 5
PAUSE_SECONDS = 0.05
"""Before the second try; doubled before each further one."""
PATIENCE_SECONDS = 5.0
"""No try begins later than this after the first: a server that hangs is not asked again."""


class Retrying:
    """Passes every call on. What makes something new is asked for once, because an answer may be lost after the server has
    written: whoever calls has to ask what is there. All else comes to the same, however often it is done."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name.startswith(("create", "_")) or not callable(found):
            return found
        return lambda *args, **kwargs: _tried(lambda: found(*args, **kwargs))


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
    """Whether the same call may go well a little later: the server has not refused it."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return isinstance(error, OSError)  # as requests' errors are
    status = int(error.get_http_status_code())
    return status >= 500 or status == 429
