"""A KFP server through its own client: log in, find or make pipeline, version and experiment, start a run and look at it."""

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

PATIENCE_SECONDS = 30.0
"""How long a call is made again where the server fails it or is away; what would make something twice is asked for once."""
FIRST_PATIENCE_SECONDS = 5.0
"""The same for the first call: a wrong address shall be known soon."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
NOTE_AFTER_SECONDS = 10.0
"""A server that has not answered for longer is worth a line."""
RECENT_RUNS = 100

ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
LIVING = ("PENDING", "RUNNING", "PAUSED", "CANCELING")


@dataclass(frozen=True)
class Login:
    """Where KFP is, and how to log in; every way is one of its client's own. The last three are None for none."""

    host: str
    namespace: str | None = None  # of the runs; needed where KFP has many users
    service_account: bool = False  # the pod's own token, which the kubelet renews
    token_file: Path | None = None  # read anew for each call
    token: str | None = None
    cookies: str | None = None
    ca_cert: Path | None = None


@dataclass(frozen=True)
class Step:
    """A step of a run, as far as KFP tells it; a step within a loop stands there once an iteration."""

    name: str
    state: str


@dataclass(frozen=True)
class Run:
    """A run as it stands."""

    id: str
    name: str
    state: str  # one of ENDED or LIVING
    error: str | None
    steps: tuple[Step, ...]
    store: str | None  # its parameter of that name
    created_at: str = ""  # ISO 8601, to the second: sorts by time

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class KfpServer:
    """One server, logged in. Every method raises StudyError in one sentence where the server cannot do it."""

    def __init__(self, login: Login) -> None:
        if not login.host.startswith(("http://", "https://")):
            raise StudyError(f"--host {login.host!r} is not taken: give KFP's address, such as http://127.0.0.1:8888.")
        if login.token_file is not None and not login.token_file.is_file():
            raise StudyError(f"--token-file {str(login.token_file)!r} is no file: give one that holds a token for KFP.")
        self.host = login.host.rstrip("/")
        self.namespace: str | None = None
        self.note: Callable[[str], None] = lambda line: None
        """Hears when the server stops answering during a call that is made again, and when it answers again."""
        self._client = self._connect(login)

    def _connect(self, login: Login) -> Any:
        from kfp import client as kfp_client
        from kfp.client import Client

        path = str(login.token_file) if login.token_file else None
        if login.service_account and path is None:
            path = os.environ.get(kfp_client.KF_PIPELINES_SA_TOKEN_ENV, kfp_client.KF_PIPELINES_SA_TOKEN_PATH)
            if not Path(path).is_file():
                raise StudyError(f"--service-account needs {path}, which is not there: this is no pod with a token for KFP.")
        credentials = kfp_client.ServiceAccountTokenVolumeCredentials(path) if path else None
        # The client asks for KFP's health five times with pauses before it says that there is none: the address is tried first.
        self._api = self._plain_api(login, credentials)
        self.many_users = bool(self._ask(self._healthy, first=True))
        self.namespace = login.namespace if self.many_users else None  # of one user's KFP: naming one there is refused
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
        """KFP's generated client with the same login, for what its own client has no words for."""
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
        """Where the pods of runs are: a user's namespace, or that of a KFP for one user."""
        return self.namespace or "kubeflow"

    @property
    def version(self) -> str | None:
        """What the server says of its version; None where it says nothing."""
        ask = self._api.call_api
        with contextlib.suppress(Exception), _quietly():
            said = ask("/apis/v1beta1/healthz", "GET", response_type="object", auth_settings=["Bearer"], _request_timeout=10)[0]
            return str(said.get("tag_name") or "") or None
        return None

    # Pipelines

    def upload(self, file: Path, pipeline: str, version: str) -> tuple[str, str, bool]:
        """Ids of the pipeline and its version, made where they are not there yet; and whether the version was there."""
        pipeline_id = self._pipeline(pipeline) or self._make_pipeline(pipeline)
        there = self._version(pipeline_id, version)
        if there is not None:
            return pipeline_id, there, True
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
        """The experiment's id; it is made where it is not there yet."""

        def find() -> str | None:
            try:
                return str(self._client.get_experiment(experiment_name=name, namespace=self.namespace).experiment_id)
            except ValueError:  # what the client says where there is none
                return None

        there = self._ask(find)
        if there is not None:
            return str(there)
        return self._made(lambda: self._client.create_experiment(name, namespace=self.namespace).experiment_id, find)

    def start(
        self, experiment_id: str, name: str, pipeline: tuple[str, str], parameters: dict[str, Any], service_account: str | None
    ) -> Run:
        """Start a run of the pipeline's version. Starting is asked for once: an answer that is lost starts no second run."""
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
        """The runs into this store that have not ended, the oldest first; of equally old ones, by id."""
        listed = self._ask(
            lambda: self._client.list_runs(experiment_id=experiment_id, sort_by="created_at desc", page_size=RECENT_RUNS)
        )
        runs = [_run(run) for run in listed.runs or []]
        found = [run for run in runs if run.state in LIVING and run.store == store]
        return sorted(found, key=lambda run: (run.created_at, run.id))

    def end(self, run_id: str) -> None:
        """End a run and take it out of KFP's list, whether its workflow is still there or not."""
        with contextlib.suppress(StudyError, RunGone):  # KFP answers 500 where the workflow is gone
            self._ask_of_run(run_id, lambda: self._client.terminate_run(run_id), patience_seconds=0.0)
        with contextlib.suppress(RunGone):
            self._ask_of_run(run_id, lambda: self._client.delete_run(run_id))

    def terminate(self, run_id: str) -> None:
        """End a run; KFP keeps what it knows of it."""
        self._ask_of_run(run_id, lambda: self._client.terminate_run(run_id))

    def look_for_runs(self) -> None:
        """Ask for the namespace's runs, to see that it may be done."""
        self._ask(lambda: self._client.list_runs(namespace=self.namespace, page_size=1))

    def run(self, run_id: str, patience_seconds: float = PATIENCE_SECONDS) -> Run:
        """The run as it stands."""
        return _run(self._ask_of_run(run_id, lambda: self._client.get_run(run_id), patience_seconds))

    def _ask_of_run(self, run_id: str, call: Callable[[], Any], patience_seconds: float = PATIENCE_SECONDS) -> Any:
        """What the call returns; RunGone where the server has no such run."""
        try:
            return self._ask(call, patience_seconds=patience_seconds)
        except StudyError as error:
            if getattr(error.__cause__, "status", None) == 404:
                raise RunGone(
                    f"The run {run_id} is not in KFP any more: somebody has deleted it. What it trained is on record;"
                    " the same command starts a new run, which continues from there."
                ) from error
            raise

    def link(self, run_id: str) -> str:
        """The run's page, where the pages are served beside the API."""
        return f"{self.host}/#/runs/details/{run_id}"

    # Calls

    def _made(self, make: Callable[[], Any], find: Callable[[], str | None], tries: int = 4) -> str:
        """The id of what `make` makes. Where its answer is lost, or somebody else was faster, `find` finds it before it is tried
        again; that is for what has a name of its own, so that the server makes it once."""
        pause = FIRST_PAUSE_SECONDS
        for left in reversed(range(tries)):
            try:
                return str(self._ask(make, patience_seconds=0.0))
            except StudyError as error:
                found = find()
                if found is not None:
                    return found
                if not left or not error.__cause__ or not _passes(error.__cause__):
                    raise
            time.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    def _ask(self, call: Callable[[], Any], first: bool = False, patience_seconds: float = PATIENCE_SECONDS) -> Any:
        """What the call returns, made again while the server fails it or is away; StudyError in one sentence at the end."""
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        began, away = time.monotonic(), False
        deadline = began + (FIRST_PATIENCE_SECONDS if first else patience_seconds)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                with _quietly():
                    answer = call()
            except (ApiException, HTTPError, OSError) as error:
                if not _passes(error) or time.monotonic() + pause > deadline:
                    raise self._fault(error) from error
                if not away and time.monotonic() - began > NOTE_AFTER_SECONDS:
                    away = True
                    self.note(f"KFP at {self.host} does not answer ({_said(error)}): trying again for {patience_seconds:g} s.")
            else:
                if away:
                    self.note(f"KFP at {self.host} answers again after {time.monotonic() - began:.0f} s.")
                return answer
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _fault(self, error: Exception) -> StudyError:
        status, said = getattr(error, "status", None), _said(error)
        match status:
            case 401:
                return StudyError(
                    f"KFP at {self.host} refused the login (401): give --token-file, --existing-token, --cookies, or in a pod"
                    " --service-account."
                )
            case 403:
                where = f"in namespace {self.namespace}" if self.namespace else "without a namespace (--namespace)"
                return StudyError(f"KFP at {self.host} does not allow this {where} (403: {said}): ask for the rights there.")
            case 404:
                return StudyError(f"KFP at {self.host} answered 404 ({said}): is it the address of KFP's API, version 2?")
            case None | 0:
                return StudyError(f"KFP at {self.host} cannot be reached ({said}): check --host and the network.")
            case _:
                return StudyError(f"KFP at {self.host} answered {status} ({said}): look at the log of ml-pipeline.")


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
    """Whether the same call may go well a little later."""
    status = getattr(error, "status", None)
    if status:
        return bool(status >= 500 or status == 429)
    return "CERTIFICATE" not in str(error).upper()


def _said(error: Exception) -> str:
    """What the server said, or why it could not be asked, on one short line."""
    text = str(error)
    body = getattr(error, "body", None)
    if body is not None:
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(text)
            text = str(found.get("message") or found.get("error") or text)
    reason = getattr(error, "reason", None)
    text = text or str(reason or type(error).__name__)
    return plain(" ".join(text.split()))[:200].rstrip(".: ")


@contextmanager
def _quietly() -> Iterator[None]:
    """The client prints links, warns and logs what is told here in other words."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
