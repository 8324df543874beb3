"""Query the machine and the run of this process: cores, versions, log output, and whether the run still exists."""

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
"""Environment variable with the process id of a local run. Its steps end when that process ends."""
CORES = "TUNEOFF_CORES"
"""Environment variable with the number of cores that one step may use."""
SIDE_BY_SIDE = 2
"""Iterations of a loop that kfp.local runs at the same time, whatever it is told."""


def cores() -> int:
    """Return the number of cores for this step: TUNEOFF_CORES, or the limit of machine, container and CPU affinity."""
    if os.environ.get(CORES, "").isdigit():
        return max(1, int(os.environ[CORES]))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup of version 2, or no quota ("max")
        return allowed


def in_pod() -> bool:
    """Return whether this process runs in a Kubernetes pod. Kubernetes sets this variable in every container."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def say(line: str) -> None:
    """Print a line and flush it, because Python buffers output to a pipe, as in a pod. Ignore a pipe that no process reads."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of the given distributions that are installed."""
    installed = {}
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def processor() -> str:
    """Return the model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Pause Python's garbage collector while a context creates millions of long-lived objects, which it would scan repeatedly.

    The objects that exist at the end of the context are never scanned again by this process.
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
    """End this process soon after its run has ended, so that no process continues training after a run was killed.

    The run is the process that RUN_PID names, which may be any ancestor. Without RUN_PID, it is the parent process.
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
    """A process that can be checked for existence. Where pidfd is available, zombies and reused ids do not cause errors."""

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
