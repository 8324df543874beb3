"""The thread adapter: a framework with its own loop behaves like a method that is asked and told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from toy import Curve, essence, metrics, run_toy, toy_spec
from tuneoff.core.problem import Done, Epoch, Limits, Outcome, Proposal, Status, Trial, Wait
from tuneoff.core.store.journal import whole_lines
from tuneoff.methods.inversion import FrameworkHangs, InvertedCall, Threaded


def proposal(n: int, epochs: int = 3) -> Proposal:
    return Proposal({"x": 0.5, "n": n}, epochs)


def told(number: int, answer: Proposal, status: Status = Status.COMPLETED) -> Trial:
    trial = Trial(number, number, answer, 0)
    curve = tuple(Epoch(n, metrics(trial, n), 0.1) for n in range(1, answer.target_epoch + 1))
    return Trial(number, number, answer, 0, Outcome(status, curve, float(number), 0.1))


def asked(method: Threaded) -> Proposal:
    answer = method.ask()
    assert isinstance(answer, Proposal)
    return answer


def test_a_loop_becomes_asks_and_tells() -> None:
    losses = []

    def framework(loop: InvertedCall) -> str:
        for n in (1, 2):
            trial = loop.train(proposal(n))
            assert trial.outcome is not None
            losses.append(trial.outcome.loss)
        return "both points are tried"

    method = Threaded("toy", framework)
    for number in (0, 1):
        answer = asked(method)
        assert answer == proposal(number + 1)
        method.tell(told(number, answer))
    assert losses == [0.0, 1.0]
    assert method.ask() == method.ask() == Done("both points are tried")


def test_tell_returns_after_the_framework_has_processed_the_trial() -> None:
    processed = []

    def framework(loop: InvertedCall) -> str:
        for n in range(1, 4):
            loop.train(proposal(n))
            processed.append(n)
        return "done"

    method = Threaded("toy", framework)
    for number in range(3):
        method.tell(told(number, asked(method)))
        assert processed == list(range(1, number + 2))


def test_ask_returns_wait_while_the_framework_waits_for_a_trial() -> None:
    method = Threaded("toy", lambda loop: str(loop.train(proposal(1)).id))
    answer = asked(method)
    assert method.ask() == Wait()
    method.tell(told(0, answer))
    assert method.ask() == Done("0")


def test_the_framework_answers_each_epoch() -> None:
    seen = []

    def framework(loop: InvertedCall) -> str:
        request = loop.serve(proposal(1, epochs=9))
        while isinstance(epoch := request.next(), Epoch) and epoch.number < 3:
            seen.append(epoch.number)
            request.answer(True)
        return f"stopped {request.end().outcome.status}"  # type: ignore[union-attr]

    method = Threaded("toy", framework)
    answer = asked(method)
    ended = told(0, Proposal(answer.config, 3), Status.STOPPED)
    assert ended.outcome is not None
    assert [method.should_continue(0, epoch) for epoch in ended.outcome.curve] == [True, True, False]
    method.tell(ended)
    assert method.ask() == Done("stopped stopped")
    assert seen == [1, 2]


def test_the_framework_also_receives_epochs_after_which_the_loop_does_not_ask() -> None:
    """The loop does not ask after the last epoch. It never asks if the method has no stop rule."""
    seen = []

    def framework(loop: InvertedCall) -> str:
        request = loop.serve(proposal(1))
        while isinstance(epoch := request.next(), Epoch):
            seen.append(epoch.number)
            request.answer(True)
        return "done"

    method = Threaded("toy", framework)
    trial = told(0, asked(method))
    assert trial.outcome is not None
    assert method.should_continue(0, trial.outcome.curve[0])
    method.tell(trial)
    assert seen == [1, 2, 3]


def test_the_verb_that_waits_raises_the_exception_of_the_framework() -> None:
    def framework(loop: InvertedCall) -> str:
        loop.train(proposal(1))
        raise ValueError("a bug of the framework")

    method = Threaded("toy", framework)
    answer = asked(method)
    with pytest.raises(ValueError, match="a bug of the framework"):
        method.tell(told(0, answer))
    with pytest.raises(ValueError, match="a bug of the framework"):
        method.ask()


def test_a_framework_that_hangs_is_an_error() -> None:
    stuck = threading.Event()
    method = Threaded("toy's search", lambda loop: str(stuck.wait()), patience_seconds=0.05)
    with pytest.raises(FrameworkHangs, match=r"toy's search hangs: it has not proposed, answered or ended within 0\.05 s"):
        method.ask()
    stuck.set()


def test_a_framework_that_ends_in_the_middle_of_a_trial_stops_it() -> None:
    def framework(loop: InvertedCall) -> str:
        loop.serve(proposal(1)).next()
        return "enough"

    method = Threaded("toy", framework)
    answer = asked(method)
    assert not method.should_continue(0, Epoch(1, metrics(Trial(0, 0, answer, 0), 1), 0.1))
    method.tell(told(0, answer, Status.STOPPED))
    assert method.ask() == Done("enough")


class Climbing(Threaded):
    """Try n = 1, 2, …: stop a trial that is worse than the best so far at its second epoch, and resume the others."""

    def __init__(self) -> None:
        super().__init__("climbing", self._climb)
        self.seconds = 0.0

    def resumable(self) -> set[int]:
        return set()

    def _climb(self, loop: InvertedCall) -> str:
        best = 0.0
        for n in range(1, 9):
            request = loop.serve(proposal(n))
            while isinstance(item := request.next(), Epoch):
                hopeless = item.number == 2 and item.metrics["val_accuracy"] < best
                best = max(best, item.metrics["val_accuracy"])
                request.answer(not hopeless)
            if item.outcome is not None and item.outcome.status is Status.COMPLETED:
                loop.train(Proposal(item.proposal.config, 5, item.id))
        return "all levels are tried"


def test_a_killed_search_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    spec = toy_spec(stop_rule=True)
    limits = Limits(epochs=60)
    whole = run_toy(tmp_path / "whole", method=Climbing(), spec=spec, limits=limits, objective=Curve(failing=(1,)))
    assert {e["status"] for e in whole if e["event"] == "told"} == {"completed", "stopped", "failed"}
    lines = whole_lines((tmp_path / "whole").read_bytes())[0]
    for kept in range(1, len(lines)):
        log = tmp_path / str(kept)
        log.write_bytes(b"".join(line + b"\n" for line in lines[:kept]))
        assert essence(run_toy(log, method=Climbing(), spec=spec, limits=limits, objective=Curve(failing=(1,)))) == essence(whole)
