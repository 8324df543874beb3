"""The figures of the report: their content in matplotlib, and their SVG in the page."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from made_search import made, search
from tuneoff.analysis.best_so_far import AXES, Learning, axis_end, band, curve_set, progress
from tuneoff.analysis.lineage import family
from tuneoff.analysis.parallel_coordinates import parallel
from tuneoff.analysis.trial_rows import trial_row
from tuneoff.core.problem import Status
from tuneoff.core.space import Space
from tuneoff.core.study import ObjectiveSettings
from tuneoff.report.figures import (
    DASHES,
    METHODS,
    draw_curves,
    draw_family,
    draw_learning,
    draw_parallel,
    figure_curves,
    figure_family,
    figure_learning,
    figure_parallel,
)

COLOURS = {"random": 2}
HOSTILE = ("<script>alert(1)</script>", "$x_$", "試行", '"&', 'style="fill: #0072b2"')


def shown(*searches, goal=None):
    goal = goal or ObjectiveSettings()
    curves = [progress(s, goal) for s in searches]
    bands = [b for axis in AXES if (b := band(curves, axis, axis_end(curves, axis), goal))]
    return curve_set(curves, bands, goal)


def axes_of(figure):
    (axes,) = figure.axes
    return axes


def ids(svg):
    return re.findall(r'\bid="([^"]*)"', svg)


class TestCurves:
    def lines(self, *searches, axis="trials", **fields):
        return axes_of(figure_curves(shown(*searches, **fields), axis, COLOURS)).lines

    def test_there_is_a_figure_for_each_axis_with_a_used_budget(self):
        assert tuple(shown(search(made(0.5))).ends) == AXES

    def test_a_curve_changes_only_when_a_trial_ends(self):
        (line,) = self.lines(search(made(0.5), made(0.7), made(0.6), made(0.9)))
        assert line.get_drawstyle() == "steps-post"
        assert line.get_xdata().tolist() == [1, 2, 4, 4]
        assert line.get_ydata() == pytest.approx([50, 70, 90, 90])  # per cent

    def test_a_held_value_reaches_the_end_of_the_axis(self):
        figure = figure_curves(shown(search(made(0.5)), search(made(0.5), made(0.6), seed=1)), "trials", COLOURS)
        assert axes_of(figure).lines[0].get_xdata()[-1] == axes_of(figure).get_xlim()[1] == 2

    def test_an_unfinished_search_is_dotted_up_to_its_last_trial(self):
        _, open_ = self.lines(search(made(0.5), ended=None), search(made(0.5), made(0.6), seed=1))
        assert open_.get_xdata().tolist() == [1]
        assert open_.get_linestyle() not in ("-", "None")
        assert open_.get_drawstyle() == "steps-post"

    def test_the_band_lies_between_the_quartiles(self):
        figure = figure_curves(shown(*[search(made(a), seed=i) for i, a in enumerate((0.1, 0.2, 0.3))]), "trials", COLOURS)
        (area,) = axes_of(figure).collections
        assert sorted(set(area.get_paths()[0].vertices[:, 1].round(6))) == [15, 25]

    def test_a_quartile_worse_than_any_value_is_clipped(self):
        late = search(made(status=Status.FAILED), made(0.5), seed=1)
        figure = figure_curves(shown(search(made(0.5)), search(made(0.6), seed=2), late), "trials", COLOURS)
        (area,) = axes_of(figure).collections
        assert np.isfinite(area.get_paths()[0].vertices).all()
        assert area.get_paths()[0].vertices[:, 1].min() == pytest.approx(axes_of(figure).get_ylim()[0])

    def test_all_axes_share_one_vertical_axis(self):
        numbers = shown(search(made(0.5), made(0.7)))
        assert len({axes_of(figure_curves(numbers, axis, COLOURS)).get_ylim() for axis in AXES}) == 1

    def test_the_start_of_a_curve_does_not_set_the_range_of_the_vertical_axis(self):
        assert shown(search(made(0.01), *[made(0.9)] * 29)).reach[0] > 0.8

    def test_searches_without_a_score_are_not_drawn(self):
        assert shown(search(made(float("nan"), status=Status.DIVERGED))) is None
        assert shown(search(ended=None)) is None

    def test_a_loss_falls_down_the_page(self):
        (line,) = self.lines(search(made(0.5), made(0.7)), goal=ObjectiveSettings(metric="val_loss"))
        assert line.get_ydata()[0] > line.get_ydata()[-1]
        assert not line.axes.yaxis_inverted()

    def test_long_searches_are_counted_in_minutes_and_hours(self):
        labels = [
            axes_of(figure_curves(shown(search(made(0.5, seconds=s))), "seconds", COLOURS)).get_xlabel() for s in (9, 900, 90_000)
        ]
        assert [label.partition(" of ")[0] for label in labels] == ["seconds", "minutes", "hours"]


class TestColours:
    def test_a_methods_lines_and_band_have_its_colour(self):
        figure = figure_curves(shown(search(made(0.5), made(0.7))), "trials", COLOURS)
        (line,), (area,) = axes_of(figure).lines, axes_of(figure).collections
        assert to_hex(line.get_color()) == to_hex(area.get_facecolor()[0][:3]) == METHODS[2]

    def test_colours_repeat_with_dashes(self):
        figure = figure_curves(shown(search(made(0.5))), "trials", {"random": len(METHODS) + 2})
        (line,) = axes_of(figure).lines
        assert to_hex(line.get_color()) == METHODS[2]
        assert line._unscaled_dash_pattern[1] == DASHES[1][1]  # matplotlib has no public way to read it

    def test_the_svg_uses_the_css_variables_of_the_page(self):
        svg = draw_curves(shown(search(made(0.5))), "trials", COLOURS, "x")
        assert "stroke: var(--m2)" in svg
        assert "fill: var(--soft)" in svg
        assert not re.search("#[0-9a-f]{6}", svg)

    def test_a_method_can_be_picked_by_its_class(self):
        svg = draw_curves(shown(search(made(0.5))), "trials", COLOURS, "x")
        assert svg.count('<g class="m2">') == 2  # the line and the band


class TestLearning:
    def curve(self, *values, retrainings=()):
        metrics = {m: list(values) for m in ("accuracy", "val_accuracy", "loss", "val_loss")}
        epochs = list(range(1, len(values) + 1))
        return [Learning(method="random", seed=0, trial=0, epochs=epochs, metrics=metrics, retrainings=list(retrainings))]

    def test_search_and_retrainings_have_separate_figures(self):
        curves = self.curve(0.1, 0.2, retrainings=[{"accuracy": [0.5], "loss": [0.5]}, {"accuracy": [0.4], "loss": [0.5]}])
        search_, retrainings = (axes_of(figure_learning(curves, "accuracy", p, COLOURS)) for p in ("search", "retrainings"))
        assert [line.get_linestyle() for line in search_.lines] == ["--", "-"]  # training, validation
        assert [line.get_ydata().tolist() for line in retrainings.lines] == [[50], [40]]

    def test_a_missing_value_breaks_the_line(self):
        line = axes_of(figure_learning(self.curve(0.1, None, 0.2, 0.3), "loss", "search", COLOURS)).lines[0]
        assert np.isnan(line.get_ydata()).tolist() == [False, True, False, False]

    def test_one_epoch_is_a_point(self):
        line = axes_of(figure_learning(self.curve(0.5), "loss", "search", COLOURS)).lines[0]
        assert line.get_marker() == "o"

    def test_without_a_finite_value_there_is_no_figure(self):
        assert draw_learning(self.curve(None), "loss", "search", COLOURS, "x", "Loss") is None


class TestParallel:
    def numbers(self, kinds=("a", "b"), name="kind"):
        space = Space.model_validate(
            {name: {"type": "categorical", "values": list(kinds)}, "rate": {"type": "float", "low": 0, "high": 1}}
        )
        record = search(*[made(i / 10, config={name: kind, "rate": 0.5}) for i, kind in enumerate(kinds)])
        return parallel([trial_row(record, t, ObjectiveSettings()) for t in record.trials], space, ObjectiveSettings())

    def test_each_trial_is_a_line_over_all_axes_up_to_its_objective(self):
        lines = axes_of(figure_parallel(self.numbers(), COLOURS)).lines
        assert [line.get_xdata().tolist() for line in lines] == [[0, 1, 2]] * 2
        assert [line.get_ydata()[1:].tolist() for line in lines] == [[0.5, 0], [0.5, 1]]

    def test_axes_have_their_names_above_and_their_levels_next_to_them(self):
        axes = axes_of(figure_parallel(self.numbers(), COLOURS))
        assert [t.get_text() for t in axes.get_xticklabels()][:2] == ["kind", "rate"]
        assert {"a", "b", "0.25", "10.00"} <= {t.get_text() for t in axes.texts}

    def test_the_tooltip_of_a_trial_describes_it(self):
        svg = draw_parallel(self.numbers(), COLOURS, "x")
        assert re.search(
            r'<g class="trial m2"><title>random, seed 0, trial 1: 10.00.% after 1 epochs\nkind b, rate 0.5</title>', svg
        )


class TestInThePage:
    def test_names_given_by_users_are_text_and_never_markup(self, recwarn):
        svg = draw_parallel(TestParallel().numbers(HOSTILE), COLOURS, "x")
        assert "&lt;script&gt;" in svg
        assert ">$x_$<" in svg
        assert ">試行<" in svg
        assert not re.search("<script|<!--", svg)
        assert len(recwarn) == 0

    def test_ids_are_unique_to_a_figure_and_all_of_them_are_used(self):
        numbers = shown(search(made(0.5)))
        one, other = (draw_curves(numbers, "trials", COLOURS, name) for name in ("one", "other"))
        assert not set(ids(one)) & set(ids(other))
        assert len(set(ids(one))) == len(ids(one))
        assert set(ids(one)) == set(re.findall(r'(?:url\(|href=")#([^)"]*)', one))

    def test_drawing_twice_gives_the_same_svg(self):
        numbers = shown(search(made(0.5)))
        assert draw_curves(numbers, "trials", COLOURS, "x") == draw_curves(numbers, "trials", COLOURS, "x")

    def test_the_svg_scales_and_has_no_background_style_or_url(self):
        svg = draw_curves(shown(search(made(0.5))), "trials", COLOURS, "x")
        assert svg.startswith('<svg viewBox="0 0 380 260" role="img" aria-label="Best so far against trials">')
        assert not re.search("<style|<metadata|xmlns|http|<!DOCTYPE|<\\?xml", svg)

    def test_the_users_matplotlib_settings_have_no_effect_and_are_kept(self):
        numbers = shown(search(made(0.5)))
        plain = draw_curves(numbers, "trials", COLOURS, "x")
        with matplotlib.rc_context({"svg.fonttype": "path", "text.color": "red", "axes.grid": True, "axes.facecolor": "black"}):
            assert draw_curves(numbers, "trials", COLOURS, "x") == plain
            assert matplotlib.rcParams["svg.fonttype"] == "path"


class TestFamily:
    def numbers(self):
        found = family(
            search(made(0.5), made(0.4), made(0.7, parent=0, first=1, config={"x": 0.6}), made(0.6, parent=0, first=1)),
            ObjectiveSettings(),
        )
        assert found is not None
        return found

    def test_a_line_goes_from_the_parents_objective_to_the_trials_own(self):
        lines = axes_of(figure_family(self.numbers(), COLOURS)).lines
        assert [(list(x.get_xdata()), list(x.get_ydata())) for x in lines] == [
            ([1], [50.0]),
            ([1], [40.0]),
            ([1, 2], [50.0, 70.0]),
            ([1, 2], [50.0, 60.0]),
        ]

    def test_the_way_to_the_winner_has_the_methods_colour_and_changes_are_dashed(self):
        lines = axes_of(figure_family(self.numbers(), COLOURS)).lines
        assert [to_hex(x.get_color()) == METHODS[2] for x in lines] == [True, False, True, False]
        assert [x.is_dashed() for x in lines] == [False, False, True, False]

    def test_the_tooltip_of_a_line_describes_its_trial(self):
        assert "trial 2, continues 0, x → 0.6" in draw_family(self.numbers(), COLOURS, "one", "Lineages")

    def test_a_failed_trial_has_no_line(self):
        failed = made(status=Status.FAILED, parent=0, first=1, config={"x": 0.1})
        found = family(search(made(0.5), failed), ObjectiveSettings())
        assert len(axes_of(figure_family(found, COLOURS)).lines) == 1
