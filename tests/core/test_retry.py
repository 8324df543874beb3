"""Repeating a call: how often, with which pauses, and when it gives up. No test really sleeps."""

from __future__ import annotations

import gc
import math
import time
import weakref

import pytest

from tuneoff.core.runtime.retry import OutageNote, repeat


class Server:
    """Fails the first calls with the given errors, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock by one that only advances in pauses, and return the pauses."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(taken))
    return taken


def ask(server: Server, **options: object) -> str:
    fixed = {"may_pass": lambda error: isinstance(error, OSError), "patience_seconds": 100.0}
    return repeat(server, **{**fixed, "first_pause_seconds": 1.0, "longest_pause_seconds": 5.0, **options})  # type: ignore[arg-type]


def test_a_call_that_succeeds_is_made_once(pauses: list[float]) -> None:
    server = Server()
    assert ask(server) == "answer"
    assert (server.calls, pauses) == (1, [])


def test_pauses_double_up_to_the_longest(pauses: list[float]) -> None:
    assert ask(Server(*[OSError()] * 5)) == "answer"
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_an_error_that_cannot_pass_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="wrong"):
        ask(Server(OSError(), ValueError("wrong"), OSError()))
    assert pauses == [1.0]


def test_no_call_starts_after_the_patience(pauses: list[float]) -> None:
    server = Server(*[OSError(str(n)) for n in range(9)])
    with pytest.raises(OSError, match="3"):
        ask(server, patience_seconds=10.0)
    assert (server.calls, sum(pauses)) == (4, 7.0)


def test_the_number_of_calls_may_be_limited(pauses: list[float]) -> None:
    server = Server(*[OSError(str(n)) for n in range(9)])
    with pytest.raises(OSError, match="1"):
        ask(server, tries=2)
    assert server.calls == 2


def test_each_pause_is_announced_with_its_error(pauses: list[float]) -> None:
    noted: list[tuple[str, float]] = []
    ask(Server(OSError("a"), OSError("b")), before_pause=lambda error, pause: noted.append((str(error), pause)))
    assert noted == [("a", 1.0), ("b", 2.0)]


def test_a_long_outage_is_reported_once_and_its_end_too(pauses: list[float]) -> None:
    lines: list[str] = []
    outage = OutageNote("The server", str, lines.append, after_seconds=2.0)
    ask(Server(OSError("a"), OSError("b"), OSError("c"), OSError("d")), outage=outage)
    assert lines == [
        "The server does not answer (c). Trying again for 100 s.",
        "The server answers again after 12 s.",
    ]


def test_a_short_outage_is_not_reported(pauses: list[float]) -> None:
    lines: list[str] = []
    ask(Server(OSError("a"), OSError("b")), outage=OutageNote("The server", str, lines.append, after_seconds=2.0))
    assert (lines, pauses) == ([], [1.0, 2.0])


def test_the_time_of_a_call_before_its_first_failure_is_no_outage(pauses: list[float]) -> None:
    lines: list[str] = []
    server = Server(OSError("a"))

    def slow_call() -> str:
        pauses.append(0.0 if server.calls else 60.0)
        return server()

    ask(slow_call, outage=OutageNote("The server", str, lines.append, after_seconds=2.0))  # type: ignore[arg-type]
    assert lines == []


def test_an_interrupt_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(Server(KeyboardInterrupt(), OSError()))  # type: ignore[arg-type]
    assert pauses == []


def test_a_patience_without_end_has_no_deadline(pauses: list[float]) -> None:
    assert ask(Server(*[OSError()] * 50), patience_seconds=math.inf, tries=51) == "answer"
    assert len(pauses) == 50


def test_what_a_failed_call_held_is_freed_before_the_next_call() -> None:
    held: list[weakref.ref[Server]] = []

    def call() -> bool:
        large = Server()
        held.append(weakref.ref(large))
        if len(held) == 1:
            raise OSError
        gc.collect()
        return held[0]() is None

    assert repeat(call, lambda error: True, 1.0, 0.0, 0.0)
