"""All checks of a method in one process of its own, each with its result; what `tuneoff check-method` runs."""

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
"""A method's pace is the mean of so many of its last suggestions: a model may be fitted before each, or before every eighth."""


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    KNOWN = "known failure"
    LEFT = "left to the full check"


@dataclass(frozen=True)
class Result:
    """One check of one method. `said` is what was wrong, or the reason of a known failure."""

    check: str
    verdict: Verdict
    seconds: float
    said: str = ""


@dataclass(frozen=True)
class Pace:
    """How long a suggestion takes on the paper's space: the method's own ask and the tells before it."""

    seconds: float
    suggestions: int  # the last of so many


def names_of(spec: MethodSpec) -> list[str]:
    """The checks that its process runs, in their order."""
    return [check.name for check in checks_of(spec)]


def check_method(
    spec: MethodSpec, settings: Mapping[str, Any], size: Size, whole: bool, path: str = ""
) -> Iterator[Result | Pace]:
    """The method's pace, then each check's result as it comes. `whole` also trains for real.

    A system has no pace, and the check that trains alone. StudyError where the method is not installed, or says that it cannot be
    had on this machine.
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
    left = list(checks)
    try:
        if spec.kind == "search":
            yield _pace(spec, child.receive())
        while left:
            yield child.receive()
            left.pop(0)
    except ChildDied as death:
        yield from (Result(name, Verdict.FAILED, 0.0, f"its process ended {death}") for name in left)


def _pace(spec: MethodSpec, said: Pace | str) -> Pace:
    if isinstance(said, str):
        raise StudyError(f"Method {spec.name} cannot be checked here: {said.rstrip('.')}.")
    return said


def serve(pipe: Connection) -> None:
    """The process's side."""
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
    """The refusal is the method's own sentence, a StudyError's, that it cannot be had here."""
    try:
        return pace_of(subject, folder)
    except StudyError as refusal:
        return str(refusal)
    except Exception:  # noqa: BLE001 - whatever a framework raises: the checks will say what it is
        traceback.print_exc()
        return Pace(0.0, 0)


def judged(subject: Subject, check: Check, folder: Path) -> Result:
    """Run one check, and hold its end against what is known of the method."""
    if check.name == is_no_worse_than_random_search.__name__ and not subject.size.seeds:
        return Result(check.name, Verdict.LEFT, 0.0, "its suggestions take too long for a quick check")
    began = time.perf_counter()
    fault = ""
    try:
        check.run(subject, folder)
    except AssertionError as error:
        fault = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a framework raises breaks the promise
        traceback.print_exc()
        fault = f"it raised {type(error).__name__}: {error}"
    seconds = round(time.perf_counter() - began, 2)
    reason = KNOWN.get((subject.spec.name, check.name))
    if reason is None:
        return Result(check.name, Verdict.FAILED if fault else Verdict.PASSED, seconds, fault)
    if fault:
        return Result(check.name, Verdict.KNOWN, seconds, reason)
    return Result(check.name, Verdict.FAILED, seconds, f"known to fail ({reason}), and it passes: strike it off the list")


def pace_of(subject: Subject, folder: Path) -> Pace:
    """Lead the method through a search and look at its own seconds, without those that a busy machine gave to others."""
    wall, processor = time.perf_counter(), time.process_time()
    asked = subject.search(Path(tempfile.mkdtemp(dir=folder)), PAPER_SPACE, Limits(trials=subject.size.asks)).of("asked")
    at_work = min(1.0, (time.process_time() - processor) / (time.perf_counter() - wall))
    elsewhere = subject.spec.process_per_search
    return Pace(fmean(e["seconds"] for e in asked[-LAST:]) * (1.0 if elsewhere else at_work), len(asked))
