"""A study's runs on an MLflow server: the server's URI, its client, and the runs by their keys."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...core import layout
from ...core.credentials import without_credentials
from ...core.errors import StudyError
from ...core.study import Study
from ..trial_facts import Point
from .retry import Retrying
from .sqlite import database_of, writable_alone

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
KEY = "tuneoff.key"
STATE = "tuneoff.state"
"""Tag with a digest of the content of a parent run. If it is equal, nothing has to be sent."""

LONGEST_PARAM = 6000
LONGEST_TAG = 5000
PAGE = 1000

_QUIET = {
    # An unavailable server must not delay a search for minutes. A retry inside MLflow's client would create a second run if only
    # the answer was lost, so the caller retries after it has queried the server.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def tracking_uri(study: Study, place: str) -> str:
    """Return the URI of the study's MLflow server: its `tracking.uri`, or else a SQLite file in the folder `place`.

    Raises:
        StudyError: `place` is not a folder (s3://…) and the study names no server, or `tracking.uri` has an unknown scheme.
    """
    if study.tracking.uri is None:
        if "://" in place:
            raise StudyError(
                f"{place} is not a folder, so it cannot hold MLflow's SQLite file. Set tracking.uri to the http(s) URI of an"
                " MLflow server."
            )
        path = str(Path(place).absolute() / layout.MLFLOW_DATABASE)
        # As few characters as possible are quoted, because MLflow creates an empty folder with the quoted name.
        return f"sqlite:///{path.replace('%', '%25').replace('?', '%3F')}"
    if urlsplit(study.tracking.uri).scheme not in ("http", "https", "sqlite"):
        raise StudyError(
            f"tracking.uri is {without_credentials(study.tracking.uri)!r}, which is not a supported URI. Give the http(s) URI"
            " of an MLflow server, or sqlite:///FILE."
        )
    return study.tracking.uri


def named_server(uri: str) -> str:
    """Return `uri`, or if it is empty, the server that KFP names to its steps.

    Raises:
        StudyError: No server is named.
    """
    server = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not server:
        raise StudyError("no MLflow server is named: set tracking.uri to the http(s) URI of an MLflow server")
    return server


def refused_host(uri: str, error: BaseException) -> StudyError | None:
    """Return an error with a remedy if the server rejected the host name of the request; None for other errors."""
    if "Invalid Host header" not in str(error):
        return None
    host = urlsplit(without_credentials(uri)).netloc
    return StudyError(
        f"the MLflow server rejects the host name {host} (403): start it with --allowed-hosts {host}, port included"
    )


def connect(uri: str) -> Any:
    """Return a client of this server that ignores MLFLOW_RUN_ID, and MLFLOW_TRACKING_URI unless `uri` is empty.

    Only one process at a time creates the schema of a SQLite file, because MLflow's migrations have a race.

    Raises:
        StudyError: MLflow is not installed, or no server is named.
    """
    uri = named_server(uri)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise StudyError("Tracking needs MLflow, which is not installed: pip install 'tuneoff[tracking]'.") from None
    for name in ("mlflow.store.db.utils", "mlflow.utils.environment", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors are raised, and the caller reports them in one line
    if not uri.startswith("sqlite:"):
        return Retrying(MlflowClient(tracking_uri=uri, registry_uri=uri))
    # A pooled connection would continue to write into a file that was moved away.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    with writable_alone(database_of(uri)):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@dataclass
class Run:
    """The state of a run on the server, as far as it shows whether anything is missing."""

    id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    has_data: bool = False  # a data set is logged as its input

    @property
    def ended(self) -> bool:
        return self.status in ("FINISHED", "FAILED")


class Runs:
    """The runs of one study on one server, by key. The server is queried once; later changes of this process are remembered."""

    def __init__(self, client: Any, experiment_id: str, study_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.study_id = study_id
        self._known: dict[str, Run] = {}

    def learn(self, **tags: str) -> None:
        """Query the server for the study's runs with these `tuneoff.` tags.

        A lost answer may have led to two runs with the same key. All but one of them are deleted.
        """
        wanted = {"study_id": self.study_id, **tags}
        condition = " and ".join(f"tags.`tuneoff.{name}` = '{value}'" for name, value in wanted.items())
        by_key: dict[str, list[Run]] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=PAGE, page_token=token)
            for run in page:
                by_key.setdefault(run.data.tags.get(KEY, ""), []).append(_known(run))
            token = page.token
            if not token:
                break
        for key, runs in by_key.items():
            first, *doubles = sorted(runs, key=lambda r: (not r.ended, STATE not in r.tags, r.id))
            self._known[key] = first
            for double in doubles:
                self.client.delete_run(double.id)

    def get(self, key: str) -> Run | None:
        """Return the run with this key, or None if no query of the server returned it."""
        return self._known.get(key)

    def make(self, key: str, name: str, start: float, tags: Mapping[str, object]) -> Run:
        """Return the run with this key, and create it if it is unknown. `start` is in seconds since 1970."""
        if key in self._known:
            return self._known[key]
        texts = {KEY: key, "tuneoff.study_id": self.study_id, "mlflow.source.name": "tuneoff"} | _texts(tags, LONGEST_TAG)
        run = self.client.create_run(self.experiment_id, start_time=_ms(start), tags=texts, run_name=name)
        self._known[key] = _known(run)
        return self._known[key]

    def drop(self, key: str) -> None:
        """Delete the run with this key from the server."""
        self.client.delete_run(self._known[key].id)
        del self._known[key]

    def log(
        self,
        run: Run,
        metrics: Sequence[Point] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Send metrics (name, value, seconds since 1970, step), parameters and tags. Metrics that are not finite are omitted."""
        from mlflow.entities import Metric, Param, RunTag

        entries = [
            Metric(clean(name), float(value), _ms(time), step) for name, value, time, step in metrics if math.isfinite(value)
        ]
        texts = _texts(tags or {}, LONGEST_TAG)
        rest = [Param(clean(k), v) for k, v in _texts(params or {}, LONGEST_PARAM).items()]
        size = 100 if sum(len(p.value) for p in rest) < 50_000 else 20
        self.client.log_batch(run.id, metrics=entries, params=rest[:size], tags=[RunTag(k, v) for k, v in texts.items()])
        for start in range(size, len(rest), size):
            self.client.log_batch(run.id, params=rest[start : start + size])
        run.tags.update(texts)

    def settle(self, run: Run, status: str, time: float) -> None:
        """Set the status of the run and, unless it is RUNNING, its end time (seconds since 1970)."""
        if status != "RUNNING":
            self.client.set_terminated(run.id, status, end_time=_ms(time))
        elif run.status != "RUNNING":
            self.client.update_run(run.id, status=status)
        run.status = status


def _known(run: Any) -> Run:
    data = run.inputs.dataset_inputs if run.inputs else []
    return Run(run.info.run_id, run.info.status, dict(run.data.tags), bool(data))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _texts(values: Mapping[str, object], longest: int) -> dict[str, str]:
    return {k: _short(str(v), longest) for k, v in values.items() if v is not None}


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def clean(name: str) -> str:
    """Return a valid MLflow name of a metric or parameter: letters, digits and _ - . space : / without empty or dotted parts."""
    parts = [re.sub(r"[^\w\-. :]", "_", part, flags=re.ASCII)[:120].strip() for part in name.split("/")]
    return "/".join(part for part in parts if part.strip(".")) or "_"
