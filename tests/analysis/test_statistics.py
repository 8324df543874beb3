"""The statistics of whole studies: what they say, what they refuse to say, and what of them stands in the report."""

from __future__ import annotations

import json
import random
import re
from itertools import islice, pairwise

import pytest

from made import made_store, made_study
from made_search import lines, made
from tuneoff.analysis.results import Results, compute
from tuneoff.analysis.stats import statistics as module
from tuneoff.analysis.stats.statistics import ALL
from tuneoff.analysis.table_truth import TableFacts
from tuneoff.core import layout
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.report import figure_files
from tuneoff.report.figure_files import figures, write_figures
from tuneoff.report.figures import METHODS, apart_by
from tuneoff.report.html import page
from tuneoff.report.statistics_figures import figure_anytime, figure_break_even, figure_critical_difference, figure_reached
from tuneoff.report.statistics_text import recommendation_sentences, scope_sentences

TRIALS = 12
GOOD, LUCK, POOR = "bayes", "random", "grid"


def accuracies(method, seed, dataset):
    """A search's scores: bayes draws from better ones than random search, grid from worse."""
    draw = random.Random(f"{method}/{seed}/{dataset}")
    return [{GOOD: 0.8, LUCK: 0.6, POOR: 0.4}[method] + 0.1 * draw.random() for _ in range(TRIALS)]


def written(folder, seeds=10, datasets=("mnist", "fashion_mnist"), methods=(LUCK, GOOD, POOR), skip=(), scores=accuracies):
    study = made_study(
        datasets=list(datasets), methods=list(methods), seeds=list(range(seeds)), budget={"trials": TRIALS, "epochs_per_trial": 1}
    )
    store = FolderStore(folder)
    claim(store, study)
    for cell in study.cells:
        for seed in study.seeds:
            if (cell.dataset, cell.method.label, seed) not in skip:
                trials = [made(a) for a in scores(cell.method.label, seed, cell.dataset)]
                store.write(layout.events(cell.dataset, cell.method.label, seed), lines(*trials))
    return store


def computed(store, **fields):
    return compute(read_study(store), {}, **fields)


@pytest.fixture(scope="module")
def clear(tmp_path_factory):
    """Three methods that differ beyond doubt, on two data sets with ten seeds each."""
    return computed(written(tmp_path_factory.mktemp("clear")))


@pytest.fixture(scope="module")
def html(clear):
    return page(clear, {})


def scope(found, name=ALL):
    return next(s for s in found.results.statistics.scopes if s.name == name)


def said(found, name=ALL):
    return " ".join(scope_sentences(found.results, scope(found, name)))


def recommended(found, name=ALL):
    return " ".join(recommendation_sentences(found.results, scope(found, name)))


class TestNumbers:
    def test_all_data_sets_stand_together_and_each_alone(self, clear):
        assert [s.name for s in clear.results.statistics.scopes] == [ALL, "mnist", "fashion_mnist"]
        assert scope(clear).blocks == 20
        assert scope(clear, "mnist").blocks == 10

    def test_three_clocks_at_three_budgets(self, clear):
        clocks = scope(clear).clocks
        assert [c.clock for c in clocks] == ["trials", "epochs", "seconds"]
        for clock in clocks:
            assert [c.share for c in clock.comparisons] == [0.25, 0.5, 1]
            assert [s.method for s in clock.comparisons[-1].standings] == [GOOD, LUCK, POOR]
            assert [s.rank for s in clock.comparisons[-1].standings] == pytest.approx([1, 2, 3])

    def test_every_pair_is_told_apart(self, clear):
        for pair in scope(clear).clocks[1].pairs:
            assert (pair.wins, pair.ties, pair.losses) == (20, 0, 0)
            assert pair.p <= 0.001
            assert pair.superiority == 1
            assert pair.more_seeds == 0

    def test_bayes_breaks_even_at_once_and_grid_never(self, clear):
        rows = {(r.method, r.clock): r for r in clear.results.statistics.datasets[0].break_even}
        assert rows[GOOD, "trials"].budget == 1
        assert rows[POOR, "trials"].budget is None

    def test_they_survive_the_way_to_results_json_and_back(self, clear):
        text = clear.results.model_dump_json()
        assert Results.model_validate_json(text) == clear.results
        assert "NaN" not in text
        assert json.loads(text)["statistics"]["refused"] is None

    def test_a_known_optimum_is_where_regret_begins(self, clear, tmp_path):
        found = computed(written(tmp_path, seeds=2, datasets=["mnist"]), facts=TableFacts(best={"mnist": 0.99}))
        assert found.results.statistics.datasets[0].best_known == pytest.approx(0.99)

    def test_without_scipy_there_are_none_and_the_page_says_why(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "importable", lambda name: name != "scipy")
        found = computed(written(tmp_path, seeds=2, datasets=["mnist"]))
        assert "tuneoff[report]" in found.results.statistics.refused
        assert "Not computed. scipy is not installed" in page(found, {})

    def test_a_study_of_one_method_has_none(self, tmp_path):
        found = computed(written(tmp_path, methods=[LUCK], datasets=["mnist"]))
        assert found.results.statistics.refused == "The study has only one method."

    def test_systems_with_models_of_their_own_are_no_part_of_them(self, tmp_path):
        study = made_study(methods=["random", "bayes", "flaml"], datasets=["mnist"], seeds=[0, 1])
        found = computed(made_store(tmp_path, study))
        methods = {s.method for c in scope(found, "mnist").clocks for x in c.comparisons for s in x.standings}
        assert methods == {"random", "bayes"}


class TestSentences:
    def test_a_significant_difference_is_called_so_with_its_test_and_correction(self, clear):
        assert "Friedman's test finds that the methods differ (p < 0.001)." in said(clear)
        rule = "Wilcoxon signed-rank test over data sets × seeds, Holm correction over 3 pairs, α = 0.05"
        assert "bayes has the best mean rank (1.00 of 3 methods) over 20 blocks (2 data sets × 10 seeds) at " in said(clear)
        assert f"bayes is significantly better than random and grid ({rule})." in said(clear)

    def test_the_recommendation_names_method_settings_budget_and_certainty(self, clear):
        words = recommended(clear).replace("\u202f", " ")
        assert (
            "Use bayes with its defaults for a budget of 12 epochs (12 full trainings) on data like mnist and fashion_mnist."
            in words
        )
        assert "ranks first in 100 % of the bootstrap resamples of the seeds. No other method is equally good." in words
        assert words.endswith("No measured condition would change this: it leads at every budget, by epochs and by seconds.")

    def test_methods_that_are_alike_are_not_called_different(self, tmp_path):
        found = computed(written(tmp_path, datasets=["mnist"], scores=lambda m, s, d: accuracies(LUCK, f"{m}{s}", d)))
        assert "significantly better" not in said(found, "mnist")
        assert " does not differ significantly from " in said(found, "mnist")
        assert re.search(r"about \d+ more seeds? would show it with a power of 0.8|too similar", said(found, "mnist"))
        assert "Possibly equally good: " in recommended(found, "mnist")
        assert "Friedman's test finds no difference among the methods at all" in recommended(found, "mnist")

    def test_too_few_seeds_for_any_test_are_said_to_be(self, tmp_path):
        found = computed(written(tmp_path, seeds=5, datasets=["mnist"]))
        assert "With 5 seeds, no difference between two methods can be significant, whatever the numbers" in said(found, "mnist")
        assert "At least 7 seeds are needed" in said(found, "mnist")

    def test_with_one_seed_nothing_is_recommended_and_why(self, tmp_path):
        found = computed(written(tmp_path, seeds=1, datasets=["mnist"]))
        words = recommended(found, "mnist")
        assert words.startswith("No method can be recommended for a budget of ")
        assert ": with one seed, a lucky search looks the same as a better method." in words

    def test_with_three_seeds_neither(self, tmp_path):
        found = computed(written(tmp_path, seeds=3, datasets=["mnist"]))
        words = recommended(found, "mnist")
        assert words.startswith("No method can be recommended for a budget of ")
        assert ": bayes did best, but 3 seeds are too few to say how certain this is. Run at least 5 seeds." in words

    def test_a_missing_search_that_cannot_change_the_conclusion(self, tmp_path):
        found = computed(written(tmp_path, datasets=["mnist"], skip=[("mnist", POOR, 3)]))
        (standing,) = [s for s in scope(found, "mnist").clocks[1].comparisons[-1].standings if s.unknown]
        assert (standing.method, standing.unknown) == (POOR, 1)
        assert standing.rank_best_case < standing.rank
        assert "grid (1). If they counted as the best, bayes would still lead" in said(found, "mnist")

    def test_missing_searches_that_can_change_it(self, tmp_path):
        found = computed(written(tmp_path, datasets=["mnist"], skip=[("mnist", GOOD, s) for s in range(9)]))
        assert "bayes (9). If they counted as the best, bayes would lead, so the conclusion depends on them." in said(
            found, "mnist"
        )
        assert "good results of the unfinished searches (bayes would lead)" in recommended(found, "mnist")


class TestPage:
    def test_it_begins_with_the_recommendation_and_ends_with_its_details(self, html):
        assert html.index('id="statistics"') < html.index('id="environment"') < html.index('id="recommendation"')
        assert "Use bayes with its defaults" in html[html.index('id="recommendation"') :]
        assert "Use bayes with its defaults" in html[html.index('id="answer"') : html.index('class="cards"')]

    def test_what_is_computed_is_shown(self, html):
        for words in (
            "significantly better than random and grid",
            "Break-even with random search",
            "Time to target",
            "never within 12",
        ):
            assert words in html
        assert html.count('aria-label="Mean ranks at the full budget of epochs, with the critical difference"') == 3
        assert html.count('aria-label="Regret by epochs trained"') == 3
        assert html.count('aria-label="The budget from which each method beats random search"') == 2

    def test_a_study_without_random_search_has_no_map(self, tmp_path):
        found = computed(written(tmp_path, seeds=2, datasets=["mnist"], methods=[GOOD, POOR]))
        assert "The study has no random search." in page(found, {})
        assert "the median first trial" in page(found, {})


class TestFigures:
    COLOURS = {LUCK: 0, GOOD: 1, POOR: 2}

    def test_regret_steps_down_to_the_common_budget(self, clear):
        numbers = next(a for a in clear.figures.anytime if a.scope == "mnist" and a.clock == "epochs")
        (axes,) = figure_anytime(numbers, "regret", self.COLOURS).axes
        assert axes.get_yscale() == "log"
        assert axes.get_xlim() == (0, TRIALS)
        assert len(axes.lines) == len(axes.collections) == 3  # means and bands
        for line in axes.lines:
            assert line.get_drawstyle() == "steps-post"
            assert (line.get_ydata()[1:] <= line.get_ydata()[:-1]).all()

    def test_the_best_rank_is_on_top(self, clear):
        numbers = next(a for a in clear.figures.anytime if a.scope == ALL and a.clock == "epochs")
        (axes,) = figure_anytime(numbers, "rank", self.COLOURS).axes
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
        assert axes.lines[self.COLOURS[GOOD]].get_ydata()[-1] == 1

    def test_each_method_stands_at_its_rank_in_its_colour(self, clear):
        standings = scope(clear).clocks[1].comparisons[-1].standings
        (axes,) = figure_critical_difference(standings, 0.5, self.COLOURS).axes
        assert {t.get_text() for t in axes.texts} >= {"bayes  1.00", "random  2.00", "3.00  grid"}
        assert {line.get_color() for line in axes.lines} >= set(METHODS[:3])

    def test_a_break_even_is_a_bar_and_a_never_is_said(self, clear):
        found = figure_break_even(clear.results.statistics.datasets[0].break_even, self.COLOURS)
        assert len(found.axes) == 3
        first = found.axes[0]
        assert [t.get_text() for t in first.get_yticklabels()] == [GOOD, POOR]
        assert [t.get_text() for t in first.texts] == ["never (wins 0% of the pairs at the end)"]
        assert first.lines[1].get_xdata().tolist() == [1]

    def test_shares_of_seeds_climb(self, clear):
        course = next(c for c in clear.figures.courses if c.clock == "epochs")
        (axes,) = figure_reached(course, -0.85, self.COLOURS).axes
        for line in axes.lines:
            assert (line.get_ydata()[1:] >= line.get_ydata()[:-1]).all()

    def test_every_figure_has_a_name_of_its_own_and_a_legend_where_it_needs_one(self, clear):
        found = dict(figures(clear))
        assert {"mnist-regret-epochs", "all-data-sets-critical-difference-epochs", "mnist-break-even", "mnist-trials"} <= set(
            found
        )
        assert len(found) == len(list(figures(clear)))
        (legend,) = found["mnist-regret-epochs"].legends
        assert [t.get_text() for t in legend.get_texts()] == [LUCK, GOOD, POOR]

    @pytest.mark.parametrize(("form", "head"), [("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")])
    def test_they_are_written_in_each_format(self, clear, tmp_path, monkeypatch, form, head):
        monkeypatch.setattr(figure_files, "compute", lambda result, versions, best: clear)
        monkeypatch.setattr(figure_files, "figures", lambda found: islice(figures(found), 2))
        store = written(tmp_path / "study", seeds=1, datasets=["mnist"], methods=[LUCK])
        write_figures(read_study(store), tmp_path / "figures", form)
        files = sorted((tmp_path / "figures").iterdir())
        assert [f.name for f in files] == [f"mnist-best-so-far-epochs.{form}", f"mnist-best-so-far-trials.{form}"]
        assert all(f.read_bytes().startswith(head) for f in files)


class TestManyMethods:
    """With more methods than can be told apart, the ten best are strong and named, and ranks stand below each other."""

    METHODS = tuple(f"m{i}" for i in range(20))

    @pytest.fixture(scope="class")
    @staticmethod
    def many(tmp_path_factory):
        methods = [{"name": "random", "label": m} for m in TestManyMethods.METHODS]

        def scores(method, seed, dataset):
            draw = random.Random(f"{method}/{seed}")
            return [0.5 + 0.02 * int(method[1:]) + 0.01 * draw.random() for _ in range(TRIALS)]

        return computed(written(tmp_path_factory.mktemp("many"), datasets=["mnist"], methods=methods, scores=scores))

    def colours(self):
        return {m: i for i, m in enumerate(self.METHODS)}

    def texts(self, figure):
        return [t.get_text() for t in figure.axes[0].texts]

    def test_only_the_ten_best_are_named_at_their_ends(self, many):
        numbers = next(a for a in many.figures.anytime if a.clock == "epochs")
        for measure in ("regret", "rank"):
            figure = figure_anytime(numbers, measure, self.colours())
            assert sorted(self.texts(figure)) == sorted(self.METHODS[10:])

    def test_names_do_not_overlap(self):
        places = apart_by(0.1, [0.5, 0.5, 0.52, 0.9, 0.99, 1.0])
        assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(places))
        assert places[0] >= 0
        assert places[-1] <= 1

    def test_names_that_have_room_stay_where_they_are(self):
        assert apart_by(0.1, [0.2, 0.5, 0.8]) == pytest.approx([0.2, 0.5, 0.8])

    def test_mean_ranks_stand_below_each_other_the_best_first(self, many):
        (one,) = many.results.statistics.scopes
        clock = next(c for c in one.clocks if c.clock == "epochs")
        figure = figure_critical_difference(clock.comparisons[-1].standings, clock.critical_difference, self.colours())
        names = [t.split()[0] for t in self.texts(figure) if t.startswith("m")]
        assert names == list(reversed(self.METHODS))

    def test_the_page_names_few_and_counts_the_others(self, many):
        assert "Not complete yet: m0, m1, m2, m3, m4, m5 and 14 more." in page(many, {})
