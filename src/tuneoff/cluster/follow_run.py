"""Following a run on a cluster to its end: what its steps do, what its pods wait for, and why it failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..core.errors import RecordError, StudyError
from ..core.store.protocol import Store
from ..core.store.study_store import StudyResult, read_study
from ..core.study import Study
from ..inspect.progress import cell_progress, tracking_note
from ..objectives import objective_of
from .kfp_server import KfpServer, Run
from .kubernetes_api import Json, RunView, Workflow
from .pending_pods import Waiting, failed_messages, in_words, of_events, refused_pods, starting_slowly, waiting_pods

LOOK_EVERY_SECONDS = 5.0
LOOK_AT_PODS_EVERY_SECONDS = 20.0
LOOK_AT_LOGS_EVERY_SECONDS = 30.0
SILENCE_SECONDS = 120.0
"""Without news for so long, and without a look at the pods, a user is told which command knows more."""
GONE_SECONDS = 60.0
"""A workflow that has been gone for so long does not come back; one that KFP has just made may not be listed yet."""
AWAY_PATIENCE_SECONDS = 600.0
"""How long a server that is away is waited for while a run is followed."""

GONE = "workflow"

TASKS = {"data-prep": "prepare", "tune": "tune on", "evaluate": "evaluate on"}
"""The tasks of a data set as the compiled pipeline names them, and what they do to it."""


@dataclass(frozen=True)
class Followed:
    """A run at its end. `hopeless` says why another run would end in the same way; None where it need not."""

    run: Run
    hopeless: str | None


class Follower:
    """Looks at a run every few seconds, and says what has changed since the last look."""

    def __init__(
        self,
        study: Study,
        server: KfpServer,
        run: Run,
        store: Store | None,
        view: RunView | None,
        note: Callable[[str], None],
        watch: Callable[[StudyResult], None],
    ) -> None:
        self._study = study
        self._server = server
        self._run = run
        self._store = store
        self._view = view
        self._note = note
        self._watch = watch
        self._titles = task_titles(study)
        self._steps: tuple[str, ...] = ()
        self._waits: list[str] = []
        self._hopeless_since: dict[str, float] = {}
        self._log_lines: dict[str, str] = {}
        self._next_pods = 0.0
        self._next_logs = 0.0
        self._news_at = time.monotonic()
        self._news: object = None
        self._seen = False  # Kubernetes, as asked from here, has had the run's workflow

    def to_the_end(self) -> Followed:
        """Look until the run has ended, or is ended here since a pod of it can never start."""
        while True:
            self._look_at_steps()
            self._look_at_record()
            if self._run.ended:
                return self._ended()
            stuck = self._look_at_pods()
            if stuck is not None:
                return self._give_up(stuck)
            self._break_the_silence()
            time.sleep(LOOK_EVERY_SECONDS)
            self._run = self._server.run(self._run.id, AWAY_PATIENCE_SECONDS)

    def _say(self, line: str) -> None:
        self._news_at = time.monotonic()
        self._note(line)

    # Steps and record

    def _look_at_steps(self) -> None:
        lines = steps_in_words(self._run, self._titles)
        for line in lines:
            if line not in self._steps:
                self._say(line)
        self._steps = lines

    def _look_at_record(self) -> None:
        if self._store is None:
            return
        with suppress(StudyError, RecordError, OSError):  # before the first step there is no study in it
            result = read_study(self._store)
            self._watch(result)
            news = [(c.name, c.trials, c.epochs, c.state) for c in (cell_progress(result, cell) for cell in result.cells)]
            if news != self._news:
                self._news, self._news_at = news, time.monotonic()

    # Pods

    def _look_at_pods(self) -> str | None:
        """Say what pods wait for; returns the reason where one has waited for too long for what will never come."""
        now = time.monotonic()
        if self._view is None or now < self._next_pods:
            return None
        self._next_pods = now + LOOK_AT_PODS_EVERY_SECONDS
        pods = self._view.pods(self._run.id)
        if pods is None:
            return None
        found = self._waiting(self._view, pods)
        lines = in_words(found)
        for line in lines:
            if line not in self._waits:
                self._say(line)
        self._waits = lines
        self._look_at_logs(self._view, pods, now)
        return self._stuck(found, now)

    def _waiting(self, view: RunView, pods: list[Json]) -> list[Waiting]:
        found = waiting_pods(pods, view.nodes())
        for pod in pods:
            if starting_slowly(pod) and (wait := of_events(pod, view.warnings(pod["metadata"]["name"]) or [])):
                found.append(wait)
        workflow = view.workflow(self._run.id)
        self._seen = self._seen or isinstance(workflow, Workflow)
        if workflow is False and self._seen:  # else the kubeconfig may lead to another cluster than KFP's
            found.append(Waiting(GONE, "the run", "its workflow is gone from the cluster, though KFP takes it for running", True))
        elif isinstance(workflow, Workflow):
            found += refused_pods(workflow)
        return found

    def _stuck(self, found: list[Waiting], now: float) -> str | None:
        since = {wait.pod: self._hopeless_since.get(wait.pod, now) for wait in found if wait.hopeless}
        self._hopeless_since = since
        seconds = self._study.cluster.pending_seconds
        for wait in found:
            if wait.pod == GONE and now - since[wait.pod] >= GONE_SECONDS:
                return f"{wait.what}: {wait.reason}: give --new to start another"
            if wait.pod in since and now - since[wait.pod] >= seconds:
                return f"{wait.what}: {wait.reason}. It could not start for {seconds} s (cluster.pending_seconds)"
        return None

    def _look_at_logs(self, view: RunView, pods: list[Json], now: float) -> None:
        """Where the record cannot be read, the last line of each tuner's log tells trials and the best so far."""
        if self._store is not None or now < self._next_logs:
            return
        self._next_logs = now + LOOK_AT_LOGS_EVERY_SECONDS
        for pod in pods:
            labels = pod["metadata"].get("labels") or {}
            if labels.get("tuneoff/step") != "tuner" or (pod.get("status") or {}).get("phase") != "Running":
                continue
            name = pod["metadata"]["name"]
            line = view.last_line(name, f"{labels.get('tuneoff/dataset')}/")  # a cell's name begins each line of its search
            if line and self._log_lines.get(name) != line:
                self._log_lines[name] = line
                self._say(line)

    def _break_the_silence(self) -> None:
        if self._seen or time.monotonic() - self._news_at < SILENCE_SECONDS:
            return None
        if self._view is not None:
            return self._say(f"No news for {SILENCE_SECONDS / 60:g} minutes. {no_workflow(self._view, self._run)}")
        return self._say(
            f"No news for {SILENCE_SECONDS / 60:g} minutes, and Kubernetes cannot be asked from here. This shows the run's pods:"
            f" kubectl --namespace {self._server.pods_namespace} get pods --selector pipeline/runid={self._run.id};"
            " and `kubectl describe pod NAME` says what a pod waits for."
        )

    # The end

    def _give_up(self, stuck: str) -> Followed:
        """End a run of which a pod can never start: it would hold what its other pods have for ever."""
        with suppress(StudyError):
            self._server.terminate(self._run.id)
        self._note(f"{self._run.name} is ended: {stuck}.")
        return Followed(self._run, stuck)

    def _ended(self) -> Followed:
        failed = self._run.state == "FAILED"
        workflow = self._view.workflow(self._run.id) if failed and self._view is not None else None
        said = self._run.error or (workflow.message if isinstance(workflow, Workflow) else "")
        messages = failed_messages(workflow) if isinstance(workflow, Workflow) else []
        self._note(f"{self._run.name} has ended: {self._run.state}{f' ({said})' if said else ''}")
        for message in messages[:5]:
            remedy = ": give the step more resources.memory" if "OOMKilled" in message else ""
            self._note(f"A pod of it failed: {message}{remedy}")
        if failed and not said and self._view is None:
            self._note(
                f"KFP gives no reason. Argo's may: kubectl --namespace {self._server.pods_namespace} get workflow --selector"
                f" pipeline/runid={self._run.id} --output jsonpath='{{.items[0].status.message}}'"
            )
        self._say_what_tracking_lacks()
        return Followed(self._run, self._why_again_is_useless(said) if failed else None)

    def _why_again_is_useless(self, said: str) -> str | None:
        if "too large" in said:
            return f"{said}: give the data sets to studies of their own"
        begun = [s for s in self._run.steps if s.name in self._titles and s.state in ("RUNNING", "SUCCEEDED", "FAILED")]
        if not begun:
            return "none of its steps has begun: its pods or KFP's own failed before; see `tuneoff submit --check`"
        return None

    def _say_what_tracking_lacks(self) -> None:
        if self._store is None or not objective_of(self._study).tracked_while_running:
            return
        with suppress(StudyError, RecordError, OSError):
            result = read_study(self._store)
            lacking = tracking_note([cell_progress(result, cell) for cell in result.cells])
            if lacking:
                self._note(lacking)


def no_workflow(view: RunView, run: Run) -> str:
    """Return what it may mean that Kubernetes has no workflow of a run that KFP takes for running."""
    return (
        f"Kubernetes, as this kubeconfig reaches it, has no workflow of {run.name} in namespace {view.namespace}. If somebody"
        " deleted it, the run will never end: give --new to start another. Otherwise name KFP's cluster with --kube-context."
    )


def task_titles(study: Study) -> dict[str, str]:
    """What each task of the study's pipeline is called there, and what it does. KFP's API gives the former alone."""
    titles = {
        task if number == 0 else f"{task}-{number + 1}": f"{verb} {dataset.name}"
        for task, verb in TASKS.items()
        for number, dataset in enumerate(study.datasets)
    }
    return {**titles, "report": "report"}


def steps_in_words(run: Run, titles: dict[str, str]) -> tuple[str, ...]:
    """A line for each of the study's steps, with how many of its tasks are in which state.

    KFP lists Argo's nodes: of a task `tune` there are also `tune-driver`, and `tune(0)` for its first attempt.
    """
    found: dict[str, Counter[str]] = {}
    for step in run.steps:
        if step.name in titles:
            found.setdefault(titles[step.name], Counter())[step.state.lower()] += 1
    return tuple(
        f"{titles[name]}: {', '.join(f'{count} {state}' for state, count in sorted(found[titles[name]].items()))}"
        for name in titles
        if titles[name] in found
    )
