"""The thread that delivers during a search: it retries, reports a lost and a returned server, and never disturbs the search."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tuneoff.core.errors import StudyError
from tuneoff.tracking import delivery
from tuneoff.tracking.delivery import Delivery, brief
from tuneoff.tracking.mlflow.sqlite import DatabaseFault


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE_SECONDS", 0.04)


class Server:
    """A server that fails while `away`. It counts all calls and the successful calls."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.asked = self.served = 0

    def __call__(self) -> int:
        self.asked += 1
        if self.away:
            raise ConnectionError("http://me:pw@host refused\nand more")
        self.served += 1
        return 1


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 800
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_the_remaining_results_are_sent_at_the_close() -> None:
    server = Server()
    thread = Delivery(server, every_seconds=60)
    thread.start()
    assert thread.close() is None
    assert server.served == 1


def test_it_delivers_again_and_again() -> None:
    server = Server()
    with Delivery(server, every_seconds=0.005):
        until(lambda: server.served >= 3)


def test_a_lost_server_is_one_line_and_its_return_another() -> None:
    server, lines = Server(away=True), list[str]()
    thread = Delivery(server, every_seconds=0.005, report=lines.append)
    thread.start()
    until(lambda: server.asked >= 4)
    assert lines == [
        "Tracking: the server is lost (ConnectionError: http://host refused);"
        " the search continues, and its results are sent later."
    ]
    server.away = False
    until(lambda: server.served >= 1)
    assert thread.close() is None
    assert lines[1:] == ["Tracking: the server is back and up to date."]


def test_a_server_that_stays_away_is_reported_at_the_close() -> None:
    server = Server(away=True)
    thread = Delivery(server, every_seconds=0.005, waiting=lambda: 12, report=lambda line: None)
    thread.start()
    until(lambda: server.asked >= 2)
    backlog = thread.close(patience_seconds=0.1)
    assert backlog == (
        "12 trials are not in MLflow yet (ConnectionError: http://host refused)."
        " The record has them. Run `tuneoff sync` to send them."
    )


def test_the_close_waits_no_longer_than_its_patience() -> None:
    asked, answered = threading.Event(), threading.Event()

    def asleep() -> int:
        asked.set()
        return int(answered.wait())

    thread = Delivery(asleep, every_seconds=0.001, waiting=lambda: 3, report=lambda line: None)
    thread.start()
    asked.wait()
    assert thread.close(patience_seconds=0.1) == (  # returns although the server never answers
        "3 trials are not in MLflow yet (the server is slow). The record has them. Run `tuneoff sync` to send them."
    )
    answered.set()


def test_without_a_missing_trial_the_message_is_about_the_search() -> None:
    server = Server(away=True)
    thread = Delivery(server, every_seconds=0.005, waiting=lambda: 0, report=lambda line: None)
    thread.start()
    until(lambda: server.asked >= 2)
    assert thread.close(patience_seconds=0.1) == (
        "All trials are in MLflow, but the last state of the search is not (ConnectionError: http://host refused)."
        " MLflow may show it as running. Run `tuneoff sync` to correct this."
    )


@pytest.mark.parametrize(("error", "patient"), [(StudyError("no server is named"), False), (DatabaseFault("it is locked"), True)])
def test_the_close_does_not_wait_if_a_retry_cannot_help(error: StudyError, patient: bool) -> None:
    def refused() -> int:
        raise error

    patience_seconds = 0.5 if patient else 120.0
    thread = Delivery(refused, waiting=lambda: 1, report=lambda line: None)
    thread.start()
    begun = time.monotonic()
    assert thread.close(patience_seconds) == (
        f"1 trial is not in MLflow yet ({error}). The record has it. Run `tuneoff sync` to send it."
    )
    assert (time.monotonic() - begun >= patience_seconds) == patient


def test_the_caller_words_what_happens_meanwhile() -> None:
    lines: list[str] = []
    thread = Delivery(Server(away=True), every_seconds=0.005, report=lines.append, meanwhile="this step tries again")
    thread.start()
    until(lambda: len(lines) > 0)
    thread.close(patience_seconds=0.1)
    assert lines == ["Tracking: the server is lost (ConnectionError: http://host refused); this step tries again."]


def test_pauses_grow_to_a_limit_and_start_again() -> None:
    thread = Delivery(Server(away=True), every_seconds=7, report=lambda line: None)
    pauses = []
    for _ in range(5):
        thread._try()
        pauses.append(thread._pause)
    assert pauses == [0.01, 0.02, 0.04, 0.04, 0.04]


def test_the_context_reports_missing_results(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    thread = Delivery(Server(away=True), every_seconds=0.005, waiting=lambda: 2, report=lines.append)
    monkeypatch.setattr(thread, "close", lambda: "2 trials are not in MLflow yet")
    with thread:
        pass
    assert lines[-1] == "2 trials are not in MLflow yet"


def test_errors_are_one_short_line() -> None:
    assert brief(ValueError()) == "ValueError"
    assert brief(ValueError("\n\n a \n b")) == "ValueError: a"
    assert len(brief(ValueError("x" * 500))) == 200
