"""The reporter step: write the report from a store, copy its page for KFP, and send missing trials to the tracking server."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tuneoff.components.core.artifacts import metadata
from tuneoff.core import layout
from tuneoff.core.runtime.machine import RUN_PID, in_pod, say
from tuneoff.core.runtime.pod import run_step
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import claim
from tuneoff.core.study import Study
from tuneoff.objectives import objective_of
from tuneoff.report.report import report
from tuneoff.tracking import Tracker, attempt, bring_level


def run(study: str, store: str, tracking: str, page: str | None, summary: str | None) -> dict[str, float]:
    """Write the report of the study in a store.

    Args:
        study: The study as JSON.
        store: The folder or s3:// URI that holds the record.
        tracking: The MLflow server's URI, or an empty string for none.
        page: The file for a copy of the HTML page, if any.
        summary: The file for the short Markdown report, if any.

    Returns:
        The main figures by name, for KFP's metrics.
    """
    plan = Study.model_validate_json(study)
    return run_step("reporter", plan, plan.name, partial(_run, plan, store, tracking, page, summary))


def _run(plan: Study, store: str, tracking: str, page: str | None, summary: str | None) -> dict[str, float]:
    target = open_store(store, patient=in_pod())
    study_id = claim(target, plan)
    written = report(target)
    if page is not None:
        target.get(layout.REPORT + "report.html", Path(page))
    if summary is not None:
        Path(summary).write_text(written.markdown, encoding="utf-8")
    if objective_of(plan).tracked_while_running:
        missing = _track(plan, target, study_id, tracking)
        if missing is not None and summary is not None:
            Path(summary).write_text(f"{written.markdown.rstrip()}\n\n**Tracking:** {missing}\n", encoding="utf-8")
    return metadata(written.metrics)


def _track(study: Study, store: Store, study_id: str, tracking: str) -> str | None:
    """Update the tracking views, and return sentences about missing trials, if any. In a local run, the run's process does it."""
    if RUN_PID in os.environ:
        attempt(Tracker(store, study, study_id, tracking).finish, say)
        return None
    return bring_level(store, study, study_id, tracking, say)
