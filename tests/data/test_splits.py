"""Splits: sizes, stratification, seeds, folds, subsets, and a test part that is separate from all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tuneoff.core.errors import DataError
from tuneoff.core.study import Split, Subset
from tuneoff.data.splits import Parts, parts_of


def labels(count: int, classes: int = 10) -> np.ndarray:
    return np.arange(count) % classes


def as_lists(parts: Parts) -> dict[str, Any]:
    return {n: None if (a := getattr(parts, n)) is None else a.tolist() for n in ("train", "validation", "test", "folds")}


@pytest.mark.parametrize(("images", "expected"), [(60_000, (48_000, 12_000)), (50_000, (40_000, 10_000))])
def test_the_default_split_is_the_papers(images: int, expected: tuple[int, int]) -> None:
    parts = parts_of(labels(images), labels(10_000), Split())
    assert parts.validation is not None
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (*expected, 10_000)
    assert parts.own_test


def test_each_part_has_the_classes_in_their_shares() -> None:
    y = np.repeat([0, 1, 2], [700, 200, 100])
    parts = parts_of(y, None, Split(test=0.1, validation=0.2))
    assert parts.validation is not None
    for part, count in ((parts.test, 100), (parts.validation, 180), (parts.train, 720)):
        assert np.bincount(y[part]).tolist() == [7 * count // 10, 2 * count // 10, count // 10]


def test_the_same_seed_gives_the_same_parts_and_another_seed_others() -> None:
    y, subset = labels(500), Subset(train=100)
    first, again, other = (parts_of(y, labels(50), Split(seed=s), subset) for s in (7, 7, 8))
    assert as_lists(first) == as_lists(again)
    assert set(first.train) != set(other.train)


def test_the_test_images_do_not_depend_on_the_validation() -> None:
    y = labels(500)
    splits = [Split(), Split(validation=0.5), Split(folds=3)]
    assert len({tuple(parts_of(y, None, s).test) for s in splits}) == 1


def test_folds_take_the_place_of_the_validation_part() -> None:
    y = labels(1000)
    parts = parts_of(y, labels(100), Split(folds=5))
    assert parts.validation is None
    assert parts.folds is not None
    assert sorted(parts.train) == list(range(1000))
    for fold in range(5):
        assert np.bincount(y[parts.train[parts.folds == fold]]).tolist() == [20] * 10


def test_folds_are_drawn_over_the_subset() -> None:
    parts = parts_of(labels(1000), labels(100), Split(folds=4), Subset(train=200))
    assert parts.folds is not None
    assert len(parts.train) == len(parts.folds) == 200
    assert np.bincount(parts.folds).tolist() == [50] * 4


def test_a_subset_is_drawn_from_its_own_part() -> None:
    y = labels(1000)
    whole = parts_of(y, y, Split())
    small = parts_of(y, y, Split(), Subset(train=100, validation=50, test=20))
    assert small.validation is not None
    assert whole.validation is not None
    assert set(small.train) < set(whole.train)
    assert set(small.validation) < set(whole.validation)
    assert np.bincount(y[small.train]).tolist() == [10] * 10
    assert np.bincount(y[small.test]).tolist() == [2] * 10


def test_a_subset_of_all_images_but_one_is_possible() -> None:
    assert len(parts_of(labels(100), labels(100), Split(), Subset(test=99)).test) == 99


def test_a_subset_keeps_rare_classes() -> None:
    y = np.repeat([0, 1, 2], [970, 20, 10])
    drawn = parts_of(y, y, Split(), Subset(train=10)).train
    assert np.bincount(y[drawn]).tolist() == [8, 1, 1]


@pytest.mark.parametrize(
    ("subset", "sentence"),
    [
        (Subset(train=90), r"subset\.train = 90 .* the train part has 80 images of 10 classes\. Give a number from 10 to 80\."),
        (Subset(validation=21), r"subset\.validation = 21 .* has 20 images"),
        (Subset(test=51), r"subset\.test = 51 .* has 50 images"),
    ],
)
def test_a_subset_larger_than_its_part_is_refused_with_the_size_of_the_part(subset: Subset, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        parts_of(labels(100), labels(50), Split(), subset)


def test_a_subset_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"subset\.train = 10 .* 12 classes\. Give a number from 12 to 96\."):
        parts_of(labels(120, 12), labels(120, 12), Split(), Subset(train=10))


def test_a_validation_subset_with_folds_is_refused() -> None:
    with pytest.raises(DataError, match=r"subset\.validation = 50 cannot be combined with split\.folds = 5"):
        parts_of(labels(1000), labels(100), Split(folds=5), Subset(validation=50))


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_share_too_small_for_a_part_with_all_classes_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=r"split\.validation = 0\.\d+ splits 100 images into .* each of the 10 classes"):
        parts_of(labels(100), labels(50), Split(validation=share))


def test_a_test_share_is_refused_where_it_leaves_too_little() -> None:
    with pytest.raises(DataError, match=r"split\.test = 0\.15 splits 20 images into 17 and 3"):
        parts_of(labels(20), None, Split())


def test_more_folds_than_images_of_a_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"split\.folds = 5 .* the rarest class has 4 training images"):
        parts_of(np.repeat([0, 1], [50, 4]), labels(20, 2), Split(folds=5))


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=6),
    seed=st.integers(0, 2**32 - 1),
    validation=st.floats(0.05, 0.95),
    test=st.floats(0.05, 0.95),
    folds=st.one_of(st.none(), st.integers(2, 4)),
    train=st.one_of(st.none(), st.integers(10, 200)),
)
def test_no_test_image_is_ever_trained_on_or_validated_with(
    counts: list[int], seed: int, validation: float, test: float, folds: int | None, train: int | None
) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    try:
        parts = parts_of(y, None, Split(validation=validation, test=test, folds=folds, seed=seed), Subset(train=train))
    except DataError:
        assume(False)
    used = [parts.train, parts.test] if parts.validation is None else [parts.train, parts.validation, parts.test]
    everything = np.concatenate(used)
    assert len(np.unique(everything)) == len(everything) <= len(y)
    assert set(y[parts.train]) == set(y)
    if train is None:
        assert sorted(everything) == list(range(len(y)))
