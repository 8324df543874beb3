"""Several trials of one search in flight: what is asked, recorded and told when, and that a kill at any event changes nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small import small_study
from toy import Curve, Halving, Plain, essence, toy_spec
from tuneoff.analysis.best_so_far import progress
from tuneoff.contract.harness import Subject
from tuneoff.contract.real_training import real_search
from tuneoff.core import layout
from tuneoff.core.errors import ReplayError
from tuneoff.core.problem import Checkpoint, Done, Epoch, Limits, Proposal, TrainingFailed, Trial, Wait
from tuneoff.core.record.events import Event, parse
from tuneoff.core.record.state import reduce_events
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.journal import MemoryJournal
from tuneoff.core.store.stop_request import Stopped
from tuneoff.core.study import ObjectiveSettings, Split
from tuneoff.data.prepare import prepare
from tuneoff.methods.registry import find
from tuneoff.objectives.executor import Executor, ProcessExecutor, SimulatedExecutor
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import MAX_DEATHS, STOPPED, Search
from tuneoff.search.searches import tune
from tuneoff.study_file.check import read_study


class Paced(Curve):
    """A curve whose epochs take these seconds in turn, another turn for each trial; trials over their time fail."""

    def __init__(self, pace: list[float], limit: float = 1e9, **ends: Any) -> None:
        super().__init__(**ends)
        self._pace, self._limit = pace, limit

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        left = self._limit
        for epoch in super().__call__(trial, checkpoint):
            seconds = self._pace[(trial.id * 7 + epoch.number) % len(self._pace)]
            if seconds > left:
                raise TrainingFailed("it trained for too long", left)
            left -= seconds
            yield Epoch(epoch.number, epoch.metrics, seconds)


class Rungs:
    """Four draws at 2 epochs, and when all of them are told the two best to 5; each ask draws, the one that waits too."""

    def __init__(self, seed: int = 0, rounds: int = 3) -> None:
        self._random = random.Random(seed)
        self._rounds = rounds
        self._next: list[Proposal] = []
        self._open: set[int] = set()
        self._asked = 0
        self._rung: list[Trial] = []
        self.seconds = 0.001

    def ask(self) -> Proposal | Wait | Done:
        self._random.random()
        if not self._next and self._open:
            return Wait()
        if not self._next and len(self._rung) == 4:
            best = sorted(self._rung, key=lambda t: (t.outcome.loss or 0.0, t.id) if t.outcome else (0.0, t.id))[:2]
            self._next = [Proposal(t.proposal.config, 5, t.id) for t in best]
            self._rung = []
        elif not self._next:
            if self._rounds == 0:
                return Done("no more rounds")
            self._rounds -= 1
            self._rung = []
            self._next = [Proposal({"x": self._random.random(), "n": self._random.randint(1, 9)}, 2) for _ in range(4)]
        self._open.add(self._asked)
        self._asked += 1
        return self._next.pop(0)

    def tell(self, trial: Trial) -> None:
        self._open.discard(trial.id)
        self._rung.append(trial)

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        return epoch.metrics["val_accuracy"] > 0.15


def fly(
    executor: Executor,
    method: Any = None,
    limits: Limits | None = None,
    lines: list[bytes] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    checkpoints: Any = None,
    **spec: Any,
) -> tuple[list[Event], list[bytes], str]:
    """Run a toy search on the bench from where the lines of its record stand; its events, its lines and why it ended."""
    journal = MemoryJournal(lines or [])
    record = Writer(journal)
    record.open(study_id="toy")
    budget = Budget(limits or Limits(epochs=40))
    search = Search(
        toy_spec(parallel=True, **spec),
        method or Halving(),
        executor,
        record,
        budget,
        ObjectiveSettings(),
        checkpoints or NoCheckpoints(),
        stopping,
    )
    try:
        reason = search.run()
    finally:
        record.close()
    return list(record.events), journal.lines(), reason


def of(events: list[Event], kind: str) -> list[Event]:
    return [e for e in events if e["event"] == kind]


def most_in_flight(events: list[Event]) -> int:
    open_, most = 0, 0
    for event in events:
        open_ += (event["event"] == "asked") - (event["event"] == "told")
        most = max(most, open_)
    return most


@pytest.mark.parametrize("places", [1, 2, 3, 4])
def test_so_many_trials_are_in_flight_and_the_record_tells_in_which_order_they_were_told(places: int) -> None:
    events, _, _ = fly(SimulatedExecutor(Paced([5.0, 1.0, 3.0, 1.0]), places), Plain(epochs=3), Limits(trials=9))
    assert most_in_flight(events) == places
    assert [e["seq"] for e in events] == list(range(len(events)))
    told = [e["trial"] for e in of(events, "told")]
    assert sorted(told) == list(range(9))
    assert (told == list(range(9))) is (places == 1), "with several, a quick one overtakes"


def test_trials_in_flight_overlap_on_the_simulated_clock_and_cost_the_same_epochs() -> None:
    seconds = {}
    for places in (1, 2, 4):
        executor = SimulatedExecutor(Paced([2.0]), places)
        events, _, _ = fly(executor, Plain(epochs=3), Limits(trials=8))
        seconds[places] = executor.now
        spent = reduce_events(events, "", "", 0).spent
        assert (spent.epochs, spent.seconds) == (24, 48.0), "each trial's own seconds are charged"
    assert seconds == {1: 48.0, 2: 24.0, 4: 12.0}


def test_a_search_on_one_place_has_the_record_that_it_has_without_a_bench() -> None:
    for method in (Halving, Rungs):
        alone, _, _ = fly(Paced([0.5]), method())  # type: ignore[arg-type]  # a plain objective
        assert essence(alone) == essence(fly(ProcessExecutor([Paced([0.5])]), method())[0])
        assert essence(alone) == essence(fly(SimulatedExecutor(Paced([0.5])), method())[0])
        assert of(alone, "held") == []


@settings(deadline=None, max_examples=15)
@given(
    pace=st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0, 7.1234567]), min_size=1, max_size=6),
    places=st.integers(1, 4),
    limit=st.integers(6, 40),
    seed=st.integers(0, 3),
    method=st.sampled_from([Halving, Rungs]),
    failing=st.lists(st.integers(0, 8), max_size=2),
    diverging=st.lists(st.integers(0, 8), max_size=2),
    time_limit=st.sampled_from([1e9, 2.5, 9.30005]),
)
@example([2.0, 7.1234567, 0.3], 1, 11, 0, Rungs, [], [], 9.30005)
def test_killed_at_any_event_a_search_goes_on_as_if_it_had_not_stopped(
    pace: list[float],
    places: int,
    limit: int,
    seed: int,
    method: Any,
    failing: list[int],
    diverging: list[int],
    time_limit: float,
) -> None:
    def flown(lines: list[bytes]) -> tuple[list[Event], list[bytes], str]:
        executor = SimulatedExecutor(Paced(pace, time_limit, failing=tuple(failing), diverging=tuple(diverging)), places)
        flight = fly(executor, method(seed), Limits(epochs=limit), lines)
        clocks.append(executor.now)
        return flight

    clocks: list[float] = []

    whole, lines, reason = flown([])
    trained = sum(e["trained_epochs"] for e in of(whole, "told"))
    assert trained == len(of(whole, "epoch")) <= limit
    assert of(whole, "ended")[0]["left"]["epochs"] == limit - trained
    assert most_in_flight(whole) <= places
    for kept in range(1, len(lines)):
        again, _, why = flown(lines[:kept])
        assert (essence(again), why) == (essence(whole), reason), f"killed after event {kept} of {len(lines)}"
        assert clocks[-1] == clocks[0]


def test_a_method_that_waits_is_asked_again_when_a_trial_has_ended_and_not_before() -> None:
    events, _, reason = fly(SimulatedExecutor(Paced([1.0, 4.0, 2.0]), 3), Rungs(rounds=2), Limits(epochs=100), stop_rule=False)
    assert reason == "no more rounds"
    assert of(events, "held")
    for event in of(events, "held"):
        assert event["proposal"] is None
        following = next(e for e in events[event["seq"] + 1 :] if e["event"] in ("asked", "held", "told"))
        assert following["event"] == "told"


def test_a_proposal_that_the_budget_does_not_pay_for_yet_starts_when_a_stopped_trial_gives_back_what_it_did_not_use() -> None:
    class Stopping(Plain):
        def should_continue(self, trial: int, epoch: Epoch) -> bool:
            return trial > 1

    events, lines, reason = fly(SimulatedExecutor(Paced([1.0]), 3), Stopping(epochs=3), Limits(epochs=7))
    course = [(e["event"], e.get("trial")) for e in events if e["event"] in ("asked", "held", "told", "ended")]
    assert course == [
        ("asked", 0),
        ("asked", 1),
        ("held", None),
        ("told", 0),
        ("asked", 2),
        ("held", None),
        ("told", 1),
        ("told", 2),
        ("ended", None),
    ]
    (first, _) = of(events, "held")
    assert of(events, "asked")[2]["config"] == first["proposal"]["config"]
    assert reason == "the next trial wants 3 epochs, and 2 of 7 are left"
    more, _, _ = fly(SimulatedExecutor(Paced([1.0]), 3), Stopping(epochs=3), Limits(epochs=8), lines)
    assert of(more, "asked")[3]["config"] == of(events, "held")[1]["proposal"]["config"], "with more budget it is taken up"


def test_a_method_that_does_not_wait_where_it_waited_is_caught() -> None:
    _, lines, _ = fly(SimulatedExecutor(Paced([1.0]), 3), Rungs(), Limits(epochs=30))
    held = next(n for n, line in enumerate(lines) if b'"held"' in line)
    with pytest.raises(ReplayError, match="the record has the method waiting, and the method now answers Proposal"):
        fly(SimulatedExecutor(Paced([1.0]), 3), Hasty(), Limits(epochs=30), lines[: held + 1])


class Hasty(Rungs):
    """Rungs that do not wait for the last one."""

    def ask(self) -> Proposal | Wait | Done:
        answer = super().ask()
        return Proposal({"x": 0.5, "n": 5}, 2) if isinstance(answer, Wait) else answer


def test_a_trial_in_flight_cannot_be_continued() -> None:
    class Early(Plain):
        def ask(self) -> Any:
            return super().ask() if self._points == 10**6 else Proposal({"x": 0.1, "n": 1}, 5, parent=0)

    with pytest.raises(RuntimeError, match="trial 1 continues trial 0, which is still in flight"):
        fly(SimulatedExecutor(Paced([1.0]), 2), Early())


def test_asked_to_stop_it_cuts_each_trial_after_its_epoch_and_all_of_them_are_trained_on() -> None:
    whole, _, _ = fly(SimulatedExecutor(Paced([3.0, 1.0]), 3), Plain(epochs=4), Limits(trials=7))
    for number in range(1, 20):
        calls = iter(range(1000))
        events, lines, reason = fly(
            SimulatedExecutor(Paced([3.0, 1.0]), 3),
            Plain(epochs=4),
            Limits(trials=7),
            stopping=lambda n=number, c=calls: next(c) == n,
        )
        assert reason == STOPPED
        open_ = {e["trial"] for e in of(events, "asked")} - {e["trial"] for e in of(events, "told")}
        assert {e["trial"] for e in of(events, "cut")} == open_
        assert not of(events, "ended")
        again, _, _ = fly(SimulatedExecutor(Paced([3.0, 1.0]), 3), Plain(epochs=4), Limits(trials=7), lines)
        assert sorted(e["trial"] for e in of(again, "told")) == list(range(7))
        assert len(of(again, "epoch")) == 28, "no epoch is reported twice"
        assert len(of(again, "asked")) == len(of(whole, "asked"))


def test_a_worker_that_dies_takes_nothing_from_the_others() -> None:
    objective = Paced([1.0, 2.0], deadly={1: 1, 2: MAX_DEATHS})
    events, _, _ = fly(SimulatedExecutor(objective, 3), Plain(epochs=3), Limits(trials=5))
    told = {e["trial"]: e for e in of(events, "told")}
    assert {n: e["status"] for n, e in told.items()} == {**dict.fromkeys(range(5), "completed"), 2: "failed"}
    assert told[2]["reason"] == "its worker died 3 times, the last time by signal 9"
    assert [e["trial"] for e in of(events, "died")].count(1) == 1
    assert all(len([e for e in of(events, "epoch") if e["trial"] == n]) == 3 for n in (0, 1, 3, 4))


def test_a_search_whose_trials_all_fail_ends_when_the_last_in_flight_has() -> None:
    events, _, reason = fly(SimulatedExecutor(Paced([1.0], failing=tuple(range(100))), 4), Plain(), Limits(epochs=400))
    assert reason == "20 trials in a row failed"
    assert len(of(events, "told")) == len(of(events, "asked")) >= 20


class Kept(NoCheckpoints):
    """Which trials' weights are there; starting a trial without its parent's is a fault."""

    def __init__(self) -> None:
        self.there: set[int] = set()

    def of(self, trial: Trial) -> Checkpoint | None:
        assert trial.proposal.parent is None or trial.proposal.parent in self.there
        return None

    def keep(self, trial: Trial) -> None:
        self.there.add(trial.id)

    def keep_only(self, trials: Any) -> None:
        self.there &= trials


class WarmRungs(Rungs):
    def resumable(self) -> set[int]:
        """Of those told, the ones that may be asked for yet: not those that were."""
        return {t.id for t in self._rung} | {p.parent for p in self._next if p.parent is not None}


@pytest.mark.parametrize("places", [1, 2, 4])
def test_the_weights_that_a_trial_in_flight_continues_are_kept_until_it_is_told(places: int) -> None:
    class Late(Curve):
        def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
            for epoch in super().__call__(trial, checkpoint):
                yield replace(epoch, seconds=9.0 if trial.id == 5 else 1.0)

    kept = Kept()
    late = Late(deadly={5: 2})  # it starts again, from its parent's weights, after the trial beside it was told
    events, _, _ = fly(
        SimulatedExecutor(late, places),
        WarmRungs(rounds=2),
        Limits(epochs=60),
        checkpoints=kept,
        stop_rule=False,
        warm_start=True,
    )
    continued = {e["parent"] for e in of(events, "asked")} - {None}
    assert len(continued) == 4
    assert not continued & kept.there, "and not longer"


def test_workers_train_side_by_side_and_whatever_order_they_are_heard_in_can_be_gone_through_again() -> None:
    class Sleeping(Paced):
        def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
            for epoch in super().__call__(trial, checkpoint):
                time.sleep(epoch.seconds)
                yield epoch

    def executor() -> Executor:
        return ProcessExecutor([Sleeping([0.004, 0.001, 0.01]) for _ in range(3)])

    events, lines, _ = fly(executor(), Halving(), Limits(epochs=36))
    assert most_in_flight(events) == 3
    trained = sum(e["trained_epochs"] for e in of(events, "told"))
    assert trained == len(of(events, "epoch")) <= 36
    for kept in range(1, len(lines), 5):
        again, _, _ = fly(executor(), Halving(), Limits(epochs=36), lines[:kept])
        assert essence(again)[: len(essence(events[:kept]))] == essence(events[:kept])
        told = [e["trial"] for e in of(again, "told")]
        assert len(told) == len(set(told)) == len(of(again, "asked"))
        assert sum(e["trained_epochs"] for e in of(again, "told")) == len(of(again, "epoch")) <= 36


def test_a_method_that_breaks_ends_the_search_although_others_train() -> None:
    class Broken(Plain):
        def tell(self, trial: Trial) -> None:
            raise ValueError("no such trial")

    with pytest.raises(ValueError, match="no such trial"):
        fly(ProcessExecutor([Paced([0.0]) for _ in range(3)]), Broken(epochs=3), Limits(trials=9))


def test_curves_follow_the_order_in_which_trials_were_told() -> None:
    events, _, _ = fly(SimulatedExecutor(Paced([9.0, 1.0, 1.0]), 3), Plain(epochs=2), Limits(trials=7))
    curve = progress(reduce_events(events, "", "", 0), ObjectiveSettings())
    assert list(curve.trial) == [e["trial"] for e in of(events, "told")]
    assert list(curve.trial) != sorted(curve.trial)
    assert list(curve.epochs) == [2.0 * n for n in range(1, 8)]
    assert all(curve.best[n] <= curve.best[n + 1] for n in range(6))


def test_more_trials_in_flight_on_record_than_there_are_places_is_an_error(tmp_path: Path) -> None:
    _, lines, _ = fly(SimulatedExecutor(Paced([1.0]), 3), Plain(), Limits(trials=6))
    with pytest.raises(ReplayError, match="3 trials were in flight, and now 1 may be"):
        fly(SimulatedExecutor(Paced([1.0])), Plain(), Limits(trials=6), lines[:7])


# With real workers


def test_a_methods_trials_train_for_real_two_at_a_time(tmp_path: Path) -> None:
    found = real_search(Subject(find("keras-tuner-hyperband")), tmp_path, in_flight=2)
    told = of(found, "told")
    assert most_in_flight(found) == 2
    assert {e["status"] for e in told} == {"completed"}
    assert any(e["parent"] is not None for e in of(found, "asked")), "their weights are there"
    assert not of(found, "restored")
    assert sum(e["trained_epochs"] for e in told) == len(of(found, "epoch")) <= 30


def test_a_study_with_trials_in_flight_is_stopped_and_goes_on(tmp_path: Path) -> None:
    file = small_study(tmp_path, budget={"trials": 3, "epochs_per_trial": 8, "in_flight": 2}, methods=["optuna-random"])
    study, store = read_study(file), FolderStore(tmp_path / "out")
    prepare(study.datasets[0], Split(), tmp_path / "data", lambda line: None)
    log = layout.events("bars", "optuna-random", 0)
    epochs = [0]

    def stopping() -> bool:
        epochs[0] = sum(b'"epoch"' in line for line in store.journal_lines(log))
        return epochs[0] >= 4

    def search(stop: Callable[[], bool]) -> Any:
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        return tune(study, study.cells[0], tmp_path / "data", store, uri, report=lambda line: None, stopping=stop)

    with pytest.raises(Stopped):
        search(stopping)
    cut = [e for e in parse(store.journal_lines(log)) if e["event"] == "cut"]
    assert 1 <= len(cut) <= 2
    (found,) = search(lambda: False).searches
    assert [t.status for t in found.trials] == ["completed"] * 3
    assert found.spent.epochs == 24
    events = parse(store.journal_lines(log))
    assert len(of(events, "epoch")) == 24, "no epoch is reported twice"
    assert most_in_flight(events) == 2
