"""The winner's curse: what noise does to the best of many scores, measured and taken off again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from made_search import made, search
from tuneoff.analysis.best_so_far import progress
from tuneoff.analysis.stats.winners_curse import noise, optimism, winners_curse
from tuneoff.analysis.summaries import CellScore, Evaluated, Usage
from tuneoff.analysis.trial_rows import spread, trial_row
from tuneoff.core.study import ObjectiveSettings

GOAL = ObjectiveSettings()
USAGE = Usage(
    searches=1,
    configurations=1,
    trials=1,
    epochs=1,
    training_seconds=1,
    method_seconds=0,
    method_share=0,
    statuses={},
    attempts=1,
)


def rows(*searches):
    return [trial_row(s, t, GOAL) for s in searches for t in s.trials]


def score(method="random", tests=None):
    test = None
    if tests:
        of = {"seed": 0, "trial": 0, "epochs": 1, "config": {}, "validation": {"val_accuracy": 0.9}, "gap": 0, "stale": False}
        test = Evaluated(**of, accuracy=spread(tests), loss=spread([1.0]))
    of = {"dataset": "mnist", "method": method, "name": method, "settings": {}, "by_seed": {}, "best": None}
    return CellScore(**of, incumbents=spread([0.9]), test=test, usage=USAGE)


def test_noise_is_the_spread_within_configurations_that_several_searches_trained():
    random = np.random.default_rng(0)
    searches = [
        search(*[made(0.5 + 0.01 * c + random.normal(0, 0.02), config={"x": c}) for c in range(100)], seed=s) for s in range(5)
    ]
    found = noise(rows(*searches), [], GOAL)
    assert found.freedom == 100, "of the better quarter"
    assert found.sd == pytest.approx(0.02, rel=0.1)


def test_a_table_that_answers_the_same_again_says_nothing_about_noise():
    same = [search(*[made(0.5 + c / 100, config={"x": c}) for c in range(20)], seed=s) for s in range(2)]
    assert noise(rows(*same), [], GOAL).sd is None


def test_without_repeats_the_retrainings_stand_for_the_noise():
    found = noise(rows(search(made(0.5))), [score(tests=[0.8, 0.82])], GOAL)
    assert found.sd == pytest.approx(math.sqrt(0.0002))
    assert "retrainings" in found.source
    assert noise(rows(search(made(0.5))), [score(tests=[0.8, 0.82])], ObjectiveSettings(metric="val_loss")).sd is None


def test_the_best_of_many_alike_is_the_more_optimistic_the_more_there_are():
    found = [optimism(np.zeros(n), 1.0) for n in (2, 10, 100)]
    assert found[0] == pytest.approx(1 / math.sqrt(math.pi), abs=0.15)  # the mean of the larger of two normal deviates
    assert found[2] == pytest.approx(2.5076, abs=0.1)  # and of a hundred
    assert found == sorted(found)


def test_one_trial_or_no_noise_is_no_choice():
    assert optimism(np.array([0.3]), 1.0) == 0
    assert optimism(np.zeros(9), 0.0) == 0
    assert optimism(np.array([0.0, 100.0]), 1.0) == 0


@pytest.mark.parametrize(("metric", "sign"), [("val_accuracy", -1), ("val_loss", 1)])
def test_the_corrected_score_is_worse_than_it_looks(metric, sign):
    goal = ObjectiveSettings(metric=metric)
    random = np.random.default_rng(0)
    searches = [search(*[made(0.5 + random.normal(0, 0.02), config={"x": c}) for c in range(30)], seed=s) for s in range(3)]
    table = [trial_row(s, t, goal) for s in searches for t in s.trials]
    (row,) = winners_curse(table, [score()], [progress(s, goal) for s in searches], {0.5: 15.0, 1.0: 30.0}, goal).rows
    assert [x.share for x in row.by_budget] == [0.5, 1.0]
    for x in row.by_budget:
        assert sign * (x.corrected - x.seen) > 0


def test_ranks_on_validation_and_on_test_stand_side_by_side():
    searches = [search(made(0.9)), search(made(0.8), method="bayes")]
    scores = [score(tests=[0.7, 0.72]), score("bayes", tests=[0.75, 0.77])]
    curves = [progress(s, GOAL) for s in searches]
    first, second = winners_curse(rows(*searches), scores, curves, {1.0: 1.0}, GOAL).rows
    assert (first.rank_seen, first.rank_test) == (1, 2)
    assert (second.rank_seen, second.rank_test) == (2, 1)
    assert first.promised == 0.9
