"""A store in an S3 bucket."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..credentials import has_credentials, without_credentials
from ..errors import Overtaken, StoreAway, StudyError
from ..runtime.retry import OutageNote, repeat
from .protocol import Journal


class S3Store:
    """Objects under a prefix of an S3 bucket. Credentials and endpoint come from the usual AWS_* environment variables."""

    def __init__(self, uri: str, patient: bool = False) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket or has_credentials(uri):
            raise StudyError(f"{without_credentials(uri)!r} is no S3 place: give s3://bucket/prefix, without credentials.")
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
                    # The answer may have been lost after the object was written. It is ours if it holds our bytes.
                    return self.read(name) == data
            time.sleep(pause)  # another writer was about to create the object and has not done so yet
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
        """Return the result of a call. Repeat the call while the store fails, for longer if it has answered before."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        patience = OUTAGE_PATIENCE_SECONDS if self._has_answered else self._first_patience
        faults = (ClientError, BotoCoreError, Boto3Error, ResponseParserError)

        def cause(error: BaseException) -> BaseException:
            return error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error

        try:
            answer = repeat(
                call,
                lambda error: isinstance(error, faults) and _passes(cause(error)),
                patience,
                FIRST_PAUSE_SECONDS,
                LONGEST_PAUSE_SECONDS,
                outage=OutageNote(f"The store {self.uri}", lambda error: _one_line(cause(error)), _note, NOTE_AFTER_SECONDS),
            )
        except faults as error:
            raise self._fault(cause(error)) from error
        self._has_answered = True
        return answer

    def _fault(self, error: BaseException) -> Exception:
        """Return the error as a sentence: what the store answered and what to do."""
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


FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
READERS = 16
"""The number of journal objects that are read at the same time. Each is small, and latency takes most of the time."""
NOTE_AFTER_SECONDS = 3.0
"""An outage that lasts longer than this is logged."""
OUTAGE_PATIENCE_SECONDS = 600.0
"""How long calls are repeated if the store has answered before, so that a search survives a short outage."""
RESTART_PATIENCE_SECONDS = 120.0
"""How long the first call of a step in a pod is repeated. Other steps have used this address already."""
FIRST_PATIENCE_SECONDS = 5.0
"""How long the first call is repeated. A wrong address should be reported soon."""

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
    """Return whether the same call may succeed a little later."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or _code(error) in ("SlowDown", "RequestTimeout")
    return isinstance(error, HTTPClientError | ConnectionError | IncompleteReadError | ResponseParserError)


def _code(error: BaseException) -> str:
    """Return the S3 error code of an answer, or an empty text if the store gave no answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _one_line(error: BaseException) -> str:
    return " ".join(without_credentials(str(error)).split())[:200].rstrip(".:")


_CONFLICT_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0)


class S3Journal:
    """A journal with one immutable object per event. An object is written only if it does not exist, so the first event of a
    second writer fences off the first writer.

    A writer that has written nothing yet has taken nothing over. If it comes too late, it may read the new events and try again.
    """

    instant = False

    def __init__(self, store: S3Store, name: str) -> None:
        self._store = store
        self._name = name
        self._refuse_without_fence()
        self._lines = store.journal_lines(name)
        self._holds = False  # true after its first write

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
            if not self._holds:  # the previous writer still wrote: another attempt sees its last events
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
    # Few retries inside the library: it has a quota of them, which a store that fails half of the calls uses up.
    retries = {"total_max_attempts": 2, "mode": "standard"}
    config = Config(retries=retries, connect_timeout=5, read_timeout=20, max_pool_connections=READERS)
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise StudyError(f"S3 cannot be used ({_one_line(error)}): check the AWS_… variables of the environment.") from error
