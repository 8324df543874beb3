"""The reporter step: from a store to its report, with the page for KFP, and the tracking views brought level."""

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
    """Report what the store holds; returns figures for KFP's metrics."""
    plan = Study.model_validate_json(study)
    return run_step("reporter", plan, plan.name, partial(_run, plan, store, tracking, page, summary))


def _run(plan: Study, store: str, tracking: str, page: str | None, summary: str | None) -> dict[str, float]:
    target = open_store(store, patient=in_pod())
    study_id = claim(target, plan)
    found = report(target)
    if page is not None:
        target.get(layout.REPORT + "report.html", Path(page))
    if summary is not None:
        Path(summary).write_text(found.markdown, encoding="utf-8")
    if objective_of(plan).tracked_while_running:
        missing = _track(plan, target, study_id, tracking)
        if missing is not None and summary is not None:
            Path(summary).write_text(f"{found.markdown.rstrip()}\n\n**Tracking:** {missing}\n", encoding="utf-8")
    return metadata(found.metrics)


def _track(study: Study, store: Store, study_id: str, tracking: str) -> str | None:
    """Bring the tracking views level; returns sentences on what they lack, if anything. After a local run its process does it."""
    if RUN_PID in os.environ:
        attempt(Tracker(store, study, study_id, tracking).finish, say)
        return None
    return bring_level(store, study, study_id, tracking, say)
