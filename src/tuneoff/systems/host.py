"""Run a system in its own process: read its trials one by one, and end it on a stop request or after its time."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..methods.spec import MethodSpec
from ..workers.child import Child, ChildDied, ChildSilent
from ..workers.method_host import MethodFailed
from .protocol import System, SystemTrial, Work

LISTEN_SECONDS = 0.5
SAVE_SECONDS = 600.0


class SystemStopped(Exception):
    """The system was stopped on request."""


class HostedSystem:
    """A system in another process, with the same verbs."""

    def __init__(self, spec: MethodSpec, settings: Mapping[str, Any], work: Work, log: Path) -> None:
        self._name = spec.name
        self._seconds = work.seconds
        threads = {"OMP_NUM_THREADS": str(work.threads), "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
        self._child = Child(f"{__name__}:serve", threads, log)
        self._child.send((spec, dict(settings), work))

    def trials(self, late_seconds: float, stopping: Callable[[], bool]) -> Iterator[SystemTrial]:
        """Yield the trials as they arrive, until the system ends.

        Raises:
            SystemStopped: `stopping` returned true.
            MethodFailed: The system failed, its process died, or it has not ended `late_seconds` after its time.
        """
        deadline = time.monotonic() + self._seconds + late_seconds
        while True:
            if stopping():
                self._child.kill()
                raise SystemStopped
            if time.monotonic() > deadline:
                self._child.kill()
                raise MethodFailed(f"{self._name} had {self._seconds:g} s and has not ended {late_seconds:g} s after them")
            try:
                kind, value = self._receive(LISTEN_SECONDS)
            except ChildSilent:
                continue
            if kind == "done":
                return
            yield value

    def save(self, trial: int, folder: Path) -> None:
        """Make the system save the model of its n-th trial in this folder."""
        self._child.send((trial, folder))
        try:
            self._receive(SAVE_SECONDS)
        except ChildSilent:
            raise MethodFailed(f"{self._name} has not saved its model within {SAVE_SECONDS:g} s") from None

    def _receive(self, patience_seconds: float) -> tuple[str, Any]:
        try:
            kind, value = self._child.receive(patience_seconds)
        except ChildDied as death:
            raise MethodFailed(f"the process of {self._name} ended {death}") from None
        if kind == "error":
            raise MethodFailed(f"{self._name} failed: {value}")
        return kind, value

    def close(self) -> None:
        self._child.close()


def serve(pipe: Connection) -> None:
    """The child process: run the system, then save the requested models until the pipe closes."""
    spec, settings, work = pipe.recv()
    try:
        system = _build(spec, settings, work.seed)
        for trial in system.run(work):
            pipe.send(("trial", trial))
        pipe.send(("done", None))
        while True:
            system.save(*pipe.recv())
            pipe.send(("saved", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001 - any error of a framework ends the search with that reason
        traceback.print_exc()
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def _build(spec: MethodSpec, settings: dict[str, Any], seed: int) -> System:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    return spec.build_system(settings)
