"""Hyperparameter importance, and the trials by value."""

from __future__ import annotations

import random

import pytest

from made_search import made, search
from tuneoff.analysis.importance import code, importance
from tuneoff.analysis.parallel_coordinates import ALWAYS_DRAWN, INACTIVE, MOST_LINES, by_value, parallel
from tuneoff.analysis.trial_rows import trial_row
from tuneoff.core.problem import Status
from tuneoff.core.space import Space
from tuneoff.core.study import ObjectiveSettings

SPACE = Space.model_validate(
    {
        "kind": {"type": "categorical", "values": ["good", "bad"]},
        "rate": {"type": "float", "low": 0.001, "high": 1.0, "log": True},
        "noise": {"type": "int", "low": 0, "high": 100},
        "depth": {"type": "int", "low": 1, "high": 3, "when": {"kind": ["good"]}},
    }
)


def config(rng):
    values = {"kind": rng.choice(["good", "bad"]), "rate": 10 ** rng.uniform(-3, 0), "noise": rng.randrange(101), "depth": 2}
    return SPACE.activate(values)


def rows(number, epochs=(1,)):
    """Trials in which only `kind` matters."""
    rng = random.Random(0)
    trials = []
    for _ in range(number):
        c = config(rng)
        accuracy = (0.9 if c["kind"] == "good" else 0.5) + rng.uniform(0, 0.01)
        trials.append(made(*[accuracy] * rng.choice(epochs), config=c))
    record = search(*trials)
    return [trial_row(record, t, ObjectiveSettings()) for t in record.trials]


class TestImportance:
    def test_what_matters_comes_first(self):
        found = importance(rows(60), SPACE)
        assert found.rows[0].name == "kind"
        assert found.rows[0].drop > 10 * next(r.drop for r in found.rows if r.name == "noise")
        assert found.r2_oob > 0.9

    def test_it_is_the_same_twice(self):
        assert importance(rows(25), SPACE) == importance(rows(25), SPACE)

    def test_epochs_are_a_covariate_only_where_they_vary(self):
        assert not any(r.covariate for r in importance(rows(40), SPACE).rows)
        last = importance(rows(40, epochs=(1, 3)), SPACE).rows[-1]
        assert (last.name, last.covariate) == ("epochs", True)

    def test_fewer_than_twenty_trials_are_refused(self):
        found = importance(rows(19), SPACE)
        assert found.refused == "Only 19 trials have an objective; at least 20 are needed to estimate importance."
        assert found.rows == []

    def test_trials_that_all_scored_the_same_are_refused(self):
        record = search(*[made(0.5, config=config(random.Random(i))) for i in range(30)])
        found = importance([trial_row(record, t, ObjectiveSettings()) for t in record.trials], SPACE)
        assert found.refused == "All trials have the same objective."

    def test_one_configuration_over_and_over_is_refused(self):
        record = search(*[made(i / 100, config={"kind": "bad", "rate": 0.1, "noise": 1}) for i in range(30)])
        found = importance([trial_row(record, t, ObjectiveSettings()) for t in record.trials], SPACE)
        assert found.refused == "No hyperparameter has more than one value."

    def test_many_trials_are_thinned(self):
        found = importance(rows(2100), SPACE)
        assert (found.trials, found.used) == (2100, 2000)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("kind", "bad", 1.0),
        ("kind", None, -1.0),
        ("rate", 0.01, -2.0),
        ("rate", None, -3.75),
        ("depth", 3, 3.0),
        ("depth", None, 0.5),
    ],
)
def test_values_as_ordered_numbers(name, value, expected):
    assert code(SPACE, name, value) == pytest.approx(expected)


class TestParallel:
    def one(self, *trials):
        record = search(*trials)
        return parallel([trial_row(record, t, ObjectiveSettings()) for t in record.trials], SPACE, ObjectiveSettings())

    def test_each_value_has_its_place_on_its_axis(self):
        found = self.one(made(0.5, config={"kind": "good", "rate": 0.001, "noise": 50, "depth": 3}))
        assert [a.positions[0] for a in found.axes] == [0.0, 0.0, 0.5, 1.0]

    def test_an_inactive_hyperparameter_stands_below_its_axis_and_is_named(self):
        found = self.one(made(0.5, config={"kind": "bad", "rate": 1.0, "noise": 0}))
        depth = found.axes[3]
        assert depth.positions == (INACTIVE,)
        assert depth.ticks[-1] == (INACTIVE, "inactive")

    def test_categories_are_evenly_spaced_and_ranges_have_round_ends(self):
        found = self.one(made(0.5, config={"kind": "good", "rate": 0.1, "noise": 0, "depth": 1}))
        assert found.axes[0].ticks == ((0.0, "good"), (1.0, "bad"))
        assert [label for _, label in found.axes[1].ticks] == ["0.001", "0.005623", "0.03162", "0.1778", "1"]
        assert found.axes[3].ticks == ((0.0, "1"), (0.5, "2"), (1.0, "3"))

    def test_the_worst_is_drawn_first_and_fifths_count_from_the_best(self):
        found = self.one(*[made(i / 10, config={"kind": "bad", "rate": 1.0, "noise": 0}) for i in range(5)])
        assert found.fifths == (4, 3, 2, 1, 0)
        assert found.objectives == (0.0, 0.4)

    def test_trials_without_a_score_are_not_drawn(self):
        assert self.one(made(status=Status.FAILED)) is None

    def test_of_many_trials_the_best_and_an_even_sample_are_drawn(self):
        many = rows(1000)
        found = parallel(many, SPACE, ObjectiveSettings())
        assert (len(found.rows), found.trials) == (MOST_LINES, 1000)
        best = sorted(many, key=lambda r: -r.objective)[:ALWAYS_DRAWN]
        assert set(map(id, best)) <= set(map(id, found.rows))

    def test_of_many_hyperparameters_the_most_important_are_drawn(self):
        wide = Space.model_validate({f"x{i}": {"type": "float", "low": 0, "high": 1} for i in range(15)})
        record = search(made(0.5, config=dict.fromkeys(wide, 0.5)))
        found = parallel(
            [trial_row(record, record.trials[0], ObjectiveSettings())],
            wide,
            ObjectiveSettings(),
            [f"x{i}" for i in range(14, -1, -1)],
        )
        assert [a.name for a in found.axes] == [f"x{i}" for i in range(3, 15)]
        assert found.axes_left_out == 3


def test_by_value_gives_median_and_best():
    trials = [
        made(a, config={"kind": k, "rate": 0.5, "noise": n}) for a, k, n in ((0.2, "bad", 10), (0.4, "bad", 60), (0.6, "bad", 90))
    ]
    record = search(*trials)
    found = by_value([trial_row(record, t, ObjectiveSettings()) for t in record.trials], SPACE, ObjectiveSettings())
    assert [(r.value, r.trials, r.median, r.best) for r in found if r.parameter == "kind"] == [("bad", 3, 0.4, 0.6)]
    assert [(r.value, r.trials) for r in found if r.parameter == "noise"] == [("0 – 25", 1), ("50 – 75", 1), ("75 – 100", 1)]
    assert [(r.value, r.trials) for r in found if r.parameter == "depth"] == [("inactive", 3)]
