"""What a method proposes in another process."""

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
"""Space, seed, trials."""


def proposals_elsewhere(subject: Subject, orders: list[Order], folder: Path) -> list[list[Proposal]]:
    """The proposals of a search for each order, all in one new process."""
    child = Child(f"{__name__}:serve", ENVIRONMENT, folder / "elsewhere.log")
    try:
        child.send((subject.spec.name, dict(subject.settings), orders, folder))
        return cast(list[list[Proposal]], child.receive())
    finally:
        child.close()


def serve(pipe: Connection) -> None:
    """The other process's side."""
    name, settings, orders, folder = pipe.recv()
    subject = Subject(find(name), settings)
    pipe.send([subject.search(folder, space, Limits(trials=trials), seed).proposals for space, seed, trials in orders])
