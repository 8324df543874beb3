"""Trials as rows, and means with their spread."""

from __future__ import annotations

import math

import pytest

from made_search import made, search
from tuneoff.analysis.trial_rows import counted_epoch, ranked, spread, trial_row
from tuneoff.core.problem import Epoch, Status
from tuneoff.core.study import ObjectiveSettings


def rows(record, goal=None):
    return [trial_row(record, t, goal or ObjectiveSettings()) for t in record.trials]


def curve(*values):
    return [Epoch(i + 1, {"val_accuracy": v, "val_loss": 1 - v}, 1.0) for i, v in enumerate(values)]


class TestCountedEpoch:
    def test_the_best_counts_and_of_equals_the_earliest(self):
        assert counted_epoch(curve(0.5, 0.8, 0.8, 0.7), ObjectiveSettings()).number == 2

    def test_the_last_counts_where_the_study_says_so(self):
        assert counted_epoch(curve(0.5, 0.8, 0.7), ObjectiveSettings(epoch="last")).number == 3

    def test_a_loss_is_best_where_it_is_smallest(self):
        assert counted_epoch(curve(0.5, 0.8, 0.7), ObjectiveSettings(metric="val_loss")).number == 2

    def test_an_epoch_without_a_number_does_not_count(self):
        assert counted_epoch(curve(math.nan, 0.5), ObjectiveSettings()).number == 2
        assert counted_epoch(curve(math.nan), ObjectiveSettings()) is None
        assert counted_epoch([], ObjectiveSettings()) is None


class TestTrialRow:
    def test_the_metrics_are_those_of_the_epoch_that_counted(self):
        row = rows(search(made(0.5, 0.9, 0.7)))[0]
        assert (row.counted_epoch, row.val_accuracy, row.objective) == (2, 0.9, 0.9)
        assert row.epochs == row.trained_epochs == 3

    def test_a_continued_trial_counts_its_parents_epochs(self):
        row = rows(search(made(0.5, 0.6), made(0.7, parent=0, first=2)))[1]
        assert (row.config_id, row.parent, row.inherit, row.epochs, row.trained_epochs, row.counted_epoch) == (
            0,
            0,
            "state",
            3,
            1,
            3,
        )

    def test_a_diverged_trial_has_a_reason_and_no_score(self):
        row = rows(search(made(math.nan, status=Status.DIVERGED, reason="loss is nan")))[0]
        assert (row.status, row.reason, row.objective, row.val_accuracy) == ("diverged", "loss is nan", None, None)

    def test_a_trial_cut_off_is_running(self):
        row = rows(search(made(0.5, told=False), ended=None))[0]
        assert (row.status, row.objective, row.seconds, row.epochs) == ("running", None, None, 1)

    def test_an_objective_to_be_minimised_is_given_in_its_own_direction(self):
        record = search(made(0.8))
        assert rows(record, ObjectiveSettings(metric="val_accuracy", direction="min"))[0].objective == -0.8


def test_the_best_come_first_and_of_equals_the_earlier_seed():
    late = rows(search(made(0.9), made(0.5), seed=1))
    early = rows(search(made(0.9), made(status=Status.FAILED), seed=0))
    assert [(r.seed, r.trial) for r in ranked(late + early, ObjectiveSettings())] == [(0, 0), (1, 0), (1, 1)]


def test_the_spread_is_the_sample_standard_deviation():
    found = spread([1.0, 2.0, 4.0])
    assert (found.n, found.low, found.high) == (3, 1.0, 4.0)
    assert found.mean == pytest.approx(7 / 3)
    assert found.sd == pytest.approx(math.sqrt(7 / 3))


def test_one_value_has_no_spread_and_none_has_no_mean():
    assert spread([2.0]).sd is None
    assert spread([]).mean is None
