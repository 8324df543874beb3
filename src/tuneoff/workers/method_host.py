"""A method in a process of its own, with its hash seed and global random states fixed, because frameworks draw from them."""

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
"""What a method's process needs to be the same each time, and to leave the cores and the GPU to the training."""


class MethodFailed(Exception):
    """The method itself raised, or its process died: the search cannot go on. The message is the method's own."""


class HostedMethod:
    """A method's verbs, passed to its process. `seconds` is the time that the last verb took there."""

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
    """What a study's method is built from, for the search with this seed."""
    budget, goal = study.budget, study.objective
    return Problem(
        study.space,
        budget.epochs_per_trial,
        seed,
        folder,
        budget.trials,
        budget.epochs,
        budget.seconds,
        budget.in_flight,
        metric=goal.metric,
        sign=goal.sign,
    )


def serve(pipe: Connection) -> None:
    """The process's side: build the method, then answer verbs until the pipe closes."""
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
        except Exception as error:  # noqa: BLE001 - whatever a framework raises is the search's reason to end
            traceback.print_exc()
            reply = ("error", f"{type(error).__name__}: {error}", time.perf_counter() - began)
        pipe.send(reply)


def build(name: str, settings: dict[str, Any], problem: Problem) -> Any:
    """The method in this process, after the global random states are seeded."""
    import numpy as np

    random.seed(problem.seed)
    np.random.seed(problem.seed % 2**32)
    return find(name).build(problem, settings)


class Instance:
    """A method in this process; `seconds` is the time that its last verb took by the clock."""

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
