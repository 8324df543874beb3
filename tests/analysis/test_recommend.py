"""The rule of the recommendation, break-even and time to target, on numbers that can be followed by eye."""

from __future__ import annotations

import numpy as np
import pytest

from tuneoff.analysis.break_even import break_even
from tuneoff.analysis.common_budget import CommonBudget
from tuneoff.analysis.recommend import Field, choose, follow
from tuneoff.analysis.time_to_target import target, target_losses

METHODS = ("random", "good", "bad")


def field(regret, dataset="mnist", methods=METHODS):
    return Field(dataset, methods, np.array(regret, dtype=float))


def budget(losses, methods=METHODS, budgets=(1, 2, 3, 4)):
    found = np.array(losses, dtype=float)
    seeds = tuple(range(found.shape[1]))
    return CommonBudget("mnist", "epochs", methods, seeds, np.array(budgets, dtype=float), found, "good", 0.0, 1.0)


CLEAR = field([[0.5, 0.1, 0.9]] * 6)


class TestChoice:
    def test_the_best_mean_rank_is_recommended(self):
        found = choose([CLEAR])
        assert found.best == "good"
        assert found.standings[0].probability == 1
        assert found.as_good == []
        assert [s.method for s in found.standings] == ["good", "random", "bad"]

    def test_one_seed_recommends_nothing(self):
        found = choose([field([[0.5, 0.1, 0.9]])])
        assert found.best is None
        assert found.leader == "good"
        assert found.as_good == []

    def test_methods_that_share_the_draws_are_as_good(self):
        found = choose([field([[0.1, 0.2, 0.9], [0.2, 0.1, 0.9]] * 5)])
        assert {found.best, *found.as_good} == {"random", "good"}

    def test_an_unknown_value_counts_as_the_worst_and_what_if_not_is_said(self):
        regret = np.array([[0.5, 0.1, 0.9]] * 6)
        regret[:, 1] = np.nan
        found = choose([field(regret)])
        assert found.best == "random"
        assert found.if_unknown_were_best == "good"
        assert next(s for s in found.standings if s.method == "good").regret is None

    def test_a_method_whose_seeds_are_one_search_is_not_recommended_beside_others(self):
        fixed = Field("mnist", METHODS, CLEAR.regret, frozenset({"good"}))
        found = choose([fixed])
        assert (found.best, found.not_considered) == ("random", ["good"])
        assert {s.method: s.probability for s in found.standings} == {"good": 0, "random": 1, "bad": 0}
        assert found.standings[0].method == "good", "its rank is told all the same"

    def test_where_all_methods_are_such_all_are_considered(self):
        found = choose([Field("mnist", METHODS, CLEAR.regret, frozenset(METHODS))])
        assert (found.best, found.not_considered) == ("good", [])

    def test_the_order_of_methods_does_not_matter(self):
        regret = np.random.default_rng(0).random((8, 3))
        first, other = choose([field(regret)]), choose([field(regret[:, ::-1], methods=METHODS[::-1])])
        chances = [{s.method: s.probability for s in found.standings} for found in (first, other)]
        assert chances[0] == pytest.approx(chances[1])


class TestFollowing:
    def test_the_advice_comes_from_the_other_data_sets_alone(self):
        one = field([[0.5, 0.1, 0.9]] * 5, "one")
        other = field([[0.2, 0.8, 0.9]] * 5, "other")
        first, second = follow([one, other], {"random"})
        assert (first.dataset, first.advised, first.regret) == ("one", "random", pytest.approx(0.5))
        assert (first.best, first.best_regret) == ("good", pytest.approx(0.1))
        assert (second.advised, second.regret, second.random_regret) == ("good", pytest.approx(0.8), pytest.approx(0.2))

    def test_one_data_set_says_nothing_of_others(self):
        assert follow([CLEAR], {"random"}) == []


class TestBreakEven:
    def row(self, mine, lots=(0.5, 0.5, 0.5, 0.5), **fields):
        losses = [[list(lots)] * 2, [list(x) for x in mine], [[9, 9, 9, 9]] * 2]
        return {r.method: r for r in break_even(budget(losses), {"random"})}

    def test_from_the_budget_on_at_which_it_stays_ahead(self):
        rows = self.row([[0.4, 0.6, 0.4, 0.3], [0.4, 0.4, 0.4, 0.3]])
        assert rows["good"].budget == 3  # ahead at 1 already, but not at 2
        assert rows["good"].share == 0.75

    def test_never_where_it_is_not_ahead_at_the_end(self):
        rows = self.row([[0.1, 0.1, 0.1, 0.6]] * 2)
        assert rows["good"].budget is None
        assert rows["good"].at_full == 0
        assert rows["bad"].budget is None

    def test_random_search_has_nothing_to_break_even_with(self):
        rows = self.row([[0.1] * 4] * 2)
        assert rows["random"].is_random
        assert rows["random"].budget is None
        assert rows["good"].budget == 1

    def test_what_is_not_known_counts_against_the_method(self):
        assert self.row([[0.1, 0.1, 0.1, np.nan]] * 2)["good"].budget is None
        assert self.row([[0.1] * 4] * 2, lots=(0.5, 0.5, 0.5, np.nan))["good"].budget is None

    def test_without_random_search_there_is_no_map(self):
        assert break_even(budget([[[1, 1, 1, 1]]] * 3), set()) == []


class TestTargets:
    COURSE = budget([[[4, 3, 3, 2], [4, 4, 4, 4]], [[2, 2, 1, 1], [5, 3, 3, 1]], [[9, 9, 9, 9], [9, 9, 9, 3]]])

    def test_targets_are_where_random_search_and_the_best_method_end(self):
        assert target_losses(self.COURSE, {"random"}) == {
            "the median final score of random search": 3,
            "the median final score of the best method": 1,
        }
        assert target_losses(self.COURSE, set())["the median final score of all methods"] == 3

    def test_shares_of_seeds_and_what_each_success_took(self):
        found = target(self.COURSE, "three", 3, -1, (0.25, 0.5, 1.0))
        assert found.value == -3
        rows = {r.method: r for r in found.rows}
        assert rows["random"].shares == [0, 0.5, 0.5]
        assert rows["random"].expected == 2 + 4  # one reached it after 2, the other spent 4 in vain
        assert rows["good"].shares == [0.5, 1, 1]
        assert rows["good"].expected == (1 + 2) / 2
        assert target(self.COURSE, "none", 0, 1, (1.0,)).rows[0].expected is None
