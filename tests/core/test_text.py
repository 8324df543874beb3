"""Formats of numbers and lists."""

from __future__ import annotations

import pytest

from tuneoff.core import text as wording


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.99915, "accuracy", "99.92"),
        (0.5, "val_accuracy", "50.00"),
        (0.0036708, "loss", "0.0037"),
        (1.5018, "val_loss", "1.5018"),
        (0.00001, "loss", "1.0e-05"),
        (1234.5, "loss", "1234"),
        (None, "loss", "–"),
        (float("nan"), "accuracy", "–"),
    ],
)
def test_accuracies_in_per_cent_and_losses_with_four_decimals(value, metric, text):
    assert wording.bare(value, metric) == text


@pytest.mark.parametrize(("value", "text"), [(0.0123, "+1.23"), (-0.0123, "−1.23"), (0.0, "0.00"), (-1e-9, "0.00"), (None, "–")])
def test_differences_carry_their_sign(value, text):
    assert wording.difference(value, "accuracy") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.001, "< 0.01 s"),
        (0.34, "0.34 s"),
        (45.2, "45 s"),
        (738, "12.3 min"),
        (18_720, "5.2 h"),
        (1e7, "2 778 h"),
        (None, "–"),
    ],
)
def test_durations(seconds, text):
    assert wording.duration(seconds).replace(wording.THIN, " ") == text


def test_a_spread_of_one_value_is_the_value():
    assert wording.spread(0.9, None, "accuracy") == "90.00"
    assert wording.spread(0.9, 0.01, "accuracy") == "90.00 ± 1.00"


@pytest.mark.parametrize(("value", "text"), [("relu", "relu"), (0.00137012, "0.00137"), (16, "16"), (True, "true"), (None, "–")])
def test_hyperparameters(value, text):
    assert wording.setting(value) == text


def test_lists_and_plurals():
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
    assert wording.listed(["a"]) == "a"
    assert wording.plural(1, "seed") == "1 seed"
    assert wording.plural(3, "seed") == "3 seeds"


def test_shares_in_per_cent():
    assert [wording.percent(s).replace(wording.THIN, " ") for s in (0.5, 0.05, 0.0012, 0.000004, 0.0)] == [
        "50 %",
        "5 %",
        "0.12 %",
        "< 0.01 %",
        "0 %",
    ]


def test_a_long_list_names_the_first_and_counts_the_others():
    assert wording.named(["a", "b", "c"]) == "a, b and c"
    assert wording.named([f"m{i}" for i in range(9)]) == "m0, m1, m2, m3, m4, m5 and 3 more"
