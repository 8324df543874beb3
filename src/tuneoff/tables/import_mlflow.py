"""Read learning curves from existing MLflow runs: parameters as text, and the history of the metrics that a study uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.credentials import without_credentials
from ..core.errors import StudyError, first_line
from ..core.table import METRICS


def curves_of(uri: str, experiment: str) -> Iterator[tuple[dict[str, str], dict[int, dict[str, float]], float]]:
    """Yield for each finished run of the experiment its parameters, its metrics by step, and its duration in seconds.

    Raises:
        StudyError: The server cannot be read, or it has no such experiment.
    """
    from mlflow.tracking import MlflowClient

    named = without_credentials(uri)
    try:
        client = MlflowClient(tracking_uri=uri)
        entry = client.get_experiment_by_name(experiment)
    except Exception as error:
        said = without_credentials(first_line(error))[:200]
        raise StudyError(
            f"{named} cannot be read as an MLflow server ({said}). Give the URI of an MLflow server or database."
        ) from error
    if entry is None:
        names = [e.name for e in client.search_experiments()]
        raise StudyError(f"{named} has no experiment {experiment!r}. Give one of {', '.join(names)} as --study.")
    token = None
    while True:
        page = client.search_runs([entry.experiment_id], "attributes.status = 'FINISHED'", page_token=token)
        for run in page:
            curve = _curve(client, run)
            if curve:
                yield dict(run.data.params), curve, max(0.0, (run.info.end_time - run.info.start_time) / 1000)
        token = page.token
        if not token:
            return


def _curve(client: Any, run: Any) -> dict[int, dict[str, float]]:
    steps: dict[int, dict[str, float]] = {}
    for name in METRICS:
        if name in run.data.metrics:
            for point in client.get_metric_history(run.info.run_id, name):
                steps.setdefault(point.step, {})[name] = point.value
    return steps
