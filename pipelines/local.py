"""Running the pipeline on this machine, unchanged, by KFP's own local runner, and watching it through the record."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tuneoff.core.errors import StudyError
from tuneoff.core.runtime.machine import CORES, RUN_PID, SIDE_BY_SIDE, cores, end_with_run
from tuneoff.core.store import stop_request
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import StudyResult, claim, extensions, read_study
from tuneoff.core.study import Study
from tuneoff.objectives import objective_of
from tuneoff.search.provenance import changed_versions
from tuneoff.tracking import Tracker, attempt, attempt_within, sync_study, tracking_uri

LOCK = ".run.lock"
WATCH_EVERY_SECONDS = 1.0
FULL_BYTES = 1_000_000
PREPARE_PATIENCE_SECONDS = 20.0
"""How long the first step waits for a tracking server that is slow; making a new SQLite file takes some seconds."""

Watch = Callable[[StudyResult], None]


def store_of(study: Study, out: Path) -> Store:
    """Where the study's record and results go: its `artifacts`, or the output folder."""
    return open_store(study.artifacts or str(out))


def run(
    study: Study,
    out: Path,
    watch: Watch = lambda result: None,
    search_path: tuple[Path, ...] = (),
    note: Callable[[str], None] = lambda line: None,
) -> StudyResult:
    """Run the study, or what is left of it, and return all that it left in its store.

    `watch` is called about once a second with what the record holds, `note` with what the user should know. The steps find
    the user's own modules in `search_path`. Before it returns, MLflow and TensorBoard are brought level with the record.
    The first SIGINT or SIGTERM lets the running epochs end and the report be written; the second raises KeyboardInterrupt.
    StudyError where the folder holds another study, or where another process runs it.
    """
    store = store_of(study, out)
    extended = extensions(store, study)
    study_id = claim(store, study)
    for line in extended:
        note(f"Extended: {line}")
    for line in changed_versions(read_study(store)):
        note(f"Note: {line}; what is trained from now on may differ from what is on record.")
    out.mkdir(parents=True, exist_ok=True)
    with _alone_in(out), _asked_to_stop() as asked:
        stop_request.withdraw(store)
        tracking = tracking_uri(study, str(out))
        if objective_of(study).tracked_while_running:
            attempt_within(PREPARE_PATIENCE_SECONDS, Tracker(store, study, study_id, tracking).prepare, note)
        pipeline = _start(study, out, store, tracking, search_path)
        try:
            _watch(pipeline, store, watch, asked, note)
        except KeyboardInterrupt:
            _end(pipeline)
            raise
        if objective_of(study).tracked_while_running:
            attempt(lambda: sync_study(store, tracking), note)
    return read_study(store)


@contextmanager
def _asked_to_stop() -> Iterator[list[str]]:
    """The signals that were heard: one at most, since the second ends the run by a KeyboardInterrupt, whichever it is."""
    asked: list[str] = []

    def second(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def first(name: str) -> None:
        asked.append(name)
        signal.signal(signal.SIGTERM, second)
        signal.signal(signal.SIGINT, second)

    with stop_request.heeding(first):
        yield asked


def stop(place: str) -> None:
    """Ask the study that runs in the folder or S3 prefix to stop; StudyError where there is none, or it does not run."""
    store = open_store(place)
    read_study(store)
    lock = Path(place, LOCK)
    if lock.exists():
        with open(lock) as held:
            try:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                raise StudyError(f"{place} is not being run by anybody: there is nothing to stop.")
    stop_request.request(store, f"process {os.getpid()} on {socket.gethostname()}")


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold the folder as long as this process lives, however it ends; StudyError names who else does."""
    with open(out / LOCK, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StudyError(f"{out} is being run by {lock.read().strip()}: wait for it, or give another --out.") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        lock.flush()
        yield


def _start(study: Study, out: Path, store: Store, tracking: str, search_path: tuple[Path, ...]) -> subprocess.Popen[bytes]:
    """KFP's local runner in a process of its own, its talk in logs/pipeline.log."""
    logs = out / "logs"
    logs.mkdir(exist_ok=True)
    places = [str(p.absolute()) for p in search_path] + [p for p in [os.environ.get("PYTHONPATH")] if p]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "TUNEOFF_LOGS": str(logs.absolute()),
        RUN_PID: str(os.getpid()),
        CORES: str(max(1, cores() // min(SIDE_BY_SIDE, len(study.methods)))),
    }
    orders = {"study": study.model_dump_json(), "out": str(out.absolute()), "store": store.uri, "tracking": tracking}
    with open(logs / "pipeline.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(orders).encode())
    process.stdin.close()
    return process


def _watch(
    pipeline: subprocess.Popen[bytes], store: Store, watch: Watch, asked: Sequence[str], note: Callable[[str], None]
) -> None:
    next_look, told = 0.0, False
    while pipeline.poll() is None:
        began = time.monotonic()
        if asked and not told:
            stop_request.request(store, asked[0])
            note("Stopping: the running epochs end and the report is written. Once more, and it ends at once.")
            told = True
        if began >= next_look:
            watch(read_study(store))
            ended = time.monotonic()
            # Looking must not cost more than a tenth of the time.
            next_look = ended + max(WATCH_EVERY_SECONDS, 10 * (ended - began))
        with suppress(subprocess.TimeoutExpired):
            pipeline.wait(0.1)
    watch(read_study(store))


def _end(pipeline: subprocess.Popen[bytes]) -> None:
    """End the runner and its steps, which are in a session of their own, at once: all that they did is on record."""
    with suppress(ProcessLookupError):
        os.killpg(pipeline.pid, signal.SIGKILL)
    pipeline.wait()


def failures(result: StudyResult) -> list[str]:
    """A sentence for each cell that has no whole result; what was collected from elsewhere is not this run's."""
    sentences = []
    for cell in (c for c in result.cells if not c.cell.method.collected):
        if cell.failures:
            sentences += [f"{cell.cell.name}: {f.step} failed: {f.reason}" for f in cell.failures]
        elif cell.evaluation is None and not result.stopping:
            sentences.append(f"{cell.cell.name}: no evaluation; see logs/pipeline.log")
    return sentences


def full_disk(out: Path) -> str | None:
    """A sentence where the output folder's disk is full, which a failing step cannot always write down; None where it is not."""
    free = shutil.disk_usage(out).free
    if free > FULL_BYTES:
        return None
    return f"The disk of {out} is full ({free:,} bytes are free): free some space, and the same command goes on."


def unfinished(result: StudyResult) -> str | None:
    """What a stop has left undone, in a sentence; None where the study was not stopped, or was at its end by then."""
    cells = [c for c in result.cells if not c.cell.method.collected]
    left = sum(cell.evaluation is None and not cell.failures for cell in cells)
    if not result.stopping or not left:
        return None
    return f"Stopped on request: {left} of {len(cells)} cells are not at their end; the same command goes on."


def main() -> None:
    """The runner's process: compile the pipeline from the study on stdin, and run it."""
    end_with_run()
    orders = json.load(sys.stdin)
    study = Study.model_validate_json(orders["study"])
    out = Path(orders["out"])
    from kfp import local

    from tuneoff.pipelines.bakeoff import bakeoff, portable

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(out / "kfp"),
        raise_on_error=False,
        enable_caching=study.resources.cache,
        cache_root=str(out / "kfp" / "cache"),
    )
    bakeoff(portable(study))(store=orders["store"], tracking=orders["tracking"], study_json=orders["study"])


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(str(error))
