"""The same algorithm in different frameworks: equivalence over seeds, repeats, and whether draws are even."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from made import made_study
from rows import row
from tuneoff.analysis.common_budget import random_methods
from tuneoff.analysis.stats.equivalence import algorithms, drawn, evenness, pair, too_often
from tuneoff.analysis.stats.paired_tests import above, apart, below, differences, interval, within
from tuneoff.analysis.summaries import CellScore, Usage
from tuneoff.analysis.trial_rows import spread
from tuneoff.core.space import PAPER_SPACE, Space
from tuneoff.methods.registry import REGISTRY, SHORT, algorithm_of
from tuneoff.methods.spec import Algorithm


def score(method: str, values: dict[int, float], name: str | None = None) -> CellScore:
    nothing = Usage(
        searches=1,
        configurations=0,
        trials=0,
        epochs=0,
        training_seconds=0.0,
        method_seconds=0.0,
        method_share=None,
        statuses={},
        attempts=1,
    )
    return CellScore(
        dataset="mnist",
        method=method,
        name=name or method,
        settings={},
        incumbents=spread(values.values()),
        by_seed=values,
        best=None,
        test=None,
        usage=nothing,
    )


def seeds(mean: float, wide: float, number: int = 20, seed: int = 0) -> dict[int, float]:
    rng = random.Random(seed)
    return {s: rng.gauss(mean, wide) for s in range(number)}


class TestPairedTests:
    VALUES = (0.1, 0.3, -0.2, 0.4, 0.2)

    def test_the_two_sided_one_is_scipys_paired_t_test(self):
        first = dict(enumerate((1.1, 0.9, 1.4, 1.2, 1.0)))
        second = dict(enumerate((1.0, 0.6, 1.6, 0.8, 0.8)))
        expected = stats.ttest_rel(list(first.values()), list(second.values())).pvalue
        assert apart(differences(first, second)) == pytest.approx(expected)

    def test_one_sided_ones_are_each_others_complement(self):
        assert above(self.VALUES, 0.05) + below(self.VALUES, 0.05) == pytest.approx(1.0)
        assert above(self.VALUES, 0.0) < 0.5 < above(self.VALUES, 0.3)

    def test_within_a_margin_is_the_larger_of_two_one_sided_tests(self):
        assert within(self.VALUES, 1.0) == max(above(self.VALUES, -1.0), below(self.VALUES, 1.0)) < 0.05
        assert within(self.VALUES, 0.1) > 0.05

    def test_the_ninety_per_cent_interval_agrees_with_it(self):
        low, high = interval(self.VALUES, 0.9)
        reach = max(abs(low), abs(high))
        assert within(self.VALUES, reach * 1.001) < 0.05 < within(self.VALUES, reach * 0.999)

    def test_seeds_that_only_one_has_are_left_out(self):
        assert differences({0: 1.0, 1: 2.0, 5: 9.0}, {1: 0.5, 0: 0.0}) == [1.0, 1.5]

    def test_the_same_difference_every_time_is_certain(self):
        assert (above([0.1] * 4, 0.0), below([0.1] * 4, 0.0)) == (0.0, 1.0)

    def test_a_single_seed_shows_nothing(self):
        assert (above([5.0], 0.0), within([0.0], 9.0), interval([1.0], 0.9)) == (1.0, 1.0, None)


class TestPairs:
    def test_two_draws_from_the_same_are_equivalent(self):
        found = pair(score("a", seeds(0.9, 0.01)), score("b", seeds(0.9, 0.01, seed=1)), 0.01, 1)
        assert found.verdict == "equivalent"
        assert found.low < found.difference < found.high

    def test_a_difference_beyond_the_margin_is_one(self):
        found = pair(score("a", seeds(0.9, 0.01)), score("b", seeds(0.8, 0.01, seed=1)), 0.01, 1)
        assert (found.verdict, found.p_different < 0.001) == ("different", True)

    def test_a_sure_and_small_difference_is_both(self):
        first = seeds(0.9, 0.01)
        found = pair(score("a", first), score("b", {s: v - 0.002 for s, v in first.items()}), 0.01, 1)
        assert found.verdict == "different, within the margin"

    def test_few_seeds_decide_little_and_two_decide_nothing(self):
        one, other = seeds(0.9, 0.01, 4), seeds(0.9, 0.01, 4, seed=7)
        assert pair(score("a", one), score("b", other), 0.001, 1).verdict == "undecided"
        assert pair(score("a", seeds(0.9, 0.01, 2)), score("b", seeds(0.9, 0.01, 2)), 0.01, 1).verdict == "too few seeds"


class TestDraws:
    def draws(self, number: int = 400, **space) -> list:
        rng = random.Random(3)
        return [row(0.5, trial=i, seed=i % 4, config={"x": rng.choice([0.0, 0.1, 0.2, 0.3, 0.4])}) for i in range(number)]

    STEPS = Space.model_validate({"x": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1}})

    def test_fair_draws_of_steps_are_even(self):
        found = evenness("x", self.STEPS["x"], self.draws())
        assert (found.test, found.expected) == ("chi-square", 0.2)
        assert found.p > 0.05

    def test_rounding_a_range_halves_the_ends_and_shows(self):
        rng = random.Random(3)
        config = [{"x": self.STEPS["x"].nearest(rng.uniform(0.0, 0.4))} for _ in range(400)]
        (found,) = too_often(drawn(self.STEPS, "random", [row(0.5, trial=i, config=c) for i, c in enumerate(config)], True))
        assert found.p < 0.001
        assert found.most in ("0.1", "0.2", "0.3")

    @pytest.mark.parametrize(("log", "even"), [(True, True), (False, False)])
    def test_a_range_is_looked_at_on_its_own_scale(self, log, even):
        space = Space.model_validate({"x": {"type": "float", "low": 1e-4, "high": 1.0, "log": True}})
        shares = [(i + 0.5) / 100 for i in range(100)]
        values = [10 ** (-4 + 4 * s) if log else s for s in shares]
        found = evenness("x", space["x"], [row(0.5, config={"x": v}) for v in values])
        assert found.test == "Kolmogorov-Smirnov"
        assert (found.p > 0.05) == even

    def test_few_draws_are_not_tested(self):
        assert evenness("x", self.STEPS["x"], self.draws(24)) is None

    def test_repeats_are_counted_within_a_search_and_promotions_are_none(self):
        rows = [row(0.5, trial=i, seed=s, config={"x": x}) for s in (0, 1) for i, x in enumerate((0.1, 0.1, 0.2, 0.3))]
        promoted = row(0.5, trial=9, parent=0, config={"x": 0.1})
        found = drawn(self.STEPS, "random", [*rows, promoted], False)
        assert (found.configurations, found.repeated, found.evenly) == (8, 0.25, [])


class TestAlgorithms:
    def test_every_random_search_of_the_registry_is_known_as_one(self):
        study = made_study(methods=[name for name in (*SHORT, *REGISTRY) if REGISTRY[SHORT.get(name, name)].kind == "search"])
        random = {"random", "keras-tuner-random", "sklearn-random", "hyperopt-random", "ray-random", "optuna-random"}
        assert random_methods(study) == random
        assert {name for name in (*SHORT, *REGISTRY) if algorithm_of(name) == Algorithm.RANDOM_SEARCH} == random

    def test_only_those_with_two_methods_in_the_study_and_only_search_alike(self):
        scores = [score(m, seeds(0.9, 0.01, seed=i)) for i, m in enumerate(("random", "optuna-random", "optuna-tpe", "dehb"))]
        rows = [row(0.9, method=m, trial=i) for m in ("random", "optuna-random") for i in range(3)]
        (found,) = algorithms(PAPER_SPACE, scores, rows)
        assert (found.name, found.methods, len(found.pairs)) == ("random search", ["random", "optuna-random"], 1)
        assert found.pairs[0].margin == pytest.approx(found.deviation) == pytest.approx(0.01, rel=0.4)
        assert [d.configurations for d in found.drawn] == [3, 3]

    def test_a_method_under_two_labels_is_compared_with_itself(self):
        scores = [score(m, seeds(0.9, 0.01), "random") for m in ("a", "b")]
        assert algorithms(PAPER_SPACE, scores, [])[0].pairs[0].verdict == "equivalent"
