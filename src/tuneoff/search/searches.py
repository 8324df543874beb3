"""Run the searches of one cell: several seeds at the same time, each with its own method process."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..core import layout
from ..core.errors import CellFailed, RecordError, Settled, StudyError
from ..core.prepared_data import Prepared
from ..core.record.state import SearchRecord, SearchState, ended_under, read_search
from ..core.record.writer import Writer
from ..core.runtime.machine import RUN_PID, cores, say
from ..core.store.journal import cannot_write
from ..core.store.protocol import Store
from ..core.store.stop_request import Stopped
from ..core.store.study_store import MODEL_FILE, SystemModel, claim, note_prepared, read_prepared, write_failure
from ..core.study import Cell, Study
from ..methods.registry import find
from ..objectives import objective_of
from ..objectives.base import TrialProcesses
from ..objectives.executor import ProcessExecutor, WorkerDied
from ..objectives.keras.training_worker import Patience, Worker
from ..systems.host import HostedSystem
from ..systems.protocol import Work
from ..tracking import Delivery, Tracker
from ..workers.method_host import HostedMethod, MethodFailed, problem_of
from .budget import Budget
from .checkpoints import NoCheckpoints, StoredCheckpoints
from .loop import STOPPED, Search
from .progress_log import SearchLog
from .provenance import header
from .system_search import SystemSearch
from .table_search import Order, search_table

PATIENCE_SECONDS, CLUSTER_PATIENCE_SECONDS = 10.0, 60.0
"""How long a step waits at its end for the tracking server. A local run sends the rest later, so its steps wait less."""
PREDICTOR = "tuneoff.systems.predict"


@dataclass(frozen=True)
class Tuned:
    """The result of a tuner step: the searches of the cell and what the tracking server did not receive."""

    searches: tuple[SearchRecord, ...]
    backlog: str | None


def tune(
    study: Study,
    cell: Cell,
    data: Path,
    store: Store,
    tracking_uri: str,
    report: Callable[[str], None] = say,
    stopping: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Search with every seed of the study, from the present end of each record, until the searches end or a stop is requested.

    A failed search does not end the others. The first failure is written to the store for the report and raised at the end.

    Args:
        data: The folder of the prepared data set.
        report: Receives the progress line by line, from other threads.
        stopping: Tells whether the user has asked the study to stop.

    Raises:
        Stopped: A search was stopped before its end.
    """
    failure = layout.failure("tuner", cell.dataset, cell.method.label)
    try:
        study_id = claim(store, study)
        store.delete(failure)  # of an earlier attempt: it does not fail now
        processes = objective_of(study).processes
        if processes is None:
            found, backlog = _search_table(study, cell, store, study_id, report, stopping), None
        else:
            found, backlog = _train(study, cell, data, store, study_id, tracking_uri, processes, report, stopping)
    except Exception as error:
        write_failure(store, failure, "tuner", error)
        raise
    store.delete(failure)
    if any(not search.ended for search in found):
        raise Stopped(f"{cell.name}: {STOPPED}; what was searched is on record")
    return Tuned(found, backlog)


def _train(
    study: Study,
    cell: Cell,
    data: Path,
    store: Store,
    study_id: str,
    tracking_uri: str,
    processes: TrialProcesses,
    report: Callable[[str], None],
    stopping: Callable[[], bool],
) -> tuple[tuple[SearchRecord, ...], str | None]:
    """Return the searches and what could not be delivered."""
    if read_prepared(store, cell.dataset) is None:  # KFP took the data from its cache, and this store is new
        note_prepared(store, cell.dataset, data)
    tracker = Tracker(store, study, study_id, tracking_uri)
    searches = _Searches(study, cell, data, store, study_id, processes, stopping)

    def waiting() -> int:
        try:
            return tracker.unsent_trials(searches.records())
        except (OSError, StudyError, RecordError):  # the search ends with the same error and reports it
            return tracker.waiting

    delivery = Delivery(lambda: tracker.deliver(cell, searches.records()), waiting=waiting, report=report)
    searches.log = SearchLog(
        study, cell, searches.records, lambda: dict(searches.opened), report=report, unsent=tracker.unsent_trials
    )
    searches.log.start()
    delivery.start()
    try:
        searches.run()
    finally:
        searches.log.close()
        backlog = delivery.close(PATIENCE_SECONDS if RUN_PID in os.environ else CLUSTER_PATIENCE_SECONDS)
        if backlog is not None:
            report(f"Tracking: {backlog}")
    return tuple(searches.records()), backlog


def _search_table(
    study: Study, cell: Cell, store: Store, study_id: str, report: Callable[[str], None], stopping: Callable[[], bool]
) -> tuple[SearchRecord, ...]:
    """Search a table. Nothing is sent to a tracking server, which would take far longer: `tuneoff sync` sends it on request."""

    def read() -> tuple[SearchRecord, ...]:
        return tuple(read_search(store, cell.dataset, cell.method.label, seed) for seed in study.seeds)

    workers = min(study.resources.workers or cores(), len(study.seeds))
    log, searches = SearchLog(study, cell, read, report=report), None
    log.start()
    try:
        with tempfile.TemporaryDirectory(prefix="tuneoff-") as scratch:
            folder = Path(os.environ.get("TUNEOFF_LOGS") or scratch)
            words = folder / f"{cell.dataset}.{cell.method.label}.replay.log"
            search_table(Order(study, cell, store.uri, study_id, workers), words, stopping)
        searches = read()
    finally:
        log.close(searches)
    return searches


class _Searches:
    """The searches of a cell, several at a time. Each has a worker per trial in flight, which the next seed uses again."""

    def __init__(
        self,
        study: Study,
        cell: Cell,
        data: Path,
        store: Store,
        study_id: str,
        processes: TrialProcesses,
        stopping: Callable[[], bool],
    ) -> None:
        self._study = study
        self._stopping = stopping
        self._cell = cell
        self._store = store
        self._spec = find(cell.method.name)
        self._side_by_side = study.searches_at_once(cores())
        self._data = data
        self._threads = study.threads(cores())
        self._processes = processes
        self._patience = Patience(study.budget.trial_seconds, study.resources.hang_seconds)
        self._header = header(study_id, study, cell, self._spec, Prepared.read(data).fingerprint)
        self._local = threading.local()
        self._open_workers: list[Worker] = []
        self.log: SearchLog | None = None
        self.opened: dict[int, Writer] = {}
        """The records that this process writes, by seed."""
        self._writers: dict[int, Writer] = {}
        self._courses: dict[int, SearchState] = {}  # of the searches that write
        self._before: dict[int, SearchRecord] = {}  # of the searches that have not started
        self._looking = threading.Lock()
        self._scratch = Path(tempfile.mkdtemp(prefix="tuneoff-"))

    def records(self) -> list[SearchRecord]:
        with self._looking:
            return [self._record(seed) for seed in self._study.seeds]

    def _record(self, seed: int) -> SearchRecord:
        """Return the search in its present state. Tracking asks every few seconds, so nothing is read twice."""
        dataset, label = self._cell.dataset, self._cell.method.label
        if seed in self._writers:
            course = self._courses.setdefault(seed, SearchState(dataset, label, seed))
            course.follow(self._writers[seed].events[course.followed :])
            return course.search
        if seed not in self._before:
            self._before[seed] = read_search(self._store, dataset, label, seed)
        return self._before[seed]

    def run(self) -> None:
        try:
            with ThreadPoolExecutor(self._side_by_side) as pool:
                futures = [pool.submit(self._logged_search, seed) for seed in self._study.seeds]
            for future in futures:
                future.result()
        finally:
            for worker in self._open_workers:
                worker.close()
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _logged_search(self, seed: int) -> None:
        try:
            self._search(seed)
        except Exception as error:
            if self.log is not None:
                self.log.failed(seed, str(error) or type(error).__name__)
            raise

    def _search(self, seed: int) -> None:
        if self._stopping():
            return
        record = self._open(seed)
        try:
            if ended_under(record.ended, self._study.budget.limits):
                return
            self._check_data(record)
            record.open(seed=seed, **self._header)
            self.opened[seed] = record
            run = self._run_system if self._spec.kind == "system" else self._run_method
            run(seed, record)
        except (MethodFailed, CellFailed) as error:
            fault = Settled if isinstance(error, Settled) else CellFailed
            raise fault(f"{self._cell.name}, seed {seed}: {error}.") from error
        except OSError as error:
            raise CellFailed(f"{self._cell.name}, seed {seed}: {cannot_write(error)}.") from error
        finally:
            record.close()

    def _run_method(self, seed: int, record: Writer) -> None:
        workers = self._workers()
        for worker in workers:
            worker.start()
        folder = self._scratch / f"seed-{seed}"
        (folder / "method").mkdir(parents=True)
        method = HostedMethod(
            self._spec.name, self._cell.method.settings, problem_of(self._study, seed, folder), self._log("method", seed)
        )
        try:
            for worker in workers:
                try:
                    worker.serve_search(seed)
                except WorkerDied as death:
                    raise CellFailed(f"a worker process ended {death}, before it had trained a trial") from None
            checkpoints = self._checkpoints(seed, folder) if self._spec.warm_start else NoCheckpoints()
            budget = Budget(self._study.budget.limits, self._study.trainings)
            goal = self._study.objective
            Search(self._spec, method, ProcessExecutor(workers), record, budget, goal, checkpoints, self._stopping).run()
        finally:
            method.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _run_system(self, seed: int, record: Writer) -> None:
        folder, goal = self._scratch / f"seed-{seed}", self._study.objective
        (folder / "system").mkdir(parents=True)
        seconds = self._study.budget.seconds
        if seconds is None:
            raise Settled(f"{self._spec.name} trains models of its own and needs budget.seconds")
        threads = max(1, cores() // self._side_by_side)  # a system trains in one process
        work = Work(self._data, goal, seconds, seed, threads, folder / "system")
        system = HostedSystem(self._spec, self._cell.method.settings, work, self._log("system", seed))

        def keep(trial: int, number: int) -> None:
            (folder / "model").mkdir()
            system.save(number, folder / "model")
            self._put_model(seed, trial, folder)

        late, device = self._study.resources.hang_seconds, f"{threads} cores"
        try:
            SystemSearch(self._spec.name, system, record, goal, seconds, late, device, keep, self._stopping).run()
        finally:
            system.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _put_model(self, seed: int, trial: int, folder: Path) -> None:
        """Store the packed model, then the note that describes it."""
        place = layout.system(self._cell.dataset, self._cell.method.label, seed)
        note = SystemModel(trial=trial, predictor=PREDICTOR, target=self._spec.target)
        self._store.put(Path(shutil.make_archive(str(folder / "packed"), "zip", folder / "model")), place + MODEL_FILE)
        self._store.write(place + "model.json", note.model_dump_json(indent=1).encode())

    def _check_data(self, record: Writer) -> None:
        before = next((e.get("data") for e in record.events if e["event"] == "opened"), None)
        now = self._header["data"]
        if before not in (None, now):
            raise Settled(f"the data is another than when the search began ({before} then, {now} now): give another --out")

    def _open(self, seed: int) -> Writer:
        journal = self._store.journal(layout.events(self._cell.dataset, self._cell.method.label, seed))
        return self._writers.setdefault(seed, Writer(journal))

    def _workers(self) -> list[Worker]:
        """Return a worker for each trial in flight. They are kept for the next search of this thread."""
        if not hasattr(self._local, "workers"):
            self._local.workers = [self._new_worker() for _ in range(self._study.budget.in_flight)]
        workers: list[Worker] = self._local.workers
        return workers

    def _new_worker(self) -> Worker:
        with self._looking:
            log = self._log("worker", len(self._open_workers))
            worker = self._processes.worker(self._study, self._data, self._threads, log, self._patience)
            self._open_workers.append(worker)
        return worker

    def _checkpoints(self, seed: int, folder: Path) -> StoredCheckpoints:
        return StoredCheckpoints(self._store, layout.checkpoints(self._cell.dataset, self._cell.method.label, seed), folder)

    def _log(self, what: str, number: int) -> Path:
        logs = os.environ.get("TUNEOFF_LOGS")
        folder = Path(logs) if logs else self._scratch
        return folder / f"{self._cell.dataset}.{self._cell.method.label}.{what}-{number}.log"
