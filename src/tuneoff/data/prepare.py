"""Write the folder that training reads: float32 images in [0, 1], channels last, in parts, with a description and figures."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.credentials import without_credentials
from ..core.prepared_data import DESCRIPTION, PARTS, Part, Prepared
from ..core.store.open import fetch_file
from ..core.study import Dataset, Split
from . import figures
from .fetch import Report, load, sum_of
from .npz import Array, Raw, read_npz
from .splits import Indices, Parts, parts_of

_CHUNK = 2048  # images converted at a time
_FILES = {f"{axis}_{part}.npy" for axis in "xy" for part in PARTS} | {"folds.npy", DESCRIPTION, "samples.png", "balance.png"}


def prepare(dataset: Dataset, split: Split, out: Path, report: Report = print, copy: Path | None = None) -> Prepared:
    """Fetch or read a data set, check it, split it and write it into the folder `out`.

    Images become float32 (N, H, W, C) in [0, 1], labels int32 (N,). With split.folds, folds.npy replaces the validation part.
    dataset.json is written last, and is deleted first if the folder already held prepared data, so that it never describes
    incomplete arrays. The same data set and split give the same bytes.

    Args:
        dataset: The data set of the study.
        split: The split of the study.
        out: The folder to write to.
        report: Called with each progress message.
        copy: A copy of the data set's .npz, from the store of the study.

    Returns:
        The content of dataset.json.

    Raises:
        DataError: The data set cannot be obtained, has faults, or cannot be split as requested.
    """
    raw = _raw(dataset, report, copy)
    parts = parts_of(raw.y_train, raw.y_test, split, dataset.subset)
    with _replacing(Path(out)) as folder:
        writer = _Writer(folder)
        chosen = _chosen(raw, parts)
        counts: dict[Part, tuple[int, ...]] = {}
        for part, (images, labels, indices) in chosen.items():
            shape = writer.images(f"x_{part}", images, indices, raw.white, dataset.image_size)
            writer.labels(f"y_{part}", labels[indices])
            counts[part] = tuple(np.bincount(labels[indices], minlength=len(raw.class_names)).tolist())
        if parts.folds is not None:
            writer.labels("folds", parts.folds)
        prepared = Prepared(
            name=dataset.name,
            source=_source(dataset),
            input_shape=shape,
            classes=raw.class_names,
            counts={part: sum(c) for part, c in counts.items()},
            class_counts=counts,
            image_size=dataset.image_size,
            subset=dataset.subset.model_dump(),
            split=split.model_dump(),
            folds=split.folds,
            raw_sums={name: sum_of(array) for name, array in raw.arrays().items()},
            fingerprint=writer.fingerprint(),
        )
        figures.save_samples(folder, prepared)
        figures.save_balance(folder, prepared)
        (folder / DESCRIPTION).write_text(prepared.model_dump_json(indent=2) + "\n")
    return prepared


def markdown(prepared: Prepared) -> str:
    """Return a short summary in Markdown: the source of the data, and the number of images of each class in each part."""
    height, width, channels = prepared.input_shape
    parts = list(prepared.counts)
    rows = [
        ["all", *(f"{prepared.counts[p]:,}" for p in parts)],
        *([c, *(f"{prepared.class_counts[p][i]:,}" for p in parts)] for i, c in enumerate(prepared.classes)),
    ]
    validation = f"{prepared.folds}-fold cross-validation" if prepared.folds else "one validation part"
    return "\n".join(
        [
            f"# {_cell(prepared.name)}",
            "",
            f"{height} × {width} × {channels}, {len(prepared.classes)} classes, from: {_cell(prepared.source)}; {validation}, "
            f"seed {prepared.split.get('seed', 0)}.",
            "",
            "| class | " + " | ".join(parts) + " |",
            "|---|" + "---:|" * len(parts),
            *("| " + " | ".join([_cell(row[0]), *row[1:]]) + " |" for row in rows[:_MAX_ROWS]),
            *([f"| … {len(rows) - _MAX_ROWS} more classes |" + " |" * len(parts)] if len(rows) > _MAX_ROWS else []),
            "",
            f"Fingerprint of the prepared arrays: `{prepared.fingerprint[:16]}`",
            "",
        ]
    )


_MAX_ROWS = 101


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _raw(dataset: Dataset, report: Report, copy: Path | None) -> Raw:
    if dataset.path is None:
        return load(dataset.name, report, copy)
    if copy is not None:
        return read_npz(copy, dataset.path)
    if not dataset.path.startswith("s3://"):
        return read_npz(Path(dataset.path).expanduser(), dataset.path)
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as folder:
        return read_npz(fetch_file(dataset.path, Path(folder) / "data.npz"), _source(dataset))


def _source(dataset: Dataset) -> str:
    """Return `built-in`, the base name of a file, or an S3 address without credentials and query."""
    if dataset.path is None:
        return "built-in"
    if "://" not in dataset.path:
        return Path(dataset.path).name
    return re.split(r"[?#]", without_credentials(dataset.path))[0]


def _chosen(raw: Raw, parts: Parts) -> dict[Part, tuple[Array, Array, Indices]]:
    """Return for each part the images and labels it is taken from, and the indices to take."""
    chosen: dict[Part, tuple[Array, Array, Indices]] = {"train": (raw.x_train, raw.y_train, parts.train)}
    if parts.validation is not None:
        chosen["validation"] = (raw.x_train, raw.y_train, parts.validation)
    if raw.x_test is not None and raw.y_test is not None:
        chosen["test"] = (raw.x_test, raw.y_test, parts.test)
    else:
        chosen["test"] = (raw.x_train, raw.y_train, parts.test)
    return chosen


class _Writer:
    """Writes arrays into a folder, a few images at a time, and hashes the written bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sum = hashlib.sha256()

    def images(self, name: str, images: Array, indices: Indices, white: float, size: int | None) -> tuple[int, int, int]:
        """Write NAME.npy, float32 (N, H, W, C) in [0, 1]. Return (H, W, C)."""
        height, width = (size, size) if size else images.shape[1:3]
        channels = images.shape[3] if images.ndim == 4 else 1
        shape = (len(indices), height, width, channels)
        self._begin(name, "<f4", shape)
        with (self._folder / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for start in range(0, len(indices), _CHUNK):
                chunk = images[indices[start : start + _CHUNK]].reshape(-1, *images.shape[1:3], channels)
                finished = (resized(chunk.astype(np.float32), size) / np.float32(white)).astype("<f4", copy=False)
                self._sum.update(finished.data)
                file.write(finished.data)
        return height, width, channels

    def labels(self, name: str, labels: Array) -> None:
        """Write NAME.npy, int32 (N,)."""
        whole = np.ascontiguousarray(labels, np.dtype("<i4"))
        self._begin(name, "<i4", whole.shape)
        self._sum.update(whole.data)
        np.save(self._folder / f"{name}.npy", whole, allow_pickle=False)

    def _begin(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self._sum.update(f"{name} {dtype} {shape}\n".encode())

    def fingerprint(self) -> str:
        """Return the SHA-256 over names, types, shapes and bytes of all arrays written so far."""
        return self._sum.hexdigest()


def resized(images: npt.NDArray[np.float32], size: int | None) -> npt.NDArray[np.float32]:
    """Resize images (N, H, W, C) to `size` pixels per side; the result is contiguous.

    If both sides are multiples of `size`, each new pixel is the exact mean of a block. Otherwise Pillow's bilinear
    interpolation is used, which widens its window when it shrinks an image (antialiasing).
    """
    count, height, width, channels = images.shape
    if size is None or (height, width) == (size, size):
        return np.ascontiguousarray(images)
    if height % size == 0 and width % size == 0:
        blocks = images.reshape(count, size, height // size, size, width // size, channels)
        return np.ascontiguousarray(blocks.mean(axis=(2, 4), dtype=np.float32))
    return _interpolated(images, size)


def _interpolated(images: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    from PIL import Image

    target = np.empty((len(images), size, size, images.shape[3]), np.float32)
    for i, channel in np.ndindex(len(images), images.shape[3]):
        plane = Image.fromarray(np.ascontiguousarray(images[i, :, :, channel]))
        target[i, :, :, channel] = np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR))
    return np.clip(target, images.min(), images.max())


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `out`. Its files replace the earlier ones in `out` after all are written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.{secrets.token_hex(4)}.tmp"
    folder.mkdir()
    try:
        yield folder
        out.mkdir(exist_ok=True)
        (out / DESCRIPTION).unlink(missing_ok=True)
        for name in _FILES - {p.name for p in folder.iterdir()}:
            (out / name).unlink(missing_ok=True)
        for file in sorted(folder.iterdir(), key=lambda f: (f.name == DESCRIPTION, f.name)):
            os.replace(file, out / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
