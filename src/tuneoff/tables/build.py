"""Train the whole grid of a study into a table. A worker saves each training before the next, so builds can be resumed."""

from __future__ import annotations

import json
import math
import platform
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pydantic_core import from_json

from ..core.errors import CellFailed, StudyError, plain
from ..core.grid import configurations, on_grid
from ..core.prepared_data import Prepared
from ..core.problem import Epoch, Proposal, TrainingFailed, Trial
from ..core.runtime.machine import cores, processor
from ..core.space import Config, Value, key_of
from ..core.store.journal import FileJournal, whole_lines
from ..core.store.stop_request import heeding
from ..core.study import Study
from ..core.table import METRICS, Provenance, RecordedTraining, Table, TableInfo, read_table, write_table
from ..data.prepare import prepare
from ..objectives import objective_of
from ..objectives.executor import WorkerDied
from ..objectives.keras.training_worker import Patience, Worker, Workplace
from ..search.loop import MAX_DEATHS
from ..search.provenance import training_versions


@dataclass(frozen=True)
class Shard:
    """The share of one machine in the trainings: share `number`, counted from 1, of `of` shares."""

    number: int = 1
    of: int = 1


@dataclass(frozen=True)
class Progress:
    """The progress of a build. `seconds_left` is None until the first training of this run of the command has ended."""

    done: int
    trainings: int  # of this shard
    failed: int
    seconds_left: float | None


@dataclass(frozen=True)
class Built:
    """The result of a build: the table's description if it was written, and the number of missing trainings."""

    info: TableInfo | None
    missing: int
    stopped: bool


Watch = Callable[[Progress], None]
Wanted = tuple[dict[str, Value], int]  # a configuration and its seed


def wanted(study: Study) -> list[Wanted]:
    """Return all trainings of the study's table in a fixed random order.

    The order is random so that an incomplete table is a sample of the grid, and the remaining time follows from the elapsed time.
    """
    grid = configurations(on_grid(study.space))
    order = random.Random(0)
    order.shuffle(grid)
    whole = [(config, seed) for seed in study.seeds for config in grid]
    if study.noise is None:
        return whole
    several = order.sample(grid, min(study.noise.configurations, len(grid)))
    return [*whole, *((config, seed) for config in several for seed in study.noise.seeds if seed not in study.seeds)]


def build(
    study: Study, file: Path, shard: Shard, workers: int | None, watch: Watch, note: Callable[[str], None], partial: bool = False
) -> Built:
    """Train the missing trainings of a shard, and write the table once no training is missing.

    The finished trainings are saved in FILE.building. If that folder is deleted, a later build continues from the table itself,
    even if the table is incomplete. The first SIGINT or SIGTERM ends the build. A kill loses only the running trainings.

    Args:
        study: The study whose grid is trained.
        file: The table to write.
        shard: The share of the trainings to train here.
        workers: The number of trainings at the same time; by default the number of cores.
        watch: Called after each training with the progress.
        note: Called with lines of text about the preparation of the data.
        partial: Write the table even if trainings are missing.

    Raises:
        StudyError: No table can be made from the study, or FILE or FILE.building belongs to another study.
    """
    _refuse(study)
    folder = file.with_name(file.name + ".building")
    prepared = _prepared(study, folder / "prepared", note)
    trainings = wanted(study)
    mine = trainings[shard.number - 1 :: shard.of]
    journal = FileJournal(_made(folder) / f"shard-{shard.number}-of-{shard.of}.jsonl", patience_seconds=2.0)
    try:
        found = _Found(file, folder, study, prepared)
        journal.append(_line(found.header))
        work = _Work(study, folder, found, mine, journal, watch)
        stopped = work.run(workers or cores())
    finally:
        journal.close()
    missing = sum((key_of(config), seed) not in found.lines for config, seed in trainings)
    if missing and not partial:
        return Built(None, missing, stopped)
    return Built(write_table(file, found.info(file.stem), found.trainings(trainings)), missing, stopped)


def _refuse(study: Study) -> None:
    if len(study.datasets) > 1:
        raise StudyError(f"The study has {len(study.datasets)} data sets, but a table has one. Write one study per data set.")
    if study.split.folds is not None:
        raise StudyError("The study has split.folds, but a table has one validation part. Give split.validation instead.")
    if objective_of(study).processes is None:
        raise StudyError("A table is built by training, and this study searches a table. Leave objective.table out.")
    try:
        configurations(on_grid(study.space))
    except ValueError as error:
        raise StudyError(f"The space has no grid that can be trained: {error}. Change the space, as a table needs one.") from None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _prepared(study: Study, folder: Path, note: Callable[[str], None]) -> Prepared:
    (dataset,) = study.datasets
    _made(folder.parent)
    if (folder / "dataset.json").is_file():
        found = Prepared.read(folder)
        same = (dataset.subset.model_dump(), study.split.model_dump(), dataset.image_size, dataset.name)
        if (found.subset, found.split, found.image_size, found.name) == same:
            return found
    return prepare(dataset, study.split, folder, note)


class _Found:
    """The finished trainings of all shards, by configuration and seed.

    They are read from an existing table and from the shards' journals. The build adds its own trainings as they end.
    """

    def __init__(self, table: Path, folder: Path, study: Study, prepared: Prepared) -> None:
        self._study, self._prepared = study, prepared
        self.header: dict[str, Any] = {
            "study": study.model_dump(mode="json"),
            "data": prepared.fingerprint,
            "versions": training_versions(study),
            "hardware": {"processor": processor(), "cores": cores(), "platform": platform.platform()},
            "at": round(time.time()),
        }
        self.lines: dict[tuple[str, int], dict[str, Any]] = {}
        self._made: list[Provenance] = []
        if table.is_file():
            self._take(read_table(str(table)), table)
        for file in sorted(folder.glob("*.jsonl")):
            for line in whole_lines(file.read_bytes())[0]:
                entry = from_json(line)
                if "study" in entry:
                    self._check(entry["study"], entry["data"], folder)
                    self._add(Provenance(hardware=entry["hardware"], versions=entry["versions"]))
                else:
                    self.note(entry)
        self._add(Provenance(hardware=self.header["hardware"], versions=self.header["versions"]))

    def note(self, entry: dict[str, Any]) -> None:
        self.lines[key_of(entry["config"]), entry["seed"]] = entry

    def _take(self, table: Table, file: Path) -> None:
        """Add the trainings of an existing table, which may be incomplete."""
        if table.info.study is None or table.info.prepared is None:
            raise StudyError(f"{file} is a table that was imported from {table.info.origin}. Give another --out.")
        self._check(table.info.study, table.info.prepared.fingerprint, file)
        for made in table.info.made:
            self._add(made)
        for training in table:
            self.note(_entry(training))

    def _check(self, before: Mapping[str, Any], data: str, where: Path) -> None:
        """Check that earlier trainings were made with the study's settings. Other seeds and another grid are allowed."""
        for section in ("datasets", "model", "split", "training"):
            if before[section] != self.header["study"][section]:
                raise StudyError(
                    f"{where} was started with other settings in the section {section}. Give another --out, or the study that it"
                    " was started with."
                )
        epochs = before["budget"]["epochs_per_trial"]
        if epochs != self._study.budget.epochs_per_trial:
            raise StudyError(
                f"{where} was started with budget.epochs_per_trial = {epochs}. Give another --out, or the same epochs_per_trial."
            )
        if data != self.header["data"]:
            raise StudyError(f"{where} was started with other data ({data[:12]}…). Give another --out.")

    def _add(self, made: Provenance) -> None:
        if made not in self._made:
            self._made.append(made)

    def info(self, name: str) -> TableInfo:
        return TableInfo(
            name=name,
            dataset=self._study.datasets[0].name,
            space=on_grid(self._study.space),
            epochs=self._study.budget.epochs_per_trial,
            origin="trained",
            study=self.header["study"],
            prepared=self._prepared,
            made=tuple(self._made),
        )

    def trainings(self, of: list[Wanted]) -> Iterator[RecordedTraining]:
        for config, seed in of:
            entry = self.lines.get((key_of(config), seed))
            if entry is not None:
                yield RecordedTraining(config, seed, tuple(_epochs(entry["curve"])), entry["reason"])


def _epochs(rows: list[list[float | None]]) -> Iterator[Epoch]:
    for number, (seconds, *values) in enumerate(rows, 1):
        metrics = {name: math.nan if v is None else v for name, v in zip(METRICS, values, strict=True)}
        yield Epoch(number, metrics, seconds or 0.0)


def _entry(recorded: RecordedTraining) -> dict[str, Any]:
    """Return a training as an entry of a journal."""
    rows = [[round(e.seconds, 4), *(_known(e.metrics[name]) for name in METRICS)] for e in recorded.curve]
    return {"config": dict(recorded.config), "seed": recorded.seed, "curve": rows, "reason": recorded.reason}


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False, separators=(",", ":")).encode()


class _Work:
    """One run of the build: workers with one thread each take trainings from a queue."""

    def __init__(self, study: Study, folder: Path, found: _Found, mine: list[Wanted], journal: FileJournal, watch: Watch) -> None:
        self._study, self._folder, self._found, self._journal, self._watch = study, folder, found, journal, watch
        self._total = len(mine)
        left = [(config, seed) for config, seed in mine if (key_of(config), seed) not in found.lines]
        self._left = len(left)
        self._queue: SimpleQueue[Wanted] = SimpleQueue()
        for training in left:
            self._queue.put(training)
        self._noting = threading.Lock()
        self._began = time.monotonic()
        self._trained = self._failed = 0
        self._stopped = False

    def run(self, workers: int) -> bool:
        """Train until the queue is empty. Returns whether a signal stopped the training before that."""
        self._tell()
        if not self._left:
            return False
        with heeding(self._stop), ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(self._serve, number) for number in range(workers)]:
                future.result()
        return self._stopped

    def _stop(self, name: str) -> None:
        self._stopped = True

    def _serve(self, number: int) -> None:
        place = Workplace(
            self._folder / "prepared", self._study.model, self._study.training, self._study.objective, 1, recording=True
        )
        patience = Patience(self._study.budget.trial_seconds, self._study.resources.hang_seconds)
        worker = Worker(place, self._folder / "logs" / f"worker-{number}.log", patience)
        try:
            while not self._stopped:
                recorded = self._train(worker, *self._queue.get_nowait())
                if recorded is not None:
                    self._note(recorded, worker.device)
        except Empty:
            return
        except BaseException:
            self._stopped = True
            raise
        finally:
            worker.close()

    def _train(self, worker: Worker, config: Config, seed: int) -> RecordedTraining | None:
        """Train one configuration. Returns None if the build was stopped before the training ended."""
        reason = ""
        for _ in range(MAX_DEATHS):
            try:
                worker.serve_search(seed)
                curve = self._curve(worker, config)
                return None if curve is None else RecordedTraining(config, seed, curve)
            except TrainingFailed as failure:
                return RecordedTraining(config, seed, (), plain(str(failure)))
            except WorkerDied as death:
                if self._stopped:
                    return None
                reason = f"its worker died {MAX_DEATHS} times, the last time {death}"
        return RecordedTraining(config, seed, (), plain(reason))

    def _curve(self, worker: Worker, config: Config) -> tuple[Epoch, ...] | None:
        """Return the epochs of a training, which ends early at an epoch with a loss that is not finite."""
        trial = Trial(_number(config), 0, Proposal(config, self._study.budget.epochs_per_trial), 0)
        curve: list[Epoch] = []
        with closing(worker(trial, None)) as epochs:
            for epoch in epochs:
                if self._stopped:
                    return None
                missing = [name for name in METRICS if name not in epoch.metrics]
                if missing:
                    raise CellFailed(f"the model {self._study.model} does not report {missing[0]}, which a table needs")
                curve.append(epoch)
                if not math.isfinite(epoch.metrics["loss"]):
                    break
        return tuple(curve)

    def _note(self, recorded: RecordedTraining, device: str) -> None:
        entry = _entry(recorded)
        with self._noting:
            self._journal.append(_line({**entry, "device": device, "at": round(time.time())}))
            self._found.note(entry)
            self._left -= 1
            self._trained += 1
            self._failed += recorded.reason is not None
            self._tell()

    def _tell(self) -> None:
        each = (time.monotonic() - self._began) / self._trained if self._trained else None
        self._watch(Progress(self._total - self._left, self._total, self._failed, None if each is None else each * self._left))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(config: Config) -> int:
    """Return the part of a training's seed that depends on the configuration alone, and not on the grid."""
    return int.from_bytes(sha256(key_of(config).encode()).digest()[:4], "big") % 2**31


def said(progress: Progress) -> str:
    """Return the remaining trainings and time, and the failures, in a few words; empty if none remain and none failed."""
    parts = [f"{progress.trainings - progress.done:,} left"] if progress.done < progress.trainings else []
    if progress.seconds_left is not None and parts:
        minutes = round(progress.seconds_left / 60)
        parts.append(f"about {minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"about {minutes} min")
    parts += [f"{progress.failed:,} failed in this run"] if progress.failed else []
    return "".join(f", {part}" for part in parts)
