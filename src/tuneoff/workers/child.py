"""Child processes that answer over a pipe and end with their parent: one hosts the method, others train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair
from typing import Any

from ..core.runtime.machine import end_with_run

END_PATIENCE_SECONDS = 5.0


class ChildDied(Exception):
    """The child process is gone; the message says how it ended."""


class ChildSilent(Exception):
    """The child process has said nothing for as long as it was given."""


class Child:
    """A process that runs `target` ("package.module:function") with its end of a pipe."""

    def __init__(self, target: str, environment: Mapping[str, str], log: Path) -> None:
        ours, theirs = socketpair()
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, target, str(theirs.fileno())],
                env={**os.environ, **environment},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        theirs.close()
        self._pipe = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: object) -> None:
        """Raises ChildDied where nobody listens any more."""
        try:
            self._pipe.send(message)
        except OSError:
            raise self._death() from None

    def receive(self, patience_seconds: float | None = None) -> Any:
        """The child's next message; raises ChildDied where it ended without one, ChildSilent where it takes too long."""
        try:
            if not self._pipe.poll(patience_seconds):
                raise ChildSilent
            return self._pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None

    def _death(self) -> ChildDied:
        try:
            code = self._process.wait(END_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return ChildDied(f"by signal {-code} ({_name(-code)})" if code < 0 else f"with exit code {code}")

    def kill(self) -> None:
        """End the child by force."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the child: by closing its pipe, and by force where that does not do."""
        self._pipe.close()
        try:
            self._process.wait(END_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _name(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name}, as where memory runs out" if number == signal.SIGKILL else name


def main(target: str, handle: str) -> None:
    end_with_run()
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which ends its children when they have nothing to do
        signal.signal(number, signal.SIG_IGN)
    module, _, function = target.partition(":")
    closed = (EOFError, BrokenPipeError, ConnectionResetError)  # by the parent: no more work
    with Connection(int(handle)) as pipe, suppress(*closed):
        getattr(import_module(module), function)(pipe)


if __name__ == "__main__":
    main(*sys.argv[1:])
