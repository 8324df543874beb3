"""Pages that are written from a study's results or from the registry."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from made import made_store, made_study
from tuneoff.components.core.stored import read_study
from tuneoff.components.reporter.results import compute

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(autouse=True)
def in_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    for name in ("write_hyperband", "write_frameworks", "write_methods"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict:
    methods = ["keras-tuner-random", {"name": "hyperband-2020", "label": "old"}, "hyperband-fixed"]
    study = made_study(name="hyperband", methods=methods, datasets=["fashion_mnist"], seeds=[0, 1, 2, 3])
    store = made_store(tmp_path_factory.mktemp("study"), study)
    return compute(read_study(store), {}).results.model_dump(mode="json")


class TestHyperband:
    def test_its_table_has_a_row_a_method_in_the_studys_order(self, results):
        from write_hyperband import measured

        lines = [line for line in measured(results).splitlines() if line.startswith("| `")]
        assert [line.split("`")[1] for line in lines] == ["keras-tuner-random", "old", "hyperband-fixed"]

    def test_differences_are_those_of_the_seeds(self, results):
        from write_hyperband import less

        random, old = results["scores"][0], results["scores"][1]
        mean = 100 * sum(old["by_seed"][s] - random["by_seed"][s] for s in random["by_seed"]) / 4
        assert less(old, random).startswith(f"{mean:+.2f}".replace("-", "−"))
        assert less(random, random) == "–"

    def test_ten_best_trials_are_told_by_both_rankings(self, results):
        from write_hyperband import measured

        assert "of the ten had 9 epochs of training" in measured(results)

    def test_what_stands_between_the_marks_is_replaced_and_nothing_else(self):
        from write_hyperband import BEGIN, END, PAGE, written

        page = PAGE.read_text(encoding="utf-8")
        once = written(page, "1\n")
        assert f"{BEGIN}1\n{END}" in once
        assert written(once, "2\n") == written(page, "2\n")
        assert once.partition(BEGIN)[0] == page.partition(BEGIN)[0]


class TestFrameworks:
    def test_the_page_has_the_registrys_defaults(self):
        from write_frameworks import defaults

        assert defaults() in (DOCS / "frameworks.md").read_text(encoding="utf-8"), "make frameworks-doc writes it anew"

    def test_every_method_with_a_model_says_how_it_starts(self):
        from write_frameworks import STARTS

        from tuneoff.components.reporter.equivalence import FAMILIES
        from tuneoff.components.tuner.registry import find

        for name in (*FAMILIES["Gaussian process"], *FAMILIES["TPE"]):
            assert set(find(name).settings_model().model_fields) & set(STARTS), name

    def test_draws_are_counted_as_the_page_says(self, monkeypatch):
        import write_frameworks

        monkeypatch.setattr(write_frameworks, "SEEDS", range(2))
        monkeypatch.setattr(write_frameworks, "DRAWS", 60)
        assert write_frameworks.draws_of("sklearn-random").startswith("| `sklearn-random` | 60 | ")
