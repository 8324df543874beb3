"""Tests of the pages that scripts generate from a study's results or from the registry."""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import pytest

from made import made_store, made_study
from tabled import EPOCHS, study_file
from tuneoff.analysis.results import compute
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.report.report import report
from tuneoff.search.table_search import Order, search_table
from tuneoff.study_file.check import read_study as read_study_file

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SEEDS = list(range(5))


@pytest.fixture(autouse=True)
def in_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "docs"))
    for name in ("write_hyperband", "write_frameworks", "write_methods", "write_findings"):
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

        assert defaults() in (DOCS / "frameworks.md").read_text(encoding="utf-8"), "run make frameworks-doc"

    def test_every_method_with_a_model_says_how_it_starts(self):
        from write_frameworks import STARTS

        from tuneoff.methods.registry import REGISTRY
        from tuneoff.methods.spec import Algorithm

        for spec in REGISTRY.values():
            if spec.algorithm in (Algorithm.GAUSSIAN_PROCESS, Algorithm.TPE):
                assert set(spec.settings_model().model_fields) & set(STARTS), spec.name

    def test_draws_are_counted_as_the_page_says(self, monkeypatch):
        import write_frameworks

        monkeypatch.setattr(write_frameworks, "SEEDS", range(2))
        monkeypatch.setattr(write_frameworks, "DRAWS", 60)
        assert write_frameworks.draws_of("sklearn-random").startswith("| `sklearn-random` | 60 | ")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write reports of a table study of all methods, and of a trained Hyperband study."""
    folder = tmp_path_factory.mktemp("runs")
    trained = made_study(name="hyperband", methods=["keras-tuner-random", "hyperband-2020"], datasets=["mnist"], seeds=SEEDS)
    report(made_store(folder / "hyperband", trained))
    report(made_store(folder / "quickstart", trained.model_copy(update={"name": "quickstart"})))
    methods = ["sklearn-random", "optuna-random", {"name": "sklearn-grid", "settings": {"order": "shuffled"}}]
    file = study_file(folder, name="all-replay", methods=methods, seeds=SEEDS, budget={"epochs": 5 * EPOCHS})
    study = read_study_file(file, str(folder / "table.parquet"))
    place = folder / "replays" / "all-replay-table"
    claim(open_store(str(place)), study)
    for cell in study.cells:
        search_table(Order(study, cell, str(place), "test", 1), folder / "log", lambda: False)
    report(open_store(str(place)))
    return folder


class TestFindings:
    @pytest.fixture
    def kept(self, runs: Path, tmp_path: Path) -> Path:
        from write_findings import keep

        keep(runs, tmp_path, tmp_path)
        return tmp_path

    def test_reports_are_found_by_study_and_table(self, kept: Path):
        from write_findings import Reports

        reports = Reports(kept)
        assert {name: list(tables) for name, tables in reports.tables.items()} == {"all-replay": ["table"]}
        assert list(reports.real) == ["hyperband"], "runs of other studies, such as the quickstart, are ignored"

    def test_what_was_run_is_told_and_what_was_not_has_its_command(self, kept: Path):
        from write_findings import Reports, page

        text = page(Reports(kept))
        assert "### All methods on table" in text
        assert "Study `all-replay-table` of " in text
        assert " on a table of 6 configurations: 3 methods, 20 epochs per search, 5 seeds." in text
        assert "| sklearn-random | " in text
        assert "| `hyperband-2020` | " in text, "from the trained study"
        for command in (
            "make replays",
            "tuneoff run studies/cpu.yaml",
            "tuneoff run studies/hyperband-paper.yaml",
            ".venv-autokeras/bin/tuneoff run studies/autokeras.yaml",
        ):
            assert f"Not run yet: `{command}`, then `make findings`." in text
        assert "Not run yet: `tuneoff run studies/hyperband.yaml`" not in text

    def test_each_figure_that_is_shown_is_drawn(self, kept: Path):
        from write_findings import Reports, page

        shown = re.findall(r"\(findings/([^)]+)\)", page(Reports(kept)))
        assert sorted(shown) == sorted(p.name for p in kept.glob("*.svg")) != []

    def test_what_was_kept_stays_without_its_run_and_says_no_place(self, kept: Path, runs: Path, tmp_path: Path):
        from write_findings import Reports, keep, page

        before = page(Reports(kept))
        keep(tmp_path / "none", kept, kept)
        assert page(Reports(kept)) == before
        texts = [gzip.decompress(p.read_bytes()).decode() for p in kept.glob("*.json.gz")]
        assert not any(str(runs) in text for text in texts)

    def test_each_claim_has_a_row_a_study_that_tests_it(self, kept: Path):
        from write_findings import CLAIMS, Reports, page

        rows = [line for line in page(Reports(kept)).splitlines() if line.startswith("| C")]
        assert [row[2:4] for row in rows] == list(CLAIMS)
        assert "| hyperband | " in rows[-1]
        assert "not testable yet" in rows[0]

    def test_the_page_is_what_its_writer_would_say_of_advice(self):
        from write_findings import BUDGETS, advised

        text = (DOCS / "findings.md").read_text(encoding="utf-8")
        assert all(advised(budget) in text for budget in BUDGETS), "run make findings"
