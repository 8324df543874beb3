"""Run a study on a cluster: compile and upload its pipeline, start a run, follow it, and restart it if its pods were lost."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuneoff.cluster import follow_run
from tuneoff.cluster.kfp_server import KfpServer, Run
from tuneoff.cluster.kubernetes_api import RunView
from tuneoff.cluster.preconditions import NO_TTL, store_on_cluster
from tuneoff.cluster.upload_datasets import send_inputs
from tuneoff.cluster.user_modules import own_code_notes
from tuneoff.cluster.workflow_size import refuse_too_large
from tuneoff.core.errors import RecordError, StudyError
from tuneoff.core.store import stop_request
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import StudyResult, extensions, forget_failures, held_study, read_study, refuse_another
from tuneoff.core.study import Study

SETTLE_SECONDS = 1.5
"""KFP's creation times have a resolution of one second. After this pause, a run started in the same second is visible."""

Note = Callable[[str], None]
Watch = Callable[[StudyResult], None]


@dataclass(frozen=True)
class Submitted:
    """The result of a submission."""

    run: Run
    link: str
    runs: int  # number of runs that were followed, including the first
    missing: tuple[str, ...] | None  # unfinished cells without a recorded reason; None if the store cannot be read
    ended: str | None = None  # why the run was ended from here, or why another run would fail too
    failed: tuple[str, ...] = ()  # a sentence for each step that recorded why it failed


def compile_study(study: Study, output: Path) -> None:
    """Compile the study's pipeline to a .yaml file, quoted so that KFP's server reads the same strings as KFP's compiler wrote.

    Raises:
        StudyError: The study is too large for one workflow.
    """
    from kfp.compiler import Compiler

    from tuneoff.cluster.kubernetes_yaml import requoted
    from tuneoff.pipelines.bakeoff import bakeoff

    refuse_too_large(study)
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
    new: bool = False,
    view: RunView | None = None,
    started: Note = lambda link: None,
) -> Submitted:
    """Start the study on the server, or find its active run with the same store. With `wait`, follow the run until it ends.

    If a run ends with unfinished cells and no recorded reason, the cells lost their pods. With `wait`, the run is then restarted
    up to `again` times. Each step continues from its record, and a finished step returns at once.

    Args:
        study: The study.
        server: The KFP server.
        experiment: Name of KFP's experiment; None for the study's.
        wait: Whether to follow the run until it ends.
        again: Maximum number of restarts.
        note: Receives messages for the user.
        watch: Receives the record's content about every five seconds, if this machine can read the record.
        new: Whether to end any run that KFP shows as writing to this store, and to start a new run.
        view: Access to the runs in Kubernetes, or None if it cannot be reached. Without it, waiting pods are not explained.
        started: Receives the link of each run that is followed.

    Raises:
        StudyError: The server, the store or a data set cannot be used, or the study is too large.
        RunGone: The run was deleted in KFP while it was followed.
    """
    server.note = note
    for line in own_code_notes(study):
        note(f"Note: {line}")
    if study.cluster.ttl_seconds is not None:
        note(f"Note: {NO_TTL}.")
    place = store_on_cluster(study)
    store = _readable(place, study, note)
    pipeline = _upload(study, server, note)
    if store is not None:
        send_inputs(study, store, note)
    experiment_id = server.experiment(experiment or study.experiment)
    run = _running(server, experiment_id, place, new, view, note)
    runs = 0
    while True:
        if run is None:
            if store is not None:
                stop_request.withdraw(store)
                forget_failures(store)
            run = _start_one(study, server, experiment_id, pipeline, place, note)
        started(server.link(run.id))
        runs += 1
        if not wait:
            return Submitted(run, server.link(run.id), runs, ())
        followed = follow_run.Follower(study, server, run, store, view, note, watch).to_the_end()
        run, missing = followed.run, missing_cells(store)
        if run.state != "FAILED" or missing == () or runs > again or followed.hopeless:
            return Submitted(run, server.link(run.id), runs, missing, followed.hopeless, noted_failures(store))
        reason = "it failed" if missing is None else f"{len(missing)} cells lost their pods or their store"
        note(f"{run.name}: {reason}. Restarting it ({runs} of {again}).")
        run = None


def missing_cells(store: Store | None) -> tuple[str, ...] | None:
    """Return the cells without an evaluation that another run may finish, or None if the record cannot be read.

    These are cells without a recorded failure, because their pods were lost, and cells that failed because the store was away.
    """
    result = _left_in(store)
    return (
        None
        if result is None
        else tuple(c.cell.name for c in result.cells if c.evaluation is None and all(f.passing for f in c.failures))
    )


def noted_failures(store: Store | None) -> tuple[str, ...]:
    """Return a sentence for each step that recorded in the store why it failed."""
    result = _left_in(store)
    cells = () if result is None else result.cells
    return tuple(sorted({f"{c.cell.name}: {f.step} failed: {f.reason}" for c in cells for f in c.failures}))


def _left_in(store: Store | None) -> StudyResult | None:
    """Return the content of the study's store, or None if this machine cannot read it."""
    if store is None:
        return None
    try:
        return read_study(store)
    except (StudyError, RecordError, OSError):
        return None


def _running(server: KfpServer, experiment_id: str, place: str, new: bool, view: RunView | None, note: Note) -> Run | None:
    """Return the active run that writes to this store, or None. With `new`, end all such runs and return None."""
    living = server.living(experiment_id, place)
    if new:
        for run in living:
            server.end(run.id)
            note(f"Ended {run.name}, which KFP showed as writing to {place}.")
        return None
    if not living:
        return None
    run = living[0]
    remedy = "To start another run, give --new, or end this run in KFP."
    note(f"The study is running already as {run.name}: {server.link(run.id)}. {remedy}")
    if view is not None and view.workflow(run.id) is False:
        note(f"Note: {follow_run.no_workflow(view, run)}")
    return run


def _start_one(study: Study, server: KfpServer, experiment_id: str, pipeline: tuple[str, str], place: str, note: Note) -> Run:
    """Start a run. If another submission started a run at the same moment, keep the older one and delete the other."""
    parameters = {"store": place, "tracking": study.tracking.uri or ""}
    run = server.start(experiment_id, f"tuneoff-{study.name}", pipeline, parameters, study.cluster.service_account)
    time.sleep(SETTLE_SECONDS)
    living = server.living(experiment_id, place)
    if living and living[0].id != run.id:
        server.end(run.id)
        first = living[0]
        note(f"Another submission started this study at the same moment, as {first.name}: {server.link(first.id)}")
        return first
    note(f"Started {run.name}: {server.link(run.id)}")
    return run


def _upload(study: Study, server: KfpServer, note: Note) -> tuple[str, str]:
    """Upload the compiled study unless it exists on the server. Return the ids of the pipeline and of its version."""
    from tuneoff.pipelines.bakeoff import pipeline_name

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compile_study(study, file)
        version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        name = pipeline_name(study)
        pipeline_id, version_id, there = server.upload(file, name, version)
    note(f"Pipeline {name}, version {version}{' (already uploaded)' if there else ''}")
    return pipeline_id, version_id


def _readable(place: str, study: Study, note: Note) -> Store | None:
    """Return the store, or None if this machine cannot read it. Without it, trials and unfinished cells are unknown.

    Raises:
        StudyError: The store holds another study.
    """
    if not place.startswith("s3://") and not Path(place).is_dir():
        note(f"The record at {place} is on the cluster's volume. This machine can show only the states that KFP reports.")
        return None
    try:
        store = open_store(place)
        held = held_study(store)
        extended = extensions(store, study)
    except (StudyError, OSError) as error:
        note(f"This machine cannot read the record, and can show only the states that KFP reports. {error}")
        return None
    if held is not None:
        refuse_another(store, held, study)
    for line in extended:
        note(f"Extended: {line}")
    return store
