"""Run the unchanged pipeline on this machine with KFP's local runner, and watch its progress in the record."""

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
"""How long the first step waits for a slow tracking server. Creating a new SQLite file takes some seconds."""

Watch = Callable[[StudyResult], None]


def store_of(study: Study, out: Path) -> Store:
    """Return the store for the study's record and results: its `artifacts`, or the output folder."""
    return open_store(study.artifacts or str(out))


def run(
    study: Study,
    out: Path,
    watch: Watch = lambda result: None,
    search_path: tuple[Path, ...] = (),
    note: Callable[[str], None] = lambda line: None,
) -> StudyResult:
    """Run the study, or continue it from its record, and return the content of its store.

    Before the function returns, it sends everything in the record to MLflow and TensorBoard. After the first SIGINT or SIGTERM,
    the running epochs finish and the report is written. The second signal raises KeyboardInterrupt.

    Args:
        study: The study.
        out: The output folder.
        watch: Receives the content of the record about once a second.
        search_path: Folders in which the steps look for the user's own modules.
        note: Receives messages for the user.

    Raises:
        StudyError: The folder holds another study, or another process is running the study.
    """
    store = store_of(study, out)
    extended = extensions(store, study)
    study_id = claim(store, study)
    for line in extended:
        note(f"Extended: {line}")
    for line in changed_versions(read_study(store)):
        note(f"Note: {line}. New trials may differ from those already in the record.")
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
    """Yield a list that receives the name of the first SIGINT or SIGTERM. A second signal raises KeyboardInterrupt."""
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
    """Ask the study that runs in a folder or S3 prefix to stop.

    Args:
        place: The folder or s3:// URI of the study's store.

    Raises:
        StudyError: There is no study, or no process is running it.
    """
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
                raise StudyError(f"No process is running the study in {place}, so there is nothing to stop.")
    stop_request.request(store, f"process {os.getpid()} on {socket.gethostname()}")


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Lock the folder until this process ends. If another process holds the lock, raise a StudyError that names it."""
    with open(out / LOCK, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StudyError(f"{out} is in use by {lock.read().strip()}. Wait until it ends, or give another --out.") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        lock.flush()
        yield


def _start(study: Study, out: Path, store: Store, tracking: str, search_path: tuple[Path, ...]) -> subprocess.Popen[bytes]:
    """Start KFP's local runner in its own process, with its output in logs/pipeline.log."""
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
            note("Stopping: the running epochs will finish, then the report is written. Interrupt again to end at once.")
            told = True
        if began >= next_look:
            watch(read_study(store))
            ended = time.monotonic()
            # Reading the record must not take more than a tenth of the time.
            next_look = ended + max(WATCH_EVERY_SECONDS, 10 * (ended - began))
        with suppress(subprocess.TimeoutExpired):
            pipeline.wait(0.1)
    watch(read_study(store))


def _end(pipeline: subprocess.Popen[bytes]) -> None:
    """Kill the runner and its steps, which form their own process group. Their finished work is in the record."""
    with suppress(ProcessLookupError):
        os.killpg(pipeline.pid, signal.SIGKILL)
    pipeline.wait()


def failures(result: StudyResult) -> list[str]:
    """Return a sentence for each failure or missing evaluation of a cell. Collected cells are skipped: they did not run here."""
    sentences = []
    for cell in (c for c in result.cells if not c.cell.method.collected):
        if cell.failures:
            sentences += [f"{cell.cell.name}: {f.step} failed: {f.reason}" for f in cell.failures]
        elif cell.evaluation is None and not result.stopping:
            sentences.append(f"{cell.cell.name}: it has no evaluation; see logs/pipeline.log")
    return sentences


def full_disk(out: Path) -> str | None:
    """Return an error message if the output folder's disk is full, else None. A step may be unable to record this itself."""
    free = shutil.disk_usage(out).free
    if free > FULL_BYTES:
        return None
    return f"The disk of {out} is full ({free:,} bytes are free). Free some space, and run the same command again to continue."


def unfinished(result: StudyResult) -> str | None:
    """Return a sentence with the number of unfinished cells, or None if no stop was requested or all cells finished."""
    cells = [c for c in result.cells if not c.cell.method.collected]
    left = sum(cell.evaluation is None and not cell.failures for cell in cells)
    if not result.stopping or not left:
        return None
    return f"Stopped on request: {left} of {len(cells)} cells are unfinished. Run the same command again to continue."


def main() -> None:
    """Compile the pipeline of the study on stdin, and run it. This is the main function of the runner's process."""
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
