"""The protocols of a store and of a journal in it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Journal(Protocol):
    """An append-only list of lines with one writer. A line is durable once `append()` returns, unless `instant` is true."""

    instant: bool
    """Whether `append` returns without waiting for the disk."""

    def lines(self) -> list[bytes]:
        """Return all complete lines without line ends. A line that a kill cut short is left out."""
        ...

    def append(self, line: bytes) -> None: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Files by relative name under one root. Writes are atomic: a reader sees the old file, the new file or no file."""

    uri: str

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raise FileNotFoundError if it does not exist."""
        ...

    def write(self, name: str, data: bytes) -> None: ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not exist yet. Return False and write nothing if it exists."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files that begin with `prefix`, sorted."""
        ...

    def delete(self, name: str) -> None: ...

    def put(self, file: Path, name: str) -> None:
        """Copy a local file into the store."""
        ...

    def get(self, name: str, file: Path) -> Path:
        """Copy a file out of the store to the path `file`, and return that path."""
        ...

    def journal(self, name: str) -> Journal:
        """Open a journal for writing. Raise RecordError if another process holds it."""
        ...

    def quick_journal(self, name: str) -> Journal:
        """Open a journal for lines that can be computed again. They reach the disk in order, at the latest when it is closed."""
        ...

    def journal_lines(self, name: str) -> list[bytes]:
        """Return the complete lines of a journal without locking or changing it; [] if it does not exist."""
        ...

    def journals(self, prefix: str) -> list[str]:
        """Return the names of the journals under `prefix`, sorted."""
        ...
