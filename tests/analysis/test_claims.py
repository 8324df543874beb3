"""The paper's claims: each confirmed, refuted and left open by searches that were made so."""

from __future__ import annotations

import random

import pytest

from made import made_study
from rows import CONFIG, row
from tuneoff.analysis.paper.claims import FEW, MANY, claims

SEEDS = range(6)


def study(**changes):
    return made_study(**{"budget": {"trials": 120, "epochs_per_trial": 10}, "seeds": list(SEEDS), **changes})


def checked(rows, number, **changes):
    return next(c for c in claims(study(**changes), rows) if c.number == number)


def search(method, accuracy, val_accuracy=None, dataset="mnist", spread=0.001, trials=12, seed=0, **fields):
    """Trials of each seed around these accuracies."""
    rng = random.Random(f"{method}{dataset}{seed}")
    val = accuracy if val_accuracy is None else val_accuracy

    def near(value):
        return min(1.0, value + rng.gauss(0, spread))

    return [
        row(near(accuracy), near(val), dataset=dataset, method=method, seed=s, trial=t, **fields)
        for s in SEEDS
        for t in range(trials)
    ]


class TestWhichStudies:
    def test_six_claims_of_a_study_of_the_papers(self):
        found = claims(study(), [])
        assert [c.number for c in found] == ["C1", "C2", "C3", "C4", "C5", "C6"]
        assert {c.verdict for c in found} == {"not testable"}
        assert all(c.missing for c in found)

    def test_none_in_another_space_or_on_other_data(self):
        assert claims(study(space={"x": {"type": "float", "low": 0, "high": 1}}), []) == []
        assert claims(study(datasets=[{"name": "mnist", "path": "my.npz"}]), []) == []


class TestC1:
    def many(self, late, seeds=SEEDS):
        """A best of 0.99 among the first 120, and another after them."""
        return [row({7: 0.99, 900: late + 0.0001 * s}.get(t, 0.9), seed=s, trial=t) for s in seeds for t in range(MANY)]

    @pytest.mark.parametrize(("late", "verdict"), [(0.9905, "confirmed"), (0.998, "refuted")])
    def test_what_comes_after_120(self, late, verdict):
        found = checked(self.many(late), "C1")
        assert found.verdict == verdict
        assert "99.00" in found.findings[0].said

    def test_it_takes_1400_trials_and_seeds(self):
        assert checked([row(0.9, trial=t) for t in range(FEW)], "C1").verdict == "not testable"
        assert checked(self.many(0.99, seeds=[0]), "C1").verdict == "not testable"


class TestC2:
    SMALL = {
        **{name: {"type": "categorical", "values": [value]} for name, value in CONFIG.items()},
        "neurons": {"type": "categorical", "values": [64, 128, 256]},
    }

    def rows(self, grid, others, seconds):
        whole = [row(grid - 0.01 * t, method="grid", trial=t, seconds=100.0) for t in range(3)]
        return [*whole, *search("random", others, seconds=seconds), *search("bayes", others, seconds=seconds)]

    def test_a_grid_that_is_best_and_slow(self):
        found = checked(self.rows(0.999, 0.995, 1.0), "C2", space=self.SMALL)
        assert (found.verdict, len(found.findings)) == ("confirmed", 6)

    @pytest.mark.parametrize(
        ("grid", "others", "seconds"), [(0.99, 0.996, 1.0), (0.999, 0.9, 1.0), (0.999, 0.995, 20.0)], ids=["best", "near", "time"]
    )
    def test_each_part_can_fail(self, grid, others, seconds):
        assert checked(self.rows(grid, others, seconds), "C2", space=self.SMALL).verdict == "refuted"

    def test_a_part_of_a_grid_is_no_grid(self):
        found = checked(self.rows(0.999, 0.995, 1.0), "C2")
        assert found.verdict == "not testable"
        assert "2" in found.missing


class TestC3:
    def three(self, hyperband):
        values = {"random": 0.93, "bayes": 0.931, "hyperband": hyperband}
        return [r for m, v in values.items() for r in search(m, 0.99, v, "fashion_mnist")]

    @pytest.mark.parametrize(("hyperband", "verdict"), [(0.928, "confirmed"), (0.90, "refuted")])
    def test_all_pairs(self, hyperband, verdict):
        found = checked(self.three(hyperband), "C3")
        assert (found.verdict, len(found.findings)) == (verdict, 3)

    def test_it_takes_all_three(self):
        assert checked(search("random", 0.9) + search("bayes", 0.9), "C3").verdict == "not testable"


class TestC4:
    def three(self, bayes, val):
        return search("random", 0.97, 0.93) + search("bayes", bayes, val) + search("hyperband", 0.95, 0.92)

    def test_more_training_accuracy_and_a_wider_gap(self):
        assert checked(self.three(0.99, 0.925), "C4").verdict == "confirmed"

    def test_less_training_accuracy(self):
        found = checked(self.three(0.96, 0.90), "C4")
        assert found.verdict == "refuted"
        assert [f.verdict for f in found.findings] == ["refuted", "confirmed", "confirmed", "confirmed"]

    def test_more_training_accuracy_with_a_narrower_gap(self):
        assert checked(self.three(0.99, 0.985), "C4").verdict == "refuted"


class TestC5:
    def draws(self, good):
        """400 draws; those that have what is good score higher."""
        rng = random.Random(0)
        space = study().space
        rows = []
        for t in range(400):
            config = {
                n: p.values[rng.randrange(len(p.values))] if p.type == "categorical" else rng.uniform(0, 0.4)
                for n, p in space.items()
            }
            value = 0.5 + sum(0.05 for name, is_good in good.items() if is_good(config[name])) + rng.gauss(0, 0.01)
            rows.append(row(value, dataset="fashion_mnist", trial=t, config=config))
        return rows

    def test_the_papers_own_settings(self):
        good = {
            "optimizer": "Adam",
            "learning_rate": 0.001,
            "activation": "relu",
            "neurons": 256,
            "filters1": 16,
            "filters2": 128,
        }
        found = checked(self.draws({n: (lambda v, w=w: v == w) for n, w in good.items()} | {"dropout": lambda v: v < 0.2}), "C5")
        assert [f.verdict for f in found.findings] == ["confirmed"] * 7
        assert found.verdict == "confirmed"

    def test_settings_that_do_not_matter_stay_open(self):
        found = checked(self.draws({"optimizer": lambda v: v == "Adam"}), "C5")
        assert found.verdict == "undecided"
        assert {f.verdict for f in found.findings} == {"confirmed", "undecided"}

    def test_a_value_that_the_space_has_not_is_not_tested(self):
        small = {n: p.model_dump(exclude_none=True) for n, p in study().space.items()} | {
            "filters2": {"type": "categorical", "values": [16, 64]}
        }
        found = checked(self.draws({"optimizer": lambda v: v == "Adam"}), "C5", space=small)
        assert {f.said.split()[0] for f in found.findings if f.verdict == "not testable"} == {"filters2"}

    def test_the_opposite_is_a_refutation(self):
        found = checked(self.draws({"activation": lambda v: v == "sigmoid"}), "C5")
        assert found.verdict == "refuted"

    def test_what_a_table_answers_again_is_no_further_evidence(self):
        rows = self.draws({"optimizer": lambda v: v == "Adam"})
        again = [r for r in rows for _ in range(9)]
        on_a_table = {"objective": {"replay": {"table": "made.parquet"}}}
        assert checked(again, "C5", **on_a_table).findings == checked(rows, "C5", **on_a_table).findings
        assert checked(again, "C5").findings != checked(rows, "C5").findings


class TestC6:
    def test_ten_best_that_hold_short_trials(self):
        """Eight full trainings a seed, the others of four epochs: alone, the full ones train as well as random search's."""
        full = search("hyperband", 0.97, trials=8)
        short = [r.model_copy(update={"epochs": 4, "trial": r.trial + 20}) for r in search("hyperband", 0.90, 0.6, trials=8)]
        found = checked(search("random", 0.97) + search("bayes", 0.98) + full + short, "C6")
        assert found.verdict == "confirmed"
        assert "8.0 of the ten had 10 epochs of training" in found.findings[0].said
        assert "The ten best trials with 10 epochs of training: 96.99" in found.findings[0].said

    def test_ten_best_as_good_as_the_others(self):
        assert checked(search("random", 0.97) + search("hyperband", 0.97), "C6").verdict == "refuted"

    def test_epochs_of_a_parent_do_not_count_where_nothing_was_taken_over(self):
        grown = search("hyperband", 0.97, parent=0, inherit="nothing", first_epoch=4)
        assert "0.0 of the ten had 10 epochs" in checked(search("random", 0.97) + grown, "C6").findings[0].said

    def test_the_verdict_is_that_of_what_is_nearest_to_the_papers(self):
        methods = ["random", "hyperband", "hyperband-2020"]
        rows = search("random", 0.97) + search("hyperband", 0.97) + search("hyperband-2020", 0.90)
        found = checked(rows, "C6", methods=methods)
        assert found.verdict == "confirmed"
        assert [(f.verdict, f.counts) for f in found.findings] == [("confirmed", True), ("refuted", False)]
