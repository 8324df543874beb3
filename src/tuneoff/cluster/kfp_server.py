"""Talk to a KFP server: log in, find or create the pipeline, its version and the experiment, start runs and read their state."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import RunGone, StudyError, plain
from ..core.runtime.retry import OutageNote, repeat

PATIENCE_SECONDS = 30.0
"""How long a failed call is repeated. A call that could create something twice is not repeated."""
FIRST_PATIENCE_SECONDS = 5.0
"""How long the first call is repeated. It is short, so that a wrong address is reported soon."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
NOTE_AFTER_SECONDS = 10.0
"""If a server has not answered for longer than this, the user gets a message."""
RECENT_RUNS = 100

ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
LIVING = ("PENDING", "RUNNING", "PAUSED", "CANCELING")


@dataclass(frozen=True)
class Login:
    """KFP's address, and how to log in. Every way is one that KFP's client offers. Fields that are None are not used."""

    host: str
    namespace: str | None = None  # namespace of the runs, required if KFP has several users
    service_account: bool = False  # use the pod's own token, which the kubelet renews
    token_file: Path | None = None  # read again for each call
    token: str | None = None
    cookies: str | None = None
    ca_cert: Path | None = None


@dataclass(frozen=True)
class Step:
    """A step of a run and its state, as KFP lists them. A step in a loop occurs once per iteration."""

    name: str
    state: str


@dataclass(frozen=True)
class Run:
    """The current state of a run."""

    id: str
    name: str
    state: str  # one of ENDED or LIVING
    error: str | None
    steps: tuple[Step, ...]
    store: str | None  # the run's parameter `store`
    created_at: str = ""  # ISO 8601, to the second: sorts by time

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class KfpServer:
    """A connection to one KFP server. Every method raises a one-sentence StudyError if the server cannot do what it asks."""

    def __init__(self, login: Login) -> None:
        if not login.host.startswith(("http://", "https://")):
            raise StudyError(
                f"--host {login.host!r} is not an http(s) address. Give KFP's address, such as http://127.0.0.1:8888."
            )
        if login.token_file is not None and not login.token_file.is_file():
            raise StudyError(f"--token-file {str(login.token_file)!r} is not a file. Give a file that contains a token for KFP.")
        self.host = login.host.rstrip("/")
        self.namespace: str | None = None
        self.note: Callable[[str], None] = lambda line: None
        """Receives a message when the server stops answering during a repeated call, and when it answers again."""
        self._client = self._connect(login)

    def _connect(self, login: Login) -> Any:
        from kfp import client as kfp_client
        from kfp.client import Client

        path = str(login.token_file) if login.token_file else None
        if login.service_account and path is None:
            path = os.environ.get(kfp_client.KF_PIPELINES_SA_TOKEN_ENV, kfp_client.KF_PIPELINES_SA_TOKEN_PATH)
            if not Path(path).is_file():
                raise StudyError(
                    f"--service-account needs the file {path}, which does not exist. Use it only in a pod with a token for KFP."
                )
        credentials = kfp_client.ServiceAccountTokenVolumeCredentials(path) if path else None
        # KFP's client retries a health check five times before it fails. Our own check first detects a wrong address sooner.
        self._api = self._plain_api(login, credentials)
        self.many_users = bool(self._ask(self._healthy, first=True))
        self.namespace = login.namespace if self.many_users else None  # a single-user KFP refuses calls with a namespace
        return self._ask(
            lambda: Client(
                host=self.host,
                namespace=self.namespace or "kubeflow",
                existing_token=login.token,
                cookies=login.cookies,
                credentials=credentials,
                ssl_ca_cert=str(login.ca_cert) if login.ca_cert else None,
            ),
            first=True,
        )

    def _plain_api(self, login: Login, credentials: Any) -> Any:
        """Return KFP's generated API client with the same login, for calls that the high-level client does not offer."""
        import kfp_server_api
        from urllib3.util import Retry

        config = kfp_server_api.Configuration(host=self.host)
        config.retries = Retry(0)
        if login.ca_cert:
            config.ssl_ca_cert = str(login.ca_cert)
        if login.token or credentials:
            config.api_key = {"authorization": login.token or ""}
            config.api_key_prefix = {"authorization": "Bearer"}
        if credentials:
            config.refresh_api_key_hook = credentials.refresh_api_key_hook
        return kfp_server_api.ApiClient(config, cookie=login.cookies)

    def _healthy(self) -> Any:
        import kfp_server_api

        return kfp_server_api.HealthzServiceApi(self._api).healthz_service_get_healthz(_request_timeout=10).multi_user

    @property
    def pods_namespace(self) -> str:
        """The namespace of the runs' pods: the user's namespace, or `kubeflow` for a single-user KFP."""
        return self.namespace or "kubeflow"

    @property
    def version(self) -> str | None:
        """The version that the server reports, or None if it reports none."""
        ask = self._api.call_api
        with contextlib.suppress(Exception), _quietly():
            answer = ask("/apis/v1beta1/healthz", "GET", response_type="object", auth_settings=["Bearer"], _request_timeout=10)[0]
            return str(answer.get("tag_name") or "") or None
        return None

    # Pipelines

    def upload(self, file: Path, pipeline: str, version: str) -> tuple[str, str, bool]:
        """Create the pipeline and its version unless they exist.

        Returns:
            The id of the pipeline, the id of its version, and whether the version existed already.
        """
        pipeline_id = self._pipeline(pipeline) or self._make_pipeline(pipeline)
        existing = self._version(pipeline_id, version)
        if existing is not None:
            return pipeline_id, existing, True
        made = self._made(
            lambda: self._client.upload_pipeline_version(str(file), version, pipeline_id=pipeline_id).pipeline_version_id,
            lambda: self._version(pipeline_id, version),
        )
        return pipeline_id, made, False

    def _pipeline(self, name: str) -> str | None:
        listed = self._ask(lambda: self._client.list_pipelines(filter=_named(name), namespace=self.namespace, page_size=2))
        return str(listed.pipelines[0].pipeline_id) if listed.pipelines else None

    def _make_pipeline(self, name: str) -> str:
        pipeline = self._client.api_models.V2beta1Pipeline(display_name=name, name=name, namespace=self.namespace)
        create = self._client.pipelines.pipeline_service_create_pipeline
        return self._made(lambda: create(pipeline=pipeline).pipeline_id, lambda: self._pipeline(name))

    def _version(self, pipeline_id: str, name: str) -> str | None:
        listed = self._ask(lambda: self._client.list_pipeline_versions(pipeline_id, filter=_named(name), page_size=2))
        return str(listed.pipeline_versions[0].pipeline_version_id) if listed.pipeline_versions else None

    # Runs

    def experiment(self, name: str) -> str:
        """Return the experiment's id. Create the experiment if it does not exist."""

        def find() -> str | None:
            try:
                return str(self._client.get_experiment(experiment_name=name, namespace=self.namespace).experiment_id)
            except ValueError:  # raised by the client if the experiment does not exist
                return None

        existing = self._ask(find)
        if existing is not None:
            return str(existing)
        return self._made(lambda: self._client.create_experiment(name, namespace=self.namespace).experiment_id, find)

    def start(
        self, experiment_id: str, name: str, pipeline: tuple[str, str], parameters: dict[str, Any], service_account: str | None
    ) -> Run:
        """Start a run of the pipeline's version. The call is made only once, so that a lost answer cannot start a second run."""
        name = f"{name}-{secrets.token_hex(3)}"

        def start() -> str:
            made = self._client.run_pipeline(
                experiment_id, name, params=parameters, pipeline_id=pipeline[0], version_id=pipeline[1],
                service_account=service_account,
            )  # fmt: skip
            return str(made.run_id)

        return self.run(self._made(start, lambda: self._run_named(experiment_id, name), tries=1))

    def _run_named(self, experiment_id: str, name: str) -> str | None:
        listed = self._ask(lambda: self._client.list_runs(experiment_id=experiment_id, filter=_named(name), page_size=2))
        return str(listed.runs[0].run_id) if listed.runs else None

    def living(self, experiment_id: str, store: str) -> list[Run]:
        """Return the runs that write to this store and have not ended, oldest first. Runs of the same age are sorted by id."""
        listed = self._ask(
            lambda: self._client.list_runs(experiment_id=experiment_id, sort_by="created_at desc", page_size=RECENT_RUNS)
        )
        runs = [_run(run) for run in listed.runs or []]
        active = [run for run in runs if run.state in LIVING and run.store == store]
        return sorted(active, key=lambda run: (run.created_at, run.id))

    def end(self, run_id: str) -> None:
        """End a run and delete it from KFP's list, even if its workflow no longer exists."""
        with contextlib.suppress(StudyError, RunGone):  # KFP answers 500 if the workflow no longer exists
            self._ask_of_run(run_id, lambda: self._client.terminate_run(run_id), patience_seconds=0.0)
        with contextlib.suppress(RunGone):
            self._ask_of_run(run_id, lambda: self._client.delete_run(run_id))

    def terminate(self, run_id: str) -> None:
        """End a run. It stays in KFP's list."""
        self._ask_of_run(run_id, lambda: self._client.terminate_run(run_id))

    def look_for_runs(self) -> None:
        """List the namespace's runs, to check that this login may do so. Raise StudyError if not."""
        self._ask(lambda: self._client.list_runs(namespace=self.namespace, page_size=1))

    def run(self, run_id: str, patience_seconds: float = PATIENCE_SECONDS) -> Run:
        """Return the current state of a run."""
        return _run(self._ask_of_run(run_id, lambda: self._client.get_run(run_id), patience_seconds))

    def _ask_of_run(self, run_id: str, call: Callable[[], Any], patience_seconds: float = PATIENCE_SECONDS) -> Any:
        """Return the result of a call about a run. Raise RunGone if the server has no such run."""
        try:
            return self._ask(call, patience_seconds=patience_seconds)
        except StudyError as error:
            if getattr(error.__cause__, "status", None) == 404:
                raise RunGone(
                    f"The run {run_id} no longer exists in KFP: it was deleted. The record still has its results."
                    " Run the same command again: it starts a new run that continues from the record."
                ) from error
            raise

    def link(self, run_id: str) -> str:
        """Return the address of the run's page, which is correct if KFP's pages and API have the same host."""
        return f"{self.host}/#/runs/details/{run_id}"

    # Calls

    def _made(self, make: Callable[[], Any], find: Callable[[], str | None], tries: int = 4) -> str:
        """Create an object on the server, exactly once, and return its id.

        If the answer is lost, or another client was faster, `find` looks for the object before `make` is called again. The
        object must have a unique name.

        Args:
            make: Creates the object, and returns its id.
            find: Returns the id of the object, or None if it does not exist.
            tries: Maximum number of calls of `make`.
        """
        pause = FIRST_PAUSE_SECONDS
        for left in reversed(range(tries)):
            try:
                return str(self._ask(make, patience_seconds=0.0))
            except StudyError as error:
                existing = find()
                if existing is not None:
                    return existing
                if not left or not error.__cause__ or not _passes(error.__cause__):
                    raise
            time.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    def _ask(self, call: Callable[[], Any], first: bool = False, patience_seconds: float = PATIENCE_SECONDS) -> Any:
        """Return the result of a call. Repeat the call while the server fails or does not answer, then raise StudyError."""
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        faults = (ApiException, HTTPError, OSError)

        def quiet_call() -> Any:
            with _quietly():
                return call()

        try:
            return repeat(
                quiet_call,
                lambda error: isinstance(error, faults) and _passes(error),
                FIRST_PATIENCE_SECONDS if first else patience_seconds,
                FIRST_PAUSE_SECONDS,
                LONGEST_PAUSE_SECONDS,
                outage=OutageNote(f"KFP at {self.host}", _said, self.note, NOTE_AFTER_SECONDS),
            )
        except faults as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> StudyError:
        status, said = getattr(error, "status", None), _said(error)
        match status:
            case 401:
                return StudyError(
                    f"KFP at {self.host} refused the login (401). Give --token-file, --existing-token, --cookies, or in a pod"
                    " --service-account."
                )
            case 403:
                where = f"in namespace {self.namespace}" if self.namespace else "without a namespace (--namespace)"
                return StudyError(f"KFP at {self.host} does not allow this {where} (403: {said}). Ask for the rights there.")
            case 404:
                return StudyError(
                    f"KFP at {self.host} answered 404 ({said}). Check that --host is the address of KFP's API, version 2."
                )
            case None | 0:
                return StudyError(f"KFP at {self.host} cannot be reached ({said}). Check --host and the network.")
            case _:
                return StudyError(f"KFP at {self.host} answered {status} ({said}). Look at the log of ml-pipeline.")


def _run(run: Any) -> Run:
    details = run.run_details.task_details if run.run_details else None
    parameters = run.runtime_config.parameters if run.runtime_config else None
    return Run(
        id=str(run.run_id),
        name=str(run.display_name),
        state=str(run.state or "PENDING"),
        error=str(run.error.message) if run.error and run.error.message else None,
        steps=tuple(Step(str(t.display_name), str(t.state)) for t in details or () if t.display_name and t.state),
        store=(parameters or {}).get("store"),
        created_at=run.created_at.isoformat() if hasattr(run.created_at, "isoformat") else str(run.created_at or ""),
    )


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _passes(error: BaseException) -> bool:
    """Return whether the same call may succeed later."""
    status = getattr(error, "status", None)
    if status:
        return bool(status >= 500 or status == 429)
    return "CERTIFICATE" not in str(error).upper()


def _said(error: BaseException) -> str:
    """Return the server's error message, or the reason why it could not be reached, on one short line."""
    text = str(error)
    body = getattr(error, "body", None)
    if body is not None:
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        with contextlib.suppress(ValueError, AttributeError):
            fields = json.loads(text)
            text = str(fields.get("message") or fields.get("error") or text)
    reason = getattr(error, "reason", None)
    text = text or str(reason or type(error).__name__)
    return plain(" ".join(text.split()))[:200].rstrip(".: ")


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the prints, warnings and logs of KFP's client. The callers report the same facts in their own messages."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
