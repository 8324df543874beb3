"""The evaluator step: read a study in JSON, evaluate one cell and pass the model to KFP."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

from tuneoff.components.core.artifacts import metadata
from tuneoff.core import layout
from tuneoff.core.runtime.machine import in_pod, say
from tuneoff.core.runtime.pod import pod_label, run_step
from tuneoff.core.store.open import open_store
from tuneoff.core.store.stop_request import Stopped, Stopping
from tuneoff.core.store.study_store import MODEL_FILE, Evaluation
from tuneoff.core.study import Study
from tuneoff.evaluation.evaluate import evaluate


def run(
    study: str, dataset: str, method: str, store: str, tracking: str, data: str, model: str | None, summary: str | None
) -> dict[str, Any]:
    """Evaluate one cell of the study.

    Args:
        study: The study in JSON.
        dataset: The name of the data set in the study.
        method: The label of the method in the study.
        store: The store of the study: a folder or an s3:// URI.
        tracking: The URI of the MLflow server; empty for none.
        data: The folder of the prepared data set.
        model: The file for the trained model; None for no copy of it.
        summary: The file for a Markdown summary; None for no summary.

    Returns:
        The metrics, class names and confusion matrix for KFP; {} if the study was asked to stop.

    Raises:
        Stopped: A signal stopped this step only, not the study.
    """
    plan = Study.model_validate_json(study)
    work = partial(_run, plan, dataset, method, store, tracking, data, model, summary)
    return run_step("evaluator", plan, f"{dataset}/{method}", work, {"tuneoff/method": pod_label(method)})


def _run(
    plan: Study, dataset: str, method: str, store: str, tracking: str, data: str, model: str | None, summary: str | None
) -> dict[str, Any]:
    target = open_store(store, patient=in_pod())
    stopping = Stopping(target)
    try:
        with stopping.heeding_signals():
            evaluation = evaluate(plan, plan.cell(dataset, method), Path(data), target, tracking, say, stopping)
    except Stopped:
        if stopping.signal:
            raise
        return {}
    if model is not None and not evaluation.recorded:
        target.get(_kept_model(evaluation), Path(model))
    if summary is not None:
        Path(summary).write_text(markdown(evaluation), encoding="utf-8")
    scores = evaluation.retrainings
    return {
        "metrics": metadata(
            {
                "test_accuracy": statistics.fmean(r.test_accuracy for r in scores),
                "test_loss": statistics.fmean(r.test_loss for r in scores),
            }
            if scores
            else {}
        ),
        "classes": [c.name for c in evaluation.classes],
        "confusion": evaluation.confusion,
    }


def _kept_model(evaluation: Evaluation) -> str:
    if evaluation.retrained:
        return layout.evaluation(evaluation.dataset, evaluation.method) + "model.keras"
    return layout.system(evaluation.dataset, evaluation.method, evaluation.seed) + MODEL_FILE


def markdown(evaluation: Evaluation) -> str:
    """Return the incumbent's configuration and the test score of each retraining in Markdown."""
    head = f"## {evaluation.method} on {evaluation.dataset}: trial {evaluation.trial} of seed {evaluation.seed}"
    config = ["| hyperparameter | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in evaluation.config.items())]
    scores = [f"| {r.seed} | {r.test_accuracy:.4f} | {r.test_loss:.4f} |" for r in evaluation.retrainings]
    if evaluation.recorded:
        head += ", with the test score of its recorded training"
    elif not evaluation.retrained:
        head += ", with the system's own model, not retrained"
    table = ["| retraining | test accuracy | test loss |", "|--:|--:|--:|", *scores]
    return "\n".join([head, "", *config, "", *table])
