"""A store in a local folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .journal import FileJournal, QuickJournal, _sync, whole_lines
from .protocol import Journal


class FolderStore:
    """Files in a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        with self._replacing(name) as temporary:
            _write_synced(temporary, data)

    def create(self, name: str, data: bytes) -> bool:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(target) as temporary:
            _write_synced(temporary, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        return True

    def names(self, prefix: str) -> list[str]:
        folder = self.root / prefix.rpartition("/")[0]
        found = (p.relative_to(self.root).as_posix() for p in folder.rglob("*") if p.is_file())
        return sorted(n for n in found if n.startswith(prefix) and not n.rpartition("/")[2].startswith(".tmp-"))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            (self.root / name).unlink()
        with suppress(OSError):  # a folder with other files stays
            for folder in (self.root / name).parents:
                if folder == self.root:
                    return
                folder.rmdir()

    def put(self, file: Path, name: str) -> None:
        with self._replacing(name) as temporary:
            shutil.copyfile(file, temporary)
            _sync(temporary)

    def get(self, name: str, file: Path) -> Path:
        return Path(shutil.copyfile(self.root / name, file))

    def journal(self, name: str) -> Journal:
        return FileJournal(self._made(name))

    def quick_journal(self, name: str) -> Journal:
        return QuickJournal(self._made(name))

    def _made(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def journal_lines(self, name: str) -> list[bytes]:
        try:
            return whole_lines(self.read(name))[0]
        except FileNotFoundError:
            return []

    def journals(self, prefix: str) -> list[str]:
        return [n for n in self.names(prefix) if n.endswith(".jsonl")]

    @contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(target) as temporary:
            yield temporary
            os.replace(temporary, target)


@contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=target.parent)
    os.close(handle)
    os.chmod(name, 0o644)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)
