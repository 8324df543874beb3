"""Run a method in a separate process with a fixed hash seed and fixed global random states, which frameworks use."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Mapping, Set
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from ..core.errors import StudyError
from ..core.problem import Done, Epoch, Problem, Proposal, Trial, TrialId, Wait
from ..core.study import Study
from ..methods.registry import find
from .child import Child, ChildDied

ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
"""Environment variables that make a method's process reproducible, and leave the CPU cores and the GPU to the training."""


class MethodFailed(Exception):
    """The method raised an exception or its process died, so the search cannot continue. The message gives the reason."""


class HostedMethod:
    """A method that runs in a child process. `seconds` is the time that the last verb took there."""

    def __init__(self, name: str, settings: Mapping[str, Any], problem: Problem, log: Path) -> None:
        self._name = name
        self.seconds = 0.0
        self._child = Child(f"{__name__}:serve", ENVIRONMENT, log)
        self._call("build", name, dict(settings), problem)

    def ask(self) -> Proposal | Wait | Done:
        return cast(Proposal | Wait | Done, self._call("ask"))

    def tell(self, trial: Trial) -> None:
        self._call("tell", trial)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return bool(self._call("should_continue", trial, epoch))

    def resumable(self) -> Set[TrialId]:
        return cast(Set[TrialId], self._call("resumable"))

    def close(self) -> None:
        self._child.close()

    def _call(self, verb: str, *arguments: object) -> object:
        try:
            self._child.send((verb, *arguments))
            kind, value, self.seconds = self._child.receive()
        except ChildDied as death:
            raise MethodFailed(f"the process of method {self._name} ended {death} in {verb}") from None
        if kind == "error":
            raise MethodFailed(f"method {self._name} failed in {verb}: {value}")
        return value


def problem_of(study: Study, seed: int, folder: Path) -> Problem:
    """Return the problem of a study's search with this seed, from which the method is built."""
    budget, objective = study.budget, study.objective
    return Problem(
        study.space,
        budget.epochs_per_trial,
        seed,
        folder,
        budget.trials,
        budget.epochs,
        budget.seconds,
        budget.in_flight,
        metric=objective.metric,
        sign=objective.sign,
    )


def serve(pipe: Connection) -> None:
    """Build the method, and then answer verbs until the pipe closes. This is the main function of the child process."""
    method: Any = None
    while True:
        verb, *arguments = pipe.recv()
        began = time.perf_counter()
        try:
            if verb == "build":
                method = build(*arguments)
                answer = None
            else:
                answer = getattr(method, verb)(*arguments)
            reply = ("answer", answer, time.perf_counter() - began)
        except StudyError as refusal:
            reply = ("error", str(refusal), time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - any exception of a framework ends the search
            traceback.print_exc()
            reply = ("error", f"{type(error).__name__}: {error}", time.perf_counter() - began)
        pipe.send(reply)


def build(name: str, settings: dict[str, Any], problem: Problem) -> Any:
    """Seed the global random states, and build the method in this process."""
    import numpy as np

    random.seed(problem.seed)
    np.random.seed(problem.seed % 2**32)
    return find(name).build(problem, settings)


class Instance:
    """A method that runs in this process. `seconds` is the time that the last verb took."""

    def __init__(self, method: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self._method = method
        self._clock = clock
        self.seconds = 0.0

    def ask(self) -> Proposal | Wait | Done:
        return cast(Proposal | Wait | Done, self._timed("ask"))

    def tell(self, trial: Trial) -> None:
        self._timed("tell", trial)

    def should_continue(self, trial: TrialId, epoch: Epoch) -> bool:
        return bool(self._timed("should_continue", trial, epoch))

    def resumable(self) -> Set[TrialId]:
        return cast(Set[TrialId], self._timed("resumable"))

    def _timed(self, verb: str, *arguments: object) -> object:
        began = self._clock()
        answer = getattr(self._method, verb)(*arguments)
        self.seconds = self._clock() - began
        return answer
