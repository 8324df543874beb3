"""Bringing MLflow and TensorBoard level at the end of a run, with patience for a server that is away or slow."""

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
"""How long the last step of a run tries, counted again from each stretch in which the server took something."""


def bring_level(
    store: Store,
    study: Study,
    study_id: str,
    uri: str,
    report: Callable[[str], None] = print,
) -> str | None:
    """Send MLflow and TensorBoard all that they lack of the store, and try again while the server is away.

    Nothing is raised: a report must not fail because of a server.

    Args:
        uri: the MLflow server. Empty means the server that KFP names to its steps.
        report: hears one line when the server is lost, one when it is back, and one with what is still missing at the end.

    Returns:
        None where MLflow is level or no server is named. Otherwise sentences that say what is missing, why, and what to do.
    """
    try:
        named_server(uri)
    except StudyError as error:
        report(f"Tracking: {error}. Nothing is sent to MLflow.")
        return None
    try:
        missing = _sent(store, Tracker(store, study, study_id, uri), report)
    except Exception as error:  # noqa: BLE001 - the report is written, and no view of it may fail the step
        missing = f"MLflow may not be up to date ({brief(error)}). `tuneoff sync {store.uri}` sends what is missing."
    if missing is not None:
        report(f"Tracking: {missing}")
    return missing


def _sent(store: Store, tracker: Tracker, report: Callable[[str], None]) -> str | None:
    result = read_study(store)
    delivery = Delivery(
        lambda: tracker.sync(result).trials,
        waiting=lambda: tracker.unsent(result).trials,
        report=report,
        meanwhile=f"this step tries again for {_minutes(LEVEL_PATIENCE_SECONDS)}",
    )
    delivery.start()
    unsent = tracker.unsent(result)
    while delivery.close(LEVEL_PATIENCE_SECONDS) is not None:
        before, unsent = unsent, tracker.unsent(result)
        if unsent.total >= before.total:  # else the server is only slow, and gets more time
            return (
                f"MLflow is not up to date ({delivery.trouble}): {unsent}."
                f" The record has everything, and `tuneoff sync {store.uri}` sends the rest."
            )
    return None


def _minutes(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} minutes"
