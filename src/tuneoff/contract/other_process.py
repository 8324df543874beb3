"""Run searches of a method in another process, to compare its proposals."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from ..core.problem import Limits, Proposal
from ..core.space import Space
from ..methods.registry import find
from ..workers.child import Child
from ..workers.method_host import ENVIRONMENT
from .harness import Subject

Order = tuple[Space, int, int]
"""A search to run: its space, its seed and its number of trials."""


def proposals_elsewhere(subject: Subject, orders: list[Order], folder: Path) -> list[list[Proposal]]:
    """Run the searches in one new process, and return the proposals of each."""
    child = Child(f"{__name__}:serve", ENVIRONMENT, folder / "elsewhere.log")
    try:
        child.send((subject.spec.name, dict(subject.settings), orders, folder))
        return cast(list[list[Proposal]], child.receive())
    finally:
        child.close()


def serve(pipe: Connection) -> None:
    """Run the searches. This is the main function of the other process."""
    name, settings, orders, folder = pipe.recv()
    subject = Subject(find(name), settings)
    pipe.send([subject.search(folder, space, Limits(trials=trials), seed).proposals for space, seed, trials in orders])
