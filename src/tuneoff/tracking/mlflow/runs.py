"""A study's runs on an MLflow server: where it is, how its client is made, and the runs by the key that each carries."""

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
"""A digest of what a parent run shows: equal means that there is nothing to send."""

LONGEST_PARAM = 6000
LONGEST_TAG = 5000
PAGE = 1000

_QUIET = {
    # An absent server must not hold a search for minutes, and a retry inside MLflow's client would make a second run where only
    # the answer was lost: retrying is done by whoever calls, after asking the server what it has.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def tracking_uri(study: Study, place: str) -> str:
    """The MLflow server of a study: its `tracking.uri`, else SQLite in the folder `place`.

    Raises StudyError where `place` is no folder (s3://…) and the study names no server, or names one of another kind.
    """
    if study.tracking.uri is None:
        if "://" in place:
            raise StudyError(f"{place} is no folder for MLflow's SQLite file: give tracking.uri, an MLflow server's http(s) URI.")
        path = str(Path(place).absolute() / layout.MLFLOW_DATABASE)
        # Only what a URI cannot do without is quoted: MLflow makes an empty folder by the quoted name.
        return f"sqlite:///{path.replace('%', '%25').replace('?', '%3F')}"
    if urlsplit(study.tracking.uri).scheme not in ("http", "https", "sqlite"):
        raise StudyError(
            f"tracking.uri is {without_credentials(study.tracking.uri)!r}: give an MLflow server's http(s) URI, or sqlite:///FILE."
        )
    return study.tracking.uri


def named_server(uri: str) -> str:
    """The server to use: the one that is named, else the one that KFP names to its steps; StudyError where there is none."""
    found = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not found:
        raise StudyError("no MLflow server is named: give tracking.uri, an MLflow server's http(s) URI")
    return found


def refused_host(uri: str, error: BaseException) -> StudyError | None:
    """What to do where the server does not take the name under which it was asked; None where the error is another."""
    if "Invalid Host header" not in str(error):
        return None
    host = urlsplit(without_credentials(uri)).netloc
    return StudyError(f"the MLflow server refuses the name {host} (403): start it with --allowed-hosts {host}, port included")


def connect(uri: str) -> Any:
    """A client of this server alone, whatever MLFLOW_TRACKING_URI or MLFLOW_RUN_ID say. StudyError without MLflow or server.

    The schema of a SQLite file is made by one process at a time: two at once race in MLflow's migrations.
    """
    uri = named_server(uri)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise StudyError("Tracking needs MLflow: pip install 'tuneoff[tracking]'.") from None
    for name in ("mlflow.store.db.utils", "mlflow.utils.environment", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is raised, and told in one line by whoever called
    if not uri.startswith("sqlite:"):
        return Retrying(MlflowClient(tracking_uri=uri, registry_uri=uri))
    # A connection that is kept would go on writing into a file that was moved away.
    os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    with writable_alone(database_of(uri)):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@dataclass
class Run:
    """A run as the server has it: what is needed to see whether anything is missing."""

    id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    has_data: bool = False  # a data set is logged as its input

    @property
    def ended(self) -> bool:
        return self.status in ("FINISHED", "FAILED")


class Runs:
    """The runs of one study on one server, by key. The server is asked once a process; then what was done here is remembered."""

    def __init__(self, client: Any, experiment_id: str, study_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.study_id = study_id
        self._known: dict[str, Run] = {}

    def learn(self, **tags: str) -> None:
        """Ask the server for the study's runs with these `tuneoff.` tags. Of doubles, left by lost answers, one is kept."""
        wanted = {"study_id": self.study_id, **tags}
        condition = " and ".join(f"tags.`tuneoff.{name}` = '{value}'" for name, value in wanted.items())
        found: dict[str, list[Run]] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, max_results=PAGE, page_token=token)
            for run in page:
                found.setdefault(run.data.tags.get(KEY, ""), []).append(_known(run))
            token = page.token
            if not token:
                break
        for key, runs in found.items():
            first, *doubles = sorted(runs, key=lambda r: (not r.ended, STATE not in r.tags, r.id))
            self._known[key] = first
            for double in doubles:
                self.client.delete_run(double.id)

    def get(self, key: str) -> Run | None:
        """The run with this key, as far as the server was asked."""
        return self._known.get(key)

    def make(self, key: str, name: str, start: float, tags: Mapping[str, object]) -> Run:
        """The run with this key, made where it is not known; `start` in seconds since 1970."""
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
        """Send metrics (name, value, seconds since 1970, step), parameters and tags; what is no finite number is left out."""
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
        """Set the run's status and, unless it is RUNNING, its end (seconds since 1970)."""
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
    """A name as MLflow takes it for metrics and parameters: letters, digits and _ - . space : / and no empty or dotted part."""
    parts = [re.sub(r"[^\w\-. :]", "_", part, flags=re.ASCII)[:120].strip() for part in name.split("/")]
    return "/".join(part for part in parts if part.strip(".")) or "_"
