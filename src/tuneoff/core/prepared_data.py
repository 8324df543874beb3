"""Read prepared data: the arrays that the data_prep step wrote into a folder, and their description."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from .errors import DataError
from .space import Model

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
DESCRIPTION = "dataset.json"


class Prepared(Model):
    """The content of dataset.json, which describes the arrays next to it. It is written last: if it exists, all arrays do."""

    name: str
    source: str = Field(description="`built-in`, a file's name, or an s3:// URI.")
    input_shape: tuple[int, int, int] = Field(description="Height, width and channels of an image.")
    classes: tuple[str, ...] = Field(description="The classes' names, by label.")
    counts: dict[Part, int] = Field(description="Images of each part; no validation part with folds.")
    class_counts: dict[Part, tuple[int, ...]] = Field(description="Images of each part and class, by label.")
    image_size: int | None = Field(default=None, description="Pixels per side after resizing.")
    subset: dict[str, int | None] = Field(default_factory=dict)
    split: dict[str, Any] = Field(default_factory=dict)
    folds: int | None = Field(default=None, description="k of the cross-validation, if there is one.")
    raw_sums: dict[str, str] = Field(description="SHA-256 of the raw arrays' bytes, by name.")
    fingerprint: str = Field(description="SHA-256 over the prepared arrays: names, types, shapes and bytes.")

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        """Read the description of a folder of prepared data. A missing or damaged one raises a DataError."""
        try:
            return cls.model_validate_json((Path(folder) / DESCRIPTION).read_bytes())
        except OSError as error:
            raise DataError(
                f"{folder} holds no prepared data: {DESCRIPTION} cannot be read ({error.strerror}). Give a folder that data_prep"
                " wrote."
            ) from error
        except ValidationError as error:
            fault = error.errors()[0]
            location = ".".join(str(p) for p in fault["loc"]) or "the file"
            raise DataError(f"{folder}/{DESCRIPTION} is damaged at {location}. Prepare the data again.") from error


def load_part(folder: Path, part: Part) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Map a part of the prepared data into memory, read-only.

    Returns:
        The images, float32 (N, H, W, C) in [0, 1], and the labels, int32 (N,).

    Raises:
        DataError: The folder has no such part, or it is damaged.
    """
    prepared = Prepared.read(folder)
    if part not in prepared.counts:
        why = (
            f"it was prepared with split.folds = {prepared.folds}"
            if prepared.folds
            else f"its parts are {', '.join(prepared.counts)}"
        )
        raise DataError(f"{folder} has no {part} part: {why}.")
    return _mapped(folder, f"x_{part}"), _mapped(folder, f"y_{part}")


def load_folds(folder: Path) -> npt.NDArray[np.int32]:
    """Return for each training image the number (from 0) of the fold in which it is held out, int32 (N,).

    Raises:
        DataError: The data were prepared without folds.
    """
    if Prepared.read(folder).folds is None:
        raise DataError(f"{folder} has no folds: it was prepared without split.folds. Prepare the data again with folds.")
    return _mapped(folder, "folds")


def _mapped(folder: Path, name: str) -> npt.NDArray[Any]:
    path = Path(folder) / f"{name}.npy"
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}). Prepare the data again.") from error
    return array
