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
    """The process that trained a trial is gone; the message says how."""


class TrainingObjective(Objective, Protocol):
    """An objective that knows where it ran."""

    @property
    def device(self) -> str: ...

    @property
    def peak_memory_bytes(self) -> int | None: ...


@dataclass(frozen=True)
class TrialEvent:
    """What happened next to a trial: an epoch, or without one its end, by a failure or by itself."""

    trial: TrialId
    epoch: Epoch | None = None
    failure: TrainingFailed | WorkerDied | None = None
    seconds: float = 0.0  # of training, since it was started
    peak_memory_bytes: int | None = None


class Executor(ABC):
    """Trains at most `places` trials at a time, for one search."""

    places: int

    @property
    @abstractmethod
    def device(self) -> str: ...

    @abstractmethod
    def start(self, trial: Trial, checkpoint: Checkpoint | None) -> None:
        """Train the trial; a place must be free."""

    @abstractmethod
    def next(self) -> TrialEvent:
        """What happens next among the trials in flight, of which there must be one. A word without an epoch frees a place."""

    @abstractmethod
    def continue_trial(self, trial: TrialId) -> None:
        """The answer to an epoch: train the next one."""

    @abstractmethod
    def end(self, trial: TrialId) -> TrialEvent:
        """The answer to an epoch: end here and save the weights; says how it ended. Its place is free."""

    @abstractmethod
    def again(self, trial: Trial, checkpoint: Checkpoint | None, last_epoch: int) -> None:
        """Train a trial once more up to this epoch, at a free place and unheard, for the weights alone."""

    def proposed(self, trial: TrialId, seconds: float) -> None:
        """The method has proposed the trial and taken so long, now or on record: for a clock that is not the wall's."""
        return

    def passed(self, trial: TrialId, seconds: float) -> None:
        """An epoch that the record has took so long, or what was lost after it: for a clock that is not the wall's."""
        return

    def close(self) -> None:
        """End what is still in flight, after its epoch."""
        return


def executor_of(given: TrainingObjective | Executor) -> Executor:
    """The bench itself, or one that trains with the objective, a trial at a time."""
    return given if isinstance(given, Executor) else ProcessExecutor([given])


# On the wall's clock


@dataclass(eq=False)
class _Flight:
    trial: TrialId
    place: TrainingObjective
    epochs: Generator[Epoch, None, None]
    began: float
    waited: float = 0.0  # seconds until what it said was heard: those are not its own

    def listen(self) -> TrialEvent:
        """Its next word, once it is there."""
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
    """As many places as objectives, each of which trains in a process of its own and is waited for in a thread of its own.

    Where there is one alone, it is called by whoever asks for its next word, without a thread.
    """

    def __init__(self, objectives: Sequence[TrainingObjective]) -> None:
        self.places = len(objectives)
        self._first = objectives[0]
        self._free = list(objectives)
        self._flights: dict[TrialId, _Flight] = {}
        self._heard: SimpleQueue[tuple[TrialId, TrialEvent | Exception, float]] = SimpleQueue()
        self._turn: _Flight | None = None  # with one place alone: who is to be listened to next
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the word is waited for
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
            self._ears.shutdown()  # waits for those that are in the middle of an epoch
        for flight in self._flights.values():
            with suppress(Exception):  # the search is over, or has its own fault to tell of
                flight.epochs.close()
        self._flights.clear()


def _train_to(objective: Objective, trial: Trial, checkpoint: Checkpoint | None, last_epoch: int) -> None:
    with closing(objective(trial, checkpoint)) as epochs:
        for epoch in epochs:
            if epoch.number >= last_epoch:
                return


# On a clock of its own


def _ticks(seconds: float) -> float:
    """To the tenth of a millisecond, so that sums are equal in whatever order they were made."""
    return round(seconds, 4)


@dataclass(eq=False)
class _Course:
    trial: TrialId
    epochs: Generator[Epoch, None, None]
    began: float
    seconds: float = 0.0
    event: TrialEvent | None = None  # known, and heard when the clock has come to it

    @property
    def at(self) -> float:
        return _ticks(self.began + self.seconds)


class SimulatedExecutor(Executor):
    """Trials of an objective that answers at once with the seconds that its epochs would take, overlapping on a simulated clock.

    Of the trials in flight the one whose next epoch ends first is heard first; of equals, the one with the smaller number. The
    clock stands still while the method thinks but for the seconds that are charged to it, and goes on from where a record left
    it. Seconds are rounded as the record rounds them, so that a search that was cut off has the same order as one that was not.
    """

    def __init__(self, objective: TrainingObjective, places: int = 1) -> None:
        self.places = places
        self.now = 0.0
        """SimulatedExecutor seconds since the search began."""
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
        return  # its next epoch is drawn when the next word is wanted

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
