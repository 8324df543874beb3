"""The evaluator step: from a study in JSON to an evaluated cell, with the model for KFP."""

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
    """Evaluate the cell `dataset` × `method` (a label); returns metrics, class names and confusion matrix for KFP.

    Empty where the study was asked to stop; Stopped where a signal asked this step alone.
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
    """The incumbent's configuration, and its test score in each retraining."""
    head = f"## {evaluation.method} on {evaluation.dataset}: trial {evaluation.trial} of seed {evaluation.seed}"
    config = ["| hyperparameter | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in evaluation.config.items())]
    scores = [f"| {r.seed} | {r.test_accuracy:.4f} | {r.test_loss:.4f} |" for r in evaluation.retrainings]
    if evaluation.recorded:
        head += ", as its recorded training was scored"
    elif not evaluation.retrained:
        head += ", the system's own model as it is"
    table = ["| retraining | test accuracy | test loss |", "|--:|--:|--:|", *scores]
    return "\n".join([head, "", *config, "", *table])
