"""Effect sizes and the bootstrap over blocks, against brute force and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from tuneoff.analysis.stats import bootstrap, effect_size

RANDOM = np.random.default_rng(3)


def test_superiority_is_the_share_of_pairs_of_searches_with_ties_half():
    losses = np.array([[1.0, 2.0], [2.0, 3.0]])
    assert effect_size.superiority([losses])[0, 1] == (3 + 0.5) / 4


def test_superiority_is_the_mann_whitney_statistic():
    a, b = RANDOM.normal(size=(2, 9))
    found = effect_size.superiority([np.stack([a, b])])
    assert found[0, 1] == pytest.approx(scipy.stats.mannwhitneyu(b, a).statistic / 81)
    assert found[0, 1] + found[1, 0] == pytest.approx(1)


def test_data_sets_weigh_the_same():
    won, lost = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([[2.0, 2.0], [1.0, 1.0]])
    assert effect_size.superiority([won, lost])[0, 1] == 0.5


def test_an_interval_keeps_its_width_where_one_wins_every_comparison():
    low, high = effect_size.interval(np.array([1.0, 0.0, 0.5]), 5)
    assert 0.5 < low[0] < 0.9
    assert high[0] == pytest.approx(1)
    assert low[1] == pytest.approx(0)
    assert low[2] == pytest.approx(1 - high[2])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = scipy.stats.norm.cdf(0.8 / np.sqrt(2))
    a, b = RANDOM.normal(size=(600, 10)), RANDOM.normal(0.8, 1, size=(600, 10))
    found = (a[:, :, None] < b[:, None, :]).mean(axis=(1, 2))
    low, high = effect_size.interval(found, 10)
    assert 0.91 <= ((low <= truth) & (truth <= high)).mean() <= 0.99


def test_sizes_have_vargha_and_delaney_s_names():
    assert [effect_size.size(a) for a in (0.5, 0.6, 0.36, 0.71, 0.1)] == ["negligible", "small", "medium", "large", "large"]


def test_the_bootstrap_of_a_mean_is_scipy_s():
    values = RANDOM.normal(size=(30, 1))
    low, high = bootstrap.interval(values, [30])
    theirs = scipy.stats.bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=9999, rng=0).confidence_interval
    assert low[0] == pytest.approx(theirs.low, abs=0.03)
    assert high[0] == pytest.approx(theirs.high, abs=0.03)


def test_every_draw_weighs_data_sets_the_same():
    found = bootstrap.weights((3, 5))
    assert found.sum(axis=1) == pytest.approx(1)
    assert found[:, :3].sum(axis=1) == pytest.approx(0.5)
    assert bootstrap.means(np.array([[0.0]] * 3 + [[1.0]] * 5), [3, 5])[0] == 0.5


def test_chances_of_being_the_best_add_up_and_share_ties():
    values = RANDOM.normal(size=(8, 3))
    assert bootstrap.chances_of_best(values, [8]).sum() == pytest.approx(1)
    assert bootstrap.chances_of_best(np.ones((4, 2)), [4]).tolist() == [0.5, 0.5]
