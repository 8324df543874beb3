"""What a process knows of the machine and the run that it belongs to: cores, versions, its log, whether the run still lives."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import select
import threading
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

RUN_PID = "TUNEOFF_RUN_PID"
"""Environment variable with the process id of a local run; its steps end when that process does."""
CORES = "TUNEOFF_CORES"
"""Environment variable with the number of cores that one step may use."""
SIDE_BY_SIDE = 2
"""Iterations of a loop that kfp.local runs at the same time, whatever it is told."""


def cores() -> int:
    """Cores that this step may use: TUNEOFF_CORES, or what the machine, the container and the process's affinity allow."""
    if os.environ.get(CORES, "").isdigit():
        return max(1, int(os.environ[CORES]))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no control group of version 2, or no quota ("max")
        return allowed


def in_pod() -> bool:
    """Return whether this process runs in a pod of Kubernetes, which sets this variable in every container."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def say(line: str) -> None:
    """Print a line at once: a pod's output is a pipe, which Python would fill first. If no process reads it, raise nothing."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def versions(*distributions: str) -> dict[str, str]:
    """Versions of those of the distributions that are installed."""
    found = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """While millions of objects are made that stay: Python's collector would look through all of them again and again.

    Those that are there at the end are left alone for as long as the process lives.
    """
    resting = not gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not resting:
            gc.freeze()
            gc.enable()


def end_with_run() -> None:
    """End this process soon after the run that it belongs to: a killed run leaves nothing behind that trains on.

    The run is the process that RUN_PID names, which may be several parents up; without it, the parent.
    """
    given = os.environ.get(RUN_PID, "")
    parent = os.getppid()
    run = _Process(int(given)) if given.isdigit() and int(given) != os.getpid() else None

    def watch() -> None:
        while os.getppid() == parent and (run is None or run.lives()):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-run").start()


class _Process:
    """Whether a process lives; a file handle on it, where there is such a thing, is not fooled by zombies or reused ids."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._handle: int | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._handle = os.pidfd_open(pid)

    def lives(self) -> bool:
        if self._handle is not None:
            return not select.select([self._handle], [], [], 0)[0]
        try:
            os.kill(self._pid, 0)
        except OSError:
            return False
        return True
