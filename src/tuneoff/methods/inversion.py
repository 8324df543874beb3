"""A framework that owns its loop, behind ask, should_continue and tell: its search runs in a thread and rests while ours trains.

Both sides take turns: while a verb runs, the framework works up to its next rest (a proposal, an answer, its end), and
between verbs it waits. So the same tells lead to the same asks, and nothing depends on which thread is faster.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from ..core.problem import Done, Epoch, Proposal, Trial, TrialId, Wait

PATIENCE_SECONDS = 600.0
"""So long may a framework think, or start, before it is held to hang."""


class FrameworkHangs(Exception):
    """The framework neither asks nor ends within the patience."""


@dataclass(frozen=True)
class _End:
    """The framework's search is over: with a reason, or with the exception that it raised."""

    reason: str
    error: Exception | None = None


@dataclass(eq=False)
class Request:
    """A proposal on its way through our loop, as the framework's thread sees it: its epochs, then the trial that was told."""

    proposal: Proposal
    _to_loop: SimpleQueue[Request | tuple[Request, bool] | _End]
    _from_loop: SimpleQueue[Epoch | Trial] = field(default_factory=SimpleQueue)
    _waiting: deque[Epoch | Trial] = field(default_factory=deque)
    _seen: int = 0
    _asked: bool = False

    def next(self) -> Epoch | Trial:
        """The trial's next epoch, to be answered; after the last one the trial itself. Blocks while it trains."""
        if not self._waiting:
            self._receive()
        item = self._waiting.popleft()
        if isinstance(item, Epoch):
            self._seen = item.number
        return item

    def _receive(self) -> None:
        item = self._from_loop.get()
        if isinstance(item, Epoch):
            self._asked = True
            self._waiting.append(item)
            return
        curve = item.outcome.curve if item.outcome else ()
        self._waiting.extend(e for e in curve if e.number > self._seen)
        self._waiting.append(item)

    def answer(self, should_continue: bool) -> None:
        """Whether training goes on after the epoch that `next` gave; of no effect where the loop did not ask."""
        if self._asked:
            self._asked = False
            self._to_loop.put((self, should_continue))

    def end(self) -> Trial:
        """Stop the trial if it trains yet; the trial as it was told."""
        self.answer(False)
        return self._to_end(False)

    def train(self) -> Trial:
        """Train to the proposal's target; the trial as it was told."""
        return self._to_end(True)

    def _to_end(self, should_continue: bool) -> Trial:
        while not isinstance(item := self.next(), Trial):
            self.answer(should_continue)
        return item


class InvertedCall:
    """Where a framework's thread hands its configurations to our loop."""

    def __init__(self, to_loop: SimpleQueue[Request | tuple[Request, bool] | _End]) -> None:
        self._to_loop = to_loop

    def serve(self, proposal: Proposal) -> Request:
        """Hand over a proposal; the visit gives its epochs."""
        visit = Request(proposal, self._to_loop)
        self._to_loop.put(visit)
        return visit

    def train(self, proposal: Proposal) -> Trial:
        """Hand over a proposal and wait until it is trained; the trial as it was told."""
        return self.serve(proposal).train()

    def fail(self, error: Exception) -> None:
        """End the search with this error, from a thread of the framework that cannot raise it where it would be heard."""
        self._to_loop.put(_End("", error))


class Threaded:
    """A method whose search is `search(door)` in a thread: it returns the reason why it has nothing more to ask, or raises.

    One proposal is trained at a time. The thread ends with the process.
    """

    def __init__(self, name: str, search: Callable[[InvertedCall], str], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._name = name
        self._search = search
        self._patience = patience_seconds
        self._inbox: SimpleQueue[Request | tuple[Request, bool] | _End] = SimpleQueue()
        self._arrived: deque[Request] = deque()
        self._open: dict[TrialId, Request] = {}
        self._answers: dict[Request, bool] = {}
        self._asked = 0
        self._end: _End | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            end = _End(self._search(InvertedCall(self._inbox)))
        except Exception as error:  # noqa: BLE001 - whatever a framework raises is raised by the verb that waits for it
            end = _End("", error)
        self._inbox.put(end)

    def ask(self) -> Proposal | Wait | Done:
        """The framework's next proposal; Wait where it rests in one that is not told yet."""
        if self._open and not self._arrived:
            return Wait()
        self._until(lambda: bool(self._arrived))
        if not self._arrived:
            assert self._end is not None
            return Done(self._end.reason)
        visit = self._arrived.popleft()
        self._open[self._asked] = visit
        self._asked += 1
        return visit.proposal

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        """What the framework says after this epoch; no where its search ends instead of an answer."""
        visit = self._open[trial]
        visit._from_loop.put(epoch)
        self._until(lambda: visit in self._answers)
        return self._answers.pop(visit, False)

    def tell(self, trial: Trial) -> None:
        """Let the framework hear of the trial, and wait until it rests again."""
        self._open.pop(trial.id)._from_loop.put(trial)
        self._until(lambda: bool(self._arrived))

    def _until(self, reached: Callable[[], bool]) -> None:
        """Receive until this is so or the framework has ended; raises what it raised, FrameworkHangs where it takes too long."""
        deadline = time.monotonic() + self._patience
        while not reached() and self._end is None:
            try:
                self._sort(self._inbox.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                raise FrameworkHangs(
                    f"{self._name} has neither asked nor answered nor ended within {self._patience:g} s: it hangs"
                ) from None
        if not reached() and self._end is not None and self._end.error is not None:
            raise self._end.error

    def _sort(self, item: Request | tuple[Request, bool] | _End) -> None:
        match item:
            case Request():
                self._arrived.append(item)
            case _End():
                self._end = item
            case (visit, should_continue):
                self._answers[visit] = should_continue
