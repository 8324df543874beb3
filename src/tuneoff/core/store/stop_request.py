"""Asking a study to stop: by a file in its store that every step looks for, or by a signal to one step."""

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
"""The same in a store that is asked over a network."""


class Stopped(Exception):
    """A step came to its end before its work was done, since it was asked to; what it did is on record."""


def request(store: Store, by: str) -> None:
    """Ask all steps of the store's study to end after the running epoch; `by` says who does, for people."""
    store.write(layout.STOP, json.dumps({"by": by, "at": time.time()}).encode())


def withdraw(store: Store) -> None:
    """Let the study go on."""
    store.delete(layout.STOP)


def requested(store: Store) -> bool:
    """Whether the study has been asked to stop, and not to go on since."""
    try:
        store.read(layout.STOP)
    except FileNotFoundError:
        return False
    return True


class Stopping:
    """Whether this step shall end: asked after each epoch; once true, true for good."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._every = LOOK_FAR_EVERY_SECONDS if "://" in store.uri else LOOK_EVERY_SECONDS
        self._next_look = 0.0
        self._found = False
        self._looking = threading.Lock()
        self.signal: str | None = None
        """The signal that asked this step alone, as when a container is taken away: somebody else shall go on."""

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
            except (StudyError, OSError):  # a store that cannot be read is found by whoever writes the record
                return

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask this step to end, the first time; the second time they do what they usually do."""
        with heeding(self._signalled):
            yield

    def _signalled(self, name: str) -> None:
        self.signal = name


@contextmanager
def heeding(first: Callable[[str], None]) -> Iterator[None]:
    """Call `first(name)` at the first SIGTERM or SIGINT, which then are as they were. Only the main thread can heed them."""
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
