"""The data_prep step: from a study in JSON to a prepared data set, noted in the store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..core import layout
from ..core.machine import RUN_PID, end_with_run
from ..core.storage import Store, open_store
from ..core.stored import claim, note_prepared, write_failure
from ..core.study import Study
from ..core.table import read_info
from ..core.tracking import Tracker, attempt
from .prepare import markdown, prepare


def run(study: str, dataset: str, store: str, out: str, summary: str | None = None, tracking: str = "") -> dict[str, Any]:
    """Prepare `dataset` into the folder `out`; returns its metadata, and writes a Markdown summary where one is wanted.

    The store gets the metadata and the pictures; why the step failed is noted there too. Where a `tracking` server is named, the
    study's run is made there before anything else: the steps that come next find it. A local run has made it already.
    """
    end_with_run()
    plan = Study.model_validate_json(study)
    target = open_store(store)
    failure = layout.failure("data_prep", dataset)
    try:
        study_id = claim(target, plan)
        if plan.objective.replay is not None:
            return _described(plan.objective.replay.table, dataset, target, Path(out))
        if tracking and RUN_PID not in os.environ:
            attempt(Tracker(target, plan, study_id, tracking).prepare, print)
        prepared = prepare(plan.dataset(dataset), plan.split, Path(out))
        note_prepared(target, dataset, Path(out))
    except Exception as error:
        write_failure(target, failure, "data_prep", error)
        raise
    target.delete(failure)
    if summary is not None:
        Path(summary).write_text(markdown(prepared), encoding="utf-8")
    metadata: dict[str, Any] = json.loads(prepared.model_dump_json())
    return metadata


def _described(table: str, dataset: str, store: Store, out: Path) -> dict[str, Any]:
    """What the table says of its data, where it says anything: no arrays are needed to look trials up."""
    out.mkdir(parents=True, exist_ok=True)
    prepared = read_info(table).prepared
    if prepared is None:
        return {}
    text = prepared.model_dump_json(indent=2)
    store.write(layout.prepared(dataset) + "dataset.json", text.encode())
    metadata: dict[str, Any] = json.loads(text)
    return metadata
