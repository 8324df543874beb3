"""A method under test: built again and again in this process, led through searches whose record is kept in memory."""

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
    """How much the checks ask of a method. False alarms are those of a method that keeps its promise."""

    asks: int  # in searches that look at proposals
    seeds_drawn: int  # first proposals of so many seeds are looked at together …
    draws: int  # … so many of each
    seeds: int  # of the comparison with random search
    trials: int  # of each of its searches
    cuts: int  # kills of a search, spread over its events


FULL = Size(asks=40, seeds_drawn=200, draws=5, seeds=20, trials=40, cuts=10_000)
PATIENT = Size(asks=24, seeds_drawn=25, draws=8, seeds=20, trials=24, cuts=12)
"""Of a full check of a slow method, which would take hours."""
STARTING = Size(asks=40, seeds_drawn=25, draws=8, seeds=8, trials=14, cuts=6)
"""Of a full check where each search starts the framework's own processes anew, which takes Ray some ten seconds."""
QUICK = Size(asks=16, seeds_drawn=200, draws=5, seeds=20, trials=20, cuts=24)
SLOW = Size(asks=12, seeds_drawn=25, draws=8, seeds=8, trials=14, cuts=3)
SLOW_SECONDS = 0.1
"""A method whose suggestions take longer is slow: it is asked less."""
DEAR = Size(asks=12, seeds_drawn=25, draws=8, seeds=0, trials=0, cuts=2)
DEAR_SECONDS = 0.4
"""One whose suggestions take longer than that is compared with random search in a full check alone."""


def size_for(spec: MethodSpec, pace_seconds: float, size: Size) -> Size:
    """How much is asked of a method with this pace, in a full or a quick check."""
    if size == FULL:
        if spec.process_per_search:
            return STARTING
        return PATIENT if pace_seconds > SLOW_SECONDS else FULL
    if pace_seconds > DEAR_SECONDS:
        return DEAR
    return SLOW if pace_seconds > SLOW_SECONDS else size


@dataclass(frozen=True)
class Subject:
    """A method with its settings, and how much is asked of it."""

    spec: MethodSpec
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: Size = QUICK

    @contextmanager
    def method(
        self, folder: Path, space: Space, seed: int = 0, max_epochs: int = MAX_EPOCHS, **limits: Any
    ) -> Iterator[TimedMethod]:
        """The method, built for a problem; its framework's files lie in a folder of its own below `folder`."""
        own = Path(tempfile.mkdtemp(dir=folder))
        problem = Problem(space, max_epochs, seed, own, **limits)
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
        """A whole search with a toy objective, from where the record's `lines` stand; returns its record."""
        record = Kept(lines or [])
        writer = Writer(record)
        writer.open()
        bounds = {"trials": limits.trials, "epochs": limits.epochs, "in_flight": in_flight}
        with self.method(folder, space, seed, max_epochs, **bounds) as method:
            place, budget = _Clock(objective or Bowl(space), in_flight), Budget(limits)
            Search(self.spec, method, place, writer, budget, ObjectiveSettings(), checkpoints or NoCheckpoints()).run()
        record.events = list(writer.events)
        return record


class _Clock(SimulatedExecutor):
    """On which the method's own seconds do not pass: they differ from run to run, and so would the order of trials in flight."""

    def proposed(self, trial: TrialId, seconds: float) -> None:
        super().proposed(trial, 0.0)


class Kept(MemoryJournal):
    """A search's record in memory, and its events once it has ended."""

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        super().__init__(lines)
        self.events: list[Event] = []

    def of(self, event: str) -> list[Event]:
        """The events of this name."""
        return [e for e in self.events if e["event"] == event]

    @property
    def proposals(self) -> list[Proposal]:
        return [proposal_of(e) for e in self.of("asked")]

    @property
    def losses(self) -> list[float]:
        return [e["loss"] for e in self.of("told") if e["loss"] is not None]

    @property
    def essence(self) -> list[dict[str, Any]]:
        """Events without what a restart may change: sequence numbers, times, attempts, who opened and started."""
        changing = {"seq", "time", "attempt", "seconds"}
        return [{k: v for k, v in e.items() if k not in changing} for e in self.events if e["event"] not in ("opened", "started")]
