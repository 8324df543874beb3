"""Training a study's whole grid into a table: each training is on disk before the next starts, here or on other machines."""

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
    """One of several machines' share of the trainings, counted from 1."""

    number: int = 1
    of: int = 1


@dataclass(frozen=True)
class Progress:
    """How far a build is. `seconds_left` is None before the first training of this sitting has ended."""

    done: int
    trainings: int  # of this shard
    failed: int
    seconds_left: float | None


@dataclass(frozen=True)
class Built:
    """What a build has left: the table's description where all trainings are there, else what is missing."""

    info: TableInfo | None
    missing: int
    stopped: bool


Watch = Callable[[Progress], None]
Wanted = tuple[dict[str, Value], int]  # a configuration and its seed


def wanted(study: Study) -> list[Wanted]:
    """All trainings of the study's table, in an order that is drawn by chance once for all.

    So a table that is not whole yet stands for the grid, and the time left can be told from the time taken.
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
    """Train what is missing of the shard, and write the table where nothing is missing any more, or, `partial`, in any case.

    What was trained lies in FILE.building until it is deleted; from then on a build goes on from the table itself, whole or not.
    The first SIGINT or SIGTERM ends the build; so does a kill, which loses the trainings in flight alone. StudyError where FILE
    or FILE.building is another study's.
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
        raise StudyError(f"A table is of one data set, and the study has {len(study.datasets)}: give each a study of its own.")
    if study.split.folds is not None:
        raise StudyError("A table is trained with one validation part: give split.validation, not split.folds.")
    if objective_of(study).processes is None:
        raise StudyError("A table is built by training, and this study searches a table. Leave objective.table out.")
    try:
        configurations(on_grid(study.space))
    except ValueError as error:
        raise StudyError(f"A table is of a grid, and the space has none that can be trained: {error}.") from None


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
    """What all shards have trained so far, by configuration and seed; read from the table that is there and from the shards'
    journals, and kept level with one's own."""

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
        """Take over the trainings of a table, which may have gaps."""
        if table.info.study is None or table.info.prepared is None:
            raise StudyError(f"{file} is a table imported from {table.info.origin}: give another --out.")
        self._check(table.info.study, table.info.prepared.fingerprint, file)
        for made in table.info.made:
            self._add(made)
        for training in table:
            self.note(_entry(training))

    def _check(self, before: Mapping[str, Any], data: str, where: Path) -> None:
        """That it was trained as the study says; more seeds and another grid do no harm."""
        for section in ("datasets", "model", "split", "training"):
            if before[section] != self.header["study"][section]:
                raise StudyError(
                    f"{where} was begun with another {section}: give another --out, or the study that it was begun with."
                )
        epochs = before["budget"]["epochs_per_trial"]
        if epochs != self._study.budget.epochs_per_trial:
            raise StudyError(f"{where} was begun with budget.epochs_per_trial = {epochs}: give another --out, or the same.")
        if data != self.header["data"]:
            raise StudyError(f"{where} was begun with other data ({data[:12]}…): give another --out.")

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
    """A training as a journal has it."""
    rows = [[round(e.seconds, 4), *(_known(e.metrics[name]) for name in METRICS)] for e in recorded.curve]
    return {"config": dict(recorded.config), "seed": recorded.seed, "curve": rows, "reason": recorded.reason}


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, allow_nan=False, separators=(",", ":")).encode()


class _Work:
    """One sitting: workers with one thread each take trainings from a queue."""

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
        """Train until the queue is empty; returns whether a signal, not its end, ended it."""
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
        """The training of one configuration; None where it was ended before its end."""
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
        """Epochs to the end, or to the first whose loss is no finite number."""
        trial = Trial(_number(config), 0, Proposal(config, self._study.budget.epochs_per_trial), 0)
        curve: list[Epoch] = []
        with closing(worker(trial, None)) as epochs:
            for epoch in epochs:
                if self._stopped:
                    return None
                missing = [name for name in METRICS if name not in epoch.metrics]
                if missing:
                    raise CellFailed(f"the model {self._study.model} reports no {missing[0]}, which a table needs")
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
    """A configuration's part of its training's seed: its own, whatever the grid around it."""
    return int.from_bytes(sha256(key_of(config).encode()).digest()[:4], "big") % 2**31


def said(progress: Progress) -> str:
    """What is left, and what failed, in a few words; empty where there is nothing to say."""
    parts = [f"{progress.trainings - progress.done:,} left"] if progress.done < progress.trainings else []
    if progress.seconds_left is not None and parts:
        minutes = round(progress.seconds_left / 60)
        parts.append(f"about {minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"about {minutes} min")
    parts += [f"{progress.failed:,} failed in this sitting"] if progress.failed else []
    return "".join(f", {part}" for part in parts)
