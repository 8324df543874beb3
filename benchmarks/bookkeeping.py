"""Overhead of record, pipes and tracking per trial, in a folder and on S3."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneoff.core import layout
from tuneoff.core.record.events import parse
from tuneoff.core.record.state import SearchState
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim
from tuneoff.core.study import Dataset, Split
from tuneoff.data.prepare import prepare
from tuneoff.tracking import Tracker
from tuneoff.tracking.mlflow.runs import tracking_uri

from .lines import Line
from .made_record import made_study, write_study

SHARE = 0.01
TRIAL_SECONDS = 10.0
LOOKS_A_TRIAL = 5
"""Number of times that tracking reads the record during a trial: every two seconds."""
BUCKET = "benchmark"


@dataclass(frozen=True)
class Size:
    """Size of the search on each store, and the length of the record that tracking reads."""

    images: int
    trials: int
    epochs: int
    looked_at: int


FULL = Size(images=5000, trials=6, epochs=10, looked_at=1000)
QUICK = Size(images=200, trials=3, epochs=3, looked_at=40)


def measure(size: Size, note: Callable[[str], None]) -> list[Line]:
    """Measure a search in a folder, one on an S3 server on this machine, and tracking on a long record."""
    with tempfile.TemporaryDirectory() as place:
        subset = {"train": size.images, "validation": max(10, size.images // 5), "test": 100}
        data = {"name": "fashion_mnist", "subset": subset, "image_size": 14}
        prepare(Dataset.model_validate(data), Split(), Path(place, "data"), note)
        lines = _searched("a folder", Path(place, "data"), "", size, {})
        note("bookkeeping: a folder is done")
        with s3_server(Path(place)) as environment:
            lines += _searched("S3 on this machine", Path(place, "data"), f"s3://{BUCKET}/study", size, environment)
        note("bookkeeping: S3 is done")
    return [*lines, _look(size.looked_at)]


def _searched(where: str, data: Path, store: str, size: Size, environment: dict[str, str]) -> list[Line]:
    arguments = {"store": store, "trials": size.trials, "epochs": size.epochs}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bookkeeping_search", str(data), json.dumps(arguments)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"benchmarks.bookkeeping_search ended with exit code {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    told = f"measured on trials of {found['trial_seconds']:.1f} s"
    return [
        _share(f"between trials, {where}", found["between_seconds"], f"of a {TRIAL_SECONDS:g}-second trial; {told}"),
        _share(f"the step's own processor, {where}", found["own_seconds"], "for record, pipes and MLflow"),
    ]


def _share(name: str, seconds: float, note: str) -> Line:
    return Line(name, 100 * seconds / TRIAL_SECONDS, "%", 100 * SHARE, note=f"{1000 * seconds:.0f} ms per trial {note}")


def _look(trials: int) -> Line:
    """Measure sending a trial and five checks without news, with this number of trials on record and on the server."""
    study = made_study(8 * trials, seeds=1)
    study = study.model_copy(update={"datasets": study.datasets[:1], "methods": study.methods[:1]})
    cell = study.cells[0]
    with tempfile.TemporaryDirectory() as place:
        store = FolderStore(Path(place))
        write_study(store, study)
        course = SearchState(cell.dataset, cell.method.label, 0)
        course.follow(parse(store.journal_lines(layout.events(cell.dataset, cell.method.label, 0))))
        tracker = Tracker(store, study, claim(store, study), tracking_uri(study, place))
        tracker.prepare()
        began = time.process_time()
        tracker.deliver(cell, [course.search])
        sent = (time.process_time() - began) / trials
        began = time.process_time()
        for _ in range(LOOKS_A_TRIAL):
            course.follow(())
            tracker.deliver(cell, [course.search])
        looked = time.process_time() - began
    return _share(f"tracking, with {trials} trials on record", sent + looked, f"({1000 * looked:.0f} ms of it for checks)")


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Start an S3 server with one bucket in its own process. Yields the environment variables that lead to it."""
    log = folder / "s3.log"
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
    }
    with open(log, "wb") as output:
        server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", "0"], stdout=output, stderr=output)
    try:
        environment["AWS_ENDPOINT_URL"] = _address(log)
        _make_bucket(environment)
        yield environment
    finally:
        server.terminate()
        server.wait()


def _address(log: Path, patience_seconds: float = 60.0) -> str:
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8"))
        if found:
            return found[0]
        time.sleep(0.1)
    raise RuntimeError(f"the S3 server did not start: {log.read_text(encoding='utf-8')[-500:]}")


def _make_bucket(environment: dict[str, str]) -> Any:
    import boto3

    session = boto3.session.Session(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region_name=environment["AWS_DEFAULT_REGION"]
    )
    return session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"]).create_bucket(Bucket=BUCKET)
