"""Tags, parameters and metrics of the MLflow runs, each a pure function of the record."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from ...core.prepared_data import Prepared
from ...core.record.state import SearchRecord, TrialRecord
from ...core.store.study_store import StudyResult
from ...core.study import Study
from ..notes import best_of, failed_trials
from ..trial_facts import Point, best_val_accuracy, ended, epoch_ends, objective_of


def place(search: SearchRecord) -> dict[str, object]:
    """Return tags that identify the search of a run. Child runs repeat them because MLflow's filters ignore parents."""
    where = {"tuneoff.dataset": search.dataset, "tuneoff.method": search.method, "tuneoff.seed": search.seed}
    return {**where, "tuneoff.own_models": "true"} if search.is_system else where


def trial_tags(record: TrialRecord) -> dict[str, object]:
    """Return the tags of an ended trial: identity, lineage, epochs and outcome. Tags with the value None are not sent."""
    trial, outcome = record.trial, record.trial.outcome
    assert outcome is not None
    return {
        "tuneoff.trial": trial.id,
        "tuneoff.config_id": trial.config_id,
        "tuneoff.parent": trial.proposal.parent,
        "tuneoff.inherit": trial.proposal.inherit.value if trial.proposal.parent is not None else None,
        "tuneoff.epochs": outcome.trained_epochs,
        "tuneoff.first_epoch": trial.first_epoch,
        "tuneoff.target_epoch": trial.proposal.target_epoch,
        "tuneoff.status": outcome.status.value,
        "tuneoff.reason": outcome.reason,
        "tuneoff.device": outcome.device or None,
    }


def trial_metrics(study: Study, record: TrialRecord) -> list[Point]:
    """Return the metrics of each epoch, at its number, and those of the trial, at step 0 under distinct names."""
    outcome = record.trial.outcome
    assert outcome is not None
    metrics = [
        (name, value, time, epoch.number)
        for epoch, time in zip(record.curve, epoch_ends(record), strict=True)
        for name, value in epoch.metrics.items()
    ]
    own = {
        "objective": objective_of(study, outcome),
        "best_val_accuracy": best_val_accuracy(record),
        "trial_seconds": outcome.seconds,
        "ask_seconds": record.ask_seconds,
        "epochs_trained": outcome.trained_epochs,
        "peak_memory_bytes": outcome.peak_memory_bytes,
    }
    return metrics + [(name, value, ended(record), 0) for name, value in own.items() if value is not None]


def best_curve(study: Study, search: SearchRecord) -> list[Point]:
    """Return the best-so-far curve over the epochs spent: one point per trained trial, in the order in which they ended."""
    curve: list[Point] = []
    best, epochs = math.inf, 0
    for record in sorted(search.told, key=lambda t: (ended(t), t.trial.id)):
        outcome = record.trial.outcome
        if outcome is None or not outcome.trained_epochs:
            continue
        epochs += outcome.trained_epochs
        best = min(best, math.inf if outcome.loss is None else outcome.loss)
        curve.append(("best_objective", study.objective.sign * best, ended(record), epochs))
    return curve


def spent(search: SearchRecord) -> list[Point]:
    """Return the used budget of an ended search."""
    used = search.spent
    values = {
        "spent_trials": used.trials,
        "spent_epochs": used.epochs,
        "spent_seconds": used.seconds,
        "spent_method_seconds": used.method_seconds,
        "failed_trials": failed_trials(search),
    }
    return [(name, value, search_end(search), 0) for name, value in values.items()]


def search_end(search: SearchRecord) -> float:
    """Return the time of the last event of a search that MLflow shows, in seconds since 1970."""
    times = [ended(t) for t in search.told] + [float(search.header.get("time", 0.0))]
    return max([*times, float(search.ended["time"])] if search.ended else times)


def study_params(study: Study) -> dict[str, object]:
    """Return the parameters of the study's run: what it compares, and its budget."""
    return {
        "datasets": ", ".join(d.name for d in study.datasets),
        "methods": ", ".join(m.label for m in study.methods),
        "seeds": ", ".join(str(s) for s in study.seeds),
        "model": study.model,
        "objective": f"{study.objective.epoch} {study.objective.metric}",
        **{f"budget.{name}": value for name, value in study.budget.model_dump().items()},
    }


def study_metrics(result: StudyResult) -> list[tuple[str, float]]:
    """Return the metrics of the study's run: used budget, failures, and the best objective on each data set.

    The best objective includes only methods that train the study's model, not systems that train their own models.
    """
    searches = [search for cell in result.cells for search in cell.searches]
    metrics: list[tuple[str, float]] = [
        ("spent_trials", sum(s.spent.trials for s in searches)),
        ("spent_epochs", sum(s.spent.epochs for s in searches)),
        ("spent_seconds", sum(s.spent.seconds for s in searches)),
        ("failed_trials", sum(failed_trials(s) for s in searches)),
        ("failed_cells", sum(bool(cell.failures) for cell in result.cells)),
    ]
    for dataset in result.study.datasets:
        best = best_of(result.study, (s for s in searches if s.dataset == dataset.name and not s.is_system))
        if best is not None:
            metrics.append((f"best_objective/{dataset.name}", best))
    return metrics


def study_status(result: StudyResult) -> str:
    """Return the status of the study's run: FAILED if any cell failed, FINISHED if every search has ended, or else RUNNING."""
    if any(cell.failures for cell in result.cells):
        return "FAILED"
    whole = all(search.ended for cell in result.cells for search in cell.searches)
    return "FINISHED" if whole else "RUNNING"


def last_time(result: StudyResult) -> float:
    """Return the time of the last event of a study, in seconds since 1970."""
    times = [result.created_at]
    for cell in result.cells:
        times += [search_end(search) for search in cell.searches]
        times += [failure.time for failure in cell.failures]
        times += [cell.evaluation.evaluated_at] if cell.evaluation else []
    return max(times)


def digest(*parts: object) -> str:
    """Return a short hash of the parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def data_input(prepared: Prepared) -> Any:
    """Return the data set as an MLflow input of a run. Its digest is the fingerprint cut to 36 characters, MLflow's limit."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    height, width, channels = prepared.input_shape
    tensor = {"dtype": "float32", "shape": [-1, height, width, channels]}
    label = {"dtype": "int32", "shape": [-1]}
    schema = {
        "mlflow_tensorspec": {
            "features": json.dumps([{"type": "tensor", "tensor-spec": tensor}]),
            "targets": json.dumps([{"type": "tensor", "tensor-spec": label}]),
        }
    }
    remote = prepared.source.startswith("s3://")
    source = {"uri": prepared.source} if remote else {"tags": {"mlflow.source.name": prepared.source}}
    data = Dataset(
        name=prepared.name,
        digest=prepared.fingerprint[:36],
        source_type="s3" if remote else "code",
        source=json.dumps(source),
        schema=json.dumps(schema),
        profile=json.dumps({"images": dict(prepared.counts), "classes": len(prepared.classes)}),
    )
    return DatasetInput(data, tags=[InputTag("mlflow.data.context", "training")])
