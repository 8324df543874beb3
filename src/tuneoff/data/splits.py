"""Assign images to the training, validation and test parts: stratified, seeded, and with a separate test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import DataError
from ..core.study import Split, Subset

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Indices of the images of each part.

    `train` and `validation` index the training images. `test` indexes the test images of the data set. If the data set has
    none (`own_test` is False), `test` indexes training images that are in no other part. With folds there is no validation
    part, and `folds` (as long as `train`) holds the number of the fold in which a training image is held out.
    """

    train: Indices
    validation: Indices | None
    test: Indices
    folds: Indices | None
    own_test: bool


def parts_of(
    y_train: npt.NDArray[Any],
    y_test: npt.NDArray[Any] | None,
    split: Split,
    subset: Subset = Subset(),  # noqa: B008 (frozen)
) -> Parts:
    """Split a data set by its labels (N,). The same labels, split and subset give the same parts in any process.

    The split is stratified, and the training part contains every class.

    Raises:
        DataError: The requested shares or numbers do not allow such a split.
    """
    rest = np.arange(len(y_train))
    if y_test is None:
        rest, test = _hold_out(rest, y_train, split.test, split.seed, "split.test")
        test_labels = y_train
    else:
        test, test_labels = np.arange(len(y_test)), y_test
    validation = None
    if split.folds is None:
        rest, validation = _hold_out(rest, y_train, split.validation, split.seed, "split.validation")
        validation = _draw(validation, y_train, subset.validation, split.seed, "validation")
    elif subset.validation is not None:
        raise DataError(
            f"subset.validation = {subset.validation} cannot be combined with split.folds = {split.folds}, because folds replace "
            "the validation part. Remove subset.validation."
        )
    train = _draw(rest, y_train, subset.train, split.seed, "train")
    return Parts(
        train=train,
        validation=validation,
        test=_draw(test, test_labels, subset.test, split.seed, "test"),
        folds=None if split.folds is None else _folds(y_train[train], split.folds, split.seed),
        own_test=y_test is not None,
    )


def _hold_out(images: Indices, labels: npt.NDArray[Any], share: float, seed: int, field: str) -> tuple[Indices, Indices]:
    """Return the remaining images, with every class among them, and a stratified share that is held out."""
    from sklearn.model_selection import train_test_split

    classes = len(np.unique(labels))
    count = round(share * len(images))
    refusal = DataError(
        f"{field} = {share:g} splits {len(images):,} images into {len(images) - count:,} and {count:,}. One of these parts "
        f"cannot hold each of the {classes} classes. Give more images of each class or another share."
    )
    if min(count, len(images) - count) < classes or np.unique(labels[images], return_counts=True)[1].min() < 2:
        raise refusal
    stay, held = train_test_split(images, test_size=count, stratify=labels[images], random_state=seed)
    if len(np.unique(labels[stay])) < classes:
        raise refusal
    return stay, held


def _draw(images: Indices, labels: npt.NDArray[Any], count: int | None, seed: int, part: str) -> Indices:
    """Draw `count` of the images, stratified, with every class among them. None returns all images in their order."""
    if count is None or count == len(images):
        return images
    values, counts = np.unique(labels[images], return_counts=True)
    if not len(values) <= count <= len(images):
        raise DataError(
            f"subset.{part} = {count:,} is not possible: the {part} part has {len(images):,} images of {len(values)} classes. "
            f"Give a number from {len(values):,} to {len(images):,}."
        )
    # scikit-learn's split refuses to leave out fewer images than there are classes, and it may lose a rare class.
    random = np.random.default_rng(seed)
    shares = zip(values, _quotas(counts, count), strict=True)
    drawn = [random.permutation(images[labels[images] == value])[:quota] for value, quota in shares]
    chosen: Indices = random.permutation(np.concatenate(drawn))
    return chosen


def _quotas(counts: Indices, total: int) -> Indices:
    """Split `total` in proportion to `counts` by largest remainders: at least 1 per class, at most its count."""
    exact = counts * (total / counts.sum())
    quotas: Indices = np.maximum(np.floor(exact).astype(np.int64), 1)
    while missing := total - int(quotas.sum()):
        gaps = exact - quotas
        if missing > 0:
            quotas[np.argmax(gaps)] += 1
        else:
            quotas[np.argmin(np.where(quotas > 1, gaps, np.inf))] -= 1
    return quotas


def _folds(labels: npt.NDArray[Any], folds: int, seed: int) -> Indices:
    from sklearn.model_selection import StratifiedKFold

    rarest = np.unique(labels, return_counts=True)[1].min()
    if rarest < folds:
        raise DataError(
            f"split.folds = {folds} is not possible: the rarest class has {rarest:,} training images. Give from 2 to {rarest:,} "
            "folds, or more images of that class."
        )
    numbers = np.empty(len(labels), np.int64)
    for number, (_, held) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)):
        numbers[held] = number
    return numbers
