"""The protocol of a store and of a journal in it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Journal(Protocol):
    """An append-only list of lines with one writer; what `append` returned from is on disk, but where it is `instant`."""

    instant: bool
    """Whether `append` waits for no disk."""

    def lines(self) -> list[bytes]:
        """All whole lines, without their ends; a line torn by a kill is left out."""
        ...

    def append(self, line: bytes) -> None: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Files by relative name under one root. Writes are atomic: a reader sees the old file, the new one, or none."""

    uri: str

    def read(self, name: str) -> bytes:
        """The file's bytes; FileNotFoundError where there is none."""
        ...

    def write(self, name: str, data: bytes) -> None: ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not be there yet; False, and nothing written, where it is."""
        ...

    def names(self, prefix: str) -> list[str]:
        """Names of all files whose name begins with `prefix`, sorted."""
        ...

    def delete(self, name: str) -> None: ...

    def put(self, file: Path, name: str) -> None:
        """Copy a local file into the store."""
        ...

    def get(self, name: str, file: Path) -> Path:
        """Copy a file out of the store; returns `file`."""
        ...

    def journal(self, name: str) -> Journal:
        """Open a journal for writing; RecordError where another process holds it."""
        ...

    def quick_journal(self, name: str) -> Journal:
        """The same for what can be computed again: lines reach the disk in their order, some time before it is closed."""
        ...

    def journal_lines(self, name: str) -> list[bytes]:
        """A journal's whole lines, read without holding or changing it; [] where there is none."""
        ...

    def journals(self, prefix: str) -> list[str]:
        """Names of the journals under `prefix`, sorted."""
        ...
