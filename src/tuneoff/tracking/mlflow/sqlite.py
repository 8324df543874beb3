"""MLflow's SQLite file: its path, its creation by one process at a time, and messages for its faults."""

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
"""How long another process may lock the file. MLflow's own calls wait equally long."""

_REMEDIES = {
    "SQLITE_FULL": "is on a full disk ({}): free some space",
    "SQLITE_BUSY": "is locked by another process ({}): end that process",
    "SQLITE_LOCKED": "is locked by another process ({}): end that process",
    "SQLITE_NOTADB": "is damaged ({}): move it away, and Tuneoff creates a new one",
    "SQLITE_CORRUPT": "is damaged ({}): move it away, and Tuneoff creates a new one",
    "SQLITE_IOERR": "cannot be read or written ({}): check the disk",
}


class DatabaseFault(StudyError):
    """MLflow's SQLite file cannot be used. The message gives the reason and the next step."""


def database_of(uri: str) -> Path:
    """Return the file of a sqlite:/// URI."""
    return Path(unquote(uri.removeprefix("sqlite:///"))).absolute()


def database_fault(uri: str, error: BaseException) -> DatabaseFault | None:
    """Return the fault of the SQLite file of `uri` if it caused the error, or else None."""
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
    default = "cannot be written ({}): use a folder that is writable"
    remedy = next((text for code, text in _REMEDIES.items() if name.startswith(code)), default)
    return DatabaseFault(f"MLflow's database {file} {remedy.format(error)}.")


def speed_up_searches(uri: str) -> None:
    """Update the row statistics of a SQLite file. Without them, MLflow searches of thousands of trials are 20 times slower."""
    if uri.startswith("sqlite:"):
        with closing(sqlite3.connect(database_of(uri), timeout=LOCK_PATIENCE_SECONDS)) as database:
            database.execute("ANALYZE")
            database.commit()


@contextmanager
def writable_alone(file: Path) -> Iterator[None]:
    """Lock the file while its tables are created, so that no other process creates them at the same time.

    Raises:
        DatabaseFault: The file cannot be written. It is checked here because MLflow would retry for a long time.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=LOCK_PATIENCE_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
        handle = os.open(file.parent, os.O_RDONLY)
    except sqlite3.Error as error:
        raise _fault(file, error) from error
    except OSError as error:
        raise DatabaseFault(
            f"MLflow's database {file} cannot be written ({error.strerror or error}): use a folder that is writable."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
