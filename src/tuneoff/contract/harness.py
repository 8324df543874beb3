"""The harness of the contract: builds a method many times and runs searches whose record is kept in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.problem import Limits, Problem, Proposal, TrialId
from ..core.record.events import Event, proposal_of
from ..core.record.writer import Writer
from ..core.space import Space
from ..core.store.journal import MemoryJournal
from ..core.study import ObjectiveSettings
from ..methods.spec import MethodSpec
from ..objectives.executor import SimulatedExecutor
from ..search.budget import Budget
from ..search.checkpoints import NoCheckpoints
from ..search.loop import Search, TimedMethod
from ..workers.method_host import HostedMethod, Instance, build
from .toy_objective import Bowl

MAX_EPOCHS = 9


@dataclass(frozen=True)
class Size:
    """The sizes of the checks.

    Attributes:
        asks: Number of trials in searches that check proposals.
        seeds_drawn: Number of seeds whose first draws are checked together.
        draws: Number of first draws per seed.
        seeds: Number of seeds in the comparison with random search.
        trials: Number of full trainings per search of that comparison.
        cuts: Maximum number of kills of a search, spread evenly over its events.
    """

    asks: int
    seeds_drawn: int
    draws: int
    seeds: int
    trials: int
    cuts: int


FULL = Size(asks=40, seeds_drawn=200, draws=5, seeds=20, trials=40, cuts=10_000)
FULL_SLOW = Size(asks=24, seeds_drawn=25, draws=8, seeds=20, trials=24, cuts=12)
"""The full check of a slow method, which would take hours with FULL."""
FULL_PROCESSES = Size(asks=40, seeds_drawn=25, draws=8, seeds=8, trials=14, cuts=6)
"""The full check of a framework that starts processes for each search. Ray takes about ten seconds for this."""
QUICK = Size(asks=16, seeds_drawn=200, draws=5, seeds=20, trials=20, cuts=24)
QUICK_SLOW = Size(asks=12, seeds_drawn=25, draws=8, seeds=8, trials=14, cuts=3)
SLOW_SECONDS = 0.1
"""The time per proposal above which a method counts as slow."""
QUICK_VERY_SLOW = Size(asks=12, seeds_drawn=25, draws=8, seeds=0, trials=0, cuts=2)
VERY_SLOW_SECONDS = 0.4
"""The time per proposal above which only a full check compares a method with random search."""


def size_for(spec: MethodSpec, pace_seconds: float, size: Size) -> Size:
    """Return the sizes of the checks for a method.

    Args:
        spec: The spec of the method.
        pace_seconds: The seconds that the method takes per proposal.
        size: FULL for a full check, otherwise QUICK.
    """
    if size == FULL:
        if spec.process_per_search:
            return FULL_PROCESSES
        return FULL_SLOW if pace_seconds > SLOW_SECONDS else FULL
    if pace_seconds > VERY_SLOW_SECONDS:
        return QUICK_VERY_SLOW
    return QUICK_SLOW if pace_seconds > SLOW_SECONDS else size


@dataclass(frozen=True)
class Subject:
    """A method under test, with its settings and the sizes of its checks."""

    spec: MethodSpec
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: Size = QUICK

    @contextmanager
    def method(
        self, folder: Path, space: Space, seed: int = 0, max_epochs: int = MAX_EPOCHS, **limits: Any
    ) -> Iterator[TimedMethod]:
        """Build the method for a problem. The framework's files go into a new folder below `folder`."""
        files = Path(tempfile.mkdtemp(dir=folder))
        problem = Problem(space, max_epochs, seed, files, **limits)
        if self.spec.process_per_search:
            hosted = HostedMethod(self.spec.name, self.settings, problem, folder / "method.log")
            try:
                yield hosted
            finally:
                hosted.close()
        else:
            yield Instance(build(self.spec.name, dict(self.settings), problem))

    def search(
        self,
        folder: Path,
        space: Space,
        limits: Limits,
        seed: int = 0,
        max_epochs: int = MAX_EPOCHS,
        objective: Any = None,
        checkpoints: Any = None,
        lines: list[bytes] | None = None,
        in_flight: int = 1,
    ) -> Kept:
        """Run a search with a toy objective to its end, and return its record.

        Args:
            folder: A folder for temporary files.
            space: The search space.
            limits: The budget.
            seed: The seed of the search.
            max_epochs: Epochs of a full training.
            objective: The objective; None for the toy objective.
            checkpoints: The checkpoints; None for none.
            lines: The lines of a record from which the search resumes.
            in_flight: Number of trials in flight.
        """
        record = Kept(lines or [])
        writer = Writer(record)
        writer.open()
        bounds = {"trials": limits.trials, "epochs": limits.epochs, "in_flight": in_flight}
        with self.method(folder, space, seed, max_epochs, **bounds) as method:
            executor, budget = _Executor(objective or Bowl(space), in_flight), Budget(limits)
            Search(self.spec, method, executor, writer, budget, ObjectiveSettings(), checkpoints or NoCheckpoints()).run()
        record.events = list(writer.events)
        return record


class _Executor(SimulatedExecutor):
    """An executor whose clock ignores the time of the method.

    This time varies between runs, and the order in which trials in flight end would vary with it.
    """

    def proposed(self, trial: TrialId, seconds: float) -> None:
        super().proposed(trial, 0.0)


class Kept(MemoryJournal):
    """The record of a search in memory. It has events after the search has ended."""

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        super().__init__(lines)
        self.events: list[Event] = []

    def of(self, event: str) -> list[Event]:
        """Return the events with this name."""
        return [e for e in self.events if e["event"] == event]

    @property
    def proposals(self) -> list[Proposal]:
        return [proposal_of(e) for e in self.of("asked")]

    @property
    def losses(self) -> list[float]:
        return [e["loss"] for e in self.of("told") if e["loss"] is not None]

    @property
    def essence(self) -> list[dict[str, Any]]:
        """Return the events without the fields and events that a restart changes."""
        changing = {"seq", "time", "attempt", "seconds"}
        return [{k: v for k, v in e.items() if k not in changing} for e in self.events if e["event"] not in ("opened", "started")]
