"""Common budgets: each clock is read up to what every method could spend, and what is not known is not made up."""

from __future__ import annotations

import numpy as np
import pytest

from made import made_study
from made_search import made, search
from tuneoff.analysis.best_so_far import progress
from tuneoff.analysis.common_budget import common_budgets, ended_by_themselves, reading, the_same_with_every_seed
from tuneoff.core.problem import Status


def study(*methods, seeds=(0,), **changes):
    return made_study(datasets=["mnist"], methods=list(methods), seeds=list(seeds), budget={"trials": 4}, **changes)


def read(plan, *searches, known_best=None):
    curves = [progress(s, plan.objective) for s in searches]
    found = common_budgets(plan, curves, ended_by_themselves(searches, plan), known_best)
    return {c.clock: c for c in found}


def by_trials(plan, *searches, **fields):
    return read(plan, *searches, **fields)["trials"]


def test_the_common_budget_is_the_least_that_a_search_had_spent_when_its_budget_ended_it():
    long, short = search(*[made(0.5)] * 4), search(*[made(0.6, 0.6)] * 3, method="bayes")
    found = read(study("random", "bayes"), long, short)
    assert found["trials"].full == 3
    assert found["trials"].limited_by == "bayes"
    assert found["epochs"].full == 4  # random's four of one epoch
    assert found["epochs"].limited_by == "random"


def test_a_search_that_ended_by_itself_limits_nobody_and_keeps_its_value():
    plan = study("random", "bayes")
    own = search(made(0.9), method="bayes")
    own = type(own)(**{**own.__dict__, "ended": {**own.ended, "left": {"trials": 3}}})
    budget = by_trials(plan, search(made(0.5), made(0.6), made(0.7), made(0.8)), own)
    assert budget.full == 4
    assert budget.losses[1, 0].tolist() == [-0.9] * 4


def test_losses_step_at_each_whole_budget():
    budget = by_trials(
        study("random", "bayes"), *[search(made(0.5), made(0.4), made(0.7), method=m) for m in ("random", "bayes")]
    )
    assert budget.budgets.tolist() == [1, 2, 3]
    assert budget.losses[0, 0].tolist() == [-0.5, -0.5, -0.7]


def test_what_an_unfinished_search_will_find_is_not_known():
    budget = by_trials(study("random", "bayes"), search(made(0.5), made(0.6)), search(made(0.9), method="bayes", ended=None))
    assert budget.losses[1, 0, 0] == -0.9
    assert np.isnan(budget.losses[1, 0, 1])
    assert budget.unknown


def test_a_search_that_has_found_nothing_is_worse_than_any():
    failed = search(made(status=Status.FAILED), made(0.6), method="bayes")
    budget = by_trials(study("random", "bayes"), search(made(0.5), made(0.6)), failed)
    assert budget.losses[1, 0].tolist() == [np.inf, -0.6]


def test_a_missing_search_is_not_known_at_any_budget():
    missing = search(method="bayes", ended=None)
    assert np.isnan(by_trials(study("random", "bayes"), search(made(0.5)), missing).losses[1]).all()


def test_regret_is_0_at_the_best_of_all_and_1_at_the_median_trial_of_random_search():
    budget = by_trials(
        study("random", "bayes"), search(made(0.5), made(0.6), made(0.7)), search(*[made(0.8)] * 3, method="bayes")
    )
    assert budget.regret[0, 0] == pytest.approx([1.5, 1.0, 0.5])
    assert budget.regret[1, 0] == pytest.approx([0, 0, 0])


def test_without_random_search_regret_1_is_the_median_first_trial():
    budget = by_trials(
        study("grid", "bayes"), search(made(0.5), made(0.9), method="grid"), search(made(0.7), made(0.8), method="bayes")
    )
    assert budget.best == -0.9
    assert budget.scale == pytest.approx(0.3)  # from 0.9 to the median of 0.5 and 0.7


def test_a_table_s_true_best_is_regret_0_where_it_is_known():
    budget = by_trials(study("random", "bayes"), search(made(0.5)), search(made(0.6), method="bayes"), known_best={"mnist": 0.7})
    assert budget.regret[:, 0, 0] == pytest.approx([1.0, 0.5])


def test_losses_are_read_in_the_direction_of_the_metric():
    plan = study("random", "bayes", objective={"metric": "val_loss"})
    budget = by_trials(plan, search(made(0.5)), search(made(0.9), method="bayes"))
    assert budget.dataset == "mnist"
    assert budget.regret.shape == (2, 1, 1)


def test_seconds_hold_the_method_s_own():
    slow = search(*[made(0.9, seconds=1, ask=9)] * 2, method="bayes")
    budget = read(study("random", "bayes"), search(*[made(0.5, seconds=1)] * 12), slow)["seconds"]
    assert budget.full == pytest.approx(12)
    assert budget.losses[1, 0, budget.within(9.9)] == np.inf
    assert budget.losses[1, 0, budget.within(10.1)] == -0.9


def test_a_reading_takes_only_methods_that_were_given_so_much():
    plan = study("random", "bayes")
    searches = [search(*[made(*[0.5] * 8)] * 4), search(*[made(0.9)] * 4, method="bayes")]
    curves = [progress(s, plan.objective) for s in searches]
    methods, regret = reading(plan, curves, set(), "mnist", 30)
    assert methods == ("random",)
    assert regret.shape == (1, 1)
    methods, _ = reading(plan, curves, set(), "mnist", 4)
    assert methods == ("random", "bayes")


def asked(method, seed, *values):
    return search(*[made(0.5, config={"x": v}) for v in values], method=method, seed=seed)


def test_a_method_that_asks_the_same_with_every_seed_is_found():
    grids = [asked("grid", seed, 1, 2, 3) for seed in range(3)]
    others = [asked("random", seed, 1, 2, 3 + seed) for seed in range(3)]
    assert the_same_with_every_seed([*grids, *others]) == {"grid"}


def test_one_that_was_cut_off_is_the_same_as_far_as_it_got():
    assert the_same_with_every_seed([asked("grid", 0, 1, 2, 3), asked("grid", 1, 1, 2)]) == {"grid"}


def test_one_seed_or_one_trial_says_nothing_of_the_seed():
    assert the_same_with_every_seed([asked("grid", 0, 1, 2, 3)]) == frozenset()
    assert the_same_with_every_seed([asked("grid", 0, 1), asked("grid", 1, 1)]) == frozenset()
