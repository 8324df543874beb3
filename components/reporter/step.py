"""The reporter step: from a store to its report, with the page for KFP, and the tracking views brought level."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..core import layout
from ..core.artifacts import metadata
from ..core.machine import in_pod
from ..core.pod import run_step, tell
from ..core.storage import open_store
from ..core.stored import claim
from ..core.study import Study
from ..core.tracking import Tracker, attempt
from .report import report


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
    if plan.objective.replay is None:
        attempt(Tracker(target, plan, study_id, tracking).finish, tell)
    return metadata(found.metrics)
