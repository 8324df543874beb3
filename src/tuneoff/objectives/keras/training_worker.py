"""Train trials with Keras in a worker process: this module holds both sides of the pipe."""

from __future__ import annotations

import errno
import math
import os
import time
import traceback
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...core.errors import CellFailed, Settled
from ...core.problem import Checkpoint, Epoch, Inherit, TrainingFailed, Trial
from ...core.study import ObjectiveSettings, Training
from ...workers.child import Child, ChildDied, ChildSilent
from ..executor import WorkerDied

SLOWEST_START_SECONDS = 600.0
"""The time that a worker may take to import Keras and open the data."""


@dataclass(frozen=True)
class Workplace:
    """The data, the model and the training settings of a worker."""

    data: Path  # the folder of a prepared data set
    model: str
    training: Training
    goal: ObjectiveSettings
    threads: int
    recording: bool = False
    """True while a table is built: the test part is scored after each epoch, every model is traced again, and seconds are
    processor time, so that they do not depend on other load."""


@dataclass(frozen=True)
class Patience:
    """How many seconds to wait for a worker. None means no limit."""

    trial_seconds: float | None = None  # for a whole trial, which then has failed
    hang_seconds: float | None = None  # without progress, after which the process is taken as hanging


@dataclass(frozen=True)
class Job:
    """The description of one trial that a worker receives."""

    config: dict[str, Any]
    seed: tuple[int, int]  # the search's seed and the trial's number, so that all methods get the same random draws
    first_epoch: int
    target_epoch: int
    inherit: Inherit
    load: Path | None
    save: Path | None


class Worker:
    """A long-lived training process, used as an Objective. It starts with the first trial and again after it died."""

    def __init__(self, workplace: Workplace, log: Path, patience: Patience = Patience()) -> None:
        self._workplace = workplace
        self._patience = patience
        self._log = log
        self._child: Child | None = None
        self._seed = 0
        self._ready = False
        self.device = "not started"
        self.peak_memory_bytes: int | None = None

    def start(self) -> None:
        """Start the process, so that it imports Keras while the method starts."""
        if self._child is None:
            threads = str(self._workplace.threads)
            self._child = Child(f"{__name__}:serve", {"OMP_NUM_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "2"}, self._log)
            self._child.send(self._workplace)

    def serve_search(self, seed: int) -> None:
        """Serve the search with this seed from now on. Raise CellFailed if the model's module cannot be loaded."""
        self._seed = seed
        self.start()
        if not self._ready:
            try:
                kind, value, _ = self._receive(SLOWEST_START_SECONDS)
            except ChildSilent:
                self._kill()
                raise WorkerDied(f"since it hung: it has not started within {SLOWEST_START_SECONDS:g} s") from None
            if kind == "stuck":
                self.close()
                raise Settled(value)
            self.device = value
            self._ready = True

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        checkpoint = checkpoint or Checkpoint()
        self.serve_search(self._seed)
        proposal = trial.proposal
        job = Job(
            dict(proposal.config),
            (self._seed, trial.id),
            trial.first_epoch,
            proposal.target_epoch,
            checkpoint.inherit,
            checkpoint.load,
            checkpoint.save,
        )
        self._send(job)
        limit = self._patience.trial_seconds
        deadline = None if limit is None else time.monotonic() + limit
        while True:
            epoch = self._answer(deadline)
            if epoch is None:
                return
            said = time.monotonic()
            try:
                yield epoch
            except GeneratorExit:
                self._stop()
                return
            if deadline is not None:
                deadline += time.monotonic() - said  # the worker did not train in the meantime
            self._send(True)

    def _stop(self) -> None:
        """Make the worker end the trial after this epoch and save its weights."""
        self._send(False)
        self._answer(None)

    def _answer(self, deadline: float | None) -> Epoch | None:
        """Return the trial's next epoch, or None at its end. Raise TrainingFailed if it fails or takes too long."""
        hang, limit = self._patience.hang_seconds, self._patience.trial_seconds
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            kind, value, self.peak_memory_bytes = self._receive(_least(left, hang))
        except ChildSilent:
            self._kill()
            if left is not None and (hang is None or left < hang):
                raise TrainingFailed(f"it trained for longer than trial_seconds = {limit:g}") from None
            raise WorkerDied(f"since it hung: it said nothing for {hang:g} s") from None
        if kind == "failed":
            raise TrainingFailed(value)
        if kind == "stuck":
            raise CellFailed(value)
        return value if kind == "epoch" else None

    def _send(self, message: object) -> None:
        assert self._child is not None
        try:
            self._child.send(message)
        except ChildDied as death:
            raise self._died(death) from None

    def _receive(self, patience_seconds: float | None) -> Any:
        assert self._child is not None
        try:
            return self._child.receive(patience_seconds)
        except ChildDied as death:
            raise self._died(death) from None

    def _died(self, death: ChildDied) -> WorkerDied:
        self.close()
        return WorkerDied(str(death))

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
        self.close()

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child = None
        self._ready = False


def _least(*numbers: float | None) -> float | None:
    return min((n for n in numbers if n is not None), default=None)


# The worker process's side


def serve(pipe: Connection) -> None:
    """Train jobs until the pipe closes. A search opens only the train and validation parts of the data."""
    workplace: Workplace = pipe.recv()
    from .learner import PeakMemory, set_up
    from .model import builder

    device = set_up(workplace.training, workplace.threads)
    try:
        builder(workplace.model)
    except CellFailed as fault:
        traceback.print_exc()
        pipe.send(("stuck", str(fault), None))
        return
    executor = _Bench(workplace, PeakMemory(), device.startswith("gpu"))
    pipe.send(("ready", device, None))
    while True:
        job: Job = pipe.recv()
        try:
            executor.train(job, pipe)
            pipe.send(("done", None, executor.memory.read()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001 - any error of Keras or the user's builder is the outcome of the trial
            traceback.print_exc()
            pipe.send((*_fault(error), executor.memory.read()))


_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def _fault(error: Exception) -> tuple[str, str]:
    """Return what failed: the trial, or the machine ("stuck"), on which any other trial would fail too."""
    if isinstance(error, CellFailed):
        return "stuck", str(error)
    said = f"{type(error).__name__}: {error}"[:2000]
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = f" ({error.filename})" if error.filename else ""
        return "stuck", f"what a trial has to save cannot be written: {error.strerror}{where}"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "failed", f"out of memory ({said})"
    return "failed", said


class _Bench:
    """The data of a worker and its training of a job: one model, or one per fold."""

    def __init__(self, workplace: Workplace, memory: Any, on_gpu: bool) -> None:
        self._workplace = workplace
        self.memory = memory
        self._parts, self._classes = _parts(workplace.data)
        self._test = _test_part(workplace.data) if workplace.recording else None
        self._clock = time.process_time if workplace.recording and not on_gpu else time.monotonic

    def train(self, job: Job, pipe: Connection) -> None:
        from .learner import Learner
        from .model_cache import forget

        self.memory.reset()
        place = self._workplace
        shape = self._parts[0][0].shape[1:]
        began = self._clock()
        learners: list[Learner] = []
        try:
            for fold in range(len(self._parts)):
                learners.append(Learner(place.model, job.config, place.training, shape, self._classes, _seed(job, fold)))
                if job.load is not None:
                    learners[fold].take_over(job.load, job.inherit, fold)
            keeper = _Keeper(job, place.goal)
            for number in range(job.first_epoch + 1, job.target_epoch + 1):
                metrics = self._epoch(learners, number)
                keeper.note(metrics, learners)
                seconds = self._clock() - began
                epoch = Epoch(number, metrics | self._tested(learners), seconds)
                pipe.send(("epoch", epoch, self.memory.read()))
                if not pipe.recv():
                    break
                began = self._clock()
            keeper.save(learners)
        finally:
            for learner in learners:
                learner.close()
            if place.recording:
                forget()

    def _epoch(self, learners: list[Any], number: int) -> dict[str, float]:
        folds = [
            learner.train(number, x, y, (x_val, y_val))
            for learner, (x, y, x_val, y_val) in zip(learners, self._parts, strict=True)
        ]
        return _means(folds)

    def _tested(self, learners: list[Any]) -> dict[str, float]:
        if self._test is None:
            return {}
        x, y = self._test
        return {f"test_{name}": value for name, value in _means([learner.test(x, y) for learner in learners]).items()}


def _means(folds: list[dict[str, float]]) -> dict[str, float]:
    return {name: math.fsum(f[name] for f in folds) / len(folds) for name in folds[0]}


def _test_part(data: Path) -> tuple[Any, Any]:
    from ...core.prepared_data import load_part

    return load_part(data, "test")


def _seed(job: Job, fold: int) -> int:
    from .learner import seed_of

    return seed_of(*job.seed, fold)


def _parts(data: Path) -> tuple[list[tuple[Any, Any, Any, Any]], int]:
    """Return (x_train, y_train, x_validation, y_validation), one per fold, and the number of classes."""
    import numpy as np

    from ...core.prepared_data import Prepared, load_folds, load_part

    prepared = Prepared.read(data)
    x, y = load_part(data, "train")
    if prepared.folds is None:
        return [(x, y, *load_part(data, "validation"))], len(prepared.classes)
    fold = load_folds(data)
    masks = [fold == k for k in range(prepared.folds)]
    return [(np.asarray(x[~m]), np.asarray(y[~m]), np.asarray(x[m]), np.asarray(y[m])) for m in masks], len(prepared.classes)


class _Keeper:
    """Keep a trial's best weights, and write its checkpoint if a later trial may resume it."""

    def __init__(self, job: Job, goal: ObjectiveSettings) -> None:
        self._file = job.save
        self._goal = goal
        self._least = math.inf
        self._best: list[list[Any]] = []

    def note(self, metrics: dict[str, float], learners: list[Any]) -> None:
        loss = self._goal.sign * metrics[self._goal.metric]
        if self._file is not None and loss < self._least:
            self._least = loss
            self._best = [learner.weights() for learner in learners]

    def save(self, learners: list[Any]) -> None:
        from .learner import save_checkpoint

        if self._file is None or not self._best:
            return
        os.makedirs(self._file.parent, exist_ok=True)
        folds = [
            {"last": learner.weights(), "optimizer": learner.state(), "best": best}
            for learner, best in zip(learners, self._best, strict=True)
        ]
        save_checkpoint(self._file, folds)
