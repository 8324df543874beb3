"""Predict a search before it starts: time a few configurations, then run the method without training."""

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
"""The number of configurations whose cost is computed to find the cheapest, a middle and the most expensive one."""
PROBE_EPOCHS = 2
"""The first epoch includes building and tracing; the second is like all later ones."""
FEWEST_TRIALS = 3
"""The number of trials that must have ended in a dry run before the rest of the search is extrapolated."""
MOST_PATIENCE = 8
"""A dry run may take this many times its given time to reach them."""


class Costs:
    """The costs of configurations, computed in a process that builds their models without training."""

    def __init__(self, model: str, input_shape: tuple[int, ...], classes: int, log: Path) -> None:
        self._model = model
        self._known: dict[str, tuple[float, int]] = {}
        self._asking = threading.Lock()
        self._child = Child(f"{__name__}:serve_costs", {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}, log)
        self._child.send((model, input_shape, classes))

    def of(self, config: Config) -> tuple[float, int]:
        """Return the multiplications for one image and the number of weights. Raise StudyError if the model cannot be built."""
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
    """The child process: build models until the pipe closes."""
    model, shape, classes = pipe.recv()
    from ..objectives.keras.cost import size_of

    while True:
        config = pipe.recv()
        try:
            pipe.send((size_of(model, config, shape, classes), None))
        except CellFailed as error:  # the builder cannot be loaded, so every configuration fails
            pipe.send((None, str(error)))
        except Exception as error:  # noqa: BLE001 - any error of the user's builder is reported
            traceback.print_exc()
            pipe.send(((0.0, 0), f"{type(error).__name__}: {error}"[:500].rstrip(".")))


def sample(space: Space, size: int = SAMPLE) -> list[Config]:
    """Return configurations from the whole space, including its two extreme corners. They are the same every time."""
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
    """The measured times of one configuration (means over concurrent workers) and the largest memory use of a worker."""

    config: Config
    cost: float
    start_seconds: float  # of a trial outside its epochs: building and tracing
    epoch_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Pace:
    """The duration of trials by their cost: interpolated between the timings, extrapolated beyond them."""

    timings: tuple[Timing, ...]  # in order of increasing cost
    images: float  # images of the whole data per image of the probe

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
    """Train each configuration (with its cost) for two epochs, in as many workers at once as a run would have.

    Returns:
        The timings, the seconds that a worker takes to start, and the device.

    Raises:
        StudyError: A configuration cannot be trained.
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
            warming = fmean(c[0] for c in pool.map(partial(_train, 0, first), workers))  # the first trial of a process is slower
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
    """The prediction of a search: from a dry run to its end, or as far as time allowed with the rest extrapolated."""

    trials: int
    epochs: int
    seconds: float  # from its first proposal to its end, with trials in flight at the same time
    method_seconds: float
    start_seconds: float  # until the method was ready
    ended: str | None  # the reason of its end; None if the budget ends it or the dry run was cut short


@dataclass(frozen=True)
class Unestimated:
    """A search that the dry run could not predict, and why."""

    why: str


@dataclass
class _Actor:
    """An objective that answers at once with the seconds that training would take and with invented metrics."""

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
    """Run one search of the method with invented metrics, for about `patience_seconds` of its own time.

    A method that has hardly begun by then (for example, one that starts servers on a busy machine) gets more time, until enough
    trials have ended to extrapolate the rest. If even that is not enough, the result is `Unestimated`.

    Raises:
        StudyError: The method is not installed or fails.
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
    """Return the seconds that the search would have used by now, also in the middle of a trial."""
    return actor.seconds + spending.spent.method_seconds


def _course(
    record: Writer, actor: _Actor, executor: SimulatedExecutor, spending: Budget, start_seconds: float
) -> PlannedSearch | None:
    """Return the prediction, or None if the dry run saw too little of the search."""
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
    # The method's model of the space becomes slower with each trial, so the rest is charged like the last proposals. The first
    # proposal does not count, because frameworks start up in it.
    later = [t.ask_seconds for t in seen.trials[1:]][-5:] or [spent.method_seconds]
    method = spent.method_seconds + fmean(later) * len(seen.trials) * more
    trials, epochs = round(begun * (1 + more)), round(trained * (1 + more))
    training = (executor.now - spent.method_seconds) * (1 + more)
    return PlannedSearch(trials, epochs, training + method, method, start_seconds, None)


def _part(trial: TrialRecord) -> float:
    """Return the trained share of a trial. The last trials were cut off at the end of the dry run."""
    return 1.0 if trial.trial.outcome is not None else len(trial.curve) / trial.trial.asked_epochs
