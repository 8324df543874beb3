"""MLflow's SQLite file: where it is, who makes it, and what is wrong with it, in a sentence."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote

from ...core.errors import StudyError

LOCK_PATIENCE_SECONDS = 20
"""How long another process may hold the file; MLflow's own calls wait as long."""

_REMEDIES = {
    "SQLITE_FULL": "is on a full disk ({}): free some space",
    "SQLITE_BUSY": "is held by another process ({}): end that one",
    "SQLITE_LOCKED": "is held by another process ({}): end that one",
    "SQLITE_NOTADB": "is damaged ({}): move it away, and it is made anew",
    "SQLITE_CORRUPT": "is damaged ({}): move it away, and it is made anew",
    "SQLITE_IOERR": "cannot be read or written ({}): check the disk",
}


class DatabaseFault(StudyError):
    """MLflow's SQLite file cannot be used; the message says why and what to do."""


def database_of(uri: str) -> Path:
    """The file of a sqlite:/// URI."""
    return Path(unquote(uri.removeprefix("sqlite:///"))).absolute()


def database_fault(uri: str, error: BaseException) -> DatabaseFault | None:
    """What is wrong with the SQLite file of `uri`, where that is what the error came from."""
    if not uri.startswith("sqlite:"):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error):
            return None if isinstance(cause, sqlite3.IntegrityError) else _fault(database_of(uri), cause)
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__
    return None


def _fault(file: Path, error: sqlite3.Error) -> DatabaseFault:
    name = getattr(error, "sqlite_errorname", "")
    said = next((said for code, said in _REMEDIES.items() if name.startswith(code)), "cannot be written ({}): give another place")
    return DatabaseFault(f"MLflow's database {file} {said.format(error)}.")


def speed_up_searches(uri: str) -> None:
    """Let a SQLite file count its rows: without that MLflow's searches over thousands of trials take twenty times as long."""
    if uri.startswith("sqlite:"):
        with closing(sqlite3.connect(database_of(uri), timeout=LOCK_PATIENCE_SECONDS)) as database:
            database.execute("ANALYZE")
            database.commit()


@contextmanager
def writable_alone(file: Path) -> Iterator[None]:
    """Nobody else makes the file's tables meanwhile; DatabaseFault where it cannot be written: MLflow would try on."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=LOCK_PATIENCE_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
        handle = os.open(file.parent, os.O_RDONLY)
    except sqlite3.Error as error:
        raise _fault(file, error) from error
    except OSError as error:
        raise DatabaseFault(
            f"MLflow's database {file} cannot be written ({error.strerror or error}): give another place."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
