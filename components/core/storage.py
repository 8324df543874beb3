"""Where files live: a folder or an S3 bucket, behind the same few verbs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from .errors import RecordError, StudyError

LOCK_PATIENCE_SECONDS = 20.0
"""How long a new writer waits for the last one to end: the processes of a killed run need a moment to notice."""


class Journal(Protocol):
    """An append-only list of lines with one writer; what `append` returned from is on disk."""

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

    def journal_lines(self, name: str) -> list[bytes]:
        """A journal's whole lines, read without holding or changing it; [] where there is none."""
        ...

    def journals(self, prefix: str) -> list[str]:
        """Names of the journals under `prefix`, sorted."""
        ...


def open_store(uri: str) -> Store:
    """The store at a folder's path or an s3://bucket/prefix URI; any other scheme is a StudyError."""
    if uri.startswith("s3://"):
        return S3Store(uri)
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
    parent, _, name = uri.rpartition("/")
    try:
        return S3Store(parent).get(name, target)
    except FileNotFoundError as error:
        raise StudyError(f"{uri!r} does not exist: give the s3://bucket/key of an .npz file.") from error


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
        folder = self.root / prefix if prefix.endswith("/") else (self.root / prefix).parent
        found = (p.relative_to(self.root).as_posix() for p in folder.rglob("*") if p.is_file())
        return sorted(n for n in found if n.startswith(prefix) and not n.rpartition("/")[2].startswith(".tmp-"))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            (self.root / name).unlink()

    def put(self, file: Path, name: str) -> None:
        with self._replacing(name) as temporary:
            shutil.copyfile(file, temporary)

    def get(self, name: str, file: Path) -> Path:
        return Path(shutil.copyfile(self.root / name, file))

    def journal(self, name: str) -> Journal:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileJournal(path)

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
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class FileJournal:
    """One file, one line an event, locked while open. A line torn by a kill is cut off before anything is appended."""

    def __init__(self, path: Path, patience_seconds: float = LOCK_PATIENCE_SECONDS) -> None:
        self._path = path
        self._file = open(path, "a+b")  # noqa: SIM115 - held until close()
        try:
            self._lock(patience_seconds)
            self._file.seek(0)
            self._lines, end = whole_lines(self._file.read())
            if end < self._file.tell():
                os.ftruncate(self._file.fileno(), end)
                os.fsync(self._file.fileno())
            _sync_folder(path.parent)
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

    def lines(self) -> list[bytes]:
        return self._lines

    def append(self, line: bytes) -> None:
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), end)
            raise
        self._lines.append(line)

    def close(self) -> None:
        self._file.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class S3Store:
    """Objects under a prefix of an S3 bucket. Credentials and endpoint come from the usual AWS_* environment variables."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        if not parts.netloc or "@" in parts.netloc:
            raise StudyError(f"{_without_credentials(uri)!r} is no S3 place: give s3://bucket/prefix, without credentials.")
        self.uri = uri.rstrip("/")
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self._client = _s3_client()

    def _key(self, name: str) -> str:
        return self._prefix + name

    def read(self, name: str) -> bytes:
        body = self._ask(lambda: self._client.get_object(Bucket=self._bucket, Key=self._key(name)))["Body"].read()
        assert isinstance(body, bytes)
        return body

    def write(self, name: str, data: bytes) -> None:
        self._ask(lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data))

    def create(self, name: str, data: bytes) -> bool:
        try:
            self._ask(lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=data, IfNoneMatch="*"))
        except FileExistsError:
            # An answer may have been lost after the object was written: ours if it holds our bytes.
            return self.read(name) == data
        return True

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

    def journal_lines(self, name: str) -> list[bytes]:
        return [self.read(n) for n in self.names(name + "/")]

    def journals(self, prefix: str) -> list[str]:
        return sorted({n.rpartition("/")[0] for n in self.names(prefix) if n.rpartition("/")[0].endswith(".jsonl")})

    def _ask(self, call: Callable[[], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError
        from s3transfer.exceptions import S3TransferFailedError  # type: ignore[import-untyped]

        try:
            return call()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in ("404", "NoSuchKey"):
                raise FileNotFoundError(f"{self.uri}: no such object") from error
            if code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                raise FileExistsError(f"{self.uri}: the object is there already") from error
            raise StudyError(f"The store {self.uri} answered {code or 'an error'}: {error}.") from error
        except (BotoCoreError, S3TransferFailedError) as error:
            raise StudyError(f"The store {self.uri} cannot be used: {error}.") from error


class S3Journal:
    """One immutable object an event, written only where there is none: a second writer's first event fences the first off."""

    def __init__(self, store: S3Store, name: str) -> None:
        self._store = store
        self._name = name
        self._lines = store.journal_lines(name)

    def lines(self) -> list[bytes]:
        return self._lines

    def append(self, line: bytes) -> None:
        if not self._store.create(f"{self._name}/{len(self._lines):08d}", line):
            raise RecordError(f"{self._store.uri}/{self._name} has been taken over by another process")
        self._lines.append(line)

    def close(self) -> None:
        pass


def _s3_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise StudyError("s3:// needs boto3: pip install 'tuneoff[s3]'.") from None
    return boto3.client("s3", config=Config(retries={"max_attempts": 8, "mode": "standard"}))


def _without_credentials(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if rest else uri
