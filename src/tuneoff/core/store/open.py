"""Open the store that a URI names."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..credentials import without_credentials
from ..errors import StudyError
from .folder import FolderStore
from .protocol import Store
from .s3 import S3Store


def open_store(uri: str, patient: bool = False) -> Store:
    """The store at a folder's path or an s3://bucket/prefix URI; any other scheme is a StudyError.

    `patient` waits longer for the first answer of an S3 server: it is for steps of a study that has been submitted.
    """
    if uri.startswith("s3://"):
        return S3Store(uri, patient)
    if "://" in uri:
        raise StudyError(f"{without_credentials(uri)!r} is no place for artifacts: give a folder or s3://bucket/prefix.")
    return FolderStore(Path(uri))


def fetch_file(uri: str, target: Path) -> Path:
    """Copy a local or s3:// file to `target`. Raise StudyError if it cannot be read."""
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
