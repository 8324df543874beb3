"""Inversion of control for frameworks that run their own search loop: the framework's loop runs in a thread.

The thread and Tuneoff's loop take turns. While a verb (ask, should_continue or tell) runs, the framework works until it proposes,
answers or ends. Between verbs it waits. The same tells therefore lead to the same asks, whichever thread is faster.
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
"""Maximum time for which a framework may start or compute. After it, the framework counts as hanging."""


class FrameworkHangs(Exception):
    """The framework did not propose, answer or end in time."""


@dataclass(frozen=True)
class _End:
    """The end of the framework's search, with a reason or with the exception that it raised."""

    reason: str
    error: Exception | None = None


@dataclass(eq=False)
class Request:
    """A proposal that Tuneoff's loop trains. The framework's thread receives its epochs and then its trial."""

    proposal: Proposal
    _to_loop: SimpleQueue[Request | tuple[Request, bool] | _End]
    _from_loop: SimpleQueue[Epoch | Trial] = field(default_factory=SimpleQueue)
    _waiting: deque[Epoch | Trial] = field(default_factory=deque)
    _seen: int = 0
    _asked: bool = False

    def next(self) -> Epoch | Trial:
        """Return the next epoch of the trial, or the ended trial after the last epoch. Blocks while the trial trains.

        Answer an epoch with `answer`.
        """
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
        """Decide whether training continues after the last epoch from `next`. Has no effect if the loop did not ask."""
        if self._asked:
            self._asked = False
            self._to_loop.put((self, should_continue))

    def end(self) -> Trial:
        """Stop the trial if it is still training, and return the ended trial."""
        self.answer(False)
        return self._to_end(False)

    def train(self) -> Trial:
        """Train to the target epoch of the proposal, and return the ended trial."""
        return self._to_end(True)

    def _to_end(self, should_continue: bool) -> Trial:
        while not isinstance(item := self.next(), Trial):
            self.answer(should_continue)
        return item


class InvertedCall:
    """The interface of a framework's thread to Tuneoff's loop."""

    def __init__(self, to_loop: SimpleQueue[Request | tuple[Request, bool] | _End]) -> None:
        self._to_loop = to_loop

    def serve(self, proposal: Proposal) -> Request:
        """Pass a proposal to the loop. The returned request gives its epochs."""
        request = Request(proposal, self._to_loop)
        self._to_loop.put(request)
        return request

    def train(self, proposal: Proposal) -> Trial:
        """Pass a proposal to the loop, wait until it is trained, and return the ended trial."""
        return self.serve(proposal).train()

    def fail(self, error: Exception) -> None:
        """End the search with an error. For threads of the framework in which a raised exception would be lost."""
        self._to_loop.put(_End("", error))


class Threaded:
    """A method whose search is a function that runs in a thread.

    The function proposes by its argument, one trial at a time. It returns the reason of its end, or raises. The thread ends with
    the process.

    Args:
        name: The name of the framework's search, for error messages.
        search: The function.
        patience_seconds: The time after which a framework that does not react counts as hanging.
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
        except Exception as error:  # noqa: BLE001 - the verb that waits for the thread raises any exception of the framework
            end = _End("", error)
        self._inbox.put(end)

    def ask(self) -> Proposal | Wait | Done:
        """Return the next proposal of the framework, or Wait while it waits for a trial in flight."""
        if self._open and not self._arrived:
            return Wait()
        self._until(lambda: bool(self._arrived))
        if not self._arrived:
            assert self._end is not None
            return Done(self._end.reason)
        request = self._arrived.popleft()
        self._open[self._asked] = request
        self._asked += 1
        return request.proposal

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        """Return the framework's decision after an epoch, or False if its search ends instead."""
        request = self._open[trial]
        request._from_loop.put(epoch)
        self._until(lambda: request in self._answers)
        return self._answers.pop(request, False)

    def tell(self, trial: Trial) -> None:
        """Pass an ended trial to the framework, and wait until the framework proposes or ends."""
        self._open.pop(trial.id)._from_loop.put(trial)
        self._until(lambda: bool(self._arrived))

    def _until(self, reached: Callable[[], bool]) -> None:
        """Receive from the thread until `reached()` is true or the framework has ended.

        Raises:
            FrameworkHangs: The framework takes too long.
            Exception: The exception with which the framework has ended.
        """
        deadline = time.monotonic() + self._patience
        while not reached() and self._end is None:
            try:
                self._sort(self._inbox.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                raise FrameworkHangs(
                    f"{self._name} hangs: it has not proposed, answered or ended within {self._patience:g} s"
                ) from None
        if not reached() and self._end is not None and self._end.error is not None:
            raise self._end.error

    def _sort(self, item: Request | tuple[Request, bool] | _End) -> None:
        match item:
            case Request():
                self._arrived.append(item)
            case _End():
                self._end = item
            case (request, should_continue):
                self._answers[request] = should_continue
