"""From numbers to shapes."""

from __future__ import annotations

import re

import pytest
from made_search import made, search

from tuneoff.components.core.problem import Status
from tuneoff.components.core.study import Goal
from tuneoff.components.reporter.curves import AXES, Learning, axis_end, band, progress
from tuneoff.components.reporter.figures import curve_charts, learning_charts, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 40, [0, 10, 20, 30, 40]),
        (0.957, 0.976, [0.96, 0.965, 0.97, 0.975]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 7, [-2, 0, 2, 4, 6]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high, 5) == pytest.approx(expected)


def charts(*searches, goal=None):
    goal = goal or Goal()
    curves = [progress(s, goal) for s in searches]
    ends = {axis: axis_end(curves, axis) for axis in AXES}
    bands = [b for axis in AXES if (b := band(curves, axis, ends[axis], goal))]
    return curve_charts(bands, [c for c in curves if not c.ended], ends, goal, {"random": 2})


class TestCurves:
    def test_one_chart_an_axis(self):
        assert [c.title for c in charts(search(made(0.5)))] == ["against configurations", "against epochs", "against seconds"]

    def test_lines_go_level_and_upright_only(self):
        (line,) = charts(search(made(0.5), made(0.7), made(0.9)))[0].lines
        assert re.fullmatch(r"M[\d.]+ [\d.]+(H[\d.]+V[\d.]+)*H[\d.]+", line.path)
        assert line.colour == 2

    def test_a_held_value_reaches_the_end_of_the_axis(self):
        chart = charts(search(made(0.5)), search(made(0.5), made(0.6), seed=1))[0]
        assert chart.lines[0].path.endswith(f"H{chart.inner_width:.1f}")

    def test_a_search_that_has_not_ended_goes_as_far_as_it_got(self):
        chart = charts(search(made(0.5), ended=None), search(made(0.5), made(0.6), seed=1))[0]
        open_ = next(line for line in chart.lines if line.style == "open")
        assert open_.path.endswith(f"H{chart.inner_width / 2:.1f}")

    def test_all_axes_share_one_vertical_axis(self):
        assert len({tuple(t.label for t in c.y_ticks) for c in charts(search(made(0.5), made(0.7)))}) == 1

    def test_without_a_value_there_is_no_chart(self):
        assert charts(search(made(float("nan"), status=Status.DIVERGED))) == []
        assert charts(search(ended=None)) == []

    def test_a_loss_falls_down_the_page(self):
        (line,) = charts(search(made(0.5), made(0.7)), goal=Goal(metric="val_loss"))[0].lines
        start, end = (float(v) for v in re.findall(r"(?:M[\d.]+ |V)([\d.]+)", line.path))
        assert start < end


class TestLearning:
    def one(self, *values, retrainings=()):
        metrics = {m: list(values) for m in ("accuracy", "val_accuracy", "loss", "val_loss")}
        curve = Learning(
            method="random",
            seed=0,
            trial=0,
            epochs=list(range(1, len(values) + 1)),
            metrics=metrics,
            retrainings=list(retrainings),
        )
        return learning_charts([curve], {"random": 0})

    def test_search_and_retrainings_are_apart(self):
        found = self.one(0.1, 0.2, retrainings=[{"accuracy": [0.5], "loss": [0.5]}])
        assert [c.title for c in found] == [
            "Accuracy in the search",
            "Accuracy in the retrainings",
            "Loss in the search",
            "Loss in the retrainings",
        ]

    def test_a_missing_value_breaks_the_line(self):
        path = self.one(0.1, None, 0.2, 0.3)[0].lines[0].path
        assert path.count("M") == 2

    def test_one_epoch_is_a_dot(self):
        assert self.one(0.5)[0].lines[0].path.endswith("h0.01")

    def test_without_a_finite_value_there_is_no_chart(self):
        assert self.one(None) == []
