"""The data_prep step: from a study in JSON to a prepared data set, noted in the store."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from tuneoff.components.core.artifacts import keep_study, metadata
from tuneoff.core import layout
from tuneoff.core.prepared_data import Prepared
from tuneoff.core.runtime.machine import RUN_PID, in_pod, say
from tuneoff.core.runtime.pod import run_step
from tuneoff.core.store.dataset_copies import input_copy
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import claim, note_prepared, write_failure
from tuneoff.core.study import Study
from tuneoff.core.table import read_info
from tuneoff.data.prepare import markdown, prepare
from tuneoff.tracking import Tracker, attempt


def run(study: str, dataset: str, store: str, out: str, summary: str | None = None, tracking: str = "") -> dict[str, Any]:
    """Prepare `dataset` into the folder `out`; returns its metadata, and writes a Markdown summary where one is wanted.

    The store gets the metadata and the pictures; why the step failed is noted there too. Where a `tracking` server is named, the
    study's run is made there before anything else: the steps that come next find it. A local run has made it already.
    """
    plan = Study.model_validate_json(study)
    return run_step("data_prep", plan, dataset, partial(_run, plan, study, dataset, store, Path(out), summary, tracking))


def _run(plan: Study, study: str, dataset: str, store: str, out: Path, summary: str | None, tracking: str) -> dict[str, Any]:
    target = open_store(store, patient=in_pod())
    failure = layout.failure("data_prep", dataset)
    try:
        study_id = claim(target, plan)
        target.delete(failure)  # of an earlier attempt: it does not fail now
        if plan.objective.replay is not None:
            return _described(plan.objective.replay.table, dataset, target, out, study)
        if tracking and RUN_PID not in os.environ:
            attempt(Tracker(target, plan, study_id, tracking).prepare, say)
        with input_copy(target, plan.dataset(dataset), say) as copy:
            prepared = prepare(plan.dataset(dataset), plan.split, out, say, copy)
        note_prepared(target, dataset, out)
        keep_study(out, study)
    except Exception as error:
        write_failure(target, failure, "data_prep", error)
        raise
    target.delete(failure)
    if summary is not None:
        Path(summary).write_text(markdown(prepared), encoding="utf-8")
    return artifact_metadata(prepared)


def _described(table: str, dataset: str, store: Store, out: Path, study: str) -> dict[str, Any]:
    """Return what the table says of its data, if it says anything. Searches of a table need no arrays."""
    keep_study(out, study)
    prepared = read_info(table).prepared
    if prepared is None:
        return {}
    store.write(layout.prepared(dataset) + "dataset.json", prepared.model_dump_json(indent=2).encode())
    return artifact_metadata(prepared)


def artifact_metadata(prepared: Prepared) -> dict[str, Any]:
    """Return what KFP shows of a prepared data set. KFP copies it into every step that reads the data, so that it is short."""
    height, width, channels = prepared.input_shape
    return metadata(
        {
            "name": prepared.name,
            "source": prepared.source,
            "image": f"{height} x {width} x {channels}",
            "classes": len(prepared.classes),
            "images": dict(prepared.counts),
            "folds": prepared.folds,
            "fingerprint": prepared.fingerprint,
        }
    )
