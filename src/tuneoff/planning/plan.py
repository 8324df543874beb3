"""Plan a study before it starts: trials and epochs from its budget, and time, memory and disk space from the probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.runtime.machine import SIDE_BY_SIDE, cores
from ..core.study import MethodChoice, Study
from ..methods.registry import find
from .dry_run import Timing

RECORD_BYTES_A_TRIAL, RECORD_BYTES_AN_EPOCH = 900, 250
MLFLOW_BYTES, MLFLOW_BYTES_A_TRIAL, EVENT_BYTES_A_TRIAL = 2_000_000, 20_000, 4_000
REPORT_BYTES = 2_000_000


@dataclass(frozen=True)
class Extent:
    """The largest number of trials and epochs of one search; None if the budget does not limit it."""

    trials: int | None
    epochs: int | None
    limited_by: str | None = None  # the reason, if the method itself ends the search before its budget is spent


@dataclass(frozen=True)
class CellPlan:
    """The estimated searches of one cell, and the time of its two steps on this machine. Seconds are None without a probe."""

    name: str
    searches: int
    extent: Extent  # of one search
    search_seconds: float | None = None  # of one search: training and the method
    method_seconds: float | None = None
    tuner_seconds: float | None = None  # the step's wall-clock time
    evaluator_seconds: float | None = None
    untold: str | None = None  # why the seconds are None despite a probe


@dataclass(frozen=True)
class Disk:
    """The estimated size of the output folder in bytes, by kind of content."""

    prepared: int | None
    record: int | None
    checkpoints: int | None  # at their peak; deleted when a search ends
    tracking: int | None
    models: int | None

    @property
    def total(self) -> int:
        return sum(v or 0 for v in (self.prepared, self.record, self.checkpoints, self.tracking, self.models)) + REPORT_BYTES


@dataclass(frozen=True)
class Probe:
    """The measurements on one kind of data."""

    datasets: tuple[str, ...]
    images: int  # trained on in the probe
    of_images: int  # in the study
    timings: tuple[Timing, ...]
    worker_start_seconds: float
    side_by_side: int
    device: str


@dataclass(frozen=True)
class Plan:
    """The plan of a study. Fields that depend on the probe are None without one."""

    study: str
    cells: tuple[CellPlan, ...]
    disk: Disk
    cores: int
    workers: int  # of one tuner step
    seconds: float | None = None
    memory_bytes: int | None = None
    probes: tuple[Probe, ...] = ()

    @property
    def trials(self) -> int | None:
        """The largest number of trials of all searches together; None if the budget does not limit it."""
        return _total(None if c.extent.trials is None else c.extent.trials * c.searches for c in self.cells)

    @property
    def epochs(self) -> int | None:
        return _total(None if c.extent.epochs is None else c.extent.epochs * c.searches for c in self.cells)


def _total(numbers: Iterable[int | None]) -> int | None:
    listed = list(numbers)
    return None if None in listed else sum(n for n in listed if n is not None)


# Without a probe


def extent(study: Study, choice: MethodChoice) -> Extent:
    """Return the largest extent of one search, as limited by the budget and by the method itself."""
    budget, full = study.budget, study.full_epochs
    if find(choice.name).kind == "system":
        return Extent(None, None, f"trains its own models for {budget.seconds:,g} s")
    fidelity = find(choice.name).fidelity  # such a method stops some trials early, so the same epochs pay for more trials
    trials = _least(budget.trials, None if budget.epochs is None or fidelity else budget.epochs // full)
    if find(choice.name).name == "sklearn-grid" and (trials is None or study.space.grid_size() <= trials):
        trials = study.space.grid_size()
        return Extent(trials, trials * full, f"its grid has {trials:,} points")
    epochs = _least(budget.epochs, None if trials is None else trials * full)
    return Extent(trials, epochs, None)


def _least(*numbers: int | None) -> int | None:
    return min((n for n in numbers if n is not None), default=None)


def without_probe(study: Study) -> Plan:
    """Return the plan that follows from the study file alone."""
    extents = {choice.label: extent(study, choice) for choice in study.methods}
    cells = tuple(CellPlan(c.name, len(study.seeds), extents[c.method.label]) for c in study.cells)
    record, tracking = record_bytes(cells)
    return Plan(study.name, cells, Disk(None, record, None, tracking, None), cores(), workers_of(study))


def workers_of(study: Study) -> int:
    """Return how many searches of a cell run at the same time, as the tuner step decides."""
    return study.searches_at_once(step_cores(study))


def step_cores(study: Study) -> int:
    """Return the number of cores of one step in a local run."""
    return max(1, cores() // cells_at_once(study))


def cells_at_once(study: Study) -> int:
    """Return how many cells a local run works on at the same time."""
    return min(SIDE_BY_SIDE, len(study.methods))


def record_bytes(cells: Sequence[CellPlan]) -> tuple[int | None, int | None]:
    """Return the bytes of the record, and those of MLflow and TensorBoard; None for both if the budget does not limit them."""
    trials = _total(None if c.extent.trials is None else c.searches * c.extent.trials for c in cells)
    epochs = _total(None if c.extent.epochs is None else c.searches * c.extent.epochs for c in cells)
    if trials is None or epochs is None:
        return None, None
    record = trials * RECORD_BYTES_A_TRIAL + epochs * RECORD_BYTES_AN_EPOCH
    return record, MLFLOW_BYTES + trials * (MLFLOW_BYTES_A_TRIAL + EVENT_BYTES_A_TRIAL)


# For people and scripts


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON data, for scripts. The names of the fields contain their units."""
    totals = {"trials": plan.trials, "epochs": plan.epochs, "disk_bytes": plan.disk.total}
    return {**asdict(plan), **totals}


def lines(plan: Plan) -> list[str]:
    """Return the plan as lines of text, for people."""
    rows = [("cell", "trials", "epochs", "search", "tuner step", "evaluator step", "")]
    for cell in plan.cells:
        times = [_duration(s) for s in (cell.search_seconds, cell.tuner_seconds, cell.evaluator_seconds)]
        size = [_count(cell.searches, n) for n in (cell.extent.trials, cell.extent.epochs)]
        rows.append((cell.name, *size, *times, cell.untold or cell.extent.limited_by or ""))  # type: ignore[arg-type]
    shown = range(7) if plan.probes else (0, 1, 2, 6)
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    table = [
        "  ".join(row[i].ljust(widths[i]) if i in (0, 6) else row[i].rjust(widths[i]) for i in shown).rstrip() for row in rows
    ]
    return [*table, "", *_totals(plan)]


def _totals(plan: Plan) -> list[str]:
    known = [f"{n:,} {what}" for n, what in ((plan.trials, "trials"), (plan.epochs, "epochs")) if n is not None]
    said = [f"Total: at most {' and '.join(known)}."] if known else []
    unknown = "it cannot be known in advance" if plan.probes else "only the probe can estimate it, not the budget alone"
    said += [] if plan.trials is not None else [f"A ? means that the number is not known: {unknown}."]
    disk = [f"{name} {_size(size)}" for name, size in asdict(plan.disk).items() if size]
    said += [f"Disk: about {_size(plan.disk.total)} ({', '.join(disk)})."] if disk else []
    if plan.memory_bytes is None:
        return [*said, "Time and memory are not estimated without the probe."]
    said.append(f"Memory: at most about {_size(plan.memory_bytes)}.")
    device = plan.probes[0].device
    gpu = "the times in the table also hold for one step alone, as on a cluster" + (
        "" if device.startswith("gpu") else ". They were measured on this CPU; times on a GPU are not known"
    )
    if plan.seconds is None:
        untold = ", ".join(cell.name for cell in plan.cells if cell.untold)
        why = f"not known, because {untold} started too slowly in the probe"
        return [*said, f"Time on this machine: {why}. Run the command again when this machine is less busy."]
    at_once = f"{SIDE_BY_SIDE} cells at a time" if len(plan.cells) > 1 else "one cell"
    said.append(f"Time on this machine: about {_duration(plan.seconds)}, {at_once} on {plan.cores} cores ({device}).")
    return [*said, f"Single steps: {gpu}."]


def _count(searches: int, each: int | None) -> str:
    return "?" if each is None else f"{each:,}" if searches == 1 else f"{searches} × {each:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
