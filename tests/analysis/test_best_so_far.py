"""Best-so-far curves: step functions over what was spent."""

from __future__ import annotations

import numpy as np
import pytest

from made_search import made, search
from tuneoff.analysis.best_so_far import axis_end, band, lineage, milestones, progress, progress_frame
from tuneoff.core.problem import Status
from tuneoff.core.study import ObjectiveSettings

MAX = ObjectiveSettings()
MIN = ObjectiveSettings(metric="val_loss")


def bands(*searches, axis="trials", goal=MAX):
    curves = [progress(s, goal) for s in searches]
    return band(curves, axis, axis_end(curves, axis), goal)


class TestOneSearch:
    def test_the_best_never_falls(self):
        curve = progress(search(made(0.5), made(0.8), made(0.6), made(0.9)), MAX)
        assert curve.best.tolist() == [0.5, 0.8, 0.8, 0.9]
        assert curve.incumbent.tolist() == [0, 1, 1, 3]

    def test_of_equals_the_earlier_stays(self):
        assert progress(search(made(0.8), made(0.8)), MAX).incumbent.tolist() == [0, 0]

    def test_a_diverged_trial_costs_and_changes_nothing(self):
        curve = progress(search(made(0.5), made(float("nan"), status=Status.DIVERGED), made(0.6)), MAX)
        assert curve.best.tolist() == [0.5, 0.5, 0.6]
        assert np.isnan(curve.objective[1])
        assert curve.epochs.tolist() == [1, 2, 3]

    def test_before_the_first_value_there_is_none(self):
        curve = progress(search(made(status=Status.FAILED), made(0.6)), MAX)
        assert np.isnan(curve.best[0])
        assert curve.incumbent.tolist() == [-1, 1]

    def test_a_continued_trial_is_no_new_configuration(self):
        curve = progress(search(made(0.5), made(0.6), made(0.7, 0.8, parent=0, first=1)), MAX)
        assert curve.trials.tolist() == [1, 2, 2]
        assert curve.epochs.tolist() == [1, 2, 4]

    def test_seconds_are_training_plus_the_methods_own(self):
        curve = progress(search(made(0.5, seconds=10, ask=1), made(0.6, seconds=20, ask=2)), MAX)
        assert curve.seconds.tolist() == [11, 33]

    def test_a_loss_is_followed_downwards(self):
        losses = progress(search(made(0.5), made(0.8), made(0.6)), ObjectiveSettings(metric="val_accuracy", direction="min"))
        assert losses.best.tolist() == [-0.5, -0.8, -0.8]  # sign × the recorded loss, whatever the metric's name

    def test_a_trial_in_flight_is_no_point(self):
        assert progress(search(made(0.5), made(0.9, told=False), ended=None), MAX).best.tolist() == [0.5]

    def test_an_empty_record_has_an_empty_curve(self):
        assert len(progress(search(ended=None), MAX).trial) == 0


class TestBand:
    def test_median_and_quartiles_over_three_seeds(self):
        found = bands(search(made(0.1)), search(made(0.2), seed=1), search(made(0.4), seed=2))
        assert found.at(1) == pytest.approx((0.15, 0.2, 0.3))
        assert found.seeds == 3

    def test_nothing_lies_between_two_trials(self):
        found = bands(search(made(0.1), made(0.5)))
        assert found.at(1.999)[1] == 0.1
        assert found.at(2)[1] == 0.5
        assert found.at(0.5) is None

    def test_a_search_that_ended_early_keeps_its_last_value(self):
        found = bands(search(made(0.6)), search(made(0.2), made(0.4), seed=1))
        assert found.at(2)[1] == pytest.approx(0.5)

    def test_a_search_that_has_not_ended_is_left_out(self):
        found = bands(search(made(0.6), ended=None), search(made(0.2), made(0.4), seed=1))
        assert found.seeds == 1
        assert found.at(1)[1] == 0.2

    def test_without_an_ended_search_there_is_no_band(self):
        assert bands(search(made(0.6), ended=None)) is None

    def test_an_ended_search_without_trials_is_left_out(self):
        assert bands(search()) is None

    def test_a_late_first_value_does_not_lower_the_median(self):
        late = search(made(status=Status.FAILED), made(0.1), seed=1)
        found = bands(search(made(0.5), made(0.5)), late, search(made(0.4), made(0.4), seed=2))
        medians = [found.at(x)[1] for x in (1, 2)]
        assert medians == [0.4, 0.4]

    def test_with_the_lesser_half_without_value_the_median_is_known_and_the_quartile_not(self):
        late = search(made(status=Status.FAILED), made(0.1), seed=1)
        found = bands(search(made(0.5), made(0.5)), late, search(made(0.4), made(0.4), seed=2))
        first = milestones([found])[4]  # at half of two configurations
        assert (first.x, first.median, first.lower, first.upper) == (1.0, 0.4, None, pytest.approx(0.45))

    def test_two_trials_at_the_same_place_give_the_better(self):
        found = bands(search(made(0.5), made(0.7, parent=0, first=1)))
        assert found.at(1)[1] == 0.7

    def test_quartiles_of_a_loss_are_ordered(self):
        curves = [progress(search(made(a), seed=i), MIN) for i, a in enumerate((0.1, 0.2, 0.4))]
        found = band(curves, "trials", 1.0, MIN)
        assert (found.lower <= found.median).all()
        assert (found.median <= found.upper).all()

    def test_only_places_where_something_changes_are_kept(self):
        found = bands(search(made(0.5), made(0.4), made(0.3), made(0.6)))
        assert found.x.tolist() == [1, 4]


def test_a_diverged_only_search_has_a_band_without_values():
    found = bands(search(made(float("nan"), status=Status.DIVERGED)))
    assert found.at(1) is None
    assert all(m.median is None for m in milestones([found]))


def test_the_axis_ends_where_the_costliest_search_does():
    curves = [progress(search(made(0.5), made(0.5)), MAX), progress(search(made(0.5, 0.6, 0.7), seed=1), MAX)]
    assert (axis_end(curves, "trials"), axis_end(curves, "epochs")) == (2, 3)
    assert axis_end([], "epochs") == 0


def test_the_table_of_curves_has_a_row_for_each_told_trial():
    frame = progress_frame([progress(search(made(0.5), made(0.4)), MAX), progress(search(ended=None, seed=1), MAX)])
    assert frame[["seed", "trial", "trials", "best"]].to_numpy().tolist() == [[0, 0, 1, 0.5], [0, 1, 2, 0.5]]


def test_a_lineage_is_one_curve():
    record = search(made(0.1, 0.2), made(0.9), made(0.3, parent=0, first=2), made(0.4, 0.5, parent=2, first=3))
    assert [(e.number, e.metrics["accuracy"]) for e in lineage(record, 3)] == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]
