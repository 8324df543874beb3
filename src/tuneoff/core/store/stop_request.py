"""Stop a study by a file in its store, which every step polls, or stop one step by a signal."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .. import layout
from ..errors import StudyError
from .protocol import Store

LOOK_EVERY_SECONDS = 1.0
LOOK_FAR_EVERY_SECONDS = 15.0
"""The polling interval for a store that is reached over a network."""


class Stopped(Exception):
    """A step ended early because it was asked to stop. Its work so far is recorded."""


def request(store: Store, by: str) -> None:
    """Ask all steps of the study to end after the current epoch. `by` names the requester, for a human reader."""
    store.write(layout.STOP, json.dumps({"by": by, "at": time.time()}).encode())


def withdraw(store: Store) -> None:
    """Withdraw the request, so that the study can continue."""
    store.delete(layout.STOP)


def requested(store: Store) -> bool:
    """Return whether a request to stop the study is active."""
    try:
        store.read(layout.STOP)
    except FileNotFoundError:
        return False
    return True


class Stopping:
    """Callable that returns whether this step must end. Steps call it after each epoch; once True, it stays True."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._every = LOOK_FAR_EVERY_SECONDS if "://" in store.uri else LOOK_EVERY_SECONDS
        self._next_look = 0.0
        self._found = False
        self._looking = threading.Lock()
        self.signal: str | None = None
        """Name of the signal that stopped this step only, as when a pod is evicted. A later attempt then continues the work."""

    def __call__(self) -> bool:
        if self.signal is None and not self._found:
            self._look()
        return self.signal is not None or self._found

    def _look(self) -> None:
        with self._looking:
            if time.monotonic() < self._next_look:
                return
            self._next_look = time.monotonic() + self._every
            try:
                self._found = requested(self._store)
            except (StudyError, OSError):  # the writer of the record reports a store that cannot be read
                return

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Let the first SIGTERM or SIGINT ask this step to end. A second signal has its usual effect."""
        with heeding(self._signalled):
            yield

    def _signalled(self, name: str) -> None:
        self.signal = name


@contextmanager
def heeding(first: Callable[[str], None]) -> Iterator[None]:
    """Call `first(name)` at the first SIGTERM or SIGINT, then restore the previous handlers.

    In other threads than the main thread this does nothing, because Python handles signals in the main thread only.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number in numbers:
            signal.signal(number, before[number])

    def heard(number: int, frame: FrameType | None) -> None:
        restore()
        first(signal.Signals(number).name)

    for number in numbers:
        signal.signal(number, heard)
    try:
        yield
    finally:
        restore()
