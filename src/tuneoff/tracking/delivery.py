"""Send results to the tracking server from a thread that retries until it succeeds and never disturbs the search."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from ..core.credentials import without_credentials
from ..core.errors import StudyError
from ..core.store.journal import cannot_write
from .mlflow.sqlite import DatabaseFault

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Delivery:
    """Calls `sync` every few seconds in a separate thread. Exceptions of `sync` are stored and lead to a retry.

    As a context manager it starts the thread and closes it at the end.

    Args:
        sync: Sends everything that the server lacks. It may be called any number of times.
        every_seconds: The pause between two calls.
        waiting: Returns the number of trials that are not delivered yet.
        report: Called with one line when the server is lost, and with one line when it is back.
        meanwhile: What happens while the server is lost, for that line.
    """

    def __init__(
        self,
        sync: Callable[[], int],
        every_seconds: float = 2.0,
        waiting: Callable[[], int] = lambda: 0,
        report: Callable[[str], None] = _to_stderr,
        meanwhile: str = "the search continues, and its results are sent later",
    ) -> None:
        self._sync = sync
        self._meanwhile = meanwhile
        self._every = every_seconds
        self._waiting = waiting
        self._report = report
        self._stop = threading.Event()
        self._deadline = 0.0
        self._level = False  # the last call of `sync` began after the stop, and succeeded
        self._error: str | None = None
        self._refused = False  # the last error cannot be cured by waiting
        self._pause = every_seconds
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, patience_seconds: float = 30.0) -> str | None:
        """Try to send the rest for at most `patience_seconds`. May be called again.

        Returns at once if a retry cannot help, for example if no server is named.

        Returns:
            None if everything is delivered. Otherwise a message that names the missing results and the reason.
        """
        self._deadline = time.monotonic() + patience_seconds
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(patience_seconds)
        if self._level:
            return None
        waiting = self._waiting()
        if not waiting:
            return (
                f"All trials are in MLflow, but the last state of the search is not ({self.trouble})."
                " MLflow may show it as running. Run `tuneoff sync` to correct this."
            )
        trials = "1 trial is" if waiting == 1 else f"{waiting} trials are"
        them = "it" if waiting == 1 else "them"
        return f"{trials} not in MLflow yet ({self.trouble}). The record has {them}. Run `tuneoff sync` to send {them}."

    @property
    def trouble(self) -> str:
        """The reason, in a few words, why some results are not delivered."""
        return self._error or "the server is slow"

    def __enter__(self) -> Delivery:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if (backlog := self.close()) is not None:
            self._report(backlog)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            self._try()
        while not self._level:
            self._level = self._try()
            left = self._deadline - time.monotonic()
            if self._level or self._refused or left <= 0:
                return
            time.sleep(min(self._pause, left))

    def _try(self) -> bool:
        try:
            self._sync()
        except Exception as error:  # noqa: BLE001 - no error of a server or its client library may stop the search
            self._failed(error)
            return False
        if self._error is not None:
            self._report("Tracking: the server is back and up to date.")
        self._error, self._refused, self._pause = None, False, self._every
        return True

    def _failed(self, error: Exception) -> None:
        first = self._error is None
        self._error = brief(error)
        self._refused = isinstance(error, StudyError) and not isinstance(error, DatabaseFault)
        self._pause = FIRST_PAUSE_SECONDS if first else min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if first:
            self._report(f"Tracking: the server is lost ({self._error}); {self._meanwhile}.")


def attempt(send: Callable[[], object], report: Callable[[str], None] = _to_stderr) -> bool:
    """Call `send` once and return whether it succeeded. If it fails, report one line that refers to `tuneoff sync`."""
    return _said(_error_of(send), report)


def attempt_within(seconds: float, send: Callable[[], object], report: Callable[[str], None] = _to_stderr) -> bool:
    """As `attempt`, but wait for at most `seconds`. A slower call continues in its thread and counts as failed."""
    errors: list[str | None] = []
    thread = threading.Thread(target=lambda: errors.append(_error_of(send)), name="tracking", daemon=True)
    thread.start()
    thread.join(seconds)
    return _said(errors[0] if errors else f"no answer within {seconds:g} s", report)


def _error_of(send: Callable[[], object]) -> str | None:
    try:
        send()
    except Exception as error:  # noqa: BLE001 - no fault of a server may end a step whose result is recorded
        return brief(error)
    return None


def _said(error: str | None, report: Callable[[str], None]) -> bool:
    if error is not None:
        report(f"Tracking: the server cannot be used ({error}). The record is complete. Run `tuneoff sync` to send it.")
    return error is None


def brief(error: BaseException) -> str:
    """Format an error on one short line, without passwords. The message of a StudyError is not shortened."""
    if isinstance(error, StudyError):
        return without_credentials(str(error).strip().rstrip("."))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return cannot_write(error)
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    text = f"{type(error).__name__}: {without_credentials(first.strip())}" if first else type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
