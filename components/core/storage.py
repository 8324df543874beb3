"""Where files live: a folder or an S3 bucket, behind the same few verbs."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from .errors import Overtaken, RecordError, StoreAway, StudyError

LOCK_PATIENCE_SECONDS = 20.0
"""How long a new writer waits for the last one to end: the processes of a killed run need a moment to notice."""


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


def open_store(uri: str, patient: bool = False) -> Store:
    """The store at a folder's path or an s3://bucket/prefix URI; any other scheme is a StudyError.

    `patient` waits longer for the first answer of an S3 server: it is for steps of a study that has been submitted.
    """
    if uri.startswith("s3://"):
        return S3Store(uri, patient)
    if "://" in uri:
        raise StudyError(f"{_without_credentials(uri)!r} is no place for artifacts: give a folder or s3://bucket/prefix.")
    return FolderStore(Path(uri))


def fetch_file(uri: str, target: Path) -> Path:
    """Copy a local or s3:// file to `target`; StudyError where it cannot be had."""
    if not uri.startswith("s3://"):
        try:
            return Path(shutil.copyfile(uri, target))
        except OSError as error:
            raise StudyError(f"{uri!r} cannot be read: {error.strerror or error}.") from error
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        return S3Store(f"s3://{bucket}").get(key, target)
    except FileNotFoundError as error:
        raise StudyError(f"{uri!r} does not exist: give the s3://bucket/key of an .npz file.") from error


def cannot_write(error: OSError, file: Path | None = None) -> str:
    """Why something cannot be written, for people, and what to do."""
    remedy = "free some space, and the same command goes on" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the disk"
    named = file or error.filename
    return f"{f'{named} ' if named else 'a file '}cannot be written ({error.strerror or error}): {remedy}"


def whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """The lines that end in a newline, and how many bytes they take; what follows is torn."""
    end = data.rfind(b"\n") + 1
    return data[:end].split(b"\n")[:-1], end


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
        with suppress(OSError):  # a folder that holds something else stays
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


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileJournal:
    """One file, one line an event, locked while open. What a kill or a failed write leaves of a line is cut off."""

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
        """A shared file system can take a lock away from a process that was paused for long, and give it to another."""
        if os.fstat(self._file.fileno()).st_size != self._end:
            self._broken = True
            raise Overtaken(f"{self._path} has been taken over by another process")

    def lines(self) -> list[bytes]:
        return self._lines

    def append(self, line: bytes) -> None:
        if self._broken:  # after a failed fsync nobody knows what is on disk, and another one may say that all is well
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
    """The same for what can be computed again: a kill may cost the last megabyte of whole lines, and never their order."""

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


class S3Store:
    """Objects under a prefix of an S3 bucket. Credentials and endpoint come from the usual AWS_* environment variables."""

    def __init__(self, uri: str, patient: bool = False) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket or "@" in bucket:
            raise StudyError(f"{_without_credentials(uri)!r} is no S3 place: give s3://bucket/prefix, without credentials.")
        self.uri = uri.rstrip("/")
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._client = _s3_client()
        self._has_answered = False
        self._first_patience = RESTART_PATIENCE_SECONDS if patient else FIRST_PATIENCE_SECONDS

    def _key(self, name: str) -> str:
        return self._prefix + name

    def read(self, name: str) -> bytes:
        body: bytes = self._ask(lambda: self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read())
        return body

    def write(self, name: str, data: bytes) -> None:
        self._ask(lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data))

    def create(self, name: str, data: bytes) -> bool:
        for pause in _CONFLICT_PAUSES_SECONDS:
            try:
                self._ask(lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data, IfNoneMatch="*"))
                return True
            except FileExistsError:
                with suppress(FileNotFoundError):
                    # An answer may have been lost after the object was written: ours if it holds our bytes.
                    return self.read(name) == data
            time.sleep(pause)  # another writer was about to create the object, and has not, or not yet
        raise StudyError(f"The store {self.uri} refuses to create {name}, which is not there: try again.")

    def names(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._key(prefix))
        found: list[dict[str, Any]] = self._ask(lambda: [o for page in pages for o in page.get("Contents", [])])
        return sorted(o["Key"].removeprefix(self._prefix) for o in found)

    def delete(self, name: str) -> None:
        self._ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(name)))

    def put(self, file: Path, name: str) -> None:
        self._ask(lambda: self._client.upload_file(str(file), self._bucket, self._key(name)))

    def get(self, name: str, file: Path) -> Path:
        self._ask(lambda: self._client.download_file(self._bucket, self._key(name), str(file)))
        return file

    def journal(self, name: str) -> Journal:
        return S3Journal(self, name)

    def quick_journal(self, name: str) -> Journal:
        return S3Journal(self, name)

    def journal_lines(self, name: str) -> list[bytes]:
        names = self.names(name + "/")
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self.read, names))

    def journals(self, prefix: str) -> list[str]:
        return sorted({n.rpartition("/")[0] for n in self.names(prefix) if n.rpartition("/")[0].endswith(".jsonl")})

    def _ask(self, call: Callable[[], Any]) -> Any:
        """What the call returns, made again while the store fails: for long where it has answered before, else shortly."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        patience = OUTAGE_PATIENCE_SECONDS if self._has_answered else self._first_patience
        deadline = time.monotonic() + patience
        pause, away_since = 0.1, 0.0
        while True:
            try:
                answer = call()
            except (ClientError, BotoCoreError, Boto3Error, ResponseParserError) as error:
                cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
                if not _passes(cause) or time.monotonic() + pause > deadline:
                    raise self._fault(cause) from error
                if pause > NOTE_PAUSE_SECONDS and not away_since:
                    away_since = time.monotonic()
                    _note(f"The store {self.uri} does not answer ({_one_line(cause)}): trying again for {patience:g} s.")
            else:
                self._has_answered = True
                if away_since:
                    _note(f"The store {self.uri} answers again after {time.monotonic() - away_since:.0f} s.")
                return answer
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _fault(self, error: BaseException) -> Exception:
        """The error in our words: what the store said, and what to do about it."""
        code = _code(error)
        if code in ("404", "NoSuchKey"):
            return FileNotFoundError(f"{self.uri}: no such object")
        if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
            return FileExistsError(f"{self.uri}: the object is there already")
        if code == "NoSuchBucket":
            return StudyError(f"The store {self.uri} answered NoSuchBucket: make the bucket {self._bucket!r}, or give another.")
        if code in _CREDENTIAL_CODES:
            return StudyError(f"The store {self.uri} refused the credentials ({code}): {_CREDENTIALS_REMEDY}.")
        said = _one_line(error)
        kind = type(error).__name__
        if "Credentials" in kind:
            return StudyError(f"The store {self.uri} cannot be used: {said}: {_CREDENTIALS_REMEDY}.")
        passes = _passes(error)
        fault, remedy = (StoreAway if passes else StudyError), f"check {_ENDPOINT} and {'the network' if passes else 'the URI'}"
        if code:
            return fault(f"The store {self.uri} answered {code} ({said}): {remedy}.")
        return fault(f"The store {self.uri} cannot be used ({kind}: {said}): {remedy}.")


READERS = 16
"""Objects of a journal that are read at the same time: each is small, and what takes time is the way there."""
NOTE_PAUSE_SECONDS = 3.0
"""A pause between two tries that is longer than this is worth a line: the store has been away for some seconds."""
OUTAGE_PATIENCE_SECONDS = 600.0
"""How long a call is made again where the store has answered before: a search survives a store that is away for a moment."""
RESTART_PATIENCE_SECONDS = 120.0
"""How long the first call of a step in a pod is made again: other steps have used this address."""
FIRST_PATIENCE_SECONDS = 5.0
"""How long the first call is made again: a wrong address shall be known soon."""

_ENDPOINT = "AWS_ENDPOINT_URL"
_CREDENTIALS_REMEDY = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) to a key that may read and write there"
_CREDENTIAL_CODES = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "ExpiredToken",
    "InvalidToken",
    "403",
)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _passes(error: BaseException) -> bool:
    """Whether the same call may go well a little later."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or _code(error) in ("SlowDown", "RequestTimeout")
    return isinstance(error, HTTPClientError | ConnectionError | IncompleteReadError | ResponseParserError)


def _code(error: BaseException) -> str:
    """The S3 error code of a store's answer; empty where it was no answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _one_line(error: BaseException) -> str:
    return " ".join(_without_credentials(str(error)).split())[:200].rstrip(".:")


_CONFLICT_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0)


class MemoryJournal:
    """A journal that outlasts nothing: for records that are made to be looked at, or to be written elsewhere."""

    instant = True

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        self._lines = list(lines)

    def lines(self) -> list[bytes]:
        return list(self._lines)

    def append(self, line: bytes) -> None:
        self._lines.append(line)

    def close(self) -> None:
        pass


class S3Journal:
    """One immutable object an event, written only where there is none: a second writer's first event fences the first off.

    A writer that has written nothing yet has taken nothing over: where it comes too late it may try again after what it now sees.
    """

    instant = False

    def __init__(self, store: S3Store, name: str) -> None:
        self._store = store
        self._name = name
        self._refuse_without_fence()
        self._lines = store.journal_lines(name)
        self._holds = False  # since its first write

    def _refuse_without_fence(self) -> None:
        probe = self._name + ".probe"
        self._store.write(probe, b"there")
        if self._store.create(probe, b"there again"):
            raise StudyError(
                f"The store {self._store.uri} ignores If-None-Match, so that two processes could write one record:"
                " give a folder, or an S3 store that honours it."
            )

    def lines(self) -> list[bytes]:
        return self._lines

    def append(self, line: bytes) -> None:
        if not self._store.create(f"{self._name}/{len(self._lines):08d}", line):
            if not self._holds:  # the one before still wrote: what it left is seen by whoever tries again
                self._lines = self._store.journal_lines(self._name)
            raise Overtaken(f"{self._store.uri}/{self._name} has been taken over by another process")
        self._holds = True
        self._lines.append(line)

    def close(self) -> None:
        pass


def _s3_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise StudyError("s3:// needs boto3: pip install 'tuneoff[s3]'.") from None
    # The library's own retries are few: it has a quota of them, which a store that fails half of the calls uses up.
    retries = {"total_max_attempts": 2, "mode": "standard"}
    config = Config(retries=retries, connect_timeout=5, read_timeout=20, max_pool_connections=READERS)
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise StudyError(f"S3 cannot be used ({_one_line(error)}): check the AWS_… variables of the environment.") from error


def _without_credentials(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else uri
