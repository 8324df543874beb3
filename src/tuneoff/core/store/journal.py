"""Append-only journals in files and in memory."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import Overtaken, RecordError

LOCK_PATIENCE_SECONDS = 20.0
"""How long a new writer waits for the previous one to end. The processes of a killed run need a moment to notice it."""


def cannot_write(error: OSError, file: Path | None = None) -> str:
    """Return a sentence that says why a file cannot be written and what to do."""
    remedy = "free some space, and the same command goes on" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the disk"
    named = file or error.filename
    return f"{f'{named} ' if named else 'a file '}cannot be written ({error.strerror or error}): {remedy}"


def whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """Return the lines that end in a newline and their length in bytes. A kill has cut short the rest."""
    end = data.rfind(b"\n") + 1
    return data[:end].split(b"\n")[:-1], end


def _sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileJournal:
    """A journal in one file with one line per event, locked while it is open. An incomplete last line is removed."""

    instant = False

    def __init__(self, path: Path, patience_seconds: float = LOCK_PATIENCE_SECONDS) -> None:
        self._path = path
        self._broken = False
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 - held until close()
        try:
            self._lock(patience_seconds)
            self._lines, self._end = whole_lines(path.read_bytes())
            self._cut()
            _sync(path.parent)
        except BaseException:
            self._file.close()
            raise

    def _lock(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                return fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RecordError(f"{self._path} is being written by another process") from None
                time.sleep(0.1)

    def _cut(self) -> None:
        if os.fstat(self._file.fileno()).st_size > self._end:
            self._file.truncate(self._end)
            os.fsync(self._file.fileno())

    def _refuse_where_overtaken(self) -> None:
        """Check that this process still holds the file. A shared file system can take the lock from a process that was paused."""
        if os.fstat(self._file.fileno()).st_size != self._end:
            self._broken = True
            raise Overtaken(f"{self._path} has been taken over by another process")

    def lines(self) -> list[bytes]:
        return self._lines

    def append(self, line: bytes) -> None:
        if self._broken:  # after a failed fsync the disk's content is unknown, and a second fsync may report success
            raise RecordError(f"{self._path} could not be written: open it anew")
        try:
            self._refuse_where_overtaken()
            left = line + b"\n"
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._broken = True
            with suppress(OSError):
                self._cut()
            raise RecordError(cannot_write(error, self._path)) from error
        self._end += len(line) + 1
        self._lines.append(line)

    def close(self) -> None:
        self._file.close()


class QuickJournal(FileJournal):
    """A journal for lines that can be computed again. A kill may lose up to the last megabyte of lines, never their order."""

    instant = True

    def __init__(self, path: Path, patience_seconds: float = LOCK_PATIENCE_SECONDS) -> None:
        super().__init__(path, patience_seconds)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def append(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if self._waiting_bytes > 1_000_000:
            self._write()

    def _write(self) -> None:
        left = b"".join(line + b"\n" for line in self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise RecordError(cannot_write(error, self._path)) from error

    def close(self) -> None:
        try:
            self._write()
        finally:
            super().close()


class MemoryJournal:
    """A journal in memory, for records that are only read or are written elsewhere."""

    instant = True

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        self._lines = list(lines)

    def lines(self) -> list[bytes]:
        return list(self._lines)

    def append(self, line: bytes) -> None:
        self._lines.append(line)

    def close(self) -> None:
        pass
