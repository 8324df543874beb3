"""Running a study on a cluster: compile, upload, start, and follow it; what a cluster took away is started again."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..components.core import stopping
from ..components.core.errors import RecordError, StudyError
from ..components.core.storage import Store, open_store
from ..components.core.stored import StudyResult, extensions, read_study
from ..components.core.study import Study
from .kfp_server import KfpServer, Run

LOOK_EVERY_SECONDS = 5.0
AWAY_PATIENCE_SECONDS = 600.0
"""How long a server that is away is waited for while a run is followed."""

Note = Callable[[str], None]
Watch = Callable[[StudyResult], None]


@dataclass(frozen=True)
class Submitted:
    """What became of a submission."""

    run: Run
    link: str
    runs: int  # how many were followed, the first one included
    missing: tuple[str, ...] | None  # cells that are not at their end and say no reason; None where the store cannot be read


def refuse_what_stays_here(study: Study, file: str) -> None:
    """StudyError where the study needs a file of this machine, which a cluster cannot read."""
    for dataset in study.datasets:
        if dataset.path is None or study.cluster.reaches(dataset.path):
            continue
        why = f"the data set {dataset.path!r} lies on this machine, where a cluster cannot read it"
        raise StudyError(f"{file}: {why}: give an s3:// URI, or a path on the cluster's volume (cluster.volume).")
    replay = study.objective.replay
    if replay is not None and not study.cluster.reaches(replay.table):
        raise StudyError(f"{file}: the table {replay.table!r} lies on this machine: give an s3:// URI, or run the study here.")


def store_on_cluster(study: Study) -> str:
    """Where all pods find the record: `artifacts` where it is an s3:// URI or lies on the volume, else the volume's runs/NAME."""
    volume, artifacts = study.cluster.volume, study.artifacts
    if artifacts is not None and study.cluster.reaches(artifacts):
        return artifacts.rstrip("/")
    if artifacts is not None:
        raise StudyError(
            f"artifacts: {artifacts!r} is a folder of this machine: give an s3:// URI, or a path on the cluster's volume"
            " (cluster.volume)."
        )
    if volume is None:
        raise StudyError(
            "The study says no place that all pods share: give artifacts: s3://bucket/prefix, or cluster.volume with a claim."
        )
    return f"{volume.mount}/runs/{study.name}"


def compile_study(study: Study, output: Path) -> None:
    """Write the study's pipeline to a .yaml file, in which KFP's server reads the same strings as KFP's compiler wrote."""
    from kfp.compiler import Compiler

    from .bakeoff import bakeoff
    from .kubernetes_yaml import requoted

    output.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(bakeoff(study), str(output))
    output.write_text(requoted(output.read_text()))


def submit(
    study: Study,
    server: KfpServer,
    experiment: str | None = None,
    wait: bool = False,
    again: int = 0,
    note: Note = lambda line: None,
    watch: Watch = lambda result: None,
) -> Submitted:
    """Start the study on the server, or find it running into the same store; with `wait` follow it to its end.

    A run that has ended while cells are missing, without a word why, lost their pods: with `wait` it is started again up to
    `again` times. Each step goes on from its record, and what is at its end returns at once.
    """
    place = store_on_cluster(study)
    store = _readable(place, study, note)
    pipeline = _upload(study, server, note)
    experiment_id = server.experiment(experiment or study.experiment)
    run = server.living(experiment_id, place)
    if run is not None:
        note(f"It runs already as {run.name}: {server.link(run.id)}")
    runs = 0
    while True:
        if run is None:
            if store is not None:
                stopping.withdraw(store)
            run = _start(study, server, experiment_id, pipeline, place)
            note(f"Started {run.name}: {server.link(run.id)}")
        runs += 1
        if not wait:
            return Submitted(run, server.link(run.id), runs, ())
        run = _follow(server, run, store, note, watch)
        missing = missing_cells(store)
        if run.state != "FAILED" or missing == () or runs > again:
            return Submitted(run, server.link(run.id), runs, missing)
        what = "it failed" if missing is None else f"{len(missing)} cells are not at their end, and no step says why"
        note(f"{run.name}: {what}: started again ({runs} of {again}).")
        run = None


def missing_cells(store: Store | None) -> tuple[str, ...] | None:
    """Cells without an evaluation for which no step noted a reason: their pods were taken away. None where nobody can tell."""
    if store is None:
        return None
    try:
        result = read_study(store)
    except (StudyError, RecordError, OSError):
        return None
    return tuple(c.cell.name for c in result.cells if c.evaluation is None and not c.failures)


def _upload(study: Study, server: KfpServer, note: Note) -> tuple[str, str]:
    """The ids of the pipeline and of the version that is the study as it stands."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compile_study(study, file)
        version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        name = f"tuneoff-{study.name}".replace(".", "-").replace("_", "-")
        pipeline_id, version_id, there = server.upload(file, name, version)
    note(f"Pipeline {name}, version {version}{' (there already)' if there else ''}")
    return pipeline_id, version_id


def _start(study: Study, server: KfpServer, experiment_id: str, pipeline: tuple[str, str], place: str) -> Run:
    parameters = {"store": place, "tracking": study.tracking.uri or ""}
    return server.start(experiment_id, f"tuneoff-{study.name}", pipeline, parameters, study.cluster.service_account)


def _readable(place: str, study: Study, note: Note) -> Store | None:
    """The store, where it can be read from here: then trials are shown, and what is missing is known."""
    if not place.startswith("s3://") and not Path(place).is_dir():
        note(f"The record at {place} is on the cluster's volume: from here only KFP's own states are seen.")
        return None
    try:
        store = open_store(place)
        for line in extensions(store, study):
            note(f"Extended: {line}")
        return store
    except (StudyError, OSError) as error:
        note(f"The record cannot be read from here, so that only KFP's own states are seen: {error}")
        return None


def _follow(server: KfpServer, run: Run, store: Store | None, note: Note, watch: Watch) -> Run:
    """The run at its end. What changes is said on the way."""
    said: tuple[str, ...] = ()
    while True:
        lines = steps_in_words(run)
        for line in lines:
            if line not in said:
                note(line)
        said = lines
        if store is not None:
            with suppress(StudyError, RecordError, OSError):  # before the first step there is no study in it
                watch(read_study(store))
        if run.ended:
            why = f" ({run.error})" if run.error else ""
            note(f"{run.name} has ended: {run.state}{why}")
            return run
        time.sleep(LOOK_EVERY_SECONDS)
        run = server.run(run.id, AWAY_PATIENCE_SECONDS)


def steps_in_words(run: Run) -> tuple[str, ...]:
    """A line for each of the study's steps, with how many of its tasks are in which state."""
    found: dict[str, Counter[str]] = {}
    for step in run.steps:
        if step.name == "report" or step.name.startswith(("prepare ", "tune on ", "evaluate on ")):
            found.setdefault(step.name, Counter())[step.state.lower()] += 1
    return tuple(
        f"{name}: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}" for name, states in found.items()
    )
