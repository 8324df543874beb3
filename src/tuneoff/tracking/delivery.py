"""Sending to the tracking server beside a search that must not notice: a thread that tries again until it has succeeded."""

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
    """Calls `sync` every few seconds in a thread of its own. What `sync` raises is remembered and tried again, never passed on.

    `sync` sends what the server lacks, and may be called any number of times. `waiting` says how many trials are not delivered
    yet. `report` hears one line when the server is lost, with what happens `meanwhile`, and one when it is back. As a context
    manager it is closed at the end.
    """

    def __init__(
        self,
        sync: Callable[[], int],
        every_seconds: float = 2.0,
        waiting: Callable[[], int] = lambda: 0,
        report: Callable[[str], None] = _to_stderr,
        meanwhile: str = "the search goes on, and what it finds is sent later",
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
        self._refused = False  # by something that waiting does not change
        self._pause = every_seconds
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, patience_seconds: float = 30.0) -> str | None:
        """Try to send the rest for so long; returns None, or one sentence that says what is not delivered and why.

        It returns at once where trying again cannot help, as without a server's name. It may be called again.
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
                f"All trials are in MLflow, but not the last state of the search ({self.trouble}):"
                " MLflow may show it as running. `tuneoff sync` corrects that."
            )
        trials = "1 trial is" if waiting == 1 else f"{waiting} trials are"
        them = "it" if waiting == 1 else "them"
        return f"{trials} not in MLflow yet ({self.trouble}); the record has {them}, and `tuneoff sync` sends {them}."

    @property
    def trouble(self) -> str:
        """Why not everything is delivered, in a few words."""
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
        except Exception as error:  # noqa: BLE001 - whatever a server or its client library raises, the search goes on
            self._failed(error)
            return False
        if self._error is not None:
            self._report("Tracking: the server is back, and has everything again.")
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
    """Send something once; where that fails, say so in one line and leave it to `tuneoff sync`. Returns whether it was sent."""
    return _said(_error_of(send), report)


def attempt_within(seconds: float, send: Callable[[], object], report: Callable[[str], None] = _to_stderr) -> bool:
    """The same for what others wait for: a server that is slower goes on alone, and counts as one that cannot be used."""
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(_error_of(send)), name="tracking", daemon=True)
    thread.start()
    thread.join(seconds)
    return _said(found[0] if found else f"no answer within {seconds:g} s", report)


def _error_of(send: Callable[[], object]) -> str | None:
    try:
        send()
    except Exception as error:  # noqa: BLE001 - no fault of a server may end a step whose result is on record
        return brief(error)
    return None


def _said(error: str | None, report: Callable[[str], None]) -> bool:
    if error is not None:
        report(f"Tracking: the server cannot be used ({error}); the record has everything, and `tuneoff sync` sends it.")
    return error is None


def brief(error: BaseException) -> str:
    """An error on one short line, without passwords; what is worded for people already, as it is."""
    if isinstance(error, StudyError):
        return without_credentials(str(error).strip().rstrip("."))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return cannot_write(error)
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    text = f"{type(error).__name__}: {without_credentials(first.strip())}" if first else type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
