"""Judges an .npz before it is trusted: what its headers claim, what reading it would take, whether it is a labelled image set."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..core.errors import DataError

LIMIT_BYTES = 8 * 2**30
"""How much all arrays of a file may hold together, once inflated."""
MAX_INFLATION = 200
"""How many times its compressed size a file may inflate to, where it inflates to more than HARMLESS_BYTES."""
HARMLESS_BYTES = 256 * 2**20
MAX_HEADER_BYTES = 10_000

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_IMAGES_RULE = "images of the shape (N, H, W) or (N, H, W, C) with H and W of at least 4 and C of 1, 3 or 4 are accepted"
_DEFLATE_RATIO = 1032  # deflate cannot do better than this
_CHUNK = 4096  # images that are looked at at once
READ_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    SyntaxError,
    RecursionError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
)
"""What the readers of Python and its libraries raise on damaged or hostile input."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Raw:
    """A data set before it is split: images (N, H, W) or (N, H, W, C), labels (N,) from 0 to C - 1.

    The test arrays are both None where the data set has no test part. `white` is the pixel value that becomes 1.0.
    """

    x_train: Array
    y_train: Array
    x_test: Array | None
    y_test: Array | None
    class_names: tuple[str, ...]
    white: float = 255.0

    def arrays(self) -> dict[str, Array]:
        """The arrays that are there, by name."""
        return {n: a for n in _NAMES if (a := getattr(self, n)) is not None}


@dataclass(frozen=True)
class _Claim:
    """What an array's .npy header says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    header_bytes: int

    @property
    def file_bytes(self) -> int:
        return self.header_bytes + math.prod(self.shape) * self.dtype.itemsize


def check_npz_header(path: Path, called: str | None = None, limit_bytes: int = LIMIT_BYTES) -> list[str]:
    """Everything wrong with a user's .npz that its directory and headers show: one sentence each, [] where it looks sound.

    No pixel is read, and never more than 10 kB of an array. `called` is how the sentences name the file.
    """
    called = called or str(path)
    if not path.is_file():
        return [f"{called} is no file: give an .npz with the arrays x_train and y_train, and x_test and y_test if there are any."]
    try:
        with zipfile.ZipFile(path) as archive:
            return [f"{called}: {fault}" for fault in _archive_faults(archive, path.stat().st_size, limit_bytes)]
    except READ_ERRORS as error:
        return [f"{called} cannot be read as an .npz file ({first_line(error)}): write it with numpy.savez."]


def look_at_npz(path: Path, called: str | None = None) -> tuple[dict[str, tuple[int, ...]], int]:
    """The arrays' shapes by their headers, and how many classes y_train has; no image is read. DataError with its faults."""
    called = called or str(path)
    if faults := check_npz_header(path, called):
        raise DataError("\n".join(faults))
    with zipfile.ZipFile(path) as archive:
        entries = {_array_name(info): info for info in archive.infolist()}
        labels = _read_array(archive, entries["y_train"])
        shapes = {}
        for name, entry in entries.items():
            with archive.open(entry) as file:
                shapes[name] = _read_header(file).shape
    return shapes, len(np.unique(labels))


def read_arrays(path: Path, called: str | None = None, limit_bytes: int = LIMIT_BYTES) -> dict[str, Array]:
    """The arrays of an .npz by name, once its headers have passed; DataError with a line for each fault."""
    called = called or str(path)
    if faults := check_npz_header(path, called, limit_bytes):
        raise DataError("\n".join(faults))
    try:
        with zipfile.ZipFile(path) as archive:
            return {_array_name(info): _read_array(archive, info) for info in archive.infolist()}
    except MemoryError as error:
        raise DataError(f"{called} does not fit into memory: give fewer or smaller images, or a machine with more.") from error
    except READ_ERRORS as error:
        raise DataError(f"{called} is damaged ({first_line(error)}): write it again with numpy.savez.") from error


def read_npz(path: Path, called: str | None = None, limit_bytes: int = LIMIT_BYTES) -> Raw:
    """A user's data set; DataError with a line for each fault, naming file, array, value and what would be accepted."""
    called = called or str(path)
    arrays = read_arrays(path, called, limit_bytes)
    labels = {n: a.reshape(len(a)) for n, a in arrays.items() if n.startswith("y")}
    images = {n: a for n, a in arrays.items() if n.startswith("x")}
    if faults := [*_label_faults(labels), *_pixel_faults(images)]:
        raise DataError("\n".join(f"{called}: {fault}" for fault in faults))
    y_train = labels["y_train"].astype(np.int64)
    return Raw(
        x_train=images["x_train"],
        y_train=y_train,
        x_test=images.get("x_test"),
        y_test=labels["y_test"].astype(np.int64) if "y_test" in labels else None,
        class_names=tuple(str(c) for c in range(int(y_train.max()) + 1)),
        white=_white(images["x_train"].max()),
    )


def _archive_faults(archive: zipfile.ZipFile, archive_bytes: int, limit_bytes: int) -> list[str]:
    """What is wrong at the first of these levels where something is: names, entries, headers, sizes, arrays, their match."""
    entries = {_array_name(e): e for e in archive.infolist()}
    faults = [*_name_faults([_array_name(e) for e in archive.infolist()])]
    faults = faults or [f for e in entries.values() for f in _entry_faults(e, archive_bytes)]
    if faults:
        return faults
    claims: dict[str, _Claim] = {}
    for name, entry in entries.items():
        try:
            with archive.open(entry) as file:
                claims[name] = _read_header(file)
        except READ_ERRORS as error:
            faults.append(f"{name} has no readable .npy header ({first_line(error)}): write the file with numpy.savez.")
    return (
        faults
        or [f for name, claim in claims.items() for f in _lie(name, claim, entries[name].file_size)]
        or _size_faults(list(entries.values()), limit_bytes)
        or [f for name, claim in claims.items() for f in _claim_faults(name, claim)]
        or [*_match_faults(claims)]
    )


def _lie(name: str, claim: _Claim, held_bytes: int) -> Iterator[str]:
    # Python objects, which are refused later, are the one type whose size the header does not give.
    if not claim.dtype.hasobject and claim.file_bytes != held_bytes:
        yield (
            f"{name}'s header claims the shape {claim.shape} of {str(claim.dtype)[:60]}, {claim.file_bytes:,} bytes, and the "
            f"archive holds {held_bytes:,}: write the file again with numpy.savez."
        )


def _name_faults(names: list[str]) -> Iterator[str]:
    accepted = "x_train and y_train, and x_test and y_test if there are any, are accepted."
    if unknown := sorted({n for n in names if n not in _NAMES}):
        yield f"{_listed(unknown)} is no array that is known: {accepted}"
    if doubled := sorted({n for n in names if names.count(n) > 1}):
        yield f"{_listed(doubled)} stands in the file more than once: {accepted}"
    if missing := [n for n in ("x_train", "y_train") if n not in names]:
        yield f"{_listed(missing)} is missing: {accepted}"
    if ("x_test" in names) != ("y_test" in names):
        there, absent = ("x_test", "y_test") if "x_test" in names else ("y_test", "x_test")
        yield f"{there} is there without {absent}: give both, or neither to hold out split.test of the images."


def _entry_faults(entry: zipfile.ZipInfo, archive_bytes: int) -> Iterator[str]:
    name = _array_name(entry)
    if entry.flag_bits & 1:
        yield f"{name} is encrypted: write the file with numpy.savez."
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{name} is compressed by method {entry.compress_type}: write the file with numpy.savez or savez_compressed."
    elif entry.header_offset + entry.compress_size > archive_bytes:
        yield f"{name} claims {entry.compress_size:,} bytes in a file of {archive_bytes:,}: the file is cut off or damaged."
    elif entry.file_size > _most_bytes(entry):
        yield (
            f"{name} claims to inflate from {entry.compress_size:,} to {entry.file_size:,} bytes, which its compression "
            "cannot do: write the file again with numpy.savez."
        )


def _most_bytes(entry: zipfile.ZipInfo) -> int:
    ratio = 1 if entry.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO
    return entry.compress_size * ratio


def _size_faults(entries: list[zipfile.ZipInfo], limit_bytes: int) -> list[str]:
    packed, whole = sum(e.compress_size for e in entries), sum(e.file_size for e in entries)
    if whole > limit_bytes:
        return [
            f"its arrays hold {whole:,} bytes, and at most {limit_bytes:,} in all are accepted: give fewer or smaller images."
        ]
    if whole > max(HARMLESS_BYTES, MAX_INFLATION * packed):
        return [
            f"its arrays inflate from {packed:,} to {whole:,} bytes, and at most {MAX_INFLATION}-fold is accepted: "
            "if this is meant, write the file uncompressed with numpy.savez."
        ]
    return []


def _claim_faults(name: str, claim: _Claim) -> Iterator[str]:
    shape, dtype = claim.shape, claim.dtype
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        yield f"{name} holds {_kind(dtype)}, and integers or floats of at most 64 bits are accepted."
    elif name.startswith("x"):
        if len(shape) not in (3, 4) or min(shape[1:3]) < 4 or shape[3:] not in ((), (1,), (3,), (4,)):
            yield f"{name} has the shape {shape}, and {_IMAGES_RULE}."
    elif len(shape) == 2 and shape[1] > 1:
        yield f"{name} has the shape {shape}, and one class number an image is accepted: of one-hot labels take argmax(y, 1)."
    elif len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        yield f"{name} has the shape {shape}, and (N,) or (N, 1) with one class number an image is accepted."
    if not shape or shape[0] == 0:
        yield f"{name} is empty: give at least 2 images of each class."


def _match_faults(claims: dict[str, _Claim]) -> Iterator[str]:
    shapes = {n: c.shape for n, c in claims.items()}
    for part in ("train", "test"):
        x, y = shapes.get(f"x_{part}"), shapes.get(f"y_{part}")
        if x and y and x[0] != y[0]:
            yield f"x_{part} holds {x[0]:,} images and y_{part} {y[0]:,} labels: give one label an image."
    train, test = shapes["x_train"][1:], shapes.get("x_test", shapes["x_train"])[1:]
    if train != test:
        yield f"x_test's images have the shape {test} and x_train's {train}: both parts must have images of one shape."


def _read_header(file: IO[bytes]) -> _Claim:
    """A .npy header, of which at most 10 kB are read whatever length it claims; ValueError where it is none."""
    magic = file.read(8)
    if magic not in (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"):
        raise ValueError("it does not begin as an array of numbers does")
    parse = np.lib.format.read_array_header_1_0 if magic[6] == 1 else np.lib.format.read_array_header_2_0
    prefix = file.read(2 * magic[6])
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims {length:,} bytes")
    shape, _, dtype = parse(io.BytesIO(prefix + file.read(length)), max_header_size=MAX_HEADER_BYTES)
    if any(isinstance(d, bool) or d < 0 for d in shape):
        raise ValueError(f"its header claims the shape {shape}")
    return _Claim(shape, dtype, len(magic) + len(prefix) + length)


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _label_faults(labels: dict[str, Array]) -> list[str]:
    """Labels that are no whole numbers; then what is wrong with the classes."""
    faults = [f"{n} {fault}" for n, y in labels.items() if (fault := _number_fault(y))]
    return faults or [*_class_faults(labels["y_train"], labels.get("y_test"))]


def _number_fault(y: Array) -> str | None:
    if y.dtype.kind != "f":
        return None
    odd = y[~(np.isfinite(y) & (np.floor(y) == y))]
    return f"holds the label {odd[0]}, and whole numbers 0, 1, 2, … are accepted." if len(odd) else None


def _class_faults(y_train: Array, y_test: Array | None) -> Iterator[str]:
    values, counts = np.unique(y_train, return_counts=True)
    if len(values) < 2:
        yield f"y_train holds one class only ({values[0]:g}), and at least two are accepted."
    elif values[0] != 0 or values[-1] != len(values) - 1:
        yield f"y_train holds the labels {_listed(values)}, and 0 to {len(values) - 1} without gaps are accepted."
    elif counts.min() < 2:
        rare = values[counts < 2]
        yield f"y_train holds the label {_listed(rare)} only once, and at least 2 images of each class are accepted."
    elif y_test is not None and len(unseen := np.setdiff1d(y_test, values)):
        yield f"y_test holds the label {_listed(unseen)}, which y_train does not: each class of the test must be trained on."


def _pixel_faults(images: dict[str, Array]) -> list[str]:
    ranges = {n: _range(x) for n, x in images.items()}
    faults = [f"{n} {fault}" for n, (low, high) in ranges.items() if (fault := _range_fault(low, high))]
    if faults or "x_test" not in ranges:
        return faults
    whites = {n: _white(high) for n, (_, high) in ranges.items()}
    if whites["x_train"] != whites["x_test"]:
        return [f"x_train lies in [0, {whites['x_train']:g}] and x_test in [0, {whites['x_test']:g}]: give both on one scale."]
    return []


def _range_fault(low: float, high: float) -> str | None:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "holds NaN or infinite pixels, and finite values in [0, 255] or [0, 1] are accepted."
    if low < 0 or high > 255:
        return f"has pixels from {low:g} to {high:g}, and values in [0, 255] or [0, 1] are accepted."
    if low == high:
        return f"has the value {low:g} in every pixel: give images that differ."
    return None


def _range(x: Array) -> tuple[float, float]:
    """Least and greatest pixel; both NaN where any is NaN."""
    chunks = [x[i : i + _CHUNK] for i in range(0, len(x), _CHUNK)]
    lows, highs = [c.min() for c in chunks], [c.max() for c in chunks]
    return float(np.min(lows)), float(np.max(highs))


def _white(high: float) -> float:
    return 1.0 if high <= 1 else 255.0


def _array_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _kind(dtype: np.dtype[Any]) -> str:
    return "Python objects" if dtype.hasobject else f"values of type {str(dtype)[:60]}"


def _listed(values: Any) -> str:
    """The first few values, for a sentence."""
    shown = [ascii(v[:40])[1:-1] if isinstance(v, str) else f"{v:g}" for v in values[:12]]
    return ", ".join(shown) + (", …" if len(values) > 12 else "")


def first_line(error: BaseException) -> str:
    """An exception's first line, for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
