"""The tuner step as a plain function: the searches of one cell, seeds side by side, each with its own method process."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..core import layout
from ..core.errors import CellFailed
from ..core.machine import cores
from ..core.prepared import Prepared
from ..core.problem import Problem
from ..core.record import Replay, SearchRecord, Writer, ended_under, read_search
from ..core.stopping import Stopped
from ..core.storage import Store, cannot_write
from ..core.stored import MODEL_FILE, SystemModel, claim, note_prepared, read_prepared, write_failure
from ..core.study import Cell, Study
from ..core.tracking import Delivery, Tracker
from .budget import Budget
from .checkpoints import NoCheckpoints, StoredCheckpoints
from .host import HostedMethod, MethodFailed
from .loop import STOPPED, Search
from .registry import find
from .spec import MethodSpec
from .system import Work
from .system_host import HostedSystem
from .system_search import SystemSearch
from .training import Patience, Worker, Workplace
from .versions import versions_of

PREDICTOR = f"{__package__}.predicting"


@dataclass(frozen=True)
class Tuned:
    """What a tuner step hands on: the cell's searches, and what could not be delivered to the tracking server yet."""

    searches: tuple[SearchRecord, ...]
    backlog: str | None


def tune(
    study: Study,
    cell: Cell,
    data: Path,
    store: Store,
    tracking_uri: str,
    report: Callable[[str], None] = print,
    stopping: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Search with every seed of the study, from where the records stand to their ends, or until `stopping` says so.

    `data` is a prepared data set's folder. A failing search leaves the others running; the first failure is raised at the end,
    after it has been noted in the store for the report. Stopped where a search was stopped before its end.
    """
    failure = layout.failure("tuner", cell.dataset, cell.method.label)
    try:
        study_id = claim(store, study)
        if read_prepared(store, cell.dataset) is None:  # KFP had the data in its cache, and this store is new
            note_prepared(store, cell.dataset, data)
        tracker = Tracker(store, study, study_id, tracking_uri)
        searches = _Searches(study, cell, data, store, study_id, stopping)
        delivery = Delivery(lambda: tracker.deliver(cell, searches.records()), waiting=lambda: tracker.waiting, report=report)
        delivery.start()
        try:
            searches.run()
        finally:
            backlog = delivery.close(patience_seconds=10.0)
    except Exception as error:
        write_failure(store, failure, "tuner", error)
        raise
    store.delete(failure)
    found = tuple(searches.records())
    if any(not search.ended for search in found):
        raise Stopped(f"{cell.name}: {STOPPED}; what was searched is on record")
    return Tuned(found, backlog)


class _Searches:
    """The searches of a cell: as many side by side as there are workers, each worker kept for the next seed."""

    def __init__(self, study: Study, cell: Cell, data: Path, store: Store, study_id: str, stopping: Callable[[], bool]) -> None:
        self._study = study
        self._stopping = stopping
        self._cell = cell
        self._store = store
        self._spec = find(cell.method.name)
        self._workers = min(study.resources.workers or cores(), len(study.seeds))
        self._workplace = Workplace(data, study.model, study.training, study.objective, max(1, cores() // self._workers))
        self._patience = Patience(study.budget.trial_seconds, study.resources.hang_seconds)
        self._header = header(study_id, study, cell, self._spec, Prepared.read(data))
        self._local = threading.local()
        self._open_workers: list[Worker] = []
        self._writers: dict[int, Writer] = {}
        self._courses: dict[int, Replay] = {}  # of those that write
        self._before: dict[int, SearchRecord] = {}  # of those whose turn has not come
        self._looking = threading.Lock()
        self._scratch = Path(tempfile.mkdtemp(prefix="tuneoff-"))

    def records(self) -> list[SearchRecord]:
        with self._looking:
            return [self._record(seed) for seed in self._study.seeds]

    def _record(self, seed: int) -> SearchRecord:
        """The search as it stands; tracking asks every few seconds, so that what was read once is not read again."""
        dataset, label = self._cell.dataset, self._cell.method.label
        if seed in self._writers:
            course = self._courses.setdefault(seed, Replay(dataset, label, seed))
            course.follow(self._writers[seed].events[course.followed :])
            return course.search
        if seed not in self._before:
            self._before[seed] = read_search(self._store, dataset, label, seed)
        return self._before[seed]

    def run(self) -> None:
        try:
            with ThreadPoolExecutor(self._workers) as pool:
                futures = [pool.submit(self._search, seed) for seed in self._study.seeds]
            for future in futures:
                future.result()
        finally:
            for worker in self._open_workers:
                worker.close()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _search(self, seed: int) -> None:
        if self._stopping():
            return
        record = self._open(seed)
        try:
            if ended_under(record.ended, self._study.budget.limits):
                return
            self._check_data(record)
            record.open(seed=seed, **self._header)
            run = self._run_system if self._spec.kind == "system" else self._run_method
            run(seed, record)
        except (MethodFailed, CellFailed) as error:
            raise CellFailed(f"{self._cell.name}, seed {seed}: {error}.") from error
        except OSError as error:
            raise CellFailed(f"{self._cell.name}, seed {seed}: {cannot_write(error)}.") from error
        finally:
            record.close()

    def _run_method(self, seed: int, record: Writer) -> None:
        worker = self._worker()
        worker.start()
        folder = self._scratch / f"seed-{seed}"
        (folder / "method").mkdir(parents=True)
        method = HostedMethod(self._spec.name, self._cell.method.settings, self._problem(seed, folder), self._log("method", seed))
        try:
            worker.serve_search(seed)
            checkpoints = self._checkpoints(seed, folder) if self._spec.warm_start else NoCheckpoints()
            budget = Budget(self._study.budget.limits, self._study.trainings)
            goal = self._study.objective
            Search(self._spec, method, worker, record, budget, goal, checkpoints, self._stopping).run()
        finally:
            method.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _run_system(self, seed: int, record: Writer) -> None:
        folder, place = self._scratch / f"seed-{seed}", self._workplace
        (folder / "system").mkdir(parents=True)
        seconds = self._study.budget.seconds
        if seconds is None:
            raise CellFailed(f"{self._spec.name} trains models of its own and needs budget.seconds")
        work = Work(place.data, place.goal, seconds, seed, place.threads, folder / "system")
        system = HostedSystem(self._spec, self._cell.method.settings, work, self._log("system", seed))

        def keep(trial: int, number: int) -> None:
            (folder / "model").mkdir()
            system.save(number, folder / "model")
            self._put_model(seed, trial, folder)

        late, device = self._study.resources.hang_seconds, f"{place.threads} cores"
        try:
            SystemSearch(self._spec.name, system, record, place.goal, seconds, late, device, keep, self._stopping).run()
        finally:
            system.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _put_model(self, seed: int, trial: int, folder: Path) -> None:
        """Keep what lies in the folder's `model`, and then the note that says what it is."""
        place = layout.system(self._cell.dataset, self._cell.method.label, seed)
        note = SystemModel(trial=trial, predictor=PREDICTOR, target=self._spec.system_class)
        self._store.put(Path(shutil.make_archive(str(folder / "packed"), "zip", folder / "model")), place + MODEL_FILE)
        self._store.write(place + "model.json", note.model_dump_json(indent=1).encode())

    def _check_data(self, record: Writer) -> None:
        before = next((e.get("data") for e in record.events if e["event"] == "opened"), None)
        now = self._header["data"]
        if before not in (None, now):
            raise CellFailed(f"the data is another than when the search began ({before} then, {now} now): give another --out")

    def _open(self, seed: int) -> Writer:
        journal = self._store.journal(layout.events(self._cell.dataset, self._cell.method.label, seed))
        return self._writers.setdefault(seed, Writer(journal))

    def _worker(self) -> Worker:
        if not hasattr(self._local, "worker"):
            self._local.worker = Worker(self._workplace, self._log("worker", len(self._open_workers)), self._patience)
            self._open_workers.append(self._local.worker)
        worker: Worker = self._local.worker
        return worker

    def _problem(self, seed: int, folder: Path) -> Problem:
        budget, goal = self._study.budget, self._study.objective
        return Problem(
            self._study.space,
            budget.epochs_per_trial,
            seed,
            folder,
            budget.trials,
            budget.epochs,
            budget.seconds,
            metric=goal.metric,
            sign=goal.sign,
        )

    def _checkpoints(self, seed: int, folder: Path) -> StoredCheckpoints:
        return StoredCheckpoints(self._store, layout.checkpoints(self._cell.dataset, self._cell.method.label, seed), folder)

    def _log(self, what: str, number: int) -> Path:
        logs = os.environ.get("TUNEOFF_LOGS")
        folder = Path(logs) if logs else self._scratch
        return folder / f"{self._cell.dataset}.{self._cell.method.label}.{what}-{number}.log"


def header(study_id: str, study: Study, cell: Cell, spec: MethodSpec, prepared: Prepared) -> dict[str, object]:
    """What an `opened` event says of the search beside its process: what is searched on which data with which versions."""
    return {
        "study_id": study_id,
        "dataset": cell.dataset,
        "kind": spec.kind,
        "method": cell.method.model_dump(),
        "data": prepared.fingerprint,
        "versions": versions_of(study, spec),
        "platform": platform.platform(),
        "cores": cores(),
    }
