"""Follow a run on a cluster until it ends: show its steps, explain pending pods, and say why it failed."""

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
"""After this time without news, and without access to the pods, the user gets a command that shows more."""
GONE_SECONDS = 60.0
"""A workflow that is missing for this long does not come back. A workflow that KFP has just created may not be listed yet."""
AWAY_PATIENCE_SECONDS = 600.0
"""How long a follower waits for a server that does not answer."""

GONE = "workflow"

TASKS = {"data-prep": "prepare", "tune": "tune on", "evaluate": "evaluate on"}
"""The tasks of a data set: their names in the compiled pipeline, and how they are shown."""


@dataclass(frozen=True)
class Followed:
    """A run that has ended. `hopeless` is the reason why another run would fail in the same way, or None."""

    run: Run
    hopeless: str | None


class Follower:
    """Poll a run every few seconds, and report what has changed since the last poll."""

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
        self._seen = False  # whether this machine's Kubernetes client has found the run's workflow

    def to_the_end(self) -> Followed:
        """Poll until the run ends. End the run here if one of its pods can never start."""
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
        with suppress(StudyError, RecordError, OSError):  # before the first step the store holds no study
            result = read_study(self._store)
            self._watch(result)
            news = [(c.name, c.trials, c.epochs, c.state) for c in (cell_progress(result, cell) for cell in result.cells)]
            if news != self._news:
                self._news, self._news_at = news, time.monotonic()

    # Pods

    def _look_at_pods(self) -> str | None:
        """Report why pods wait. Return the reason if a pod that can never start has waited too long, else None."""
        now = time.monotonic()
        if self._view is None or now < self._next_pods:
            return None
        self._next_pods = now + LOOK_AT_PODS_EVERY_SECONDS
        pods = self._view.pods(self._run.id)
        if pods is None:
            return None
        waiting = self._waiting(self._view, pods)
        lines = in_words(waiting)
        for line in lines:
            if line not in self._waits:
                self._say(line)
        self._waits = lines
        self._look_at_logs(self._view, pods, now)
        return self._stuck(waiting, now)

    def _waiting(self, view: RunView, pods: list[Json]) -> list[Waiting]:
        waiting = waiting_pods(pods, view.nodes())
        for pod in pods:
            if starting_slowly(pod) and (wait := of_events(pod, view.warnings(pod["metadata"]["name"]) or [])):
                waiting.append(wait)
        workflow = view.workflow(self._run.id)
        self._seen = self._seen or isinstance(workflow, Workflow)
        if workflow is False and self._seen:  # if it was never seen, the kubeconfig may point to another cluster than KFP's
            reason = "its workflow has disappeared from the cluster, but KFP shows it as running"
            waiting.append(Waiting(GONE, "the run", reason, True))
        elif isinstance(workflow, Workflow):
            waiting += refused_pods(workflow)
        return waiting

    def _stuck(self, waiting: list[Waiting], now: float) -> str | None:
        since = {wait.pod: self._hopeless_since.get(wait.pod, now) for wait in waiting if wait.hopeless}
        self._hopeless_since = since
        seconds = self._study.cluster.pending_seconds
        for wait in waiting:
            if wait.pod == GONE and now - since[wait.pod] >= GONE_SECONDS:
                return f"{wait.what}: {wait.reason}. Give --new to start another run"
            if wait.pod in since and now - since[wait.pod] >= seconds:
                return f"{wait.what}: {wait.reason}. It could not start for {seconds} s (cluster.pending_seconds)"
        return None

    def _look_at_logs(self, view: RunView, pods: list[Json], now: float) -> None:
        """Show the last line of each tuner's log (trials, best value so far) if the record cannot be read from here."""
        if self._store is not None or now < self._next_logs:
            return
        self._next_logs = now + LOOK_AT_LOGS_EVERY_SECONDS
        for pod in pods:
            labels = pod["metadata"].get("labels") or {}
            if labels.get("tuneoff/step") != "tuner" or (pod.get("status") or {}).get("phase") != "Running":
                continue
            name = pod["metadata"]["name"]
            line = view.last_line(name, f"{labels.get('tuneoff/dataset')}/")  # a search begins each line with its cell's name
            if line and self._log_lines.get(name) != line:
                self._log_lines[name] = line
                self._say(line)

    def _break_the_silence(self) -> None:
        if self._seen or time.monotonic() - self._news_at < SILENCE_SECONDS:
            return None
        if self._view is not None:
            return self._say(f"No news for {SILENCE_SECONDS / 60:g} minutes. {no_workflow(self._view, self._run)}")
        return self._say(
            f"No news for {SILENCE_SECONDS / 60:g} minutes, and this machine cannot reach Kubernetes. To list the run's pods:"
            f" `kubectl --namespace {self._server.pods_namespace} get pods --selector pipeline/runid={self._run.id}`."
            " To see why a pod waits: `kubectl describe pod NAME`."
        )

    # The end

    def _give_up(self, stuck: str) -> Followed:
        """End a run with a pod that can never start: its other pods would keep their resources forever."""
        with suppress(StudyError):
            self._server.terminate(self._run.id)
        self._note(f"{self._run.name} was ended: {stuck}.")
        return Followed(self._run, stuck)

    def _ended(self) -> Followed:
        failed = self._run.state == "FAILED"
        workflow = self._view.workflow(self._run.id) if failed and self._view is not None else None
        reason = self._run.error or (workflow.message if isinstance(workflow, Workflow) else "")
        messages = failed_messages(workflow) if isinstance(workflow, Workflow) else []
        self._note(f"{self._run.name} has ended: {self._run.state}{f' ({reason})' if reason else ''}")
        for message in messages[:5]:
            remedy = ". Give the step more resources.memory." if "OOMKilled" in message else ""
            self._note(f"A pod of the run failed: {message}{remedy}")
        if failed and not reason and self._view is None:
            self._note(
                f"KFP gives no reason. Ask Argo: kubectl --namespace {self._server.pods_namespace} get workflow --selector"
                f" pipeline/runid={self._run.id} --output jsonpath='{{.items[0].status.message}}'"
            )
        self._say_what_tracking_lacks()
        return Followed(self._run, self._why_again_is_useless(reason) if failed else None)

    def _why_again_is_useless(self, reason: str) -> str | None:
        if "too large" in reason:
            return f"{reason}. Split the study into several studies with fewer data sets each"
        begun = [s for s in self._run.steps if s.name in self._titles and s.state in ("RUNNING", "SUCCEEDED", "FAILED")]
        if not begun:
            return "no step of the run has started: its pods, or KFP's own pods, failed earlier. Run `tuneoff submit --check`"
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
    """Return a note for a run that KFP shows as running but that has no workflow in Kubernetes: likely causes and remedies."""
    return (
        f"The cluster of this kubeconfig has no workflow of {run.name} in namespace {view.namespace}. If it was deleted,"
        " the run will never end: give --new to start another run. Otherwise select KFP's cluster with --kube-context."
    )


def task_titles(study: Study) -> dict[str, str]:
    """Return a readable title for each task of the study's pipeline, keyed by task name. KFP's API gives only the names."""
    titles = {
        task if number == 0 else f"{task}-{number + 1}": f"{verb} {dataset.name}"
        for task, verb in TASKS.items()
        for number, dataset in enumerate(study.datasets)
    }
    return {**titles, "report": "report"}


def steps_in_words(run: Run, titles: dict[str, str]) -> tuple[str, ...]:
    """Return one line per step of the study, with the number of its tasks in each state.

    KFP lists Argo's nodes. For a task `tune` it also lists `tune-driver`, and `tune(0)` for the first attempt: these are ignored.
    """
    counts: dict[str, Counter[str]] = {}
    for step in run.steps:
        if step.name in titles:
            counts.setdefault(titles[step.name], Counter())[step.state.lower()] += 1
    return tuple(
        f"{titles[name]}: {', '.join(f'{count} {state}' for state, count in sorted(counts[titles[name]].items()))}"
        for name in titles
        if titles[name] in counts
    )
