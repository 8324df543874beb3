"""Scores, answers, cell states, budgets and reasons."""

from __future__ import annotations

import math

import pytest

from made_search import made, search
from tuneoff.analysis.summaries import (
    answer,
    cell_score,
    cell_state,
    confusion,
    learning,
    most_confused,
    reasons,
    ten_best,
    usage,
)
from tuneoff.analysis.trial_rows import trial_row
from tuneoff.core.problem import Status
from tuneoff.core.record.state import SearchRecord
from tuneoff.core.store.study_store import CellResult, ClassScore, Evaluation, Failure, Retraining
from tuneoff.core.study import Cell, MethodChoice, ObjectiveSettings

GOAL = ObjectiveSettings()


def cell(*searches, method="random", evaluation=None, failures=()):
    choice = MethodChoice(name=method, label=method)
    return CellResult(Cell(dataset="mnist", method=choice), searches, evaluation, tuple(failures))


def rows(found):
    return [trial_row(s, t, GOAL) for s in found.searches for t in s.trials]


def score(*accuracies, method="random"):
    """A cell with one seed for each accuracy."""
    found = cell(*[search(made(a), seed=i, method=method) for i, a in enumerate(accuracies)], method=method)
    return cell_score(found, rows(found), GOAL)


def evaluation(seed=0, trial=0, accuracies=(0.8, 0.9), matrix=((8, 2), (1, 9))):
    retrainings = [
        Retraining(seed=i, test_accuracy=a, test_loss=1 - a, curves={"loss": [0.5], "accuracy": [a]}, seconds=1.0)
        for i, a in enumerate(accuracies)
    ]
    return Evaluation(
        dataset="mnist",
        method="random",
        seed=seed,
        trial=trial,
        config={"x": 0.5},
        epochs=1,
        validation={"val_accuracy": 0.9},
        retrainings=retrainings,
        confusion=[list(row) for row in matrix],
        classes=[ClassScore(name=n, accuracy=0.8, images=10) for n in ("cat", "dog")],
        evaluated_at=0.0,
    )


class TestAnswer:
    def test_the_winner_found_the_best_value_and_the_leader_has_the_best_mean(self):
        found = answer("mnist", [score(0.9, 0.5, method="lucky"), score(0.8, 0.8, method="steady")], GOAL)
        assert (found.winners, found.leader, found.runner_up) == (["lucky"], "steady", "lucky")
        assert found.lead == pytest.approx(0.1)

    def test_equal_best_values_share_the_win(self):
        assert answer("mnist", [score(0.9, method="a"), score(0.9, method="b")], GOAL).winners == ["a", "b"]

    def test_fewer_than_five_seeds_are_too_few(self):
        found = answer("mnist", [score(*[0.9] * 4, method="a"), score(*[0.1] * 4, method="b")], GOAL)
        assert found.verdict == "too few seeds"

    def test_a_lead_within_the_larger_deviation_is_no_difference(self):
        wide = score(0.5, 0.6, 0.7, 0.8, 0.9, method="wide")
        assert answer("mnist", [wide, score(*[0.75] * 5, method="narrow")], GOAL).verdict == "within the spread"

    def test_a_larger_lead_is_beyond_the_spread(self):
        found = answer("mnist", [score(0.90, 0.91, 0.92, 0.93, 0.94, method="a"), score(*[0.5] * 5, method="b")], GOAL)
        assert found.verdict == "beyond the spread"
        assert found.level == ["a"]

    def test_a_loss_is_better_when_it_is_smaller(self):
        least = ObjectiveSettings(metric="val_accuracy", direction="min")
        one, two = (cell(search(made(a), method=m), method=m) for a, m in ((0.9, "a"), (0.5, "b")))
        scores = [cell_score(c, [trial_row(s, t, least) for s in c.searches for t in s.trials], least) for c in (one, two)]
        assert answer("mnist", scores, least).winners == ["a"]  # its recorded loss is the smaller

    def test_one_method_has_nobody_to_be_compared_with(self):
        assert answer("mnist", [score(0.9)], GOAL).verdict == "alone"

    def test_without_any_score_nothing_is_said(self):
        assert answer("mnist", [score()], GOAL).verdict == "nothing"


class TestCellScore:
    def test_the_mean_is_over_each_seeds_incumbent(self):
        found = cell(search(made(0.5), made(0.7)), search(made(0.9), made(0.1), seed=1))
        result = cell_score(found, rows(found), GOAL)
        assert result.by_seed == {0: 0.7, 1: 0.9}
        assert result.incumbents.mean == pytest.approx(0.8)
        assert (result.best.seed, result.best.trial) == (1, 0)

    def test_a_seed_without_a_score_is_counted_out(self):
        found = cell(search(made(0.5)), search(made(status=Status.FAILED), seed=1), search(ended=None, seed=2))
        assert cell_score(found, rows(found), GOAL).incumbents.n == 1

    def test_the_gap_is_validation_less_mean_test_accuracy(self):
        found = cell(search(made(0.9)), evaluation=evaluation())
        test = cell_score(found, rows(found), GOAL).test
        assert test.gap == pytest.approx(0.05)
        assert test.accuracy.sd == pytest.approx(math.sqrt(0.005))
        assert not test.stale

    def test_an_evaluation_of_an_earlier_best_trial_is_stale(self):
        found = cell(search(made(0.5), made(0.9)), evaluation=evaluation(trial=0))
        assert cell_score(found, rows(found), GOAL).test.stale


class TestCellState:
    def test_complete_takes_ended_searches_and_an_evaluation(self):
        assert cell_state(cell(search(made(0.5)), evaluation=evaluation())).state == "complete"

    def test_not_begun(self):
        state = cell_state(cell(SearchRecord("mnist", "random", 0)))
        assert (state.state, state.reason) == ("missing", "not started")

    def test_half_done_says_where_the_searches_stand(self):
        state = cell_state(cell(search(made(0.5)), search(made(0.5), made(0.5), ended=None, seed=1)))
        assert state.reason == "1 of 2 searches have ended; running or interrupted: seed 1 after 2 trials"

    def test_searched_and_not_evaluated(self):
        expected = "all searches have ended, but the incumbent is not evaluated yet"
        assert cell_state(cell(search(made(0.5)))).reason == expected

    def test_a_search_in_which_everything_diverged_leaves_nothing_to_evaluate(self):
        state = cell_state(cell(search(made(math.nan, status=Status.DIVERGED))))
        assert state.reason == "no trial succeeded, so there is no incumbent to evaluate"

    def test_a_failure_outranks_all_else(self):
        failure = Failure(step="tuner", reason="the oven is cold", detail="Traceback", time=0.0)
        state = cell_state(cell(search(made(0.5)), evaluation=evaluation(), failures=[failure]))
        assert (state.state, state.reason, state.step, state.detail) == ("failed", "the oven is cold", "tuner", "Traceback")


class TestUsage:
    def test_it_sums_over_searches(self):
        found = usage(
            [
                search(made(0.5, 0.6, seconds=10, ask=1), made(0.7, parent=0, first=2, seconds=4, ask=1)),
                search(made(math.nan, seconds=4, status=Status.DIVERGED), made(0.1, told=False), seed=1, ended=None),
            ]
        )
        assert (found.searches, found.configurations, found.trials, found.epochs) == (2, 3, 4, 4)
        assert (found.training_seconds, found.method_seconds) == (18, 2)
        assert found.method_share == pytest.approx(0.1)
        assert found.statuses == {"completed": 2, "stopped": 0, "diverged": 1, "failed": 0, "running": 1}

    def test_nothing_used_has_no_share(self):
        assert usage([]).method_share is None


def test_the_ten_best_are_by_objective_over_all_seeds():
    found = cell(search(*[made(i / 20) for i in range(12)]), search(made(0.99), seed=7))
    assert [(r.seed, r.trial) for r in ten_best(rows(found), GOAL)] == [(7, 0), *[(0, t) for t in range(11, 2, -1)]]


def test_reasons_are_counted_the_most_frequent_first():
    trials = [made(status=Status.FAILED, reason="b"), *[made(status=Status.FAILED, reason="a")] * 2, made(0.5)]
    found = reasons(rows(cell(search(*trials, made(math.nan, status=Status.DIVERGED)))))
    assert [(r.status, r.reason, r.trials) for r in found] == [
        ("failed", "a", 2),
        ("diverged", "no reason recorded", 1),
        ("failed", "b", 1),
    ]


def test_the_most_confused_classes():
    pairs = most_confused(confusion(evaluation()), 5)
    assert [(p.true, p.predicted, p.images, p.share) for p in pairs] == [("cat", "dog", 2, 0.2), ("dog", "cat", 1, 0.1)]


def test_the_learning_curve_is_that_of_the_evaluated_trial():
    found = cell(search(made(0.5), made(0.9)), evaluation=evaluation(trial=0))
    assert learning(found, None).metrics["val_accuracy"] == [0.5]


def test_an_evaluated_trial_that_the_record_lacks_has_no_learning_curve():
    assert learning(cell(search(made(0.5)), evaluation=evaluation(trial=9)), None) is None
