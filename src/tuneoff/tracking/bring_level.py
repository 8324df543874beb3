"""Bring MLflow and TensorBoard up to date at the end of a run, with retries for an unavailable or slow server."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import StudyError
from ..core.store.protocol import Store
from ..core.store.study_store import read_study
from ..core.study import Study
from .delivery import Delivery, brief
from .mlflow.runs import named_server
from .tracker import Tracker

LEVEL_PATIENCE_SECONDS = 300.0
"""How long the last step of a run retries. The time starts again whenever the server has accepted something."""


def bring_level(
    store: Store,
    study: Study,
    study_id: str,
    uri: str,
    report: Callable[[str], None] = print,
) -> str | None:
    """Send everything in the store that MLflow and TensorBoard lack, and retry while the server is unavailable.

    Raises no exception, because a report must not fail because of a server.

    Args:
        store: The store of the study.
        study: The study.
        study_id: The id of the study in the store.
        uri: The MLflow server. Empty means the server that KFP names to its steps.
        report: Called with one line when the server is lost, when it is back, and if results are missing at the end.

    Returns:
        None if MLflow is up to date or no server is named. Otherwise a message with the missing results, the reason and the
        next step.
    """
    try:
        named_server(uri)
    except StudyError as error:
        report(f"Tracking: {error}. Nothing is sent to MLflow.")
        return None
    try:
        missing = _sent(store, Tracker(store, study, study_id, uri), report)
    except Exception as error:  # noqa: BLE001 - the report is complete, and a failing view must not fail the step
        missing = f"MLflow may not be up to date ({brief(error)}). Run `tuneoff sync {store.uri}` to send the missing results."
    if missing is not None:
        report(f"Tracking: {missing}")
    return missing


def _sent(store: Store, tracker: Tracker, report: Callable[[str], None]) -> str | None:
    result = read_study(store)
    delivery = Delivery(
        lambda: tracker.sync(result).trials,
        waiting=lambda: tracker.unsent(result).trials,
        report=report,
        meanwhile=f"this step retries for {_minutes(LEVEL_PATIENCE_SECONDS)}",
    )
    delivery.start()
    unsent = tracker.unsent(result)
    while delivery.close(LEVEL_PATIENCE_SECONDS) is not None:
        before, unsent = unsent, tracker.unsent(result)
        if unsent.total >= before.total:  # otherwise the server is only slow, and gets more time
            return (
                f"MLflow is not up to date ({delivery.trouble}): {unsent}."
                f" The record is complete. Run `tuneoff sync {store.uri}` to send the rest."
            )
    return None


def _minutes(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} minutes"
