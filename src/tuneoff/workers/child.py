"""Child processes that answer over a pipe and end with their parent."""

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
"""Time in which a child must end by itself, before it is killed."""


class ChildDied(Exception):
    """The child process has ended. The message says how."""


class ChildSilent(Exception):
    """The child process has not sent a message in time."""


class Child:
    """A child process.

    Args:
        target: The function to run, as "package.module:function". Its argument is the child's end of the pipe.
        environment: Environment variables in addition to those of this process.
        log: The file to which the child's output is appended.
    """

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
        """Send a message to the child.

        Raises:
            ChildDied: The child has ended.
        """
        try:
            self._pipe.send(message)
        except OSError:
            raise self._death() from None

    def receive(self, patience_seconds: float | None = None) -> Any:
        """Return the child's next message.

        Args:
            patience_seconds: Maximum waiting time; None for no limit.

        Raises:
            ChildDied: The child has ended without a message.
            ChildSilent: No message came in time.
        """
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
        """Kill the child."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Close the pipe, which ends the child. Kill the child if it does not end in time."""
        self._pipe.close()
        try:
            self._process.wait(END_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _name(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name}, possibly out of memory" if number == signal.SIGKILL else name


def main(target: str, handle: str) -> None:
    """Run the target function of a child. This is the main function of the child process."""
    end_with_run()
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles them and ends its children when their work is done
        signal.signal(number, signal.SIG_IGN)
    module, _, function = target.partition(":")
    closed = (EOFError, BrokenPipeError, ConnectionResetError)  # the parent has closed the pipe
    with Connection(int(handle)) as pipe, suppress(*closed):
        getattr(import_module(module), function)(pipe)


if __name__ == "__main__":
    main(*sys.argv[1:])
