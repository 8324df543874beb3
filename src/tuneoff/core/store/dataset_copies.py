"""Copies of data sets in a study's store: `tuneoff submit` writes them, and pods without a network read them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from .. import layout
from ..errors import DataError
from ..space import Model
from ..study import Dataset
from .protocol import Store


class Input(Model):
    """The note on a copied data set. It is written after the copy: if the note exists, the copy is complete."""

    sha256: str
    bytes: int
    source: str  # the path in the study file, or `built-in`


def sha256_of(file: Path) -> str:
    """Return the SHA-256 sum of a file's bytes, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_input(store: Store, dataset: str) -> Input | None:
    """Return the note on the data set's copy in the store; None if no copy exists or the note is damaged."""
    try:
        return Input.model_validate_json(store.read(layout.input_note(dataset)))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def put_input(store: Store, dataset: Dataset, file: Path) -> Input | None:
    """Copy a data set's .npz into the store; return its note, or None if the store already has the same file.

    Raises:
        DataError: The store has a different file under this name, and the study has already prepared it.
    """
    note = Input(sha256=sha256_of(file), bytes=file.stat().st_size, source=dataset.path or "built-in")
    held = read_input(store, dataset.name)
    if held is not None and held.sha256 == note.sha256:
        return None
    if held is not None and dataset.path is not None and store.names(layout.prepared(dataset.name)):
        raise DataError(
            f"{dataset.path} has changed since this study was first submitted: its copy in {store.uri} has the SHA-256 sum"
            f" {held.sha256[:12]}…, the file has {note.sha256[:12]}…. Restore the file, or set `artifacts` to another store."
        )
    store.delete(layout.input_note(dataset.name))
    store.put(file, layout.input_copy(dataset.name))
    store.write(layout.input_note(dataset.name), note.model_dump_json(indent=1).encode())
    return note


@contextmanager
def input_copy(store: Store, dataset: Dataset, report: Callable[[str], None]) -> Iterator[Path | None]:
    """Yield a local copy of the data set's .npz that exists within the context; None if the store has no copy.

    Raises:
        DataError: The bytes in the store do not match the checksum in the note.
    """
    note = read_input(store, dataset.name)
    if note is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as folder:
        copy = store.get(layout.input_copy(dataset.name), Path(folder, f"{dataset.name}.npz"))
        if (actual := sha256_of(copy)) != note.sha256:
            raise DataError(
                f"{store.uri}/{layout.input_copy(dataset.name)} has the SHA-256 sum {actual[:12]}…, not {note.sha256[:12]}…."
                " Delete it and submit the study again."
            )
        report(f"{dataset.name}: from the study's store, {note.bytes / 1e6:.1f} MB ({note.source})")
        yield copy
