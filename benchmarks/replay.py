"""Speed of table studies: trials per second, and a comparison of all methods over many seeds."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tuneoff.core.errors import CellFailed, ReplayError
from tuneoff.core.grid import configurations, on_grid
from tuneoff.core.problem import Epoch
from tuneoff.core.record.state import read_search
from tuneoff.core.runtime.machine import cores
from tuneoff.core.space import PAPER_SPACE, Config, key_of
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.study import Study
from tuneoff.core.table import METRICS, RecordedTraining, TableInfo, read_info, read_table, write_table
from tuneoff.methods.registry import REGISTRY
from tuneoff.search.table_search import Order, search, search_table

from .lines import Line

EPOCHS = 9
REAL = Path(__file__).parents[1] / "studies" / "tables" / "mnist-14.parquet"
DEAR_SECONDS = 8.0
"""A method whose search with one seed takes longer than this has an expensive model or machinery and is left out."""
GOAL_RATE, GOAL_SECONDS = 2000.0, 600.0


@dataclass(frozen=True)
class Size:
    """Trials of the measured search; full trainings and seeds of the comparison; its methods, None for all."""

    rate_trials: int
    trainings: int
    seeds: int
    methods: tuple[str, ...] | None = None


FULL = Size(rate_trials=2000, trainings=120, seeds=30)
QUICK = Size(rate_trials=50, trainings=4, seeds=2, methods=("sklearn-random", "sklearn-grid"))


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Search a generated table of the paper's grid with one method, and the shipped table with all methods."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "table.parquet")
        _write(file)
        rate, theirs = (_rate(file, Path(place), size, method) for method in ("sklearn-random", "keras-tuner-random"))
        note(f"replay: {rate:,.0f} trials per second")
        own = f"{theirs:,.0f} with KerasTuner's oracle, because the oracle computes too"
        return [
            Line("table look-ups, trials per second", rate, "trials/s", GOAL_RATE, ">=", own),
            *_comparison(Path(place), size, note),
        ]


def _write(file: Path) -> None:
    space = on_grid(PAPER_SPACE)
    info = TableInfo(name="made", dataset="made", space=space, epochs=EPOCHS, origin="made up")
    write_table(file, info, (_made(config) for config in configurations(space)))


def _made(config: Config) -> RecordedTraining:
    digest = hashlib.sha256(key_of(config).encode()).digest()
    best, seconds = 0.5 + digest[0] / 600 + digest[1] / 60_000, 0.2 + digest[2] / 200
    values = [best * (1 - 1 / (number + 1)) for number in range(1, EPOCHS + 1)]
    curve = [Epoch(n, dict.fromkeys(METRICS, round(value, 6)), seconds) for n, value in enumerate(values, 1)]
    return RecordedTraining(config, 0, tuple(curve))


def _study(file: Path, methods: Sequence[str], trainings: int, seeds: int) -> Study:
    info = read_info(str(file))
    return Study.model_validate(
        {
            "name": "replay",
            "datasets": [info.dataset],
            "methods": list(methods),
            "space": info.space.model_dump(exclude_none=True),
            "budget": {"epochs": trainings * info.epochs, "epochs_per_trial": info.epochs},
            "seeds": list(range(seeds)),
            "objective": {"replay": {"table": str(file)}},
        }
    )


def _rate(file: Path, place: Path, size: Size, method: str) -> float:
    """Return the trials per second of the second of two searches. The first search imports the framework."""
    table = read_table(str(file))
    for trials in (10, size.rate_trials):
        study = _study(file, [method], trials, 1)
        order = Order(study, study.cells[0], str(place / f"rate-{method}-{trials}"), "bench", 1)
        began = time.perf_counter()
        search(order, table, 0)
        seconds = time.perf_counter() - began
    return size.rate_trials / seconds


@dataclass(frozen=True)
class Cost:
    """Cost of a cell: seconds of its process, the method's own seconds, and trials of the first search."""

    seconds: float
    own: float
    trials: int

    @property
    def said(self) -> str:
        return f"{self.seconds:.0f} s ({self.seconds / max(self.trials, 1):.2g} s per suggestion)"


def _comparison(place: Path, size: Size, note: Callable[[str], None]) -> list[Line]:
    """Run each method with one seed, some side by side; then run the inexpensive ones with all seeds, one after the other."""
    study = _study(REAL, size.methods or list(_searching()), size.trainings, size.seeds)
    one = study.model_copy(update={"seeds": [0]})
    with ThreadPoolExecutor(cores()) as pool:
        costs = list(pool.map(lambda cell: _cell(Order(one, cell, str(place / "one"), "bench", 1), place), study.cells))
    kept, dear = [], []
    for cell, cost in zip(study.cells, costs, strict=True):
        label = cell.method.label
        if isinstance(cost, str):
            note(f"replay: {label} failed and is left out: {cost}")
            continue
        note(f"replay: {label}: {cost.said} with one seed, {cost.own:.2f} s of the method's time")
        if cost.seconds > DEAR_SECONDS:
            dear.append(f"{label} {cost.said}")
        else:
            kept.append(cell)
    began = time.perf_counter()
    for cell in kept:
        _cell(Order(study, cell, str(place / "all"), "bench", cores()), place)
    seconds = time.perf_counter() - began
    named = f"left out, with the time of one search: {', '.join(dear)}" if dear else "no method is left out"
    return [Line(f"{size.seeds} seeds of {len(kept)} methods on a table", seconds, "s", GOAL_SECONDS, note=named)]


def _searching() -> Iterator[str]:
    """Return the installed methods that can search a table."""
    return (spec.name for spec in REGISTRY.values() if spec.installed and spec.kind == "search" and not spec.mutates)


def _cell(order: Order, place: Path) -> Cost | str:
    """Return the cost of the cell, or the reason why it failed."""
    began = time.perf_counter()
    label, dataset = order.cell.method.label, order.cell.dataset
    try:
        search_table(order, place / f"{label}.log", lambda: False)
    except (CellFailed, ReplayError) as error:
        return str(error)
    seconds = time.perf_counter() - began
    record = read_search(FolderStore(Path(order.store)), dataset, label, order.study.seeds[0])
    return Cost(seconds, record.method_seconds, len(record.trials))
