"""Run the searches of a table study: recorded trainings answer at once, on a simulated clock, each search in a forked process.

One process imports the method's framework and reads the table once for all seeds. Each search runs in a fork of it, so it starts
with the hash seed and the random states of a new process, as a search that trains does.
"""

from __future__ import annotations

import gc
import importlib
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

from ..core import layout
from ..core.errors import CellFailed, RecordError, ReplayError, Settled, StudyError
from ..core.problem import Checkpoint, Epoch, TrainingFailed, Trial
from ..core.record.events import parse
from ..core.record.state import ended_under, reduce_events
from ..core.record.writer import Writer
from ..core.runtime.images import MAIN
from ..core.runtime.machine import end_with_run
from ..core.store.open import open_store
from ..core.study import Cell, Study
from ..core.table import Source, Table, read_table, source_of, sources
from ..methods.registry import find
from ..objectives.executor import SimulatedExecutor
from ..objectives.table import counts_method_seconds, table_path
from ..workers.child import Child, ChildDied, ChildSilent
from ..workers.method_host import ENVIRONMENT, Instance, MethodFailed, build, problem_of
from .budget import Budget
from .checkpoints import NoCheckpoints
from .loop import Search
from .provenance import header

LOOK_EVERY_SECONDS = 1.0


class RecordedObjective:
    """An objective that looks trials up in a table (see core.table.source_of).

    Raises:
        CellFailed: The table lacks a configuration or an epoch.
    """

    device = "table"
    peak_memory_bytes = None

    def __init__(self, table: Table, seed: int, trial_seconds: float | None = None, known: Iterable[Trial] = ()) -> None:
        self._table, self._seed, self._trial_seconds = table, seed, trial_seconds
        self._sources = sources(table, seed, known)

    def __call__(self, trial: Trial, checkpoint: Checkpoint | None) -> Generator[Epoch, None, None]:
        source = self._sources[trial.id] = self._source(trial)
        if source.training.reason is not None:
            raise TrainingFailed(source.training.reason)
        curve, seconds = source.training.shown, 0.0
        for number in range(trial.first_epoch + 1, trial.proposal.target_epoch + 1):
            if number - source.offset > len(curve):
                raise CellFailed(
                    f"the table {self._table.source} has {len(curve)} epochs of {dict(trial.proposal.config)}, and trial"
                    f" {trial.id} wants epoch {number - source.offset}"
                )
            epoch = curve[number - source.offset - 1]
            limit = self._trial_seconds
            if limit is not None and seconds + epoch.seconds > limit:
                raise TrainingFailed(f"it trained for longer than trial_seconds = {limit:g}", limit - seconds)
            seconds += epoch.seconds
            yield epoch if source.offset == 0 else Epoch(number, epoch.metrics, epoch.seconds)

    def _source(self, trial: Trial) -> Source:
        try:
            return source_of(self._table, self._seed, trial, self._sources)
        except LookupError as error:
            raise CellFailed(str(error.args[0])) from None


# The searches of a cell


@dataclass(frozen=True)
class Order:
    """The task of the process of a cell."""

    study: Study
    cell: Cell
    store: str
    study_id: str
    workers: int


def search_table(order: Order, log: Path, stopping: Callable[[], bool]) -> None:
    """Search with every seed, from the present end of each record, until the searches end or a stop is requested.

    The first failure is raised after all other searches have ended.
    """
    child = Child(f"{__name__}:serve", ENVIRONMENT, log)
    faults: list[Exception] = []
    try:
        child.send(order)
        while not stopping():
            try:
                said = child.receive(LOOK_EVERY_SECONDS)
            except ChildSilent:
                continue
            if said is None:
                break
            faults.append(said)
        else:
            child.kill()  # the record stays, and the same command continues
    except ChildDied as death:
        raise CellFailed(f"{order.cell.name}: the process that searches the table ended {death}.") from None
    finally:
        child.close()
    if faults:
        raise faults[0]


def serve(pipe: Connection) -> None:
    """The child process: fork for each seed, send each failure, and None at the end."""
    order: Order = pipe.recv()
    try:
        table = read_table(table_path(order.study))
        _warm_up(order.cell.method.name)
    except (StudyError, RecordError) as error:
        pipe.send(error)
        pipe.send(None)
        return
    gc.freeze()  # garbage collection in the forks would copy the shared memory
    fork = get_context("fork")
    waiting = list(order.study.seeds)
    running: dict[Connection, tuple[int, ForkProcess]] = {}
    while waiting or running:
        while waiting and len(running) < order.workers:
            ours, theirs = fork.Pipe(duplex=False)
            seed = waiting.pop(0)
            process = fork.Process(target=_search_alone, args=(order, table, seed, theirs))
            process.start()
            theirs.close()
            running[ours] = seed, process
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            seed, process = running.pop(ready)
            fault = _heard(ready)
            process.join()
            if fault is None and process.exitcode:
                fault = CellFailed(f"{order.cell.name}, seed {seed}: its process ended with exit code {process.exitcode}.")
            if fault is not None:
                pipe.send(fault)
    pipe.send(None)


def _heard(pipe: Connection) -> Exception | None:
    with suppress(EOFError):
        fault: Exception | None = pipe.recv()
        return fault
    return None


def _warm_up(name: str) -> None:
    """Import the framework once for all forks. Frameworks with their own environment start threads, which a fork would lack."""
    spec = find(name)
    if spec.environment == MAIN:
        with suppress(ImportError):
            importlib.import_module(spec.package)


def _search_alone(order: Order, table: Table, seed: int, pipe: Connection) -> None:
    """The whole life of a fork: run one search and send its failure, if any."""
    end_with_run()
    where = f"{order.cell.name}, seed {seed}"
    try:
        search(order, table, seed)
    except (CellFailed, MethodFailed) as error:
        pipe.send(CellFailed(f"{where}: {error}."))
    except (RecordError, ReplayError, StudyError) as error:
        pipe.send(error)
    except Exception as error:  # noqa: BLE001 - whatever a framework raises is the search's reason to end
        traceback.print_exc()
        pipe.send(CellFailed(f"{where}: method {order.cell.method.name} failed: {type(error).__name__}: {error}."))
    finally:
        pipe.close()


def search(order: Order, table: Table, seed: int) -> None:
    """Run the search with this seed in this process, from the present end of its record."""
    study, cell, spec = order.study, order.cell, find(order.cell.method.name)
    journal = open_store(order.store).quick_journal(layout.events(cell.dataset, cell.method.label, seed))
    events = parse(journal.lines())
    known = (t.trial for t in reduce_events(events, "", "", seed).trials)
    executor = SimulatedExecutor(RecordedObjective(table, seed, study.budget.trial_seconds, known), study.budget.in_flight)
    began = events[0]["time"] if events else time.time()
    record = Writer(journal, now=lambda: began + executor.now)
    try:
        if ended_under(record.ended, study.budget.limits):
            return
        _check(record, table)
        told = {"table": table.source, "clock": "simulated", "best_weights": "answered with the curve of the last state"}
        record.open(seed=seed, **header(order.study_id, study, cell, spec, table.info.fingerprint), replay=told)
        clock = time.process_time if counts_method_seconds(study) else lambda: 0.0
        with tempfile.TemporaryDirectory(prefix="tuneoff-") as folder:
            method = Instance(build(spec.name, cell.method.settings, problem_of(study, seed, Path(folder))), clock)
            Search(spec, method, executor, record, Budget(study.budget.limits), study.objective, NoCheckpoints()).run()
    finally:
        record.close()


def _check(record: Writer, table: Table) -> None:
    before = next((e.get("data") for e in record.events if e["event"] == "opened"), table.info.fingerprint)
    if before != table.info.fingerprint:
        raise Settled(f"the table {table.source} is another than when the search began: give another --out")
