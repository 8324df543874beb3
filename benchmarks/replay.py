"""How fast a table is searched: trials a second, and the comparison of all methods over many seeds."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuneoff.components.core.errors import CellFailed, ReplayError
from tuneoff.components.core.grid import configurations, on_grid
from tuneoff.components.core.machine import cores
from tuneoff.components.core.problem import Epoch
from tuneoff.components.core.record import read_search
from tuneoff.components.core.space import PAPER_SPACE, Config
from tuneoff.components.core.storage import FolderStore
from tuneoff.components.core.study import Study
from tuneoff.components.core.table import METRICS, Recorded, TableInfo, key_of, read_table, write_table
from tuneoff.components.tuner.registry import REGISTRY
from tuneoff.components.tuner.replaying import Order, replay_searches, search

from .lines import Line

EPOCHS = 9
DEAR_SECONDS = 1.0
"""A method whose own time in a search of one seed is longer has a model that is the cost."""
GOAL_RATE, GOAL_SECONDS = 2000.0, 600.0


@dataclass(frozen=True)
class Size:
    """Trials of the search whose rate is measured; full trainings and seeds of the comparison; which methods, None for all."""

    rate_trials: int
    trainings: int
    seeds: int
    methods: tuple[str, ...] | None = None


FULL = Size(rate_trials=2000, trainings=120, seeds=30)
QUICK = Size(rate_trials=50, trainings=4, seeds=2, methods=("sklearn-random", "sklearn-grid"))


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """A made-up table of the paper's grid, searched."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "table.parquet")
        _write(file)
        rate, theirs = (_rate(file, Path(place), size, method) for method in ("sklearn-random", "keras-tuner-random"))
        note(f"replay: {rate:,.0f} trials a second")
        own = f"{theirs:,.0f} with KerasTuner's oracle, whose own work is the rest"
        return [
            Line("replayed trials a second", rate, "trials/s", GOAL_RATE, ">=", own),
            *_comparison(file, Path(place), size, note),
        ]


def _write(file: Path) -> None:
    space = on_grid(PAPER_SPACE)
    info = TableInfo(name="made", dataset="made", space=space, epochs=EPOCHS, origin="made up")
    write_table(file, info, (_made(config) for config in configurations(space)))


def _made(config: Config) -> Recorded:
    digest = hashlib.sha256(key_of(config).encode()).digest()
    best, seconds = 0.5 + digest[0] / 600 + digest[1] / 60_000, 0.2 + digest[2] / 200
    values = [best * (1 - 1 / (number + 1)) for number in range(1, EPOCHS + 1)]
    curve = [Epoch(n, dict.fromkeys(METRICS, round(value, 6)), seconds) for n, value in enumerate(values, 1)]
    return Recorded(config, 0, tuple(curve))


def _study(file: Path, methods: Sequence[str], trainings: int, seeds: int) -> Study:
    return Study.model_validate(
        {
            "name": "replay",
            "datasets": ["made"],
            "methods": list(methods),
            "space": on_grid(PAPER_SPACE).model_dump(exclude_none=True),
            "budget": {"epochs": trainings * EPOCHS, "epochs_per_trial": EPOCHS},
            "seeds": list(range(seeds)),
            "objective": {"replay": {"table": str(file)}},
        }
    )


def _rate(file: Path, place: Path, size: Size, method: str) -> float:
    """Of the second of two searches in this process: the first imports the framework."""
    table = read_table(str(file))
    for trials in (10, size.rate_trials):
        study = _study(file, [method], trials, 1)
        order = Order(study, study.cells[0], str(place / f"rate-{method}-{trials}"), "bench", 1)
        began = time.perf_counter()
        search(order, table, 0)
        seconds = time.perf_counter() - began
    return size.rate_trials / seconds


def _comparison(file: Path, place: Path, size: Size, note: Callable[[str], None]) -> list[Line]:
    study = _study(file, size.methods or list(_searching()), size.trainings, size.seeds)
    kept, dear = [], []
    for cell in study.cells:
        one = study.model_copy(update={"seeds": [0]})
        seconds, own = _cell(Order(one, cell, str(place / "one"), "bench", 1), place)
        if own is None:
            note(f"replay: {cell.method.label} failed, see its log; it is left out")
        elif own > DEAR_SECONDS:
            dear.append(f"{cell.method.label} {own:.0f} s")
        else:
            kept.append(cell)
        note(f"replay: {cell.method.label}: {seconds:.1f} s with one seed, {own or 0:.2f} s of them its own")
    began = time.perf_counter()
    for cell in kept:
        _cell(Order(study, cell, str(place / "all"), "bench", cores()), place)
    seconds = time.perf_counter() - began
    named = f"left out, with their own seconds a search: {', '.join(dear)}" if dear else "none is left out"
    return [Line(f"{size.seeds} seeds of {len(kept)} methods on a table", seconds, "s", GOAL_SECONDS, note=named)]


def _searching() -> Iterator[str]:
    """Methods that are installed here and that a table can answer."""
    return (spec.name for spec in REGISTRY.values() if spec.installed and spec.kind == "search" and not spec.mutates)


def _cell(order: Order, place: Path) -> tuple[float, float | None]:
    """The seconds of a cell from the start of its process to its end, and its method's own in a search; None where it failed."""
    began = time.perf_counter()
    try:
        replay_searches(order, place / f"{order.cell.method.label}.log", lambda: False)
    except (CellFailed, ReplayError):
        return time.perf_counter() - began, None
    seconds = time.perf_counter() - began
    record = read_search(FolderStore(Path(order.store)), "made", order.cell.method.label, order.study.seeds[0])
    return seconds, record.method_seconds
