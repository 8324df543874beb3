"""Run all checks of a method in a separate process and return their results, for `tuneoff check-method`."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean
from typing import Any

from ..core.errors import StudyError
from ..core.problem import Limits
from ..core.space import PAPER_SPACE
from ..methods.registry import find
from ..methods.spec import MethodSpec
from ..workers.child import Child, ChildDied
from ..workers.method_host import ENVIRONMENT
from .checks import Check, checks_of, is_no_worse_than_random_search
from .harness import Size, Subject, size_for
from .known_failures import KNOWN
from .real_training import training_of

LAST = 10
"""Number of last proposals whose mean time is the pace of a method. Some models are fitted only before every eighth proposal."""


class Verdict(StrEnum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    KNOWN = "known failure"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """The result of a check. `said` describes the failure, or gives the reason of a known failure or of skipping."""

    check: str
    verdict: Verdict
    seconds: float
    said: str = ""


@dataclass(frozen=True)
class Pace:
    """The time of a method per suggestion on the paper's space.

    Attributes:
        seconds: Mean time of an ask and the tells before it, over the last suggestions.
        suggestions: Number of all suggestions.
    """

    seconds: float
    suggestions: int


def names_of(spec: MethodSpec) -> list[str]:
    """Return the names of the checks of a method that do not train, in their order."""
    return [check.name for check in checks_of(spec)]


def check_method(
    spec: MethodSpec, settings: Mapping[str, Any], size: Size, whole: bool, path: str = ""
) -> Iterator[Result | Pace]:
    """Yield the pace of a method, and then the result of each check after the check has ended.

    A system has no pace. It has only the check that trains.

    Args:
        spec: The spec of the method.
        settings: Its settings.
        size: FULL or QUICK.
        whole: Whether to run the check that trains.
        path: The PYTHONPATH of the process that runs the checks; "" for the current one.

    Raises:
        StudyError: The method is not installed, or it cannot be built on this machine.
    """
    if not spec.installed:
        raise StudyError(f"Method {spec.name} is not installed here: {spec.remedy}.")
    checks = [*names_of(spec), *([training_of(spec).name] if whole else [])]
    with tempfile.TemporaryDirectory(prefix="tuneoff-contract-") as folder:
        child = Child(f"{__name__}:serve", {**ENVIRONMENT, **({"PYTHONPATH": path} if path else {})}, Path(folder, "log"))
        try:
            child.send((spec.name, dict(settings), size, whole, Path(folder)))
            yield from _received(child, spec, checks)
        finally:
            child.close()


def _received(child: Child, spec: MethodSpec, checks: list[str]) -> Iterator[Result | Pace]:
    remaining = list(checks)
    try:
        if spec.kind == "search":
            yield _pace(spec, child.receive())
        while remaining:
            yield child.receive()
            remaining.pop(0)
    except ChildDied as death:
        yield from (Result(name, Verdict.FAILED, 0.0, f"its process ended {death}") for name in remaining)


def _pace(spec: MethodSpec, answer: Pace | str) -> Pace:
    if isinstance(answer, str):
        raise StudyError(f"Method {spec.name} cannot be checked here: {answer.rstrip('.')}.")
    return answer


def serve(pipe: Connection) -> None:
    """Run the checks. This is the main function of the separate process."""
    name, settings, size, whole, folder = pipe.recv()
    subject = Subject(find(name), settings, size)
    checks = [*checks_of(subject.spec), *([training_of(subject.spec)] if whole else [])]
    if subject.spec.kind == "search":
        pace = _pace_or_refusal(subject, folder)
        pipe.send(pace)
        if isinstance(pace, Pace):
            subject = replace(subject, size=size_for(subject.spec, pace.seconds, size))
    for check in checks:
        pipe.send(judged(subject, check, Path(tempfile.mkdtemp(dir=folder))))


def _pace_or_refusal(subject: Subject, folder: Path) -> Pace | str:
    """Return the pace, or the message of the StudyError with which the method refuses to be built."""
    try:
        return pace_of(subject, folder)
    except StudyError as refusal:
        return str(refusal)
    except Exception:  # noqa: BLE001 - the checks report any exception of a framework
        traceback.print_exc()
        return Pace(0.0, 0)


def judged(subject: Subject, check: Check, folder: Path) -> Result:
    """Run one check, and compare its outcome with the known failures."""
    if check.name == is_no_worse_than_random_search.__name__ and not subject.size.seeds:
        return Result(check.name, Verdict.SKIPPED, 0.0, "suggestions take too long for a quick check. Run the full check")
    began = time.perf_counter()
    fault = ""
    try:
        check.run(subject, folder)
    except AssertionError as error:
        fault = str(error)
    except Exception as error:  # noqa: BLE001 - any exception of a framework breaks the promise
        traceback.print_exc()
        fault = f"it raised {type(error).__name__}: {error}"
    seconds = round(time.perf_counter() - began, 2)
    reason = KNOWN.get((subject.spec.name, check.name))
    if reason is None:
        return Result(check.name, Verdict.FAILED if fault else Verdict.PASSED, seconds, fault)
    if fault:
        return Result(check.name, Verdict.KNOWN, seconds, reason)
    message = f"the check passes, but it is a known failure ({reason}). Remove it from contract/known_failures.py"
    return Result(check.name, Verdict.FAILED, seconds, message)


def pace_of(subject: Subject, folder: Path) -> Pace:
    """Measure the pace of a method in a search. Time during which a busy machine ran other processes is not counted."""
    wall, processor = time.perf_counter(), time.process_time()
    asked = subject.search(Path(tempfile.mkdtemp(dir=folder)), PAPER_SPACE, Limits(trials=subject.size.asks)).of("asked")
    running = min(1.0, (time.process_time() - processor) / (time.perf_counter() - wall))
    in_other_process = subject.spec.process_per_search
    return Pace(fmean(e["seconds"] for e in asked[-LAST:]) * (1.0 if in_other_process else running), len(asked))
