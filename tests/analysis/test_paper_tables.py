"""The paper's tables, and ours beside them."""

from __future__ import annotations

import pytest

from made import made_study
from made_search import made, search
from tuneoff.analysis.paper.tables import BEST, TEN_BEST, compare
from tuneoff.analysis.summaries import cell_score
from tuneoff.analysis.trial_rows import trial_row
from tuneoff.core.prepared_data import Prepared
from tuneoff.core.store.study_store import CellResult


def comparison(study, accuracies=None, prepared=None):
    """The tables where each cell in `accuracies` found this accuracy with its only trial."""
    scores, ten = [], {}
    for cell in study.cells:
        accuracy = (accuracies or {}).get(cell.name)
        found = search(made(accuracy), dataset=cell.dataset, method=cell.method.label) if accuracy else None
        result = CellResult(cell, (found,) if found else (), None, ())
        rows = [trial_row(found, t, study.objective) for t in found.trials] if found else []
        scores.append(cell_score(result, rows, study.objective))
        ten[cell.dataset, cell.method.label] = rows
    return compare(study, scores, prepared or {}, ten)


def row(tables, dataset, method):
    table = next(t for t in tables.best if t.dataset == dataset)
    return next(r for r in table.rows if r.method == method)


class TestThePapersFigures:
    def test_the_best_results_are_ten_cells(self):
        assert len(BEST) == 10
        assert BEST["mnist", "grid"].accuracy == 0.99915
        assert BEST["cifar10", "bayes"].val_loss == 1.5018

    @pytest.mark.parametrize("method", ["random", "bayes", "hyperband"])
    def test_ten_trials_a_method_by_falling_training_accuracy(self, method):
        accuracies = [t.metrics.accuracy for t in TEN_BEST[method]]
        assert len(accuracies) == 10
        assert accuracies == sorted(accuracies, reverse=True)

    def test_a_row_as_printed(self):
        first = TEN_BEST["random"][0]
        assert first.config["dropout"] == 0.124
        assert (first.config["filters2"], first.config["optimizer"], first.metrics.val_loss) == (128, "Adam", 0.314)


class TestBeside:
    def test_the_difference_is_ours_less_the_papers(self):
        found = row(comparison(made_study(), {"mnist/random": 0.98}), "mnist", "random")
        assert found.status == "run"
        assert found.delta.val_accuracy == pytest.approx(0.98 - 0.99)

    def test_a_method_of_another_framework_stands_for_the_papers_too(self):
        methods = ["hyperband", "sklearn-random", "hyperband-2020"]
        ours = comparison(made_study(methods=methods), {f"mnist/{m}": 0.9 for m in methods})
        table = next(t for t in ours.best if t.dataset == "mnist")
        assert [r.label for r in table.rows if r.method == "random"] == ["sklearn-random"]
        assert [r.label for r in table.rows if r.method == "hyperband"] == ["hyperband-2020", "hyperband"]  # the nearest first

    def test_a_cell_without_a_search_is_not_run(self):
        assert row(comparison(made_study()), "mnist", "random").status == "not run"

    def test_a_data_set_outside_the_study_is_shown_as_not_run(self):
        tables = comparison(made_study(datasets=["mnist"]))
        assert [t.in_study for t in tables.best] == [True, False, False]
        assert {r.status for r in tables.best[2].rows} == {"not run"}

    def test_methods_match_by_registry_name_and_keep_their_labels(self):
        study = made_study(methods=[{"name": "random", "label": "a"}, {"name": "random", "label": "b"}])
        tables = comparison(study, {"mnist/a": 0.9, "mnist/b": 0.8})
        assert [r.label for r in tables.best[0].rows if r.method == "random"] == ["a", "b"]
        assert [t.label for t in tables.ten if t.method == "random"] == ["a", "b"]

    def test_a_method_that_the_paper_lacks_on_a_data_set_has_ours_alone(self):
        found = row(comparison(made_study(), {"fashion_mnist/grid": 0.9}), "fashion_mnist", "grid")
        assert found.paper is None
        assert found.delta is None
        assert found.ours.val_accuracy == 0.9

    def test_the_ten_best_are_those_of_fashion_mnist(self):
        tables = comparison(made_study(), {"fashion_mnist/bayes": 0.9, "mnist/bayes": 0.99})
        bayes = next(t for t in tables.ten if t.method == "bayes")
        assert (bayes.number, len(bayes.paper), [r.objective for r in bayes.ours]) == ("V", 10, [0.9])

    def test_a_users_own_file_is_not_the_papers_data_set(self):
        study = made_study(datasets=[{"name": "mnist", "path": "mine/mnist.npz"}])
        assert comparison(study).best == []


class TestFidelity:
    def test_what_differs_is_said(self):
        table = comparison(made_study()).best[0]
        assert any("epochs per trial: 9 (paper: 10)" in d for d in table.differs)
        assert any("8 configurations per seed" in d for d in table.differs)

    def test_the_papers_own_protocol_differs_in_nothing(self):
        study = made_study(budget={"trials": 120, "epochs_per_trial": 10})
        prepared = prepared_mnist(48_000, 12_000)
        assert comparison(study, prepared={"mnist": prepared}).best[0].differs == []

    def test_a_subset_differs(self):
        study = made_study(
            budget={"trials": 120, "epochs_per_trial": 10}, datasets=[{"name": "cifar10", "subset": {"train": 100}}]
        )
        assert [d.split(":")[0] for d in comparison(study).best[2].differs] == ["training images"]

    def test_another_space_and_network_differ(self):
        study = made_study(model="mine:build", space={"x": {"type": "float", "low": 0, "high": 1}})
        differs = " ".join(comparison(study).best[0].differs)
        assert "network: mine:build" in differs
        assert "search space: a different one" in differs


def prepared_mnist(train, validation):
    counts = {"train": train, "validation": validation, "test": 10_000}
    return Prepared(
        name="mnist",
        source="built-in",
        input_shape=(28, 28, 1),
        classes=("0", "1"),
        counts=counts,
        class_counts={k: (v // 2, v // 2) for k, v in counts.items()},
        raw_sums={},
        fingerprint="f",
    )
