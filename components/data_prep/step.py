"""The data_prep step: read a study in JSON, prepare one data set and note it in the store."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from ..core import layout
from ..core.artifacts import keep_study, metadata
from ..core.inputs import input_copy
from ..core.machine import RUN_PID, in_pod, say
from ..core.pod import run_step
from ..core.prepared import Prepared
from ..core.storage import Store, open_store
from ..core.stored import claim, note_prepared, write_failure
from ..core.study import Study
from ..core.table import read_info
from ..core.tracking import Tracker, attempt
from .prepare import markdown, prepare


def run(study: str, dataset: str, store: str, out: str, summary: str | None = None, tracking: str = "") -> dict[str, Any]:
    """Prepare one data set.

    The store receives the metadata and the figures, or the reason if the step fails. If `tracking` names an MLflow server, the
    step first creates the study's run there, so that later steps find it. A local run has already created it.

    Args:
        study: The study in JSON.
        dataset: The name of the data set in the study.
        store: The store of the study: a folder or an s3:// URI.
        out: The folder for the prepared data.
        summary: The file for a Markdown summary; None for no summary.
        tracking: The URI of the MLflow server; empty for none.

    Returns:
        The metadata of the prepared data for KFP.
    """
    plan = Study.model_validate_json(study)
    return run_step("data_prep", plan, dataset, partial(_run, plan, study, dataset, store, Path(out), summary, tracking))


def _run(plan: Study, study: str, dataset: str, store: str, out: Path, summary: str | None, tracking: str) -> dict[str, Any]:
    target = open_store(store, patient=in_pod())
    failure = layout.failure("data_prep", dataset)
    try:
        study_id = claim(target, plan)
        target.delete(failure)  # left by an earlier attempt
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
    """Return the metadata that the table has of its data set, or {}. Searches on a table need no arrays."""
    keep_study(out, study)
    prepared = read_info(table).prepared
    if prepared is None:
        return {}
    store.write(layout.prepared(dataset) + "dataset.json", prepared.model_dump_json(indent=2).encode())
    return artifact_metadata(prepared)


def artifact_metadata(prepared: Prepared) -> dict[str, Any]:
    """Return the metadata that KFP shows of a prepared data set. It is short because KFP copies it into every reading step."""
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
