"""What a search will be like, before it starts: a few configurations timed, its course rehearsed without training."""

from __future__ import annotations

import hashlib
import random
import tempfile
import threading
import time
import traceback
from bisect import bisect
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean

from ..core.errors import CellFailed, StudyError
from ..core.problem import Checkpoint, Epoch, Proposal, TrainingFailed, Trial
from ..core.record.state import TrialRecord, reduce_events
from ..core.record.writer import Writer
from ..core.space import Categorical, Config, Space
from ..core.store.journal import FileJournal
from ..core.study import MethodChoice, Study
from ..methods.registry import find
from ..objectives.executor import SimulatedExecutor, WorkerDied
from ..objectives.keras.training_worker import Worker, Workplace
from ..search.budget import Budget
from ..search.checkpoints import NoCheckpoints
from ..search.loop import Search
from ..workers.child import Child, ChildDied
from ..workers.method_host import HostedMethod, MethodFailed, problem_of

SAMPLE = 48
"""Configurations whose cost is looked at to find the cheapest, the middle and the dearest."""
PROBE_EPOCHS = 2
"""The first holds building and tracing, the second is an epoch as all others are."""
FEWEST_TRIALS = 3
"""So many must have ended in a rehearsal before the rest of a search is extrapolated from them."""
MOST_PATIENCE = 8
"""So many times as long as was given a rehearsal goes on to see those."""


class Costs:
    """Costs of configurations, from a process that builds their models and trains none."""

    def __init__(self, model: str, input_shape: tuple[int, ...], classes: int, log: Path) -> None:
        self._model = model
        self._known: dict[str, tuple[float, int]] = {}
        self._asking = threading.Lock()
        self._child = Child(f"{__name__}:serve_costs", {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}, log)
        self._child.send((model, input_shape, classes))

    def of(self, config: Config) -> tuple[float, int]:
        """Multiplications for one image, and weights; StudyError where the user's builder cannot build the configuration."""
        key = repr(sorted(config.items()))
        with self._asking:
            if key not in self._known:
                self._known[key] = self._ask(config)
        return self._known[key]

    def _ask(self, config: Config) -> tuple[float, int]:
        try:
            self._child.send(dict(config))
            size, fault = self._child.receive()
        except ChildDied as death:
            size, fault = (0.0, 0), f"its process ended {death}"
        if size is None:
            raise StudyError(f"{fault}.")
        if fault:
            raise StudyError(f"model {self._model!r} cannot be built for {dict(config)}: {fault}.")
        return float(size[0]), int(size[1])

    def close(self) -> None:
        self._child.close()


def serve_costs(pipe: Connection) -> None:
    """The process's side: build models until the pipe closes."""
    model, shape, classes = pipe.recv()
    from ..objectives.keras.cost import size_of

    while True:
        config = pipe.recv()
        try:
            pipe.send((size_of(model, config, shape, classes), None))
        except CellFailed as error:  # the builder cannot be loaded, whatever the configuration
            pipe.send((None, str(error)))
        except Exception as error:  # noqa: BLE001 - whatever the user's builder raises is what is wrong with it
            traceback.print_exc()
            pipe.send(((0.0, 0), f"{type(error).__name__}: {error}"[:500].rstrip(".")))


def sample(space: Space, size: int = SAMPLE) -> list[Config]:
    """Configurations from all over the space, among them its two extreme corners; the same ones every time."""
    rng = random.Random(0)
    draws: list[Callable[[], float]] = [lambda: 0.0, lambda: 1.0, *[rng.random] * (size - 2)]
    return [space.activate({name: _at(parameter, draw()) for name, parameter in space.items()}) for draw in draws]


def _at(parameter: object, share: float) -> object:
    if isinstance(parameter, Categorical):
        return parameter.values[min(int(share * len(parameter.values)), len(parameter.values) - 1)]
    low, high = parameter.low, parameter.high  # type: ignore[attr-defined]
    if parameter.log:  # type: ignore[attr-defined]
        return low * (high / low) ** share
    return low + share * (high - low)


# Timings


@dataclass(frozen=True)
class Timing:
    """One configuration's measured times, the mean over workers side by side, and the most memory that one of them used."""

    config: Config
    cost: float
    start_seconds: float  # of a trial, beside its epochs: building, tracing
    epoch_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Pace:
    """How long trials take, by their cost: between the timings, and along the outer ones beyond them."""

    timings: tuple[Timing, ...]  # the cheapest first
    images: float  # of the whole data for one of the probe's

    def start_seconds(self, cost: float) -> float:
        return self._between(cost, [t.start_seconds for t in self.timings])

    def epoch_seconds(self, cost: float) -> float:
        return self.images * self._between(cost, [t.epoch_seconds for t in self.timings])

    def _between(self, cost: float, values: Sequence[float]) -> float:
        costs = [t.cost for t in self.timings]
        if len(costs) == 1 or cost <= costs[0]:
            return values[0]
        above = min(bisect(costs, cost), len(costs) - 1)
        low, high = costs[above - 1], costs[above]
        share = (cost - low) / (high - low)
        return max(values[above - 1] + share * (values[above] - values[above - 1]), min(values))


def measure(
    configs: Sequence[tuple[Config, float]], workplace: Workplace, side_by_side: int, logs: Path, note: Callable[[str], None]
) -> tuple[list[Timing], float, str]:
    """Train each configuration (with its cost) for two epochs, in so many workers at once as a run would have.

    Returns the timings, the seconds that a worker takes to start, and the device. StudyError where a configuration fails.
    """
    workers = [Worker(workplace, logs / f"probe-{number}.log") for number in range(side_by_side)]
    try:
        with ThreadPoolExecutor(side_by_side) as pool:
            began = time.monotonic()
            list(pool.map(lambda worker: worker.serve_search(0), workers))
            start_seconds = time.monotonic() - began
            device = workers[0].device
            timings = []
            first = configs[0][0]
            warming = fmean(c[0] for c in pool.map(partial(_train, 0, first), workers))  # a process's first trial is slower
            for number, (config, cost) in enumerate(configs):
                curves = list(pool.map(partial(_train, number, config), workers))
                timings.append(_timing(config, cost, curves, [w.peak_memory_bytes or 0 for w in workers]))
                note(f"a configuration of cost {cost:.2g}: {timings[-1].epoch_seconds:.2f} s an epoch")
            start_seconds += max(0.0, warming - timings[0].start_seconds - timings[0].epoch_seconds)
    except WorkerDied as death:
        raise StudyError(f"the worker that trained a configuration to measure it ended {death}.") from None
    finally:
        for worker in workers:
            worker.close()
    return timings, start_seconds, device


def _train(number: int, config: Config, worker: Worker) -> list[float]:
    try:
        with closing(worker(Trial(number, number, Proposal(config, PROBE_EPOCHS), 0), None)) as epochs:
            return [epoch.seconds for epoch in epochs]
    except TrainingFailed as error:
        raise StudyError(f"the configuration {dict(config)} cannot be trained: {error}.") from None


def _timing(config: Config, cost: float, curves: Sequence[Sequence[float]], memory: Sequence[int]) -> Timing:
    epoch = fmean(seconds for curve in curves for seconds in curve[1:])
    start = fmean(max(0.0, curve[0] - epoch) for curve in curves)
    return Timing(config, cost, start, epoch, max(memory))


# The course of a search


@dataclass(frozen=True)
class PlannedSearch:
    """A search as it will go: rehearsed to its end, or as far as time allowed and the rest extrapolated."""

    trials: int
    epochs: int
    seconds: float  # from its first ask to its end, trials in flight side by side
    method_seconds: float
    start_seconds: float  # until the method could be asked
    ended: str | None  # why, where the budget is not what ends it or the rehearsal was cut short: None


@dataclass(frozen=True)
class Unestimated:
    """A search whose course a rehearsal could not tell."""

    why: str


@dataclass
class _Actor:
    """An objective that answers at once with the seconds that training would take and made-up figures."""

    costs: Costs
    pace: Pace
    seconds: float = 0.0  # that all training so far would have taken
    device: str = "rehearsal"
    peak_memory_bytes: int | None = None

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        config = trial.proposal.config
        cost, _ = self.costs.of(config)
        start, each = self.pace.start_seconds(cost), self.pace.epoch_seconds(cost)
        digest = hashlib.sha256(repr(sorted(config.items())).encode()).digest()
        for number in range(trial.first_epoch + 1, trial.proposal.target_epoch + 1):
            accuracy = 0.5 + 0.4 * digest[0] / 255 * (1 - 1 / (number + 1))
            figures = {"loss": 1 - accuracy, "accuracy": accuracy, "val_loss": 1 - accuracy, "val_accuracy": accuracy}
            seconds = each + (start if number == trial.first_epoch + 1 else 0.0)
            self.seconds += seconds
            yield Epoch(number, figures, seconds)


def rehearse(
    study: Study, choice: MethodChoice, costs: Costs, pace: Pace, logs: Path, patience_seconds: float
) -> PlannedSearch | Unestimated:
    """Lead the method through one search with made-up figures, for about `patience_seconds` of its own time.

    A method that has hardly begun by then (one that starts servers, on a busy machine) gets more, until a few of its trials have
    ended, from which the rest can be extrapolated; where even that is not enough, nothing is told of its course.
    StudyError where the method is not installed or fails.
    """
    spec = find(choice.name)
    if not spec.installed:
        raise StudyError(f"method {choice.name} is not installed: {spec.remedy}.")
    budget, goal, seed = study.budget, study.objective, study.seeds[0]
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as scratch:
        problem = problem_of(study, seed, Path(scratch))
        began = time.monotonic()
        try:
            method = HostedMethod(spec.name, choice.settings, problem, logs / f"method-{choice.label}.log")
        except MethodFailed as error:
            raise StudyError(f"{error}.") from None
        ready = time.monotonic()
        record = Writer(FileJournal(Path(scratch, "events.jsonl")))
        try:
            actor, spending = _Actor(costs, pace), Budget(budget.limits, study.trainings)
            executor = SimulatedExecutor(actor, budget.in_flight)

            def stopping() -> bool:
                return _late(time.monotonic() - ready, patience_seconds, record)

            search = Search(spec, method, executor, record, spending, goal, NoCheckpoints(), stopping)
            search.run()
            course = _course(record, actor, executor, spending, ready - began)
            return course or Unestimated(
                f"it began too slowly to tell: {_told(record)} trials in {time.monotonic() - ready:.0f} s"
            )
        except MethodFailed as error:
            raise StudyError(f"{error}.") from None
        finally:
            method.close()
            record.close()


def _late(seconds: float, patience_seconds: float, record: Writer) -> bool:
    if seconds <= patience_seconds:
        return False
    return seconds > MOST_PATIENCE * patience_seconds or _told(record) >= FEWEST_TRIALS


def _told(record: Writer) -> int:
    return sum(e["event"] == "told" for e in record.events)


def _seconds(actor: _Actor, spending: Budget) -> float:
    """What the search would have used by now of its budget, in the middle of a trial too."""
    return actor.seconds + spending.spent.method_seconds


def _course(
    record: Writer, actor: _Actor, executor: SimulatedExecutor, spending: Budget, start_seconds: float
) -> PlannedSearch | None:
    """None where too little of the search was seen."""
    seen = reduce_events(record.events, "", "", 0)
    spent, limits = spending.spent, spending.limits
    if seen.ended is not None:
        reason = seen.ended["reason"]
        return PlannedSearch(spent.trials, spent.epochs, executor.now, spent.method_seconds, start_seconds, reason)
    begun = sum(_part(t) for t in seen.trials if t.trial.proposal.parent is None)
    trained = spending.trainings * sum(len(t.curve) for t in seen.trials)
    used = [(begun, limits.trials), (trained, limits.epochs), (_seconds(actor, spending), limits.seconds)]
    share = max(done / limit for done, limit in used if limit)
    if _told(record) < FEWEST_TRIALS and share < 1:
        return None
    more = max(0.0, 1 / share - 1)
    # A model of the search space grows dearer with each trial: the rest is charged as the last asks were, not as all were. The
    # first one, in which frameworks start what they need, is no measure.
    later = [t.ask_seconds for t in seen.trials[1:]][-5:] or [spent.method_seconds]
    method = spent.method_seconds + fmean(later) * len(seen.trials) * more
    trials, epochs = round(begun * (1 + more)), round(trained * (1 + more))
    training = (executor.now - spent.method_seconds) * (1 + more)
    return PlannedSearch(trials, epochs, training + method, method, start_seconds, None)


def _part(trial: TrialRecord) -> float:
    """So much of a trial was trained: the last ones were cut off with the rehearsal."""
    return 1.0 if trial.trial.outcome is not None else len(trial.curve) / trial.trial.asked_epochs
