"""Run containers of the images that `make images` built. Tests that need a missing image are skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneoff._version import __version__
from tuneoff.data import fetch

ROOT = Path(__file__).parents[2]
PREFIX = "localhost/tuneoff"
UID = 10001
ASKED = bool(os.environ.get("TUNEOFF_TEST_IMAGES"))
"""Whether `make image-test` or `make container-test` runs. Then a missing image is a failure, and tests may take minutes."""

os.environ.setdefault("CONTAINERS_CONF", str(ROOT / "docker" / "containers.conf"))


def absent(why: str) -> None:
    """Skip the test, or fail it if `make image-test` or `make container-test` runs."""
    if ASKED:
        pytest.fail(why)
    pytest.skip(why)


def podman(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


def image(name: str) -> str:
    """Return the reference of a built image. Skip or fail the test if it does not exist."""
    reference = f"{PREFIX}/{name}:{__version__}"
    if shutil.which("podman") is None:
        absent("podman is not installed: make image-test installs it")
    if podman("image", "exists", reference, check=False).returncode:
        absent(f"{reference} is not built: make image-test builds it")
    if not ASKED and _revision(reference) != _head():
        absent(f"{reference} was built from another commit: make image-test rebuilds it")
    return reference


def _revision(reference: str) -> str:
    """Return the commit from which an image was built."""
    label = '{{index .Labels "org.opencontainers.image.revision"}}'
    return podman("image", "inspect", "--format", label, reference).stdout.strip()


def _head() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def inspected(name: str) -> dict[str, Any]:
    (found,) = json.loads(podman("image", "inspect", image(name)).stdout)
    return dict(found)


RIGHTS = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
"""Options for a container with a read-only root file system and no capabilities."""


def run(name: str, *command: str, place: Path | None = None, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a command in a container of an image, without network access, with `place` mounted at /work."""
    mounts = ["--volume", f"{place}:/work"] if place else []
    variables = [f"--env={name}={value}" for name, value in env.items()]
    return podman("run", "--rm", *RIGHTS, "--network", "none", *mounts, *variables, image(name), *command)


@contextmanager
def daemon(folder: Path) -> Iterator[str]:
    """Start podman's service, which answers as Docker's daemon does, and yield its address."""
    socket = folder / "podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{socket}"])
    try:
        until = time.monotonic() + 60
        while not socket.exists():
            starting = service.poll() is None and time.monotonic() < until
            assert starting, "podman's service does not start"
            time.sleep(0.2)
        yield f"unix://{socket}"
    finally:
        service.terminate()
        service.wait()


def workplace(folder: Path) -> Path:
    """Create the folder if needed, make it writable for the containers' user, and return it."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, UID, UID)
    return folder


def real_images(path: Path, train: int = 600, test: int = 200) -> None:
    """Write the first images of Fashion-MNIST to an .npz file."""
    raw = fetch.load("fashion_mnist", report=lambda _: None)
    np.savez(path, x_train=raw.x_train[:train], y_train=raw.y_train[:train], x_test=raw.x_test[:test], y_test=raw.y_test[:test])
