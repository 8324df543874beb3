"""A toy search: a fast method, a fast objective, and everything else that the search loop needs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from tuneoff.core.problem import Checkpoint, Done, Epoch, Inherit, Limits, Problem, Proposal, TrainingFailed, Trial
from tuneoff.core.record.events import Event
from tuneoff.core.record.writer import Writer
from tuneoff.core.space import Space
from tuneoff.core.store.journal import FileJournal
from tuneoff.core.study import ObjectiveSettings
from tuneoff.methods.spec import MethodSpec
from tuneoff.objectives.executor import WorkerDied
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search

SPACE = Space.model_validate({"x": {"type": "float", "low": 0.0, "high": 1.0}, "n": {"type": "int", "low": 1, "high": 9}})


def toy_spec(**changes: Any) -> MethodSpec:
    """Return the spec of a toy method, with changes."""
    fields: dict[str, Any] = {"name": "toy", "framework": "numpy", "package": "numpy", "stop_rule": True}
    return MethodSpec(**{**fields, **changes})


class Halving:
    """Draw at random and train 2 epochs. Every third ask resumes the best trial so far to 6 epochs. Bad trials are stopped.

    The draws depend on the told trials, so an incomplete replay gives other draws.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._told: dict[int, Trial] = {}
        self._continued: set[int] = set()
        self._asks = 0
        self.seconds = 0.001

    def ask(self) -> Proposal | Done:
        self._asks += 1
        open_ = [i for i, t in self._told.items() if t.outcome and t.outcome.loss is not None and i not in self._continued]
        if self._asks % 3 == 0 and open_:
            parent = min(open_, key=lambda i: (self._told[i].outcome.loss, i))  # type: ignore[union-attr]
            self._continued.add(parent)
            if self._told[parent].proposal.target_epoch < 6:
                return Proposal(self._told[parent].proposal.config, 6, parent, Inherit.STATE)
        self._random.random()
        return Proposal({"x": self._random.random(), "n": self._random.randint(1, 9)}, 2)

    def tell(self, trial: Trial) -> None:
        self._told[trial.id] = trial
        if trial.outcome is not None and trial.outcome.loss is not None:
            self._random.seed(f"{self._random.random()}{trial.outcome.loss}")

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        return epoch.metrics["val_accuracy"] > 0.15


class Plain:
    """Draw `points` configurations at random and train each for `epochs` epochs."""

    def __init__(self, epochs: int = 3, points: int = 10**6, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._epochs, self._points = epochs, points
        self.told: list[Trial] = []
        self.seconds = 0.0

    def ask(self) -> Proposal | Done:
        if self._points == 0:
            return Done("no more points")
        self._points -= 1
        return Proposal({"x": self._random.random(), "n": self._random.randint(1, 9)}, self._epochs)

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)

    def should_continue(self, trial: int, epoch: Epoch) -> bool:
        return True


class Curve:
    """An objective that is a formula of configuration and epoch.

    Args:
        diverging: Trials that diverge.
        failing: Trials that fail.
        deadly: Trials that kill their worker, each with the number of times.
    """

    device = "toy"
    peak_memory_bytes = None

    def __init__(
        self, diverging: tuple[int, ...] = (), failing: tuple[int, ...] = (), deadly: dict[int, int] | None = None
    ) -> None:
        self._diverging, self._failing = diverging, failing
        self._deadly = dict(deadly or {})
        self.trained: list[tuple[int, int]] = []

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        if trial.id in self._failing:
            raise TrainingFailed("ValueError: no such layer")
        for number in range(trial.first_epoch + 1, trial.proposal.target_epoch + 1):
            if self._deadly.get(trial.id, 0) > 0 and number == trial.first_epoch + 2:
                self._deadly[trial.id] -= 1
                raise WorkerDied("by signal 9")
            self.trained.append((trial.id, number))
            broken = trial.id in self._diverging and number == trial.first_epoch + 2
            yield Epoch(number, metrics(trial, number, broken), 0.5)


def metrics(trial: Trial, number: int, broken: bool = False) -> dict[str, float]:
    """Return the metrics of an epoch, which are a formula of the configuration."""
    digest = hashlib.sha256(f"{sorted(trial.proposal.config.items())}{number}".encode()).digest()
    accuracy = digest[0] / 255 * (1 - 1 / (number + 1))
    loss = float("nan") if broken else 1 - accuracy
    return {"loss": loss, "accuracy": accuracy, "val_loss": loss, "val_accuracy": accuracy}


def toy_search(
    log: Path,
    method: Any = None,
    objective: Any = None,
    limits: Limits | None = None,
    spec: MethodSpec | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Search, Writer]:
    """Return a search over the toy space, ready to run or to resume. Its record is the file `log`."""
    record = Writer(FileJournal(log, patience_seconds=0.2))
    record.open(study_id="toy")
    search = Search(
        spec or toy_spec(),
        method or Halving(),
        objective or Curve(),
        record,
        Budget(limits or Limits(epochs=40)),
        ObjectiveSettings(),
        NoCheckpoints(),
        stopping,
    )
    return search, record


def run_toy(log: Path, **parts: Any) -> list[Event]:
    """Run a toy search to its end, unless it has ended, and return its events."""
    search, record = toy_search(log, **parts)
    try:
        if record.ended is None:
            search.run()
        return list(record.events)
    finally:
        record.close()


def essence(events: list[Event]) -> list[dict[str, Any]]:
    """Return the events without the fields and events that a restart changes."""
    changing = {"seq", "time", "attempt", "seconds"}
    restarts = ("opened", "started", "died", "cut")
    return [{k: v for k, v in e.items() if k not in changing} for e in events if e["event"] not in restarts]


def problem(folder: Path, space: Space = SPACE, seed: int = 0, max_epochs: int = 9, **limits: Any) -> Problem:
    """Return a problem for a space."""
    return Problem(space, max_epochs, seed, folder, **limits)
