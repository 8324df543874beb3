"""Time to replay the record of a long search, without the method's own time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneoff.core.problem import Checkpoint, Epoch, Limits, Problem, Trial
from tuneoff.core.record.writer import Writer
from tuneoff.core.space import PAPER_SPACE
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.journal import MemoryJournal
from tuneoff.core.store.protocol import Journal
from tuneoff.core.study import ObjectiveSettings
from tuneoff.methods.registry import find
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search
from tuneoff.workers.method_host import HostedMethod

from .lines import Line

GOAL_SECONDS = 5.0
RECORD = "record/made/method/seed-1.jsonl"


@dataclass(frozen=True)
class Size:
    """Trials of the search, epochs of each, and the methods to resume."""

    trials: int
    epochs: int = 10
    methods: tuple[str, ...] = ("random", "grid")


FULL = Size(1000)
QUICK = Size(40, methods=("grid",))


class Instant:
    """An objective that trains nothing and computes its metrics from a formula."""

    device = "none"
    peak_memory_bytes = None

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        for number in range(trial.first_epoch + 1, trial.proposal.target_epoch + 1):
            accuracy = (trial.id * 37 % 101) / 101 * (1 - 0.5 / number)
            metrics = {"loss": 1 - accuracy, "accuracy": accuracy, "val_loss": 1 - accuracy, "val_accuracy": accuracy}
            yield Epoch(number, metrics, 0.5)


class Stopwatch:
    """Wrapper of a hosted method that adds up the time of its verbs until its first new ask."""

    def __init__(self, method: HostedMethod, known: int) -> None:
        self._method = method
        self._known = known
        self._asks = 0
        self.own_seconds = 0.0
        self.replayed_at: float | None = None
        self.seconds = 0.0

    def ask(self) -> Any:
        if self._asks == self._known:
            self.replayed_at = time.monotonic()
        self._asks += 1
        return self._timed(self._method.ask())

    def tell(self, trial: Trial) -> None:
        self._method.tell(trial)
        self._timed(None)

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        return bool(self._timed(self._method.should_continue(trial, epoch)))

    def resumable(self) -> Any:
        return self._timed(self._method.resumable())

    def _timed(self, answer: Any) -> Any:
        self.seconds = self._method.seconds
        if self.replayed_at is None:
            self.own_seconds += self.seconds
        return answer


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Make each method's record with a free objective, then resume it with a budget of one more trial."""
    results = []
    for method in size.methods:
        with tempfile.TemporaryDirectory() as place:
            lines = _made(method, size, Path(place, "first"))
            note(f"resume: {method}'s record has {len(lines)} events")
            store = FolderStore(Path(place, "store"))
            store.write(RECORD, b"".join(line + b"\n" for line in lines))
            results.append(_resumed(method, size, store, Path(place, "second")))
    return results


def _made(method: str, size: Size, folder: Path) -> list[bytes]:
    journal = MemoryJournal()
    _search(method, size, size.trials, lambda: journal, folder)
    return journal.lines()


def _resumed(method: str, size: Size, store: FolderStore, folder: Path) -> Line:
    watch, began = _search(method, size, size.trials + 1, lambda: store.journal(RECORD), folder)
    assert watch.replayed_at is not None, "the search must continue with a new trial"
    seconds = watch.replayed_at - began - watch.own_seconds
    name = f"resume {method} with {size.trials} trials"
    return Line(name, seconds, "s", GOAL_SECONDS, note=f"without {watch.own_seconds:.1f} s of the method's own")


def _search(method: str, size: Size, trials: int, journal: Callable[[], Journal], folder: Path) -> tuple[Stopwatch, float]:
    """Resume from the journal and search to the end of the budget. Returns the stopwatch and the opening time of the journal."""
    (folder / "method").mkdir(parents=True)
    hosted = HostedMethod(method, {}, Problem(PAPER_SPACE, size.epochs, 1, folder / "method", trials), folder / "method.log")
    try:
        began = time.monotonic()
        record = Writer(journal())
        known = sum(event["event"] == "asked" for event in record.events)
        record.open(study_id="made")
        watch = Stopwatch(hosted, known)
        budget = Budget(Limits(trials=trials))
        Search(find(method), watch, Instant(), record, budget, ObjectiveSettings(), NoCheckpoints()).run()
        record.close()
        return watch, began
    finally:
        hosted.close()
