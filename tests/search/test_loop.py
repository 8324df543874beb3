"""The loop: what is on disk before the method hears of it, what a budget pays for, and what failures do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toy import Curve, Halving, Plain, essence, run_toy, toy_search, toy_spec
from tuneoff.core.errors import ReplayError
from tuneoff.core.problem import Epoch, Limits, Proposal, Status, Trial, Wait
from tuneoff.core.record.events import parse
from tuneoff.core.record.state import reduce_events
from tuneoff.core.store.journal import whole_lines
from tuneoff.core.study import ObjectiveSettings
from tuneoff.methods.spec import FailedRule
from tuneoff.search.budget import Budget
from tuneoff.search.loop import MAX_DEATHS, MAX_KILLS, loss_of


def of(events: Any, kind: str) -> list[Any]:
    return [e for e in events if e["event"] == kind]


def test_a_trial_is_on_disk_before_its_method_hears_of_it(tmp_path: Path) -> None:
    log = tmp_path / "seed-0.jsonl"

    class Watching(Plain):
        def tell(self, trial: Trial) -> None:
            on_disk = reduce_events(parse(whole_lines(log.read_bytes())[0]), "", "", 0)
            assert on_disk.trials[trial.id].trial.outcome is not None
            super().tell(trial)

    method = Watching()
    run_toy(log, method=method, limits=Limits(trials=3))
    assert len(method.told) == 3


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(0, 5))
def test_an_epoch_budget_is_never_passed_and_no_trial_is_truncated(limit: int, seed: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        events = run_toy(Path(folder, "log"), method=Halving(seed), limits=Limits(epochs=limit))
    spent = sum(e["trained_epochs"] for e in of(events, "told"))
    assert spent == len(of(events, "epoch")) <= limit
    assert of(events, "ended")[0]["left"]["epochs"] == limit - spent


def test_a_trial_budget_counts_configurations_and_not_continuations(tmp_path: Path) -> None:
    events = run_toy(tmp_path / "log", limits=Limits(trials=6))
    fresh = [e for e in of(events, "asked") if e["parent"] is None]
    assert len(fresh) == 6
    assert len(of(events, "asked")) > 6


def test_what_does_not_fit_is_refused_and_the_remainder_is_reported(tmp_path: Path) -> None:
    events = run_toy(tmp_path / "log", method=Plain(epochs=3), limits=Limits(epochs=8))
    assert len(of(events, "told")) == 2
    (ended,) = of(events, "ended")
    assert ended["reason"] == "the next trial wants 3 epochs, and 2 of 8 are left"
    assert ended["left"] == {"trials": None, "epochs": 2, "seconds": None}


def test_a_stopped_trial_gives_back_what_it_did_not_use(tmp_path: Path) -> None:
    class Stopping(Plain):
        def should_continue(self, trial: int, epoch: Epoch) -> bool:
            return False

    events = run_toy(tmp_path / "log", method=Stopping(epochs=3), limits=Limits(epochs=6))
    assert [e["status"] for e in of(events, "told")] == ["stopped"] * 4
    assert sum(e["trained_epochs"] for e in of(events, "told")) == 4


def test_a_budget_of_seconds_counts_training_and_the_method(tmp_path: Path) -> None:
    class Slow(Plain):
        def ask(self) -> Any:
            answer = super().ask()
            self.seconds = 100.0
            return answer

    events = run_toy(tmp_path / "log", method=Slow(), limits=Limits(seconds=250))
    assert len(of(events, "told")) == 2, "100 seconds of the method are charged to each trial, and to the tell before"
    assert "seconds of the budget are used" in of(events, "ended")[0]["reason"]


def test_a_method_that_is_done_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    events = run_toy(tmp_path / "log", method=Plain(points=2))
    assert of(events, "ended")[0]["reason"] == "no more points"


def test_a_method_may_not_wait_with_nothing_in_flight(tmp_path: Path) -> None:
    class Waiting(Plain):
        def ask(self) -> Any:
            return Wait()

    search, record = toy_search(tmp_path / "log", method=Waiting())
    with pytest.raises(RuntimeError, match="nothing is in flight"):
        search.run()
    record.close()


def test_a_diverging_and_a_failing_trial_are_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    events = run_toy(
        tmp_path / "log",
        method=Plain(epochs=3),
        objective=Curve(diverging=(1,), failing=(2,)),
        limits=Limits(trials=5),
        spec=toy_spec(stop_rule=False),
    )
    told = of(events, "told")
    assert [e["status"] for e in told] == ["completed", "diverged", "failed", "completed", "completed"]
    assert told[1]["loss"] is None
    assert told[1]["reason"] == "loss is no finite number after epoch 2"
    assert told[1]["trained_epochs"] == 2
    assert told[2]["reason"] == "ValueError: no such layer"
    nan = of(events, "epoch")[4]["metrics"]["loss"]
    assert nan is None, "JSON knows no NaN"


@pytest.mark.parametrize(
    ("rule", "heard"),
    [
        (FailedRule.TOLD, [Status.FAILED, Status.COMPLETED, Status.DIVERGED]),
        (FailedRule.PENALTY, [Status.COMPLETED, Status.COMPLETED]),
        (FailedRule.UNTOLD, [Status.COMPLETED]),
    ],
)
def test_a_method_hears_of_failed_trials_by_its_own_rule(tmp_path: Path, rule: FailedRule, heard: list[Status]) -> None:
    method = Plain(epochs=3)
    run_toy(
        tmp_path / "log",
        method=method,
        objective=Curve(diverging=(2,), failing=(0,)),
        limits=Limits(trials=3),
        spec=toy_spec(stop_rule=False, failed=rule),
    )
    assert [t.outcome.status for t in method.told if t.outcome] == heard
    if rule is FailedRule.PENALTY:
        assert method.told[1].outcome is not None
        assert method.told[0].outcome is not None
        assert method.told[1].outcome.loss == method.told[0].outcome.loss, "the worst loss seen"


def test_a_trial_that_kills_its_worker_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    objective = Curve(deadly={0: 1, 1: MAX_DEATHS})
    events = run_toy(tmp_path / "log", method=Plain(), objective=objective, limits=Limits(trials=3))
    told = of(events, "told")
    assert [e["status"] for e in told] == ["completed", "failed", "completed"]
    assert "its worker died 3 times, the last time by signal 9" in told[1]["reason"]
    assert [len([e for e in of(events, "started") if e["trial"] == t]) for t in (0, 1, 2)] == [2, MAX_DEATHS, 1]
    assert len([e for e in of(events, "epoch") if e["trial"] == 0]) == 3, "no epoch is reported twice"
    assert told[0]["trained_epochs"] == 3


def test_a_killed_run_is_not_held_against_the_trial_but_for_a_trial_that_seems_to_kill_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_toy(log, method=Plain(points=2))
    begun = log.read_bytes().splitlines(keepends=True)[:3]  # opened, asked, started: and killed
    for kills, status in ((MAX_KILLS - 1, "completed"), (MAX_KILLS, "failed")):
        log.write_bytes(b"".join(begun))
        for _ in range(kills - 1):
            _, record = toy_search(log, method=Plain(points=2))
            record.append("started", trial=0, worker="toy")
            record.close()
        told = of(run_toy(log, method=Plain(points=2)), "told")
        assert [e["status"] for e in told] == [status, "completed"]
    assert told[0]["reason"] == f"the run was killed {MAX_KILLS} times while it trained"


def test_a_search_whose_trials_all_fail_ends(tmp_path: Path) -> None:
    events = run_toy(tmp_path / "log", method=Plain(), objective=Curve(failing=tuple(range(100))), limits=Limits(epochs=40))
    assert of(events, "ended")[0]["reason"] == "20 trials in a row failed"


def test_finished_trials_are_not_trained_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_toy(log, method=Plain(points=3))
    content = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(content[:-4]))  # the third trial has begun: asked, started, and no epoch yet or more
    again = Curve()
    events = run_toy(log, method=Plain(points=3), objective=again)
    assert {trial for trial, _ in again.trained} == {2}
    assert len(of(events, "told")) == 3


def test_a_method_that_does_not_repeat_itself_is_caught(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_toy(log, method=Plain(points=3, seed=1))
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ReplayError, match=r"trial 0: config is .* on record, and the method now answers"):
        run_toy(log, method=Plain(points=3, seed=2))
    with pytest.raises(ReplayError, match="trial 2: the record has a proposal, and the method now answers Done"):
        run_toy(log, method=Plain(points=2, seed=1))


def test_a_stop_rule_that_changes_its_mind_is_caught(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_toy(log, method=Plain(points=1))
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))

    class Stopping(Plain):
        def should_continue(self, trial: int, epoch: Epoch) -> bool:
            return False

    with pytest.raises(ReplayError, match="should_continue after epoch 1 is True on record"):
        run_toy(log, method=Stopping(points=1))


def test_a_search_that_ended_is_left_as_it_is_by_a_replay_with_more_budget(tmp_path: Path) -> None:
    log = tmp_path / "log"
    short = essence(run_toy(log, limits=Limits(epochs=20)))
    search, record = toy_search(log, limits=Limits(epochs=40))
    search.run()
    longer = essence(list(record.events))
    record.close()
    at_once = essence(run_toy(tmp_path / "other", limits=Limits(epochs=40)))
    assert [e for e in longer if e["event"] != "ended"] == [e for e in at_once if e["event"] != "ended"]
    assert longer[: len(short)] == short


def test_the_objective_is_the_best_or_the_last_epoch_in_its_own_direction() -> None:
    curve = tuple(
        Epoch(n, {"val_accuracy": a, "val_loss": loss}, 1.0) for n, a, loss in ((1, 0.5, 0.9), (2, 0.8, 0.4), (3, 0.7, 0.6))
    )
    assert loss_of(ObjectiveSettings(), curve) == -0.8
    assert loss_of(ObjectiveSettings(epoch="last"), curve) == -0.7
    assert loss_of(ObjectiveSettings(metric="val_loss"), curve) == 0.4
    assert loss_of(ObjectiveSettings(metric="val_loss", epoch="last"), curve) == 0.6
    assert loss_of(ObjectiveSettings(metric="val_accuracy", direction="min"), curve) == 0.5


def test_a_proposal_that_continues_nobody_is_refused(tmp_path: Path) -> None:
    class Orphan(Plain):
        def ask(self) -> Any:
            return Proposal({"x": 0.1, "n": 1}, 3, parent=5)

    search, record = toy_search(tmp_path / "log", method=Orphan())
    with pytest.raises(Exception, match="trial 0 continues trial 5, which does not exist"):
        search.run()
    record.close()


def test_with_cross_validation_every_folds_epochs_count(tmp_path: Path) -> None:
    search, record = toy_search(tmp_path / "log", method=Plain(epochs=3), limits=Limits(epochs=20))
    search.budget = Budget(Limits(epochs=20), trainings=3)
    assert search.run() == "the next trial wants 9 epochs, and 2 of 20 are left"
    assert [(e["trained_epochs"], e["trainings"]) for e in of(record.events, "told")] == [(9, 3), (9, 3)]
    assert of(record.events, "ended")[0]["left"]["epochs"] == 2
    assert reduce_events(record.events, "", "", 0).spent.epochs == 18
    record.close()
