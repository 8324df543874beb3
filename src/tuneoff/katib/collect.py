"""Submit a study's Katib experiments, and collect their results into the record as methods `katib-…`.

Katib stores the smallest, the largest and the latest value of each metric of a trial. The whole learning curve is only in the
trial's log. Without the log, the record contains the number of epochs, and only those metric values that are certain.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ..core import layout
from ..core.errors import RecordError, StudyError
from ..core.metrics import CLASSIFICATION, names_of
from ..core.problem import Epoch, Outcome, Proposal, Status
from ..core.record.events import SCHEMA, epoch_fields, outcome_fields, proposal_fields
from ..core.record.state import read_search, reduce_events, remaining
from ..core.record.writer import Writer
from ..core.runtime.machine import versions
from ..core.store.journal import MemoryJournal
from ..core.store.protocol import Store
from ..core.store.study_store import claim, held_study, read_prepared
from ..core.study import Study
from .experiments import METRICS, RESOURCE, Planned
from .trial import COLLECTOR, config_of, read_epochs

GROUP, VERSION = "kubeflow.org", "v1beta1"
EXPERIMENT = "katib.kubeflow.org/experiment"
TRIAL = "katib.kubeflow.org/trial"
PARENT = "pbt.suggestion.katib.kubeflow.org/parent"
COLLECTOR_CONTAINER = "metrics-logger-and-collector"
"""The sidecar container that repeats the lines of the training, whose own output goes to a file."""
MAX_BYTES = 100_000_000
"""Maximum size of an exported file."""
ENGINES = {"hyperopt": "0.2.5", "optuna": "3.3.0", "goptuna": "0.8.0"}
"""Versions in the images of Katib 0.19 (its requirements.txt and go.mod). scikit-optimize is not pinned there."""
UNKNOWN = "not known"
CURVE = names_of(CLASSIFICATION)


@dataclass
class Found:
    """Katib's experiments and trials, the trials' logs (each keyed by name), and Katib's version."""

    where: str
    experiments: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    version: str | None = None


@dataclass(frozen=True)
class Range:
    """The values that Katib stores for one metric of a trial. A value that Katib could not read is None."""

    least: float | None
    most: float | None
    latest: float | None


# The collector


@dataclass(frozen=True)
class Reading:
    """One value that the collector sends to Katib's database."""

    time: str
    metric: str
    value: str


def readings(lines: Iterable[str], metrics: Sequence[str], expression: str = COLLECTOR) -> list[Reading]:
    """Return what Katib's StdOut collector reads from a trial's log.

    This follows pkg/metricscollector/v1beta1/file-metricscollector: a line that names no metric is skipped, a time at the start
    of a line is used, and a log without the objective gives the single value `unavailable`.

    Args:
        lines: The lines of the log.
        metrics: Names of the metrics, the objective first.
        expression: The regular expression with which the collector reads a line.
    """
    found: list[Reading] = []
    for line in lines:
        if not any(metric in line for metric in metrics):
            continue
        time = line.partition(" ")[0] if RFC3339.fullmatch(line.partition(" ")[0]) else NO_TIME
        pairs = [(match[1].strip(), match[2].strip()) for match in re.finditer(expression, line)]
        found += [Reading(time, name, value) for name, value in pairs if name in metrics]
    if not any(reading.metric == metrics[0] for reading in found):
        return [Reading(NO_TIME, metrics[0], "unavailable")]
    return found


def kept(found: Iterable[Reading]) -> dict[str, Range]:
    """Return what Katib stores of a trial's readings, by metric. Of readings with equal times, the last one is the latest."""
    by_metric: dict[str, list[float]] = {}
    for reading in sorted(found, key=lambda r: r.time):
        number = _finite(reading.value)
        by_metric.setdefault(reading.metric, []).extend([] if number is None else [number])
    return {m: Range(min(v, default=None), max(v, default=None), v[-1] if v else None) for m, v in by_metric.items()}


NO_TIME = "0001-01-01T00:00:00Z"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def sample_log() -> str:
    """Return an example of a trial's log: three epochs on a toy data set."""
    return SAMPLE.read_text(encoding="utf-8")


SAMPLE = Path(__file__).with_name("trial_template.txt")


# From exported files


def exported(folder: Path) -> Found:
    """Read exported results from a folder: objects written by `kubectl get … -o yaml` (or json), and logs named TRIAL.log."""
    if not folder.is_dir():
        raise StudyError(
            f"--from {str(folder)!r} is not a folder. Give a folder with the output of `kubectl get experiments,trials -o yaml`."
        )
    found = Found(str(folder))
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        if file.suffix == ".log":
            found.logs[file.stem] = file.read_text(encoding="utf-8", errors="replace")
        elif file.suffix in (".yaml", ".yml", ".json"):
            for entry in _documents(file):
                _sort_in(found, entry, str(file))
    return found


class _NoAliases(yaml.SafeLoader):
    """A loader that refuses aliases, which could expand to huge documents. kubectl writes none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    """Yield every object in a file, including the items of lists. Raise StudyError if the file cannot be read."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise StudyError(f"{file} is larger than {MAX_BYTES:,} bytes, the limit. Export fewer objects per file.")
        text = file.read_text(encoding="utf-8")
        read = [json.loads(text)] if file.suffix == ".json" else list(yaml.load_all(text, _NoAliases))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise StudyError(f"{file} cannot be read ({str(error).splitlines()[0]}). Give a file that kubectl wrote.") from None
    for entry in read:
        if isinstance(entry, dict):
            yield from (e for e in entry.get("items", [entry]) if isinstance(e, dict))


def _sort_in(found: Found, entry: Mapping[str, Any], where: str) -> None:
    """Add an object to `found`. Other kinds are skipped, except for the Deployment of Katib's controller: it has the version."""
    from kubeflow_katib_api import models
    from pydantic import ValidationError

    kind = entry.get("kind")
    try:
        if kind == "Experiment":
            experiment = models.V1beta1Experiment.from_dict(dict(entry))
            found.experiments[_name(experiment)] = experiment
        elif kind == "Trial":
            trial = models.V1beta1Trial.from_dict(dict(entry))
            found.trials[_name(trial)] = trial
        elif kind == "Deployment":
            found.version = _version(entry) or found.version
    except (ValidationError, LookupError, AttributeError) as error:
        fault = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("metadata",), "msg": "it has no name"}
        field_path = ".".join(str(p) for p in fault["loc"])
        raise StudyError(f"{where}: this {kind} is not valid in Katib: {field_path}: {fault['msg']}.") from None


def _name(thing: Any) -> str:
    """Return the object's name. Raise LookupError if it has none."""
    if not thing.metadata or not thing.metadata.name:
        raise LookupError
    return str(thing.metadata.name)


def _version(deployment: Mapping[str, Any]) -> str | None:
    """Return Katib's version, from the tag of its controller's image."""
    with suppress(KeyError, IndexError, TypeError):
        if deployment["metadata"]["name"] == "katib-controller":
            image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
            return image.rpartition("/")[2].partition(":")[2] or None
    return None


# From the cluster, and to it


@contextmanager
def _cluster(what: str) -> Iterator[Any]:
    """Yield the kubernetes client, configured from the kubeconfig or the pod. Its errors become a one-sentence StudyError."""
    try:
        import kubernetes
        import urllib3
    except ImportError:
        raise StudyError("tuneoff katib needs the package kubernetes. Run: pip install 'tuneoff[katib]'") from None
    try:
        _configure(kubernetes.config)
        yield kubernetes.client
    except kubernetes.config.ConfigException as error:
        raise StudyError(f"{what}: no cluster is configured ({error}). Set KUBECONFIG.") from None
    except kubernetes.client.ApiException as error:
        raise StudyError(f"{what}: the cluster refused the request ({_said(error)}).") from None
    except urllib3.exceptions.HTTPError as error:
        raise StudyError(f"{what}: the cluster cannot be reached ({type(error).__name__}). Check KUBECONFIG.") from None


def _configure(config: Any) -> None:
    try:
        config.load_kube_config(os.environ.get("KUBECONFIG"))
    except config.ConfigException:
        config.load_incluster_config()


def _said(error: Any) -> str:
    """Return the API server's message, such as a webhook's, or the reason of the HTTP status."""
    with suppress(ValueError, TypeError, AttributeError):
        message = json.loads(error.body).get("message")
        if message:
            return f"{error.status}: {' '.join(str(message).split())[:500]}"
    if error.status == 404:
        return "404: it has no resource experiments.kubeflow.org, so Katib is not installed"
    return f"{error.status}: {error.reason}"


def submit(planned: Sequence[Planned], namespace: str) -> None:
    """Create the experiments. A dry run first lets the cluster (and Katib's webhook) check all of them, so all start or none."""
    with _cluster(f"namespace {namespace}") as client:
        custom = client.CustomObjectsApi()
        for options in ({"dry_run": "All"}, {}):
            for one in planned:
                custom.create_namespaced_custom_object(
                    GROUP, VERSION, namespace, "experiments", dict(one.manifest), _request_timeout=30, **options
                )


def on_cluster(planned: Sequence[Planned], namespace: str) -> Found:
    """Read the experiments and their trials from the cluster, and the logs of the pods that still exist."""
    found = Found(f"namespace {namespace}")
    with _cluster(found.where) as client:
        read = partial(client.CustomObjectsApi().list_namespaced_custom_object, GROUP, VERSION, namespace, _request_timeout=60)
        for entry in read("experiments")["items"]:
            if entry["metadata"]["name"] in [one.name for one in planned]:
                _sort_in(found, {"kind": "Experiment", **entry}, found.where)
        for name in found.experiments:
            for entry in read("trials", label_selector=f"{EXPERIMENT}={name}")["items"]:
                _sort_in(found, {"kind": "Trial", **entry}, found.where)
            _read_logs(client, found, namespace, f"{EXPERIMENT}={name}")
        with suppress(client.ApiException):  # not every account may read that namespace
            deployment = client.AppsV1Api().read_namespaced_deployment("katib-controller", "kubeflow", _request_timeout=30)
            found.version = _version(client.ApiClient().sanitize_for_serialization(deployment))
    return found


def _read_logs(client: Any, found: Found, namespace: str, selector: str) -> None:
    core = client.CoreV1Api()
    with suppress(client.ApiException):  # without the right to read logs, the results have no curves
        for pod in core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=30).items:
            name = (pod.metadata.labels or {}).get(TRIAL)
            if name:
                with suppress(client.ApiException):
                    found.logs[name] = core.read_namespaced_pod_log(
                        pod.metadata.name, namespace, container=COLLECTOR_CONTAINER, _request_timeout=60
                    )


# Into the record


@dataclass(frozen=True)
class Collected:
    """The result for one experiment: a sentence without the final period, and whether it was recorded."""

    sentence: str
    recorded: bool = False


def collect(study: Study, store: Store, planned: Sequence[Planned], found: Found) -> list[Collected]:
    """Record each experiment that has ended and is not in the record yet.

    Args:
        study: The study.
        store: The store with the study's record.
        planned: The study's experiments.
        found: What Katib has of them.

    Returns:
        One entry per planned experiment.

    Raises:
        StudyError: No experiment was found, or a result does not fit the study. In this case nothing is recorded.
    """
    if not any(one.name in found.experiments for one in planned):
        raise StudyError(f"{found.where} has none of the study's {len(planned)} experiments, such as {planned[0].name}.")
    said: list[Collected] = []
    ready: list[tuple[Planned, Callable[[str], list[bytes]]]] = []
    for one in planned:
        experiment, trials = found.experiments.get(one.name), _trials_of(found, one)
        ended = sum(_status(t) is not None for t in trials)
        if experiment is None:
            said.append(Collected(f"{one.name}: not found in {found.where}"))
        elif read_search(store, one.cell.dataset, one.cell.method.label, one.seed).ended:
            said.append(Collected(f"{one.name}: already in the record"))
        elif _ending(experiment) is None or ended < len(trials):
            ending = f"{ended} of {one.plan.trials} trials have ended; collect it again later"
            said.append(Collected(f"{one.name}: still running, {ending}"))
        elif (counted := experiment.status.trials or 0) > len(trials):
            lack = f"it has {counted} trials, but {found.where} has only {len(trials)} of them; export its trials too"
            said.append(Collected(f"{one.name}: not recorded: {lack}"))
        else:
            make = partial(_lines, store, study, one, experiment, trials, found)
            make("")  # raises an error for results that do not fit, before anything is written
            ready.append((one, make))
            curves = sum(bool(_printed(found, t)) for t in trials)
            summary = f"{len(trials)} trials recorded as {one.cell.method.label}, {curves} with their curves"
            said.append(Collected(f"{one.name}: {summary}", recorded=True))
    if ready:
        study_id = claim(store, _extended(study, store, [one for one, _ in ready]))
        for one, lines_of in ready:
            _append(store, one, lines_of(study_id))
    return said


def _extended(study: Study, store: Store, planned: Sequence[Planned]) -> Study:
    """Return the study with the methods that were collected earlier and those that are collected now."""
    held = held_study(store)
    before = study if held is None else study.keeping(held)
    now = {one.cell.method.label: one.cell.method for one in planned}
    return before.keeping(study.model_copy(update={"methods": list(now.values())}))


def _append(store: Store, one: Planned, lines: Sequence[bytes]) -> None:
    """Append the lines that the search's journal lacks. Raise RecordError if it contains different lines."""
    journal = store.journal(layout.events(one.cell.dataset, one.cell.method.label, one.seed))
    try:
        recorded = journal.lines()
        if recorded != list(lines[: len(recorded)]):
            raise RecordError(
                f"The record has a part of {one.cell.name}, seed {one.seed}, that differs from Katib's results."
                " Move its log away, and collect again"
            )
        for line in lines[len(recorded) :]:
            journal.append(line)
    finally:
        journal.close()


def _trials_of(found: Found, one: Planned) -> list[Any]:
    """Return the experiment's trials in the order of their creation."""
    mine = [t for t in found.trials.values() if (t.metadata.labels or {}).get(EXPERIMENT) == one.name]
    return sorted(mine, key=lambda t: (_seconds(t.metadata.creation_timestamp), t.metadata.name))


def _lines(
    store: Store, study: Study, one: Planned, experiment: Any, trials: Sequence[Any], found: Found, study_id: str
) -> list[bytes]:
    """Return the events of the search in chronological order, as lines of its journal."""
    journal = MemoryJournal()
    writer = Writer(journal)
    began = _seconds(experiment.metadata.creation_timestamp)
    writer.append("opened", time=began, study_id=study_id, **_header(store, one, found))
    search = _Search(study, one, found, trials)
    happened = []
    for number, trial in enumerate(trials):
        asked = max(_seconds(trial.metadata.creation_timestamp), began)
        told = max(_seconds(trial.status.completion_time) or _seconds(trial.status.last_reconcile_time), asked + 0.001)
        happened += [(asked, 1, number), (told, 0, number)]
    for time, begins, number in sorted(happened):
        if begins:
            search.begin(writer, number, time)
        else:
            search.end(writer, number, time)
    spent = reduce_events(writer.events, one.cell.dataset, one.cell.method.label, one.seed).spent
    limits = study.budget.limits
    over = max([time for time, _, _ in happened], default=began)
    ending = _ending(experiment) or ""
    writer.append("ended", time=over, reason=ending, seconds=0.0, left=remaining(limits, spent), limits=asdict(limits))
    writer.close()
    return journal.lines()


def _header(store: Store, one: Planned, found: Found) -> dict[str, Any]:
    """Return the fields of the `opened` event, such as the engine, Katib's version, and the data's fingerprint if known."""
    version = found.version or UNKNOWN
    prepared = read_prepared(store, one.cell.dataset)
    pinned = ENGINES.get(one.algorithm.engine, UNKNOWN) if version.lstrip("v").startswith("0.19") else UNKNOWN
    engine = {} if one.algorithm.engine == "katib" else {one.algorithm.engine: pinned}
    method = one.cell.method.model_copy(update={"settings": dict(one.plan.settings)})
    return {
        "schema": SCHEMA,
        "pid": 0,  # the search had no process on this machine
        "host": "katib",
        "seed": one.seed,
        "dataset": one.cell.dataset,
        "kind": "search",
        "method": method.model_dump(),
        "engine": f"{one.algorithm.name} of {one.algorithm.engine}, by Katib",
        "data": None if prepared is None else prepared.fingerprint,
        "versions": {"katib": version, **engine, **versions("tuneoff")},
    }


def _printed(found: Found, trial: Any) -> tuple[Epoch, ...]:
    """Return the epochs in the trial's log; empty if there is no log."""
    return read_epochs(found.logs.get(trial.metadata.name, "").splitlines())


class _Search:
    """Convert an experiment's trials to events: number them, and find their parents and epochs."""

    def __init__(self, study: Study, one: Planned, found: Found, trials: Sequence[Any]) -> None:
        self._study = study
        self._one = one
        self._found = found
        self._trials = trials
        self._numbers: dict[str, int] = {}
        self._reached: dict[int, int] = {}  # epochs trained by each trial, including the parent's
        self._proposals: dict[int, Proposal] = {}

    def begin(self, writer: Writer, number: int, time: float) -> None:
        trial = self._trials[number]
        proposal = self._proposal(trial)
        self._numbers[trial.metadata.name] = number
        self._proposals[number] = proposal
        started = _seconds(trial.status.start_time) or time
        writer.append("asked", time=time, trial=number, seconds=0.0, **proposal_fields(proposal))
        writer.append("started", time=started, trial=number, worker=f"katib trial {trial.metadata.name}")

    def end(self, writer: Writer, number: int, time: float) -> None:
        proposal = self._proposals[number]
        first = 0 if proposal.parent is None else self._reached[proposal.parent]
        outcome = self._outcome(self._trials[number], proposal, first, time)
        for epoch in outcome.curve:
            should_continue = epoch.number < outcome.curve[-1].number
            writer.append("epoch", time=time, trial=number, goes_on=should_continue, **epoch_fields(epoch))
        writer.append("told", time=time, trial=number, **outcome_fields(outcome))
        self._reached[number] = first + len(outcome.curve)

    def _proposal(self, trial: Any) -> Proposal:
        texts = {a.name: a.value for a in trial.spec.parameter_assignments or []}
        resource = texts.pop(RESOURCE, None)
        try:
            config = config_of(self._study.space, texts)
        except StudyError as error:
            raise StudyError(f"Trial {trial.metadata.name} does not belong to this study: {error}") from None
        parent = self._numbers.get((trial.metadata.labels or {}).get(PARENT, ""))
        parent = parent if parent in self._reached else None
        before = 0 if parent is None else self._reached[parent]
        return Proposal(config, before + int(resource or self._one.plan.epochs), parent)

    def _outcome(self, trial: Any, proposal: Proposal, first: int, time: float) -> Outcome:
        goal = self._study.objective
        status, reason = _status(trial) or (Status.FAILED, None)
        kept = ranges(trial)
        printed = _printed(self._found, trial)
        curve = tuple(_whole(e) for e in printed if first < e.number <= proposal.target_epoch)
        seconds = sum(e.seconds for e in curve)
        objective = _objective(kept.get(goal.metric), goal.epoch, goal.sign)
        if not curve:
            seconds = _trained_seconds(trial, kept, time)
            curve = _certain(kept, goal.metric, objective, first, proposal.target_epoch, seconds, status)
        if status is Status.COMPLETED and objective is None:
            status, reason = Status.FAILED, f"Katib read no {goal.metric} in what it printed"
        if status is Status.FAILED and "diverged:" in self._found.logs.get(trial.metadata.name, ""):
            status, reason = Status.DIVERGED, "the training diverged, as its log says"
        scored = status in (Status.COMPLETED, Status.STOPPED) and objective is not None
        loss = goal.sign * objective if scored and objective is not None else None
        return Outcome(status, curve, loss, round(seconds, 4), reason, trainings=self._study.trainings)


def ranges(trial: Any) -> dict[str, Range]:
    """Return what Katib stores for each metric of a trial."""
    observation = trial.status.observation
    metrics = (observation.metrics if observation else None) or []
    return {m.name: Range(_finite(m.min), _finite(m.max), _finite(m.latest)) for m in metrics if m.name in METRICS}


def _finite(text: str | None) -> float | None:
    """Return the text as a number, or None for `unavailable`, an empty text, or a number that is not finite."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _objective(kept: Range | None, epoch: str, sign: int) -> float | None:
    if kept is None:
        return None
    best = kept.most if sign < 0 else kept.least
    return kept.latest if epoch == "last" or best is None else best


def _certain(
    kept: Mapping[str, Range], metric: str, objective: float | None, first: int, target: int, seconds: float, status: Status
) -> tuple[Epoch, ...]:
    """Return the epochs of a trial without a log.

    Their number is known. The metrics are known only for the last epoch, and only if the objective is that of the last epoch.
    Each epoch gets an equal share of the trial's seconds.
    """
    reached = kept["epoch"].most if "epoch" in kept else None
    last = int(reached) if reached is not None else target if status is Status.COMPLETED else first
    count = min(last, target) - first
    if count <= 0:
        return ()
    unknown = dict.fromkeys(CURVE, math.nan)
    latest = {m: math.nan if (r := kept.get(m)) is None or r.latest is None else r.latest for m in CURVE}
    known = latest if objective is not None and latest[metric] == objective else unknown
    return tuple(Epoch(first + n, known if n == count else unknown, seconds / count) for n in range(1, count + 1))


def _trained_seconds(trial: Any, kept: Mapping[str, Range], time: float) -> float:
    """Return the seconds of training that the trial printed. Without them, return the time from its start to its end."""
    if "seconds" in kept and (most := kept["seconds"].most) is not None:
        return most
    return max(0.0, time - (_seconds(trial.status.start_time) or time))


def _whole(epoch: Epoch) -> Epoch:
    return Epoch(epoch.number, {m: epoch.metrics.get(m, math.nan) for m in CURVE}, epoch.seconds)


def _conditions(thing: Any) -> dict[str, str]:
    """Return the conditions that are true, with their messages."""
    conditions = (thing.status.conditions if thing.status else None) or []
    return {c.type: c.message or c.reason or c.type for c in conditions if c.status == "True"}


def _ending(experiment: Any) -> str | None:
    """Return why an experiment has ended, or None while it runs."""
    holds = _conditions(experiment)
    return next((holds[kind] for kind in ("Succeeded", "Failed") if kind in holds), None)


def _status(trial: Any) -> tuple[Status, str | None] | None:
    """Return a trial's status and, for a failed trial, the reason. Return None while it runs."""
    holds = _conditions(trial)
    for kind, status in (
        ("Killed", Status.FAILED),
        ("Failed", Status.FAILED),
        ("MetricsUnavailable", Status.FAILED),
        ("EarlyStopped", Status.STOPPED),
        ("Succeeded", Status.COMPLETED),
    ):
        if kind in holds:
            return status, None if status is not Status.FAILED else f"Katib: {kind}: {holds[kind]}"
    return None


def _seconds(when: datetime | None) -> float:
    """Return the seconds since 1970, or 0 if there is no time."""
    return 0.0 if when is None else round(when.timestamp(), 3)
