"""The whole report, from a store to its files, at any time during a study."""

from __future__ import annotations

import io
import json
import math
import random
import re
from html.parser import HTMLParser

import jsonschema
import pandas as pd
import pytest

from made import made_store, made_study, write_evaluation, write_search
from made_search import lines, made
from tuneoff.analysis.results import compute
from tuneoff.core import layout
from tuneoff.core.errors import StudyError
from tuneoff.core.prepared_data import Prepared
from tuneoff.core.problem import Status
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import ClassScore, claim, read_evaluation, read_study
from tuneoff.report.html import MOST_BYTES, page
from tuneoff.report.report import report

NAMES = (
    "results.json",
    "results.schema.json",
    "trials.csv",
    "trials.parquet",
    "curves.csv",
    "curves.parquet",
    "report.md",
    "report.html",
)
CONDITIONAL = {
    "layers": {"type": "int", "low": 1, "high": 3},
    "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "momentum": {"type": "float", "low": 0.0, "high": 1.0, "when": {"kind": ["sgd"]}},
    "kind": {"type": "categorical", "values": ["sgd", "adam", "<script>alert(1)</script>"]},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The made-up study of tests/support/made.py; its last cell failed."""
    return made_store(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def summary(store):
    return report(store, {"tuneoff": "0.1.0"})


@pytest.fixture(scope="module")
def html(store, summary):
    return read(store, "report.html")


def read(store, name):
    return store.read(layout.REPORT + name).decode()


def results(store):
    return json.loads(read(store, "results.json"))


def write(store, dataset, label, seed, *trials, **ended):
    store.write(layout.events(dataset, label, seed), lines(*trials, **ended))


def paper_config(rng):
    space = made_study().space
    values = {k: rng.choice(p.values) if p.type == "categorical" else rng.uniform(p.low, p.high) for k, p in space.items()}
    return space.activate(values)


class TestFiles:
    def test_all_are_written_and_named(self, store, summary):
        assert summary.names == tuple("report/" + n for n in NAMES)
        assert store.names(layout.REPORT) == sorted("report/" + n for n in NAMES)

    def test_results_follow_their_schema(self, store, summary):
        schema = json.loads(read(store, "results.schema.json"))
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(results(store), schema)

    def test_csv_and_parquet_hold_every_trial(self, store, summary):
        trials = sum(len(s.trials) for c in read_study(store).cells for s in c.searches)
        table = pd.read_csv(io.StringIO(read(store, "trials.csv")))
        assert len(table) == trials == len(pd.read_parquet(io.BytesIO(store.read("report/trials.parquet"))))
        assert table["hp.dropout"].dtype == float
        assert set(table["status"]) == {"completed", "diverged", "failed", "running"}

    def test_curves_never_fall(self, store, summary):
        table = pd.read_parquet(io.BytesIO(store.read("report/curves.parquet")))
        for _, search in table.groupby(["dataset", "method", "seed"]):
            assert search["best"].dropna().is_monotonic_increasing
            assert search["seconds"].is_monotonic_increasing

    def test_markdown_names_every_cell_and_escapes_markup_in_names(self, store, summary):
        text = read(store, "report.md")
        assert "| mnist | grid | complete |" in text
        assert "<script" not in text

    def test_a_store_without_a_study_is_refused(self, tmp_path):
        with pytest.raises(StudyError, match="holds no study"):
            report(FolderStore(tmp_path))


class TestSummary:
    def test_cells_are_listed_by_state(self, summary):
        assert len(summary.complete) == 7
        assert summary.failed == {"fashion_mnist/hyperband": "RuntimeError: the oven <script>alert(1)</script> is cold"}
        assert summary.missing == {}

    def test_metrics_are_named_by_cell(self, store, summary):
        metrics = summary.metrics
        scores = {(s["dataset"], s["method"]): s for s in results(store)["scores"]}
        assert metrics["mnist/random/best_val_accuracy"] == scores["mnist", "random"]["best"]["objective"]
        assert metrics["mnist/random/test_accuracy"] == scores["mnist", "random"]["test"]["accuracy"]["mean"]
        assert "fashion_mnist/hyperband/test_accuracy" not in metrics

    def test_the_short_report_says_that_three_seeds_are_too_few(self, summary):
        assert "3 seeds are too few to separate the methods." in summary.markdown


class TestPage:
    def test_the_page_loads_nothing_from_the_network(self, html):
        assert not re.search(r"https?://|//[a-z]", re.sub(r"<title>.*?</title>", "", html, flags=re.S))
        assert not re.search(r"@import|url\((?!#)|srcset|<link|<iframe|<object|<base", html)
        assert re.findall(r'src="(?!data:)', html) == []

    def test_all_links_stay_on_the_page(self, html):
        targets = re.findall(r'href="([^"]*)"', html)
        assert targets
        assert all(t.startswith("#") and f'id="{t[1:]}"' in html for t in targets)

    def test_it_needs_no_script_and_forbids_any(self, html):
        assert "<script" not in html.lower()
        assert not re.search(r"\son[a-z]+=|javascript:", html)
        assert "default-src 'none'" in html

    def test_names_and_reasons_are_escaped(self, html):
        assert "the oven &lt;script&gt;alert(1)&lt;/script&gt; is cold" in html

    def test_its_tags_are_balanced(self, html):
        assert Balance(html).fault is None

    def test_a_failed_cell_is_shown_with_its_reason_and_traceback(self, html):
        failures = html[html.index('id="failures"') :]
        assert "tuner: RuntimeError: the oven" in failures
        assert "Traceback" in failures
        assert "ValueError: no such layer" in failures

    def test_a_method_has_the_same_colour_everywhere(self, html):
        colours = set(re.findall(r'<i class="dot (c\d)"></i>bayes</span>', html))
        assert colours == {"c2"}

    def test_rendering_twice_differs_only_in_the_time(self, store):
        pages = [re.sub(r"Written .*? UTC", "", page(compute(read_study(store), {}), {})) for _ in range(2)]
        assert pages[0] == pages[1]

    def test_the_page_has_every_section(self, html):
        for heading in (
            "Answer",
            "The paper, checked",
            "Which hyperparameters matter",
            "Budget",
            "Failed and missing",
            "Environment",
        ):
            assert f">{heading}</h" in html


class TestPictures:
    def picture(self, tmp_path, size):
        store = FolderStore(tmp_path)
        claim(store, made_study(datasets=["mnist"]))
        prepared = Prepared(
            name="mnist",
            source="built-in",
            input_shape=(28, 28, 1),
            classes=tuple(f"<b>{i}</b>" for i in range(3)),
            counts={"train": 30, "test": 3},
            class_counts={"train": (10, 10, 10), "test": (1, 1, 1)},
            folds=5,
            raw_sums={},
            fingerprint="abc123",
        )
        store.write(layout.prepared("mnist") + "dataset.json", prepared.model_dump_json().encode())
        store.write(layout.prepared("mnist") + "samples.png", b"\x89PNG" + bytes(size))
        report(store)
        return read(store, "report.html")

    def test_pictures_are_embedded_in_the_page(self, tmp_path):
        html = self.picture(tmp_path, 100)
        assert 'src="data:image/png;base64,iVBORw' in html
        assert "abc123" in html
        assert "5-fold cross-validation" in html
        assert "<b>0</b>" not in html

    def test_a_picture_that_is_too_large_is_named_and_left_out(self, tmp_path):
        html = self.picture(tmp_path, 500_000)
        assert "samples.png is left out because it is too large" in html
        assert "data:image/png" not in html


class TestAnyMoment:
    """The report works at any stage of a study."""

    def made(self, tmp_path, **changes):
        store = FolderStore(tmp_path)
        study = made_study(**changes)
        claim(store, study)
        return store, study

    def check(self, store):
        summary = report(store)
        html = read(store, "report.html")
        assert Balance(html).fault is None
        assert "<script" not in html
        jsonschema.validate(results(store), json.loads(read(store, "results.schema.json")))
        return summary, html

    def test_before_the_first_search(self, tmp_path):
        store, study = self.made(tmp_path)
        summary, html = self.check(store)
        assert summary.missing == {c.name: "not started" for c in study.cells}
        assert summary.metrics == {}
        assert "No search has started on this data set yet." in html

    def test_with_half_of_a_cell_finished(self, tmp_path):
        store, study = self.made(tmp_path)
        write_search(store, study, study.cells[0], 0)
        write_search(store, study, study.cells[0], 1, broken=True)
        summary, html = self.check(store)
        assert "1 of 3 searches have ended; running or interrupted: seed 1 after 3 trials; 1 not started" in html
        assert len(summary.missing) == 8

    def test_searched_but_not_evaluated(self, tmp_path):
        store, study = self.made(tmp_path, datasets=["mnist"], methods=["random"], seeds=[0])
        write_search(store, study, study.cells[0], 0)
        summary, html = self.check(store)
        assert summary.missing == {"mnist/random": "all searches have ended, but the incumbent is not evaluated yet"}
        assert "No winner has been scored on the test images yet." in html

    def test_trials_that_continue_with_changed_configurations(self, tmp_path):
        store, _ = self.made(tmp_path, datasets=["mnist"], methods=["random"], seeds=[0])
        config = paper_config(random.Random(0))
        changed = config | {"dropout": 0.25}
        write(store, "mnist", "random", 0, made(0.5, config=config), made(0.7, parent=0, first=1, config=changed))
        _, html = self.check(store)
        assert "<h3>Lineages</h3>" in html
        assert "dropout → 0.25" in html
        (found,) = results(store)["datasets"][0]["families"]
        assert [s["changed"] for s in found["strands"]] == [{}, {"dropout": 0.25}]

    def test_one_method_with_one_seed(self, tmp_path):
        store, study = self.made(tmp_path, datasets=["mnist"], methods=["random"], seeds=[0])
        write_search(store, study, study.cells[0], 0)
        write_evaluation(store, study, study.cells[0])
        summary, html = self.check(store)
        assert summary.complete == ("mnist/random",)
        assert "Only one method has results here" in html
        assert "its spread is not known" in summary.markdown

    def test_two_methods_that_found_the_same_best(self, tmp_path):
        store, _ = self.made(tmp_path, datasets=["mnist"], methods=["random", "bayes"], seeds=[0])
        for label in ("random", "bayes"):
            write(store, "mnist", label, 0, made(0.75, config=paper_config(random.Random(0))))
        summary, _ = self.check(store)
        words = "random and bayes found the same best validation accuracy, 75.00 %. The next sentences are about random."
        assert words in summary.markdown.replace("\u202f", " ")

    def test_a_search_in_which_everything_diverged(self, tmp_path):
        store, _ = self.made(tmp_path, datasets=["mnist"], methods=["random"], seeds=[0])
        config = paper_config(random.Random(0))
        write(store, "mnist", "random", 0, *[made(math.nan, status=Status.DIVERGED, reason="loss is nan", config=config)] * 3)
        summary, html = self.check(store)
        assert summary.missing == {"mnist/random": "no trial succeeded, so there is no incumbent to evaluate"}
        assert "loss is nan" in html

    def test_a_users_conditional_space_with_hostile_values(self, tmp_path):
        store, study = self.made(tmp_path, space=CONDITIONAL, datasets=["mine/own.npz"], methods=["random", "bayes"])
        for cell in study.cells:
            for seed in study.seeds:
                write_search(store, study, cell, seed)
            write_evaluation(store, study, cell)
        _, html = self.check(store)
        assert "&lt;script&gt;" in html
        assert "inactive" in html
        assert "none of the data sets of Molnár and Poleczki" in html

    def test_an_objective_to_be_minimised(self, tmp_path):
        store, study = self.made(tmp_path, objective={"metric": "val_loss"}, datasets=["mnist"], methods=["random", "bayes"])
        rng = random.Random(1)
        for label in ("random", "bayes"):
            for seed in study.seeds:
                write(store, "mnist", label, seed, *[made(rng.random(), config=paper_config(rng)) for _ in range(8)])
        summary, _ = self.check(store)
        assert summary.metrics["mnist/random/best_val_loss"] < summary.metrics["mnist/random/mean_val_loss"]

    def test_classes_with_hostile_names_and_too_many_for_a_matrix(self, tmp_path):
        store, study = self.made(tmp_path, datasets=["mnist"], methods=["random"], seeds=[0])
        write_search(store, study, study.cells[0], 0)
        write_evaluation(store, study, study.cells[0])
        found = read_evaluation(store, study.cells[0])
        classes = [ClassScore(name=f"<script>{i}", accuracy=0.5, images=2) for i in range(30)]
        matrix = [[1 if j in (i, (i + 1) % 30) else 0 for j in range(30)] for i in range(30)]
        name = layout.evaluation("mnist", "random") + "evaluation.json"
        store.write(name, found.model_copy(update={"classes": classes, "confusion": matrix}).model_dump_json().encode())
        _, html = self.check(store)
        assert "The table has the ten most frequent confusions of the first retraining" in html
        assert 'class="matrix' not in html

    def test_more_methods_than_colours(self, tmp_path):
        methods = [{"name": "random", "label": f"random-{i}"} for i in range(10)]
        store, study = self.made(tmp_path, datasets=["mnist"], methods=methods, seeds=[0])
        for cell in study.cells:
            write_search(store, study, cell, 0)
        _, html = self.check(store)
        assert 'class="dot c1 dash1"' in html

    def test_more_hyperparameters_than_columns(self, tmp_path):
        space = {f"p{i:03d}": {"type": "float", "low": 0, "high": 1} for i in range(60)}
        store, study = self.made(tmp_path, space=space, datasets=["mnist"], methods=["random"])
        for seed in study.seeds:
            write_search(store, study, study.cells[0], seed)
        _, html = self.check(store)
        assert "48 hyperparameters left out" in html


class TestSize:
    def large(self, tmp_path, trials, **changes):
        store = FolderStore(tmp_path)
        study = made_study(**changes)
        claim(store, study)
        rng = random.Random(0)
        searches = len(study.cells) * len(study.seeds)
        for cell in study.cells:
            for seed in study.seeds:
                made_trials = [
                    made(*[rng.random() for _ in range(3)], config=paper_config(rng)) for _ in range(trials // searches)
                ]
                write(store, cell.dataset, cell.method.label, seed, *made_trials)
        return store

    def test_a_thousand_trials_stay_under_five_megabytes(self, tmp_path):
        store = self.large(tmp_path, 1000, datasets=["mnist"], methods=["random", "bayes"], seeds=[0, 1])
        report(store)
        assert len(store.read("report/report.html")) < 5_000_000
        assert len(pd.read_csv(io.StringIO(read(store, "trials.csv")))) == 1000

    def test_a_page_that_would_be_too_large_leaves_parts_out_and_says_so(self, tmp_path, monkeypatch):
        store = self.large(tmp_path, 40, datasets=["mnist"], methods=["random"], seeds=[0])
        computed = compute(read_study(store), {})
        whole = page(computed, {})
        monkeypatch.setattr("tuneoff.report.html.MOST_BYTES", len(whole.encode()) - 1)
        small = page(computed, {})
        assert len(small) < len(whole) < MOST_BYTES
        assert "The numbers of the curves are left out to keep the page small" in small
        assert "Parallel coordinates of the trials" in small, "one part is enough"
        monkeypatch.setattr("tuneoff.report.html.MOST_BYTES", 1)
        smallest = page(computed, {})
        assert "Parallel coordinates of the trials" not in smallest
        assert "Left out to keep the page small" in smallest


class Balance(HTMLParser):
    """Finds the first tag that is not closed properly."""

    VOID = {"meta", "br", "img", "input", "line", "path", "hr"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fault: str | None = None
        self.feed(html)
        if self.open and not self.fault:
            self.fault = f"{self.open[-1]} is never closed"

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID or tag == "path":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.fault = self.fault or f"</{tag}> at line {self.getpos()[0]} closes nothing"


class TestClaimsAndFrameworks:
    def test_the_page_lists_the_papers_claims_and_what_is_missing_to_test_them(self, store, html):
        found = {c["number"]: c["verdict"] for c in results(store)["claims"]}
        assert list(found) == ["C1", "C2", "C3", "C4", "C5", "C6"]
        assert found["C1"] == "not testable"
        assert "Not testable in this study. The test needs a random search of" in html

    def test_the_same_algorithm_in_two_frameworks_is_compared(self, tmp_path):
        study = made_study(methods=["random", "optuna-random"], seeds=[0, 1, 2, 3], datasets=["mnist"])
        report(made_store(tmp_path, study), {})
        (found,) = json.loads(read(FolderStore(tmp_path), "results.json"))["algorithms"]
        assert found["name"] == "random search"
        assert found["pairs"][0]["seeds"] == 4
        html = read(FolderStore(tmp_path), "report.html")
        assert "Random search on mnist" in html
        assert found["pairs"][0]["verdict"] in html

    def test_a_study_with_one_method_per_algorithm_has_no_frameworks_section(self, html):
        assert 'id="frameworks"' not in html
