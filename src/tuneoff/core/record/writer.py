"""Append the events of a search to its log."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..errors import Overtaken
from ..store.protocol import Journal
from .events import SCHEMA, Event, parse
from .state import _encode

LOCK_ATTEMPTS = 5
"""How many times a process tries to take over a record that another process still writes."""


class Writer:
    """The only writer of a search's record. An event is durable once `append` returns; `append_soon` writes in the background.

    Events reach the disk in order. A failed background write is raised by the next call.

    Raises:
        RecordError: Another process writes the record, or the log is damaged before its last line.
    """

    def __init__(self, journal: Journal, now: Callable[[], float] | None = None) -> None:
        self._journal = journal
        self._now = now or time.time  # seconds since 1970, of the wall clock or of a simulated clock
        self._on_its_way: Future[None] | None = None
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="record")  # it starts no thread until it is used
        self._read()

    @property
    def ended(self) -> Event | None:
        """Return the `ended` event if the search is over, else None."""
        last = next((e for e in reversed(self.events) if e["event"] != "opened"), None)
        return last if last is not None and last["event"] == "ended" else None

    def open(self, **header: Any) -> None:
        """Record that this process continues the search. Call this before any other event.

        If an earlier process has written since the record was read, the record is read again. The newest attempt takes over.
        """
        for left in reversed(range(LOCK_ATTEMPTS)):
            try:
                self.append("opened", schema=SCHEMA, pid=os.getpid(), host=socket.gethostname(), **header)
                return
            except Overtaken:
                if not left:
                    raise
                self._read()

    def _read(self) -> None:
        self.events: list[Event] = parse(self._journal.lines())
        self.attempt = 1 + sum(e["event"] == "opened" for e in self.events)

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event and return it as recorded."""
        self._wait()
        entry = self._entry(event, fields)
        self._journal.append(_line(entry))
        self.events.append(entry)
        return entry

    def append_soon(self, event: str, **fields: Any) -> None:
        """Write one event in the background."""
        if self._journal.instant:
            self.append(event, **fields)
            return
        self._wait()
        entry = self._entry(event, fields)
        self._on_its_way = self._hand.submit(self._journal.append, _line(entry))
        self.events.append(entry)

    def _entry(self, event: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {"seq": len(self.events), "event": event, "attempt": self.attempt, "time": round(self._now(), 3), **fields}

    def _wait(self) -> None:
        if self._on_its_way is not None:
            self._on_its_way.result()
            self._on_its_way = None

    def close(self) -> None:
        self._hand.shutdown()
        self._journal.close()


def _line(entry: dict[str, Any]) -> bytes:
    return _encode(entry).encode()
