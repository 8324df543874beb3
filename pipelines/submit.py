"""Running a study on a cluster: compile, upload, start, and follow it; what a cluster took away is started again."""

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
"""KFP dates runs to the second: after this time, a run that was started in the same second as ours can be seen."""

Note = Callable[[str], None]
Watch = Callable[[StudyResult], None]


@dataclass(frozen=True)
class Submitted:
    """What became of a submission."""

    run: Run
    link: str
    runs: int  # how many were followed, the first one included
    missing: tuple[str, ...] | None  # cells that are not at their end and say no reason; None where the store cannot be read
    ended: str | None = None  # why the run was ended from here, or can never go on
    failed: tuple[str, ...] = ()  # a sentence for each step that noted why it failed


def compile_study(study: Study, output: Path) -> None:
    """Write the study's pipeline to a .yaml file, in which KFP's server reads the same strings as KFP's compiler wrote.

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
    """Start the study on the server, or find it running into the same store; with `wait` follow it to its end.

    A run that has ended while cells are missing, without a word why, lost their pods: with `wait` it is started again up to
    `again` times. Each step goes on from its record, and what is at its end returns at once.

    Args:
        new: End a run that KFP takes for running into this store, and start another.
        view: Kubernetes' view of the runs; None where it cannot be asked. Then pods that wait are not seen.
        started: Hears the link of each run that is followed.
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
        what = "it failed" if missing is None else f"{len(missing)} cells lost their pods or their store"
        note(f"{run.name}: {what}: started again ({runs} of {again}).")
        run = None


def missing_cells(store: Store | None) -> tuple[str, ...] | None:
    """Cells without an evaluation that another run may bring to their end; None where the record cannot be read.

    Either no step noted a reason, since the cell's pods were taken away, or the reason was a store that did not answer.
    """
    result = _left_in(store)
    return (
        None
        if result is None
        else tuple(c.cell.name for c in result.cells if c.evaluation is None and all(f.passing for f in c.failures))
    )


def noted_failures(store: Store | None) -> tuple[str, ...]:
    """A sentence for each step that noted in the store why it failed."""
    result = _left_in(store)
    cells = () if result is None else result.cells
    return tuple(sorted({f"{c.cell.name}: {f.step} failed: {f.reason}" for c in cells for f in c.failures}))


def _left_in(store: Store | None) -> StudyResult | None:
    """Return what the study has left in its store; None where that cannot be read from here."""
    if store is None:
        return None
    try:
        return read_study(store)
    except (StudyError, RecordError, OSError):
        return None


def _running(server: KfpServer, experiment_id: str, place: str, new: bool, view: RunView | None, note: Note) -> Run | None:
    """Return the run into this store that has not ended, if any; with `new` it is ended first."""
    living = server.living(experiment_id, place)
    if new:
        for run in living:
            server.end(run.id)
            note(f"Ended {run.name}, which KFP took for running into {place}.")
        return None
    if not living:
        return None
    run = living[0]
    note(f"It runs already as {run.name}: {server.link(run.id)}. To start another, end or delete it in KFP, or give --new.")
    if view is not None and view.workflow(run.id) is False:
        note(f"Note: {follow_run.no_workflow(view, run)}")
    return run


def _start_one(study: Study, server: KfpServer, experiment_id: str, pipeline: tuple[str, str], place: str, note: Note) -> Run:
    """Start a run. If another submission started one in the same moment, keep the older of the two and delete the other."""
    parameters = {"store": place, "tracking": study.tracking.uri or ""}
    run = server.start(experiment_id, f"tuneoff-{study.name}", pipeline, parameters, study.cluster.service_account)
    time.sleep(SETTLE_SECONDS)
    living = server.living(experiment_id, place)
    if living and living[0].id != run.id:
        server.end(run.id)
        first = living[0]
        note(f"Another submission started this study in the same moment, as {first.name}: {server.link(first.id)}")
        return first
    note(f"Started {run.name}: {server.link(run.id)}")
    return run


def _upload(study: Study, server: KfpServer, note: Note) -> tuple[str, str]:
    """The ids of the pipeline and of the version that is the study as it stands."""
    from tuneoff.pipelines.bakeoff import pipeline_name

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compile_study(study, file)
        version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        name = pipeline_name(study)
        pipeline_id, version_id, there = server.upload(file, name, version)
    note(f"Pipeline {name}, version {version}{' (there already)' if there else ''}")
    return pipeline_id, version_id


def _readable(place: str, study: Study, note: Note) -> Store | None:
    """The store, where it can be read from here: then trials are shown, and what is missing is known.

    Raises:
        StudyError: The store holds another study.
    """
    if not place.startswith("s3://") and not Path(place).is_dir():
        note(f"The record at {place} is on the cluster's volume: from here only KFP's own states are seen.")
        return None
    try:
        store = open_store(place)
        held = held_study(store)
        extended = extensions(store, study)
    except (StudyError, OSError) as error:
        note(f"The record cannot be read from here, so that only KFP's own states are seen: {error}")
        return None
    if held is not None:
        refuse_another(store, held, study)
    for line in extended:
        note(f"Extended: {line}")
    return store
