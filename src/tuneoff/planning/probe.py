"""Probe a study on this machine: prepare its data, train three configurations, and simulate its methods' searches."""

from __future__ import annotations

import heapq
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from ..core.prepared_data import Part, Prepared
from ..core.runtime.machine import cores
from ..core.space import Config
from ..core.study import Cell, Dataset, MethodChoice, Study, Subset
from ..data.prepare import prepare
from ..methods.registry import find
from ..objectives.keras.training_worker import Workplace
from ..study_file.required_packages import require_for
from .dry_run import Costs, Pace, PlannedSearch, Unestimated, measure, rehearse, sample
from .plan import CellPlan, Disk, Extent, Plan, Probe, cells_at_once, extent, record_bytes, step_cores, workers_of

Note = Callable[[str], None]

PROBE_SECONDS = 6.0
"""The longest time of an epoch of the most expensive configuration. If it would take longer, the probe trains on fewer images."""
FEWEST_IMAGES = 1000
GUESSED_PER_SECOND = 8e9
"""Assumed multiplications per second of training. It is used only to choose the probe's number of images."""
REHEARSAL_SECONDS = 8.0
"""Each method's search is simulated for at most this long; the rest is extrapolated."""
RUNNER_STEPS, MODEL_STEPS, REPORT_STEPS = 1.5, 0.5, 2.0
"""The times of KFP's runner, of saving a model in MLflow and of the report, as multiples of a step's start time."""
PROCESS_BYTES = 500 * 2**20
"""Memory of a process that does not train (a step, a method, KFP's runner). On the quickstart study it is 200 to 860 MB."""
MODEL_COPIES = 2
"""The incumbent's model is saved twice: in the store and in MLflow's artifacts."""


@dataclass(frozen=True)
class _Kind:
    """Data sets with the same image shape, classes and numbers of images, whose trials therefore take the same time."""

    prepared: Prepared
    folder: Path
    datasets: tuple[str, ...]


def with_probe(study: Study, search_path: Sequence[str], note: Note) -> Plan:
    """Return the plan of a study after a short probe on this machine.

    The probe prepares the data, trains three configurations, and simulates the search of each method.

    Args:
        study: The study.
        search_path: The folders of the user's own modules.
        note: Called with one line of text for each part of the probe.

    Raises:
        StudyError: The data is not available, a model cannot be built or trained, or a method is not installed.
    """
    places = [*search_path, *(p for p in [os.environ.get("PYTHONPATH")] if p)]
    with tempfile.TemporaryDirectory(prefix="tuneoff-plan-") as scratch, _environment("PYTHONPATH", os.pathsep.join(places)):
        return _Probing(study, Path(scratch), note).plan()


@dataclass(frozen=True)
class _Probed:
    """The probe of one kind of data: the simulated search of each method (by label), and mean costs over the space."""

    probe: Probe
    planned: Mapping[str, PlannedSearch | Unestimated]
    start_seconds: float
    epoch_seconds: float
    weights: float


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable, which child processes inherit, inside the context."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class _Probing:
    def __init__(self, study: Study, scratch: Path, note: Note) -> None:
        self._study = study
        self._scratch = scratch
        self._note = note
        self._prepare_seconds: dict[str, float] = {}
        self._prepared_bytes = 0

    def plan(self) -> Plan:
        study = self._study
        require_for(study)
        step = self._step_seconds()
        probed = [(kind, self._probe(kind)) for kind in self._kinds()]
        cells = {
            cell.name: self._cell(cell, kind, found, step)
            for kind, found in probed
            for cell in study.cells
            if cell.dataset in kind.datasets
        }
        ordered = tuple(cells[cell.name] for cell in study.cells)
        return Plan(
            study=study.name,
            cells=ordered,
            disk=self._disk(ordered, max(found.weights for _, found in probed)),
            cores=cores(),
            workers=workers_of(study),
            seconds=self._seconds(ordered, step),
            memory_bytes=self._memory([found.probe for _, found in probed]),
            probes=tuple(found.probe for _, found in probed),
        )

    def _step_seconds(self) -> float:
        """Measure how long a step's process takes to start. KFP's runner imports KFP, and the step imports MLflow."""
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import kfp.dsl, mlflow"], capture_output=True, check=False)
        return time.monotonic() - began

    def _kinds(self) -> list[_Kind]:
        """Prepare each data set as a run would, and group those whose trials take the same time."""
        kinds: dict[str, _Kind] = {}
        for dataset in self._study.datasets:
            self._note(f"preparing the data set {dataset.name}")
            folder = self._scratch / dataset.name
            began = time.monotonic()
            prepared = prepare(dataset, self._study.split, folder, self._note)
            self._prepare_seconds[dataset.name] = time.monotonic() - began
            self._prepared_bytes += _bytes_in(folder)
            key = repr((prepared.input_shape, len(prepared.classes), sorted(prepared.counts.items()), prepared.folds))
            known = kinds.get(key)
            kinds[key] = (
                replace(known, datasets=(*known.datasets, dataset.name)) if known else _Kind(prepared, folder, (dataset.name,))
            )
        return list(kinds.values())

    def _probe(self, kind: _Kind) -> _Probed:
        study, prepared = self._study, kind.prepared
        self._note(f"estimating the cost of the models for {', '.join(kind.datasets)}")
        costs = Costs(study.model, prepared.input_shape, len(prepared.classes), self._scratch / "costs.log")
        try:
            sizes = {config: costs.of(dict(config)) for config in (tuple(c.items()) for c in sample(study.space))}
            by_cost = sorted(((dict(config), cost) for config, (cost, _) in sizes.items()), key=lambda pair: pair[1])
            chosen = _cheapest_middle_dearest(by_cost)
            folder, images = self._shortened(kind, chosen[-1][1])
            side_by_side = workers_of(study) * study.budget.in_flight * cells_at_once(study)
            threads = study.threads(step_cores(study))
            self._note(f"training {len(chosen)} configurations on {images:,} images, {side_by_side} at a time")
            workplace = Workplace(folder, study.model, study.training, study.objective, threads)
            timings, start, device = measure(chosen, workplace, side_by_side, self._scratch, self._note)
            whole = prepared.counts["train"]
            pace = Pace(tuple(timings), whole / images)
            self._note(f"simulating the searches of {', '.join(choice.label for choice in study.methods)}")
            with ThreadPoolExecutor(cells_at_once(study)) as pool:
                rehearsed = pool.map(lambda choice: self._course(choice, costs, pace), study.methods)
                planned = {choice.label: course for choice, course in zip(study.methods, rehearsed, strict=True)}
        finally:
            costs.close()
        return _Probed(
            Probe(kind.datasets, images, whole, tuple(timings), start, side_by_side, device),
            planned,
            fmean(pace.start_seconds(cost) for _, cost in by_cost),
            fmean(pace.epoch_seconds(cost) for _, cost in by_cost),
            fmean(weights for _, weights in sizes.values()),
        )

    def _course(self, choice: MethodChoice, costs: Costs, pace: Pace) -> PlannedSearch | Unestimated:
        """Simulate a method's search. A system that trains its own models is not simulated: it uses its whole time budget."""
        if find(choice.name).kind == "system":
            return PlannedSearch(0, 0, self._study.budget.seconds or 0.0, 0.0, 0.0, None)
        return rehearse(self._study, choice, costs, pace, self._scratch, REHEARSAL_SECONDS)

    def _shortened(self, kind: _Kind, dearest: float) -> tuple[Path, int]:
        """Prepare the data with few enough images for short epochs.

        Args:
            kind: The kind of data.
            dearest: The multiplications per image of the most expensive configuration.

        Returns:
            The folder of the prepared data, and its number of training images.
        """
        whole, folds = kind.prepared.counts["train"], max(1, (kind.prepared.folds or 1) - 1)
        images = max(FEWEST_IMAGES, int(PROBE_SECONDS * GUESSED_PER_SECOND / (3 * dearest * folds)))
        if images >= whole:
            return kind.folder, whole
        share = images / whole
        few = {part: max(50, round(n * share)) for part, n in kind.prepared.counts.items()}
        dataset = next(d for d in self._study.datasets if d.name == kind.datasets[0])
        folder = self._scratch / f"{dataset.name}-shortened"
        prepared = prepare(_with_subset(dataset, few), self._study.split, folder, lambda line: None)
        return folder, prepared.counts["train"]

    def _cell(self, cell: Cell, kind: _Kind, found: _Probed, step: float) -> CellPlan:
        """Estimate a cell's two steps. Each step starts a process; its searches run in waves of one search per worker."""
        study, course = self._study, found.planned[cell.method.label]
        if isinstance(course, Unestimated):
            return CellPlan(cell.name, len(study.seeds), extent(study, cell.method), untold=course.why)
        waves = math.ceil(len(study.seeds) / workers_of(study))
        start = found.probe.worker_start_seconds + course.start_seconds  # measured with several at a time, on busy cores
        tuner = step + start + waves * course.seconds + (waves - 1) * course.start_seconds
        counts = kind.prepared.counts
        images = (counts["train"] + counts.get("validation", 0)) / (counts["train"] * max(1, (kind.prepared.folds or 1) - 1))
        retraining = found.start_seconds + study.budget.epochs_per_trial * found.epoch_seconds * images
        own_models = find(cell.method.name).kind == "system"
        limited = course.ended if course.ended and course.epochs + study.full_epochs <= (study.budget.epochs or 0) else None
        return CellPlan(
            name=cell.name,
            searches=len(study.seeds),
            extent=extent(study, cell.method)
            if own_models
            else Extent(course.trials, course.epochs, extent(study, cell.method).limited_by or limited),
            search_seconds=course.seconds,
            method_seconds=course.method_seconds,
            tuner_seconds=tuner,
            evaluator_seconds=2 * step
            if own_models
            else step + found.probe.worker_start_seconds + study.evaluation.seeds * retraining + MODEL_STEPS * step,
        )

    def _seconds(self, cells: Sequence[CellPlan], step: float) -> float | None:
        """Estimate the whole run: the data sets in turn, the overlapping cells of each, and then the report."""
        if any(cell.untold for cell in cells):
            return None
        whole = RUNNER_STEPS * step
        for dataset in self._study.datasets:
            own = [(c.tuner_seconds or 0) + (c.evaluator_seconds or 0) for c in cells if c.name.startswith(f"{dataset.name}/")]
            whole += step + self._prepare_seconds[dataset.name] + _side_by_side(own, cells_at_once(self._study))
        return whole + REPORT_STEPS * step

    def _memory(self, probes: Sequence[Probe]) -> int:
        """Estimate the peak memory: every worker at its peak, and the processes that do not train."""
        workers = max(p.side_by_side * max(t.memory_bytes for t in p.timings) for p in probes)
        around = 1 + cells_at_once(self._study) * (1 + workers_of(self._study))
        return workers + around * PROCESS_BYTES

    def _disk(self, cells: Sequence[CellPlan], weights: float) -> Disk:
        record, tracking = record_bytes(cells)
        kept = {m.label for m in self._study.methods if find(m.name).warm_start}
        trials = [c.extent.trials or 0 for c in cells if c.name.rpartition("/")[2] in kept]
        return Disk(
            prepared=2 * self._prepared_bytes,  # KFP's artifact and its copy in the cache
            record=record,
            checkpoints=round(4 * 4 * weights * max(trials, default=0) * workers_of(self._study)),
            tracking=tracking,
            models=round(MODEL_COPIES * 3 * 4 * weights * len(cells)),
        )


def _cheapest_middle_dearest(by_cost: Sequence[tuple[Config, float]]) -> list[tuple[Config, float]]:
    """Return the cheapest, the middle and the most expensive configuration; fewer if their costs are equal."""
    places = (0, len(by_cost) // 2, len(by_cost) - 1)
    return list({by_cost[place][1]: by_cost[place] for place in places}.values())


def _side_by_side(seconds: Sequence[float], slots: int) -> float:
    """Return the time at which the last task ends, if each task starts as soon as a slot is free."""
    free = [0.0] * slots
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def _with_subset(dataset: Dataset, counts: Mapping[Part, int]) -> Dataset:
    return dataset.model_copy(update={"subset": Subset(**dict(counts))})


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
