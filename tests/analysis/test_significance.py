"""The tests over blocks, against scipy, scikit-posthocs and examples worked out by hand; and how often they are wrong."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tuneoff.analysis.stats.significance import (
    ALPHA,
    cliques,
    critical_difference,
    fewest_blocks,
    friedman,
    holm,
    needed_blocks,
    pairs,
    ranks,
    wilcoxon,
)

MATRICES = arrays(float, st.tuples(st.integers(2, 8), st.integers(2, 6)), elements=st.integers(0, 9).map(float))
BY_CHANCE = np.random.default_rng(1).normal(size=(12, 5))


@given(MATRICES)
@settings(deadline=None, max_examples=50)
def test_ranks_of_a_block_have_the_same_sum_whatever_the_ties(matrix):
    methods = matrix.shape[1]
    assert ranks(matrix).sum(axis=1) == pytest.approx(methods * (methods + 1) / 2)


@given(MATRICES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_methods_and_of_blocks_changes_nothing(matrix, random):
    columns, rows = list(range(matrix.shape[1])), list(range(matrix.shape[0]))
    random.shuffle(columns)
    random.shuffle(rows)
    found, other = pairs(matrix), pairs(matrix[np.ix_(rows, columns)])
    assert other.adjusted == pytest.approx(found.adjusted[np.ix_(columns, columns)])
    assert (other.wins == found.wins[np.ix_(columns, columns)]).all()


@given(MATRICES)
@settings(deadline=None, max_examples=30)
def test_a_method_is_never_different_from_itself(matrix):
    doubled = np.concatenate([matrix, matrix[:, :1]], axis=1)
    found = pairs(doubled)
    assert found.adjusted[0, -1] == 1.0
    assert found.ties[0, -1] == len(matrix)
    assert found.needed[0, -1] == np.inf


@given(MATRICES)
@settings(deadline=None, max_examples=30)
def test_wins_ties_and_losses_make_up_all_blocks(matrix):
    found = pairs(matrix)
    assert (found.wins + found.wins.T + found.ties == len(matrix)).all()


def test_friedman_is_scipy_s():
    assert friedman(BY_CHANCE) == pytest.approx(scipy.stats.friedmanchisquare(*BY_CHANCE.T).pvalue)


def test_friedman_wants_three_methods_and_two_blocks():
    assert friedman(BY_CHANCE[:, :2]) is None
    assert friedman(BY_CHANCE[:1]) is None
    assert friedman(np.ones((5, 3))) == 1.0


def test_wilcoxon_is_scipy_s_for_each_pair():
    found = pairs(BY_CHANCE)
    for i in range(5):
        for j in range(i):
            assert found.p[i, j] == pytest.approx(scipy.stats.wilcoxon(BY_CHANCE[:, i], BY_CHANCE[:, j]).pvalue)


def test_wilcoxon_is_exact_where_differences_tie():
    """Against all 2 ** 10 ways to give them signs."""
    tied = np.array([1, 1, 1, 2, 2, 3, -1, -2, 4, 4], dtype=float)
    sizes = scipy.stats.rankdata(np.abs(tied))
    sums = np.array([sizes @ ways for ways in product((0, 1), repeat=len(tied))])
    found = sizes[tied > 0].sum()
    expected = 2 * min((sums <= found).mean(), (sums >= found).mean())
    assert wilcoxon(tied[:, None]) == pytest.approx([expected])


def test_differences_that_are_equal_but_for_their_last_bits_tie():
    """Scores in thousandths, as of a thousand images: what is left of 0.97 - 0.969 is not what is left of 0.968 - 0.967."""
    scores = np.array([[970, 969], [968, 967], [967, 968], [966, 965], [965, 962], [964, 966]]) / 1000
    whole = np.round(1000 * scores)
    assert pairs(1 - scores).p == pytest.approx(pairs(1000 - whole).p)
    assert pairs(1 - scores).needed == pytest.approx(pairs(1000 - whole).needed)


def test_wilcoxon_with_holm_is_that_of_scikit_posthocs():
    theirs = scikit_posthocs.posthoc_wilcoxon(list(BY_CHANCE.T), p_adjust="holm").to_numpy()
    assert pairs(BY_CHANCE).adjusted == pytest.approx(theirs)


def test_nemenyi_parts_the_same_pairs_as_scikit_posthocs():
    matrix = BY_CHANCE + np.arange(5) * 0.8
    theirs = scikit_posthocs.posthoc_nemenyi_friedman(pd.DataFrame(matrix)).to_numpy() <= ALPHA
    mean = ranks(matrix).mean(axis=0)
    ours = np.abs(mean[:, None] - mean) > critical_difference(5, 12)
    assert theirs.any()
    assert (ours == theirs).all()


def test_the_critical_difference_of_demsar_s_example():
    """Four classifiers on 14 data sets: Demšar (2006), section 3.2.2, finds 1.25."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_cliques_are_the_longest_runs_within_the_difference():
    assert cliques(np.array([1.0, 1.5, 2.4, 4.0]), 1.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert cliques(np.array([1.0, 3.0]), 1.0) == []
    assert cliques(np.array([3.0, 1.0, 2.0]), 5.0) == [(1.0, 3.0)]


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])


def test_no_pair_can_be_significant_with_fewer_blocks_than_is_said():
    assert fewest_blocks(1) == 6  # 2 / 2^5 is above 0.05, 2 / 2^6 below
    for tests in (1, 6, 780):
        enough = fewest_blocks(tests)
        best = [wilcoxon(np.arange(1.0, n + 1)[:, None])[0] * tests for n in (enough - 1, enough)]
        assert best[0] > ALPHA >= best[1]


def test_an_infinite_regret_counts_as_the_largest_difference():
    matrix = np.array([[0.1, np.inf], [0.2, 0.3], [np.inf, np.inf], [-np.inf, 0.5]])
    found = pairs(matrix)
    assert (found.wins[0, 1], found.ties[0, 1], found.wins[1, 0]) == (3, 1, 0)


def test_methods_that_are_alike_are_called_different_in_one_study_of_twenty_at_most():
    """False alarms of the whole table of pairs, over 400 studies of five methods that draw from one distribution."""
    random = np.random.default_rng(0)
    alarms = np.mean([(pairs(random.normal(size=(12, 5))).adjusted <= ALPHA).any() for _ in range(400)])
    assert alarms <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / 400)


def test_the_blocks_that_are_said_to_be_needed_give_the_power_that_is_promised():
    random = np.random.default_rng(0)
    needed = int(needed_blocks(random.normal(0.5, 1, size=(4000, 1)), 1)[0])
    assert 30 <= needed <= 45
    found = (wilcoxon(random.normal(0.5, 1, size=(needed, 2000))) <= ALPHA).mean()
    assert 0.75 <= found <= 0.9


def test_more_tests_need_more_blocks():
    differences = BY_CHANCE[:, :1] + 0.5
    assert needed_blocks(differences, 780)[0] > needed_blocks(differences, 1)[0]
    assert needed_blocks(differences[:1], 1)[0] == np.inf
