"""The bench: trials overlap, and are heard of in the order in which things happen, on the wall's clock or a simulated one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import pytest

from tuneoff.core.errors import CellFailed
from tuneoff.core.problem import Checkpoint, Epoch, Proposal, TrainingFailed, Trial
from tuneoff.objectives.executor import Executor, ProcessExecutor, SimulatedExecutor, TrialEvent, WorkerDied


def trial(number: int, epochs: int) -> Trial:
    return Trial(number, number, Proposal({"x": 0.5}, epochs), 0)


class Timed:
    """An objective whose epochs take the seconds that are given for each trial; `faults` are raised instead of an epoch."""

    device = "timed"
    peak_memory_bytes = 7

    def __init__(self, seconds: dict[int, list[float]], faults: dict[int, Exception] | None = None) -> None:
        self._seconds, self._faults = seconds, faults or {}
        self.closed: list[int] = []

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        try:
            for number, seconds in enumerate(self._seconds[trial.id], start=1):
                yield Epoch(number, {"loss": 0.5}, seconds)
            if trial.id in self._faults:
                raise self._faults[trial.id]
        finally:
            self.closed.append(trial.id)


def heard(word: TrialEvent) -> tuple[int, int | None]:
    return word.trial, None if word.epoch is None else word.epoch.number


def test_two_simulated_trials_overlap_and_the_next_one_begins_where_a_place_became_free() -> None:
    executor = SimulatedExecutor(Timed({0: [3.0, 3.0], 1: [2.0, 2.0], 2: [1.0]}), 2)
    executor.start(trial(0, 2), None)
    executor.start(trial(1, 2), None)
    course = []

    def listen() -> TrialEvent:
        word = executor.next()
        course.append((*heard(word), executor.now))
        return word

    listen()
    executor.continue_trial(1)
    listen()
    executor.continue_trial(0)
    listen()
    assert executor.end(1) == TrialEvent(1, None, None, 4.0, 7)
    executor.start(trial(2, 1), None)
    listen()
    executor.end(2)
    assert listen().seconds == 6.0, "of the trial, not of all of them"
    executor.end(0)
    assert course == [(1, 1, 2.0), (0, 1, 3.0), (1, 2, 4.0), (2, 1, 5.0), (0, 2, 6.0)]
    assert executor.now == 6.0, "where one after the other they would have taken 11 s"


def test_at_the_same_simulated_time_the_earlier_trial_is_heard_first() -> None:
    executor = SimulatedExecutor(Timed({0: [1.0, 1.0], 1: [1.0, 1.0], 2: [2.0]}), 3)
    for number in (2, 1, 0):
        executor.start(trial(number, 2), None)
    assert [heard(executor.next()) for _ in range(5)] == [(0, 1), (1, 1), (0, 2), (0, None), (1, 2)]


def test_what_the_method_takes_passes_on_the_simulated_clock_too() -> None:
    executor = SimulatedExecutor(Timed({0: [3.0], 1: [1.0]}), 2)
    executor.proposed(0, 0.5)
    executor.start(trial(0, 1), None)
    executor.proposed(1, 4.0)
    executor.start(trial(1, 1), None)
    assert (heard(executor.next()), executor.now) == ((0, 1), 4.5), "it had ended at 3.5 s, while the method was thinking"
    executor.end(0)
    assert (heard(executor.next()), executor.now) == ((1, 1), 5.5)


def test_a_simulated_clock_goes_on_from_where_the_record_left_it() -> None:
    executor = SimulatedExecutor(Timed({0: [3.0, 3.0], 1: [2.0, 2.5]}), 2)
    executor.proposed(0, 0.0)
    executor.proposed(1, 0.0)
    for number, seconds in ((1, 2.0), (0, 3.0)):
        executor.passed(number, seconds)
    assert executor.now == 3.0
    for number in (0, 1):
        executor.start(trial(number, 2), None)
    assert [(*heard(executor.next()), executor.now) for _ in range(4)] == [(1, 1, 3.0), (0, 1, 3.0), (1, 2, 4.5), (1, None, 4.5)]


@pytest.mark.parametrize(
    "made", [lambda o: ProcessExecutor([o]), lambda o: ProcessExecutor([o, o]), lambda o: SimulatedExecutor(o, 2)]
)
def test_a_failure_is_the_word_of_its_trial_and_frees_its_place(made: Callable[[Timed], Executor]) -> None:
    objective = Timed({0: [0.1], 1: [], 2: [0.1]}, {0: WorkerDied("by signal 9"), 1: TrainingFailed("no such layer")})
    executor = made(objective)
    executor.start(trial(0, 2), None)
    assert heard(executor.next()) == (0, 1)
    executor.continue_trial(0)
    died = executor.next()
    assert (heard(died), str(died.failure)) == ((0, None), "by signal 9")
    executor.start(trial(1, 2), None)
    failed = executor.next()
    assert (heard(failed), str(failed.failure)) == ((1, None), "no such layer")
    executor.start(trial(2, 1), None)
    assert heard(executor.next()) == (2, 1)
    executor.continue_trial(2)
    assert executor.next() == TrialEvent(2, None, None, pytest.approx(0.1, abs=60), 7), "by itself"
    executor.close()
    assert objective.closed == [0, 1, 2]


class Meeting(Timed):
    """Its trials' first epochs end only when as many have begun as the barrier wants."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__({})
        self._barrier = barrier

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        self._barrier.wait(timeout=120)
        for number in range(1, trial.proposal.target_epoch + 1):
            yield Epoch(number, {"loss": 0.5}, 0.0)
        self.closed.append(trial.id)


def test_as_many_trials_train_at_the_same_time_as_there_are_workers() -> None:
    barrier = threading.Barrier(3)
    executor = ProcessExecutor([Meeting(barrier) for _ in range(3)])
    for number in range(3):
        executor.start(trial(number, 1), None)
    assert sorted(heard(executor.next()) for _ in range(3)) == [(0, 1), (1, 1), (2, 1)]
    executor.close()


def test_a_worker_that_is_waited_for_does_not_keep_the_others_from_being_heard() -> None:
    slow, quick = threading.Event(), Timed({1: [0.0] * 5})

    class Slow(Timed):
        def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
            assert slow.wait(timeout=120)
            yield Epoch(1, {"loss": 0.5}, 0.0)

    executor = ProcessExecutor([Slow({}), quick])
    executor.start(trial(0, 1), None)
    executor.start(trial(1, 5), None)
    for number in range(1, 6):
        assert heard(executor.next()) == (1, number)
        executor.continue_trial(1)
    assert heard(executor.next()) == (1, None)
    slow.set()
    assert heard(executor.next()) == (0, 1)
    executor.close()


def test_what_no_trial_is_to_blame_for_is_raised_where_the_next_word_is_waited_for() -> None:
    executor = ProcessExecutor([Timed({0: []}, {0: CellFailed("the disk is full")}), Timed({1: [0.0] * 9})])
    executor.start(trial(0, 1), None)
    with pytest.raises(CellFailed, match="the disk is full"):
        executor.next()
    executor.start(trial(1, 9), None)
    executor.close()


def test_a_bench_that_is_closed_waits_for_the_running_epochs_and_ends_their_trials() -> None:
    objectives = [Timed({n: [0.0] * 9}) for n in range(2)]
    executor = ProcessExecutor(objectives)
    for number in range(2):
        executor.start(trial(number, 9), None)
    executor.close()
    assert [o.closed for o in objectives] == [[0], [1]]
