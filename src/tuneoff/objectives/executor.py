"""Run the trials of a search: several at a time, and report what happens to them in the order in which it happens.

The search starts a trial with `start` and asks with `next` what happened first among the trials in flight. It answers an epoch
with `continue_trial` or `end`. Any other event ends its trial::

    start(trial 0), start(trial 1)
    next() -> trial 1, epoch 1          continue_trial(trial 1)
    next() -> trial 0, epoch 1          end(trial 0): it has reached its target, or is stopped
    start(trial 2)
    next() -> trial 1 failed
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Protocol

from ..core.problem import Checkpoint, Epoch, Objective, TrainingFailed, Trial, TrialId


class WorkerDied(Exception):
    """The process that trained a trial has died. The message says how."""


class TrainingObjective(Objective, Protocol):
    """An objective that reports its device and its peak memory."""

    @property
    def device(self) -> str: ...

    @property
    def peak_memory_bytes(self) -> int | None: ...


@dataclass(frozen=True)
class TrialEvent:
    """An event of a trial: an epoch or, if `epoch` is None, its end, which may be a failure."""

    trial: TrialId
    epoch: Epoch | None = None
    failure: TrainingFailed | WorkerDied | None = None
    seconds: float = 0.0  # of training since the trial was started
    peak_memory_bytes: int | None = None


class Executor(ABC):
    """Train at most `places` trials of one search at a time."""

    places: int

    @property
    @abstractmethod
    def device(self) -> str: ...

    @abstractmethod
    def start(self, trial: Trial, checkpoint: Checkpoint | None) -> None:
        """Start to train a trial. A place must be free."""

    @abstractmethod
    def next(self) -> TrialEvent:
        """Wait for the next event and return it. At least one trial must be in flight. An end frees a place."""

    @abstractmethod
    def continue_trial(self, trial: TrialId) -> None:
        """Answer an epoch: train the next one."""

    @abstractmethod
    def end(self, trial: TrialId) -> TrialEvent:
        """Answer an epoch: end the trial here and save its weights. Return its end; its place is free."""

    @abstractmethod
    def again(self, trial: Trial, checkpoint: Checkpoint | None, last_epoch: int) -> None:
        """Train a trial again up to this epoch, for its weights only. It needs a free place and reports no events."""

    def proposed(self, trial: TrialId, seconds: float) -> None:
        """Advance a simulated clock by the time that the method took to propose a trial, now or on record."""
        return

    def passed(self, trial: TrialId, seconds: float) -> None:
        """Advance a simulated clock by the time of a recorded epoch, or by the time lost after it."""
        return

    def close(self) -> None:
        """End the trials that are still in flight after their present epoch."""
        return


def executor_of(given: TrainingObjective | Executor) -> Executor:
    """Return the executor itself, or for an objective an executor that trains one trial at a time."""
    return given if isinstance(given, Executor) else ProcessExecutor([given])


# On the wall's clock


@dataclass(eq=False)
class _Flight:
    trial: TrialId
    place: TrainingObjective
    epochs: Generator[Epoch, None, None]
    began: float
    waited: float = 0.0  # seconds until its events were processed, which are not charged to it

    def listen(self) -> TrialEvent:
        """Wait for its next event and return it."""
        try:
            return self._event(next(self.epochs, None))
        except (TrainingFailed, WorkerDied) as failure:
            return self._event(failure=failure)

    def close(self) -> TrialEvent:
        try:
            self.epochs.close()
        except (TrainingFailed, WorkerDied) as failure:
            return self._event(failure=failure)
        return self._event()

    def _event(self, epoch: Epoch | None = None, failure: TrainingFailed | WorkerDied | None = None) -> TrialEvent:
        seconds = time.monotonic() - self.began - self.waited
        return TrialEvent(self.trial, epoch, failure, seconds, self.place.peak_memory_bytes)


class ProcessExecutor(Executor):
    """Train trials in processes: one place per objective, each with its own process and a thread that waits for it.

    A single objective is called from `next`, without a thread.
    """

    def __init__(self, objectives: Sequence[TrainingObjective]) -> None:
        self.places = len(objectives)
        self._first = objectives[0]
        self._free = list(objectives)
        self._flights: dict[TrialId, _Flight] = {}
        self._heard: SimpleQueue[tuple[TrialId, TrialEvent | Exception, float]] = SimpleQueue()
        self._turn: _Flight | None = None  # with a single place: the trial to wait for next
        self._ears = ThreadPoolExecutor(self.places, thread_name_prefix="bench") if self.places > 1 else None

    @property
    def device(self) -> str:
        return self._first.device

    def start(self, trial: Trial, checkpoint: Checkpoint | None) -> None:
        place = self._free.pop(0)
        self._flights[trial.id] = _Flight(trial.id, place, place(trial, checkpoint), time.monotonic())
        self.continue_trial(trial.id)

    def continue_trial(self, trial: TrialId) -> None:
        flight = self._flights[trial]
        if self._ears is None:
            self._turn = flight
        else:
            self._ears.submit(self._listen, flight)

    def _listen(self, flight: _Flight) -> None:
        event: TrialEvent | Exception
        try:
            event = flight.listen()
        except Exception as error:  # noqa: BLE001 - any error is raised where the event is awaited
            event = error
        self._heard.put((flight.trial, event, time.monotonic()))

    def next(self) -> TrialEvent:
        if self._ears is None:
            assert self._turn is not None
            return self._taken(self._turn.listen())
        trial, event, said = self._heard.get()
        if isinstance(event, Exception):
            raise event
        self._flights[trial].waited += time.monotonic() - said
        return self._taken(event)

    def _taken(self, event: TrialEvent) -> TrialEvent:
        if event.epoch is None:
            self._leave(event.trial)
        return event

    def _leave(self, trial: TrialId) -> None:
        self._free.append(self._flights.pop(trial).place)

    def end(self, trial: TrialId) -> TrialEvent:
        event = self._flights[trial].close()
        self._leave(trial)
        return event

    def again(self, trial: Trial, checkpoint: Checkpoint | None, last_epoch: int) -> None:
        _train_to(self._free[0], trial, checkpoint, last_epoch)

    def close(self) -> None:
        if self._ears is not None:
            self._ears.shutdown()  # waits for the epochs in progress
        for flight in self._flights.values():
            with suppress(Exception):  # the search is over or already has an error to report
                flight.epochs.close()
        self._flights.clear()


def _train_to(objective: Objective, trial: Trial, checkpoint: Checkpoint | None, last_epoch: int) -> None:
    with closing(objective(trial, checkpoint)) as epochs:
        for epoch in epochs:
            if epoch.number >= last_epoch:
                return


# On a clock of its own


def _ticks(seconds: float) -> float:
    """Round to a tenth of a millisecond, so that sums do not depend on the order of their terms."""
    return round(seconds, 4)


@dataclass(eq=False)
class _Course:
    trial: TrialId
    epochs: Generator[Epoch, None, None]
    began: float
    seconds: float = 0.0
    event: TrialEvent | None = None  # the next event, which is due when the clock reaches it

    @property
    def at(self) -> float:
        return _ticks(self.began + self.seconds)


class SimulatedExecutor(Executor):
    """Run trials on a simulated clock. The objective answers at once and gives the seconds that its epochs would take.

    The next event is the epoch that ends first on the clock; of equals, that of the trial with the smaller number. The clock
    advances by the seconds of epochs and by the method's computation time that is charged to it. On resuming it continues from
    the record. Seconds are rounded as in the record, so that an interrupted search has the same order of events.
    """

    def __init__(self, objective: TrainingObjective, places: int = 1) -> None:
        self.places = places
        self.now = 0.0
        """Simulated seconds since the search began."""
        self._objective = objective
        self._began: dict[TrialId, float] = {}
        self._passed: dict[TrialId, float] = {}
        self._courses: dict[TrialId, _Course] = {}

    @property
    def device(self) -> str:
        return self._objective.device

    def proposed(self, trial: TrialId, seconds: float) -> None:
        self.now = _ticks(self.now + seconds)
        self._began[trial] = self.now

    def passed(self, trial: TrialId, seconds: float) -> None:
        self._passed[trial] = self._passed.get(trial, 0.0) + seconds
        self.now = max(self.now, _ticks(self._began[trial] + self._passed[trial]))

    def start(self, trial: Trial, checkpoint: Checkpoint | None) -> None:
        assert len(self._courses) < self.places
        began = self._began.setdefault(trial.id, self.now)
        self._courses[trial.id] = _Course(trial.id, self._objective(trial, checkpoint), began)

    def next(self) -> TrialEvent:
        for course in self._courses.values():
            if course.event is None:
                course.event = self._drawn(course)
        first = min(self._courses.values(), key=lambda course: (course.at, course.trial))
        self.now = max(self.now, first.at)
        event, first.event = first.event, None
        assert event is not None
        if event.epoch is None:
            del self._courses[first.trial]
        return event

    def _drawn(self, course: _Course) -> TrialEvent:
        epoch: Epoch | None = None
        failure: TrainingFailed | WorkerDied | None = None
        try:
            epoch = next(course.epochs, None)
        except TrainingFailed as error:
            failure = error
            course.seconds += _ticks(error.seconds)
        except WorkerDied as death:
            failure = death
        if epoch is not None:
            epoch = replace(epoch, seconds=_ticks(epoch.seconds))
            course.seconds += epoch.seconds
        return TrialEvent(course.trial, epoch, failure, course.seconds, self._objective.peak_memory_bytes)

    def continue_trial(self, trial: TrialId) -> None:
        return  # `next` reads the next epoch

    def end(self, trial: TrialId) -> TrialEvent:
        course = self._courses.pop(trial)
        course.epochs.close()
        return TrialEvent(trial, None, None, course.seconds, self._objective.peak_memory_bytes)

    def again(self, trial: Trial, checkpoint: Checkpoint | None, last_epoch: int) -> None:
        _train_to(self._objective, trial, checkpoint, last_epoch)

    def close(self) -> None:
        for course in self._courses.values():
            course.epochs.close()
        self._courses.clear()
