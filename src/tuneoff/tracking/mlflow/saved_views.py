"""Saved views of MLflow's runs table, listed under Views: trials, searches and evaluations, each with its columns."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ...core.study import Study

PREFIX = "mlflow.sharedViewState."
"""Prefix of the experiment tags in which MLflow stores saved views. Older servers show them only as tags."""

_MOST_PARAMETERS = 12
_PLACE = ("dataset", "method", "seed")


def saved_views(study: Study, created_at: float) -> dict[str, str]:
    """Return experiment tags, one per view. Without views, MLflow's table shows no metrics and no hyperparameters."""
    best_first = study.objective.sign < 0
    config = [f"params.`{name}`" for name in list(study.space)[:_MOST_PARAMETERS]]
    trials = ("objective", "val_accuracy", "val_loss", "epochs_trained", "trial_seconds")
    searches = ("best_objective", "spent_trials", "spent_epochs", "spent_seconds", "spent_method_seconds", "failed_trials")
    scores = ("test_accuracy", "test_accuracy_sd", "test_loss")
    views = {
        "trials": _view("trial", "objective", best_first, [*_tags("trial", "status"), *_metrics(trials), *config]),
        "searches": _view("search", "best_objective", best_first, [*_tags(), *_metrics(searches)]),
        "evaluations": _view("evaluation", "test_accuracy", True, [*_tags("trial"), *_metrics(scores), *config]),
    }
    time = round(created_at * 1000)
    entries = {
        name: {"name": f"Tuneoff: {name}", "createdAt": time, "updatedAt": time, "state": json.dumps(state)}
        for name, state in views.items()
    }
    return {f"{PREFIX}tuneoff-{name}": json.dumps(entry) for name, entry in entries.items()}


def _tags(*more: str) -> list[str]:
    return [f"tags.`tuneoff.{name}`" for name in (*_PLACE, *more)]


def _metrics(names: Sequence[str]) -> list[str]:
    return [f"metrics.`{name}`" for name in names]


def _view(kind: str, metric: str, best_first: bool, columns: Sequence[str]) -> dict[str, object]:
    return {
        "searchFilter": f"tags.`tuneoff.kind` = '{kind}'",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": not best_first,
        "selectedColumns": list(columns),
    }
