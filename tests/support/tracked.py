"""Helpers of the tracking tests: small stores, a prepared SQLite schema, and the content of an MLflow server."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from made import made_study, write_search
from tuneoff.core import layout
from tuneoff.core.prepared_data import Prepared
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.core.study import Study
from tuneoff.tracking.mlflow.runs import KEY, PARENT, STATE, connect, tracking_uri


@functools.cache
def _schema() -> Path:
    file = Path(tempfile.mkdtemp()) / layout.MLFLOW_DATABASE
    connect(f"sqlite:///{file}")
    return file


def small_store(root: Path, study: Study | None = None, broken: bool = True) -> FolderStore:
    """A store with one seed searched for each cell of `study`: three trials that ended and one that did not, or eight that did.

    MLflow's schema, which takes seconds to make, is there already.
    """
    study = study or made_study(datasets=["mnist"], methods=["random"], seeds=[0])
    store = FolderStore(root)
    claim(store, study)
    for cell in study.cells:
        write_search(store, study, cell, study.seeds[0], broken=broken)
        write_prepared(store, cell.dataset)
    shutil.copy(_schema(), root / layout.MLFLOW_DATABASE)
    return store


def empty_server(file: Path) -> Any:
    """A client of a new SQLite file."""
    shutil.copy(_schema(), file)
    return connect(f"sqlite:///{file}")


def write_prepared(store: FolderStore, name: str) -> None:
    prepared = Prepared(
        name=name,
        source="built-in",
        input_shape=(28, 28, 1),
        classes=tuple("0123456789"),
        counts={"train": 48, "validation": 12, "test": 10},
        class_counts={},
        raw_sums={},
        fingerprint="ab" * 32,
    )
    store.write(layout.prepared(name) + "dataset.json", prepared.model_dump_json().encode())


class Unreliable:
    """An MLflow client whose n-th write, or first write of a name, raises before or after it is done."""

    WRITES = ("create", "log", "set", "update", "delete", "finalize")

    def __init__(self, client: Any, fails_at: int | str, written: bool = False) -> None:
        self._client = client
        self._fails_at = fails_at
        self._written = written
        self.writes = self.failures = 0
        self.failed = ""

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._client, name)
        return verb if not name.startswith(self.WRITES) else lambda *args, **kwargs: self._write(name, verb, args, kwargs)

    def _write(self, name: str, verb: Any, args: Any, kwargs: Any) -> Any:
        self.writes += 1
        if self._fails_at not in (self.writes - 1, name) or self.failures:
            return verb(*args, **kwargs)
        self.failures += 1
        self.failed = name
        if self._written:
            verb(*args, **kwargs)
        raise ConnectionError("the answer never came")


def client_of(store: FolderStore) -> Any:
    return connect(tracking_uri(read_study(store).study, store.uri))


def runs_of(client: Any) -> list[Any]:
    """Return all runs of all experiments that are not deleted."""
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, max_results=1000)
    assert not found.token
    return list(found)


def shown(client: Any) -> dict[str, dict[str, Any]]:
    """Return the content of the server by key, without ids and order of arrival. Fails if a key occurs twice."""
    runs = runs_of(client)
    key_of = {run.info.run_id: run.data.tags[KEY] for run in runs}
    assert len(set(key_of.values())) == len(runs), "a run is there twice"
    return {run.data.tags[KEY]: _shown(client, run, key_of) for run in runs}


def _shown(client: Any, run: Any, key_of: dict[str, str]) -> dict[str, Any]:
    tags = {name: value for name, value in run.data.tags.items() if name != STATE}
    if PARENT in tags:
        tags[PARENT] = key_of[tags[PARENT]]
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "tags": tags,
        "params": run.data.params,
        "metrics": {n: sorted((m.step, m.timestamp, m.value) for m in history) for n, history in histories.items()},
        "data": [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
        "files": sorted(f.path for f in client.list_artifacts(run.info.run_id)),
    }
