"""Prepared folders: their content, the same bytes in every process, and atomic replacement."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tuneoff.core.errors import DataError
from tuneoff.core.prepared_data import Part, Prepared, load_folds, load_part
from tuneoff.core.study import Dataset, Split, Subset
from tuneoff.data import figures
from tuneoff.data import prepare as preparing
from tuneoff.data.figures import class_shares, sample_mosaic
from tuneoff.data.prepare import markdown, prepare, resized

Arrays = dict[str, np.ndarray]
Save = Callable[..., Path]

WHOLE = {f"{axis}_{part}.npy" for axis in "xy" for part in ("train", "validation", "test")} | {
    "dataset.json",
    "samples.png",
    "balance.png",
}


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_folder_holds_three_parts_a_description_and_two_pictures(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    out = tmp_path / "some" / "where"
    prepared = prepare(Dataset(name="mine", path=str(save(arrays))), Split(), out)
    assert names(out) == WHOLE
    assert names(out.parent) == {"where"}
    assert prepared.counts == {"train": 160, "validation": 40, "test": 60}
    assert prepared.class_counts["validation"] == (10, 10, 10, 10)
    assert prepared.input_shape == (8, 8, 1)
    assert prepared.classes == ("0", "1", "2", "3")
    assert prepared.source == "mine.npz"
    assert Prepared.read(out) == prepared


def test_images_are_float32_from_0_to_1_with_channels_last_and_labels_int32(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    images, labels = load_part(tmp_path / "out", "test")
    assert (images.dtype, images.shape) == (np.float32, (60, 8, 8, 1))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(images[..., 0], arrays["x_test"].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(labels, arrays["y_test"])


def test_images_from_0_to_1_are_not_scaled(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    scaled = {n: a / 255 if n.startswith("x") else a for n, a in arrays.items()}
    prepare(Dataset(name="mine", path=str(save(scaled))), Split(), tmp_path / "out")
    np.testing.assert_array_equal(load_part(tmp_path / "out", "test")[0][..., 0], scaled["x_test"].astype(np.float32))


def test_parts_are_mapped_read_only(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    images, _ = load_part(tmp_path / "out", "train")
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_training_and_validation_images_are_all_the_training_images(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    parts: tuple[Part, ...] = ("train", "validation")
    found = sorted(np.asarray(image).tobytes() for part in parts for image in load_part(tmp_path / "out", part)[0])
    assert found == sorted((image / np.float32(255)).tobytes() for image in arrays["x_train"].astype(np.float32))


def test_a_set_without_test_images_holds_out_training_images(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    path = save(arrays, x_test=None, y_test=None)
    prepared = prepare(Dataset(name="mine", path=str(path)), Split(), tmp_path / "out")
    assert prepared.counts == {"train": 136, "validation": 34, "test": 30}


def test_folds_take_the_place_of_the_validation_part(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = prepare(Dataset(name="mine", path=str(save(arrays))), Split(folds=4), out)
    assert names(out) == WHOLE - {"x_validation.npy", "y_validation.npy"} | {"folds.npy"}
    assert prepared.folds == 4
    assert np.bincount(load_folds(out)).tolist() == [50] * 4
    with pytest.raises(DataError, match=r"has no validation part: it was prepared with split\.folds = 4"):
        load_part(out, "validation")


def test_missing_folds_are_refused(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    with pytest.raises(DataError, match=r"has no folds: it was prepared without split\.folds"):
        load_folds(tmp_path / "out")


def test_subsets_and_size_are_in_the_description(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    dataset = Dataset(name="mine", path=str(save(arrays)), subset=Subset(train=40, test=12), image_size=4)
    prepared = prepare(dataset, Split(seed=3), tmp_path / "out")
    assert prepared.counts == {"train": 40, "validation": 40, "test": 12}
    assert prepared.input_shape == (4, 4, 1)
    assert prepared.image_size == 4
    assert prepared.subset == {"train": 40, "validation": None, "test": 12}
    assert prepared.split["seed"] == 3


def test_the_description_has_the_raw_arrays_sums(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepared = prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    assert prepared.raw_sums["x_train"] == hashlib.sha256(arrays["x_train"].tobytes()).hexdigest()


def test_the_fingerprint_tells_different_arrays_apart(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    dataset = Dataset(name="mine", path=str(save(arrays)))
    variants = [
        (dataset, Split()),
        (dataset, Split(seed=1)),
        (dataset, Split(folds=4)),
        (dataset.model_copy(update={"image_size": 4}), Split()),
    ]
    prints = [prepare(d, s, tmp_path / "out").fingerprint for d, s in variants]
    assert len(set(prints)) == 4
    assert prepare(dataset, Split(), tmp_path / "again").fingerprint == prints[0]


def test_another_process_writes_the_same_bytes(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    dataset = Dataset(name="mine", path=str(save(arrays)), subset=Subset(train=100), image_size=6)
    prepare(dataset, Split(folds=3, seed=5), tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from tuneoff.core.study import Dataset, Split;"
        "from tuneoff.data.prepare import prepare;"
        "prepare(Dataset.model_validate_json(sys.argv[1]), Split(folds=3, seed=5), Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, dataset.model_dump_json(), str(tmp_path / "there")],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
    )
    assert names(tmp_path / "here") == names(tmp_path / "there")
    for name in names(tmp_path / "here"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


def test_a_new_preparation_leaves_nothing_of_the_old_one(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    dataset = Dataset(name="mine", path=str(save(arrays)))
    prepare(dataset, Split(folds=4), out)
    prepare(dataset, Split(), out)
    assert names(out) == WHOLE | {"notes.txt"}


def test_a_preparation_that_fails_keeps_the_earlier_data(
    arrays: Arrays, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "place" / "out"
    dataset = Dataset(name="mine", path=str(save(arrays)))
    before = prepare(dataset, Split(), out)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "save_balance", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(dataset, Split(seed=1), out)
    assert Prepared.read(out) == before
    assert names(out.parent) == {"out"}


def test_the_description_comes_last(arrays: Arrays, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    dataset = Dataset(name="mine", path=str(save(arrays)))
    prepare(dataset, Split(), out)
    moved: list[str] = []

    def move(source: Path, target: Path) -> None:
        assert not (out / "dataset.json").exists()
        moved.append(target.name)
        source.rename(target)

    monkeypatch.setattr(preparing.os, "replace", move)
    prepare(dataset, Split(seed=1), out)
    assert moved[-1] == "dataset.json"
    assert set(moved) == WHOLE


@pytest.mark.parametrize("content", [None, "", "{}", '{"name": 3}'])
def test_a_folder_without_a_sound_description_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json (cannot be read|is damaged at \w+)") as refused:
        load_part(tmp_path, "train")
    assert "\n" not in str(refused.value)


def test_an_array_that_is_gone_or_torn_is_refused(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(Dataset(name="mine", path=str(save(arrays))), Split(), out)
    (out / "y_train.npy").unlink()
    (out / "x_test.npy").write_bytes((out / "x_test.npy").read_bytes()[:-1])
    for part in ("train", "test"):
        with pytest.raises(DataError, match="Prepare the data again"):
            load_part(out, part)  # type: ignore[arg-type]


def test_an_s3_source_is_shown_without_credentials_or_query(
    arrays: Arrays, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = save(arrays)
    monkeypatch.setattr(preparing, "fetch_file", lambda uri, target: Path(target.write_bytes(stored.read_bytes()) and target))
    dataset = Dataset(name="mine", path="s3://key:secret@bucket/folder/mine.npz?token=secret")
    prepared = prepare(dataset, Split(), tmp_path / "out")
    assert prepared.source == "s3://bucket/folder/mine.npz"
    assert "secret" not in (tmp_path / "out" / "dataset.json").read_text()


def test_faults_of_an_s3_file_name_its_address(
    arrays: Arrays, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = save(arrays, y_train=arrays["y_train"] * 0)
    monkeypatch.setattr(preparing, "fetch_file", lambda uri, target: stored)
    with pytest.raises(DataError, match=r"^s3://bucket/mine\.npz: y_train holds only one class"):
        prepare(Dataset(name="mine", path="s3://bucket/mine.npz"), Split(), tmp_path / "out")


def test_a_block_of_pixels_becomes_its_exact_mean() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3)).astype(np.float32)
    halves = resized(images, 14)
    expected = (images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2]) / 4
    np.testing.assert_array_equal(halves, expected)
    assert halves.flags.c_contiguous


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 20), (28, 28, 32), (8, 12, 6), (5, 9, 4)])
def test_other_sizes_are_interpolated_within_the_range(height: int, width: int, size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, 3)).astype(np.float32)
    smaller = resized(images, size)
    assert smaller.shape == (3, size, size, 3)
    assert images.min() <= smaller.min() <= smaller.max() <= images.max()
    np.testing.assert_allclose(smaller.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=0.12)


def test_interpolation_keeps_a_constant_image_constant() -> None:
    images = np.full((2, 28, 28, 1), 255, np.float32)
    np.testing.assert_array_equal(resized(images, 20), np.full((2, 20, 20, 1), 255, np.float32))


def test_oblong_images_become_square() -> None:
    images = np.arange(32, dtype=np.float32).reshape(1, 4, 8, 1)
    np.testing.assert_array_equal(resized(images, 4)[0, 0, :, 0], [0.5, 2.5, 4.5, 6.5])


def test_the_mosaic_has_a_row_a_class_and_white_where_images_are_missing() -> None:
    images = np.stack([np.full((4, 4, 1), v, np.float32) for v in (0.1, 0.2, 0.3)])
    mosaic = sample_mosaic(images, np.array([1, 0, 1]), 2)
    assert mosaic.shape == (9, 49)
    assert mosaic[0, 0] == np.float32(0.2)
    assert mosaic[5, 0] == np.float32(0.1)
    assert mosaic[5, 5] == np.float32(0.3)
    assert mosaic[0, 5] == mosaic[4, 0] == mosaic[5, 10] == 1


def test_the_figures_are_not_blank(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepared = prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    for name in ("samples.png", "balance.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 400
            assert len(set(picture.convert("L").resize((50, 50)).tobytes())) > 10
    assert class_shares(prepared) == {"train": [25.0] * 4, "validation": [25.0] * 4, "test": [25.0] * 4}


@pytest.mark.parametrize(("classes", "shape"), [(30, (8, 8, 4)), (150, (5, 9))])
def test_many_classes_oblong_images_and_four_channels_can_be_drawn(
    save: Save, tmp_path: Path, classes: int, shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (classes * 20, *shape), dtype=np.uint8)
    prepared = prepare(
        Dataset(name="many", path=str(save({"x_train": x, "y_train": np.arange(len(x)) % classes}))), Split(), tmp_path / "out"
    )
    assert len(prepared.classes) == classes
    assert markdown(prepared).count("\n| ") <= 103


def test_the_summary_is_a_table_of_parts_and_classes(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepared = prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    text = markdown(prepared.model_copy(update={"classes": ("a|b", "<script>", "c", "d")}))
    assert "8 × 8 × 1, 4 classes, from: mine.npz; one validation part, seed 0." in text
    assert (
        "| class | train | validation | test |\n|---|---:|---:|---:|\n| all | 160 | 40 | 60 |\n| a\\|b | 40 | 10 | 15 |" in text
    )
    assert "<script>" not in text
    folded = prepare(Dataset(name="mine", path=str(save(arrays))), Split(folds=4), tmp_path / "out")
    assert "4-fold cross-validation" in markdown(folded)
    assert "| class | train | test |" in markdown(folded)


def test_the_description_is_plain_json(arrays: Arrays, save: Save, tmp_path: Path) -> None:
    prepare(Dataset(name="mine", path=str(save(arrays))), Split(), tmp_path / "out")
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["class_counts"]["train"] == [40, 40, 40, 40]
    assert described["input_shape"] == [8, 8, 1]


def test_the_source_of_a_built_in_set_is_built_in(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = preparing.Raw(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"], tuple("abcd"))
    monkeypatch.setattr(preparing, "load", lambda name, report, copy: raw)
    prepared = prepare(Dataset(name="mnist"), Split(), tmp_path / "out")
    assert prepared.source == "built-in"
    assert prepared.classes == tuple("abcd")
