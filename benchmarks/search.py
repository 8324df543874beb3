"""Trials per minute: a cell's tuner step compared with the same search written directly in KerasTuner and scikit-optimize."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuneoff.core.study import Dataset, Split
from tuneoff.data.prepare import prepare
from tuneoff.methods.keras_tuner import kerastuners_seed

from .lines import Line

CORES = 2
GOALS = {"float32": 1.5, "bfloat16": 2.0}
RIVALS = {"random": ("KerasTuner", "keras_tuner_search"), "bayes": ("scikit-optimize", "skopt_search")}


@dataclass(frozen=True)
class Size:
    """Size of the search: trials per seed, epochs per trial, images."""

    train: int
    validation: int
    image_size: int | None
    trials: int
    epochs: int
    repeats: int
    batch_size: int = 32
    seeds: tuple[int, ...] = (1, 2)


FULL = Size(train=5000, validation=1250, image_size=14, trials=12, epochs=4, repeats=1)
QUICK = Size(train=500, validation=100, image_size=14, trials=2, epochs=1, repeats=1)


@dataclass(frozen=True)
class TimedSearch:
    """One run of a search program."""

    seconds: float
    cpu_seconds: float  # of the program and all its children
    configs: tuple[tuple[Mapping[str, Any], ...], ...]  # one tuple per seed

    @property
    def trials_per_minute(self) -> float:
        return 60 * sum(map(len, self.configs)) / self.seconds


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Run each program on the same two cores and data, one after the other, and compare the medians."""
    with tempfile.TemporaryDirectory() as place:
        subset = {"train": size.train, "validation": size.validation, "test": 100}
        data = {"name": "fashion_mnist", "subset": subset, "image_size": size.image_size}
        prepare(Dataset.model_validate(data), Split(), Path(place), note)
        found = [_compared(method, size, Path(place), note) for method in RIVALS]
    return [line for lines in found for line in lines]


def _compared(method: str, size: Size, data: Path, note: Callable[[str], None]) -> list[Line]:
    rival, module = RIVALS[method]
    common = {name: value for name, value in asdict(size).items() if name in ("trials", "epochs", "batch_size", "seeds")}
    theirs = {**common, "seeds": [kerastuners_seed(s) for s in size.seeds]} if rival == "KerasTuner" else common
    programs: dict[str, tuple[str, dict[str, Any]]] = {
        rival: (module, theirs),
        **{p: ("tuneoff_search", {**common, "method": method, "precision": p}) for p in GOALS},
    }
    searches: dict[str, list[TimedSearch]] = {name: [] for name in programs}
    for _ in range(size.repeats):
        for name, (program, arguments) in programs.items():
            search = run(program, data, arguments)
            searches[name].append(search)
            note(f"{method}, {name}: {search.seconds:.1f} s, {search.cpu_seconds:.1f} processor seconds")
    base = searches.pop(rival)
    return [
        _told(f"{rival} alone", base),
        *(
            line
            for name, ours in searches.items()
            for line in (_told(f"tuneoff {method}, {name}", ours), _ratio(method, name, rival, ours, base))
        ),
    ]


def _told(name: str, searches: list[TimedSearch]) -> Line:
    cpu = statistics.median(c.cpu_seconds for c in searches)
    rate = statistics.median(c.trials_per_minute for c in searches)
    return Line(name, rate, "trials/min", note=f"{cpu:.0f} processor seconds for {sum(map(len, searches[0].configs))} trials")


def _ratio(method: str, precision: str, rival: str, ours: list[TimedSearch], base: list[TimedSearch]) -> Line:
    ratio = statistics.median(o.trials_per_minute / b.trials_per_minute for o, b in zip(ours, base, strict=True))
    same, of = equal(ours[0], base[0])
    return Line(
        f"{method} compared with {rival}, {precision}",
        ratio,
        "times",
        GOALS[precision],
        ">=",
        f"{same} of {of} configurations are equal",
    )


def equal(one: TimedSearch, other: TimedSearch) -> tuple[int, int]:
    """Count the equal configurations of two programs at the same positions, and all configurations."""
    pairs = [pair for a, b in zip(one.configs, other.configs, strict=True) for pair in zip(a, b, strict=True)]
    return sum(dict(a) == dict(b) for a, b in pairs), len(pairs)


def run(module: str, data: Path, arguments: Mapping[str, Any]) -> TimedSearch:
    """Run a search program on CORES cores. Raises RuntimeError with the end of its output if it fails."""
    allowed = sorted(os.sched_getaffinity(0))[:CORES]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", str(data), json.dumps(arguments)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"benchmarks.{module} ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return TimedSearch(seconds, cpu, tuple(tuple(configs) for configs in json.loads(done.stdout.splitlines()[-1])))
