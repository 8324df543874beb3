"""The data_prep step: read a study in JSON, prepare one data set and note it in the store."""

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
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import claim, write_failure
from tuneoff.core.study import Study
from tuneoff.data.prepare import markdown
from tuneoff.objectives import objective_of
from tuneoff.tracking import Tracker, attempt


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
        kind = objective_of(plan)
        if kind.tracked_while_running and tracking and RUN_PID not in os.environ:
            attempt(Tracker(target, plan, study_id, tracking).prepare, say)
        prepared = kind.prepare(plan, dataset, out, target, say)
        keep_study(out, study)
    except Exception as error:
        write_failure(target, failure, "data_prep", error)
        raise
    target.delete(failure)
    if prepared is None:
        return {}
    if summary is not None and kind.needs_prepared_data:
        Path(summary).write_text(markdown(prepared), encoding="utf-8")
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
