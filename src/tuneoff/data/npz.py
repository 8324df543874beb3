"""Check an .npz file before it is trusted: its headers, its size in memory, and whether it is a labelled image data set."""

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

from ..core.errors import DataError, first_line

LIMIT_BYTES = 8 * 2**30
"""Largest total size of a file's arrays after decompression."""
MAX_INFLATION = 200
"""Largest ratio of decompressed to compressed size. It applies to files that decompress to more than HARMLESS_BYTES."""
HARMLESS_BYTES = 256 * 2**20
MAX_HEADER_BYTES = 10_000

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_IMAGES_RULE = "Images must have the shape (N, H, W) or (N, H, W, C), with H and W of at least 4 and C of 1, 3 or 4."
_DEFLATE_RATIO = 1032  # the highest ratio that deflate can reach
_CHUNK = 4096  # images checked at a time
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
"""Exceptions that the readers of Python and its libraries raise on damaged or hostile input."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Raw:
    """A data set before it is split: images (N, H, W) or (N, H, W, C), labels (N,) from 0 to the number of classes - 1.

    Both test arrays are None if the data set has no test part. `white` is the pixel value that is scaled to 1.0.
    """

    x_train: Array
    y_train: Array
    x_test: Array | None
    y_test: Array | None
    class_names: tuple[str, ...]
    white: float = 255.0

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that are not None, by name."""
        return {n: a for n in _NAMES if (a := getattr(self, n)) is not None}


@dataclass(frozen=True)
class _Claim:
    """Shape, type and length that an array's .npy header declares."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    header_bytes: int

    @property
    def file_bytes(self) -> int:
        return self.header_bytes + math.prod(self.shape) * self.dtype.itemsize


def check_npz_header(path: Path, called: str | None = None, limit_bytes: int = LIMIT_BYTES) -> list[str]:
    """Return the faults that the directory and the headers of a user's .npz show, one line each; [] if there are none.

    Reads no pixels, and at most 10 kB of each array.

    Args:
        path: The file to check.
        called: The name of the file in the messages; the path by default.
        limit_bytes: The largest total size of the arrays.
    """
    called = called or str(path)
    if not path.is_file():
        return [f"{called} is not a file. Give an .npz with the arrays x_train and y_train, and optionally x_test and y_test."]
    try:
        with zipfile.ZipFile(path) as archive:
            return [f"{called}: {fault}" for fault in _archive_faults(archive, path.stat().st_size, limit_bytes)]
    except READ_ERRORS as error:
        return [f"{called} cannot be read as an .npz file ({first_line(error)}). Write it with numpy.savez."]


def look_at_npz(path: Path, called: str | None = None) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return the shape of each array and the number of classes in y_train, without reading images.

    Raises:
        DataError: The directory or a header has faults; one line each.
    """
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
    """Return the arrays of an .npz by name, after its headers have passed the checks.

    Raises:
        DataError: The file has faults (one line each), is damaged or does not fit into memory.
    """
    called = called or str(path)
    if faults := check_npz_header(path, called, limit_bytes):
        raise DataError("\n".join(faults))
    try:
        with zipfile.ZipFile(path) as archive:
            return {_array_name(info): _read_array(archive, info) for info in archive.infolist()}
    except MemoryError as error:
        raise DataError(
            f"{called} does not fit into memory. Give fewer or smaller images, or use a machine with more memory."
        ) from error
    except READ_ERRORS as error:
        raise DataError(f"{called} is damaged ({first_line(error)}). Write it again with numpy.savez.") from error


def read_npz(path: Path, called: str | None = None, limit_bytes: int = LIMIT_BYTES) -> Raw:
    """Read and check a user's data set.

    Raises:
        DataError: The file has faults. Each line names the file, the array, the value and the allowed values.
    """
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
    """Return all faults of the first failing check of: names, entries, headers, sizes, single arrays, agreement of arrays."""
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
            faults.append(f"{name} has no readable .npy header ({first_line(error)}). Write the file with numpy.savez.")
    return (
        faults
        or [f for name, claim in claims.items() for f in _lie(name, claim, entries[name].file_size)]
        or _size_faults(list(entries.values()), limit_bytes)
        or [f for name, claim in claims.items() for f in _claim_faults(name, claim)]
        or [*_match_faults(claims)]
    )


def _lie(name: str, claim: _Claim, held_bytes: int) -> Iterator[str]:
    # The header does not give the size of Python objects, and of no other type. A later check refuses objects.
    if not claim.dtype.hasobject and claim.file_bytes != held_bytes:
        yield (
            f"{name}'s header declares the shape {claim.shape} of {str(claim.dtype)[:60]}, {claim.file_bytes:,} bytes, but the "
            f"archive holds {held_bytes:,} bytes. Write the file again with numpy.savez."
        )


def _name_faults(names: list[str]) -> Iterator[str]:
    rule = "Give x_train and y_train, and optionally x_test and y_test, each once and nothing else."
    if unknown := sorted({n for n in names if n not in _NAMES}):
        yield f"{_listed(unknown)} is not a known array. {rule}"
    if doubled := sorted({n for n in names if names.count(n) > 1}):
        yield f"{_listed(doubled)} is in the file more than once. {rule}"
    if missing := [n for n in ("x_train", "y_train") if n not in names]:
        yield f"{_listed(missing)} is missing. {rule}"
    if ("x_test" in names) != ("y_test" in names):
        present, absent = ("x_test", "y_test") if "x_test" in names else ("y_test", "x_test")
        yield f"{present} is present but {absent} is not. Give both, or neither to hold out the share split.test of the images."


def _entry_faults(entry: zipfile.ZipInfo, archive_bytes: int) -> Iterator[str]:
    name = _array_name(entry)
    if entry.flag_bits & 1:
        yield f"{name} is encrypted. Write the file with numpy.savez."
    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{name} uses compression method {entry.compress_type}. Write the file with numpy.savez or savez_compressed."
    elif entry.header_offset + entry.compress_size > archive_bytes:
        yield (
            f"{name} declares {entry.compress_size:,} bytes in a file of {archive_bytes:,} bytes. The file is cut off or "
            "damaged: write or copy it again."
        )
    elif entry.file_size > _most_bytes(entry):
        yield (
            f"{name} declares a growth from {entry.compress_size:,} to {entry.file_size:,} bytes, which its compression "
            "cannot reach. Write the file again with numpy.savez."
        )


def _most_bytes(entry: zipfile.ZipInfo) -> int:
    ratio = 1 if entry.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO
    return entry.compress_size * ratio


def _size_faults(entries: list[zipfile.ZipInfo], limit_bytes: int) -> list[str]:
    packed, whole = sum(e.compress_size for e in entries), sum(e.file_size for e in entries)
    if whole > limit_bytes:
        return [
            f"its arrays hold {whole:,} bytes. At most {limit_bytes:,} bytes in total are allowed: give fewer or smaller images."
        ]
    if whole > max(HARMLESS_BYTES, MAX_INFLATION * packed):
        return [
            f"its arrays grow from {packed:,} to {whole:,} bytes when decompressed. At most {MAX_INFLATION} times is allowed: "
            "if the data are as intended, write the file uncompressed with numpy.savez."
        ]
    return []


def _claim_faults(name: str, claim: _Claim) -> Iterator[str]:
    shape, dtype = claim.shape, claim.dtype
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        yield f"{name} holds {_kind(dtype)}. Give integers or floats of at most 64 bits."
    elif name.startswith("x"):
        if len(shape) not in (3, 4) or min(shape[1:3]) < 4 or shape[3:] not in ((), (1,), (3,), (4,)):
            yield f"{name} has the shape {shape}. {_IMAGES_RULE}"
    elif len(shape) == 2 and shape[1] > 1:
        yield f"{name} has the shape {shape}. Give one class number per image: convert one-hot labels with argmax(y, 1)."
    elif len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        yield f"{name} has the shape {shape}. Give one class number per image, in the shape (N,) or (N, 1)."
    if not shape or shape[0] == 0:
        yield f"{name} is empty. Give at least 2 images of each class."


def _match_faults(claims: dict[str, _Claim]) -> Iterator[str]:
    shapes = {n: c.shape for n, c in claims.items()}
    for part in ("train", "test"):
        x, y = shapes.get(f"x_{part}"), shapes.get(f"y_{part}")
        if x and y and x[0] != y[0]:
            yield f"x_{part} holds {x[0]:,} images, but y_{part} holds {y[0]:,} labels. Give one label per image."
    train, test = shapes["x_train"][1:], shapes.get("x_test", shapes["x_train"])[1:]
    if train != test:
        yield f"The images of x_test have the shape {test}, those of x_train {train}. Give images of one shape in both arrays."


def _read_header(file: IO[bytes]) -> _Claim:
    """Read a .npy header. At most 10 kB are read, even if the header declares more. Invalid headers raise ValueError."""
    magic = file.read(8)
    if magic not in (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"):
        raise ValueError("it does not begin with the magic bytes of an .npy file")
    parse = np.lib.format.read_array_header_1_0 if magic[6] == 1 else np.lib.format.read_array_header_2_0
    prefix = file.read(2 * magic[6])
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header declares a length of {length:,} bytes")
    shape, _, dtype = parse(io.BytesIO(prefix + file.read(length)), max_header_size=MAX_HEADER_BYTES)
    if any(isinstance(d, bool) or d < 0 for d in shape):
        raise ValueError(f"its header declares the shape {shape}")
    return _Claim(shape, dtype, len(magic) + len(prefix) + length)


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _label_faults(labels: dict[str, Array]) -> list[str]:
    """Return faults of labels that are not whole numbers, or else the faults of the classes."""
    faults = [f"{n} {fault}" for n, y in labels.items() if (fault := _number_fault(y))]
    return faults or [*_class_faults(labels["y_train"], labels.get("y_test"))]


def _number_fault(y: Array) -> str | None:
    if y.dtype.kind != "f":
        return None
    odd = y[~(np.isfinite(y) & (np.floor(y) == y))]
    return f"holds the label {odd[0]}. Labels must be whole numbers: 0, 1, 2 and so on." if len(odd) else None


def _class_faults(y_train: Array, y_test: Array | None) -> Iterator[str]:
    values, counts = np.unique(y_train, return_counts=True)
    if len(values) < 2:
        yield f"y_train holds only one class ({values[0]:g}). Give at least two classes."
    elif values[0] != 0 or values[-1] != len(values) - 1:
        yield f"y_train holds the labels {_listed(values)}. Number the classes from 0 to {len(values) - 1} without gaps."
    elif counts.min() < 2:
        rare = values[counts < 2]
        yield f"y_train holds the label {_listed(rare)} only once. Give at least 2 images of each class."
    elif y_test is not None and len(unseen := np.setdiff1d(y_test, values)):
        yield f"y_test holds the label {_listed(unseen)}, which y_train does not hold. Give training images of every test class."


def _pixel_faults(images: dict[str, Array]) -> list[str]:
    ranges = {n: _range(x) for n, x in images.items()}
    faults = [f"{n} {fault}" for n, (low, high) in ranges.items() if (fault := _range_fault(low, high))]
    if faults or "x_test" not in ranges:
        return faults
    whites = {n: _white(high) for n, (_, high) in ranges.items()}
    if whites["x_train"] != whites["x_test"]:
        return [f"x_train lies in [0, {whites['x_train']:g}], but x_test in [0, {whites['x_test']:g}]. Give both on one scale."]
    return []


def _range_fault(low: float, high: float) -> str | None:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "holds NaN or infinite pixels. Give finite values in [0, 255] or [0, 1]."
    if low < 0 or high > 255:
        return f"has pixels from {low:g} to {high:g}. Give values in [0, 255] or [0, 1]."
    if low == high:
        return f"has the value {low:g} in every pixel. Give images that differ."
    return None


def _range(x: Array) -> tuple[float, float]:
    """Return the smallest and the largest pixel; both are NaN if any pixel is NaN."""
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
    """Join the first 12 values for a message."""
    shown = [ascii(v[:40])[1:-1] if isinstance(v, str) else f"{v:g}" for v in values[:12]]
    return ", ".join(shown) + (", …" if len(values) > 12 else "")
