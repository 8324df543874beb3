"""MLflow's view of an evaluation: a run with the test scores, and the incumbent's model in the model registry."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...core import layout
from ...core.store.protocol import Store
from ...core.store.study_store import Evaluation
from ...core.study import Study
from ..notes import evaluation_note
from ..trial_facts import Point
from .runs import KEY, NOTE, PARENT, Run, Runs

ALIAS = "incumbent"
STAMP = "tuneoff.evaluated_at"
MODEL = "tuneoff.model"
"""Tag of the evaluation run with the registered model version, or with the reason why none was registered."""
NO_MODEL = "none: the evaluation left no model"
NO_KERAS = "none: Keras is not installed where the evaluation was sent from"


def evaluation_key(study_id: str, evaluation: Evaluation) -> str:
    """Return the unique key of an evaluation."""
    return f"{study_id}/{evaluation.dataset}/{evaluation.method}/evaluation"


def deliver_evaluation(runs: Runs, parent: Run, store: Store, study: Study, evaluation: Evaluation) -> bool:
    """Send the parts of an evaluation that the server lacks. Return whether anything was sent.

    A repeated evaluation (with another `evaluated_at`) replaces the earlier run, because MLflow's parameters cannot change. The
    earlier model stays in the registry as an older version.
    """
    key = evaluation_key(runs.study_id, evaluation)
    stamp = repr(evaluation.evaluated_at)
    files = _files(store, evaluation)
    run = runs.get(key)
    if run is not None and run.tags.get(STAMP) != stamp:
        runs.drop(key)
        run = None
    if run is not None and run.ended and not _model_wanted(run, files):
        if run.tags.get(PARENT) != parent.id:
            runs.log(run, tags={PARENT: parent.id})
        return False
    run = runs.make(
        key, f"{evaluation.method} evaluation {evaluation.dataset}", evaluation.evaluated_at, _tags(study, evaluation, parent)
    )
    runs.log(run, metrics=_metrics(evaluation), params=evaluation.config, tags={NOTE: evaluation_note(evaluation)})
    _log_files(runs, run, store, evaluation, files)
    runs.log(run, tags={MODEL: _deliver_model(runs, run, store, study, evaluation, files)})
    runs.settle(run, "FINISHED", evaluation.evaluated_at)
    return True


def _tags(study: Study, evaluation: Evaluation, parent: Run) -> dict[str, object]:
    return {
        "tuneoff.study": study.name,
        "tuneoff.kind": "evaluation",
        "tuneoff.dataset": evaluation.dataset,
        "tuneoff.method": evaluation.method,
        "tuneoff.seed": evaluation.seed,
        "tuneoff.trial": evaluation.trial,
        "tuneoff.epochs": evaluation.epochs,
        STAMP: repr(evaluation.evaluated_at),
        PARENT: parent.id,
    }


def _metrics(evaluation: Evaluation) -> list[Point]:
    """Return the test scores (mean, sample standard deviation, each retraining), class accuracies and learning curves."""
    time = evaluation.evaluated_at
    metrics: list[Point] = []
    for name in ("test_accuracy", "test_loss"):
        values = [float(getattr(r, name)) for r in evaluation.retrainings]
        if values:
            metrics.append((name, statistics.fmean(values), time, 0))
        if len(values) > 1:
            metrics.append((f"{name}_sd", statistics.stdev(values), time, 0))
        metrics += [(f"retraining/{name}", value, time, number) for number, value in enumerate(values)]
    for number, score in enumerate(evaluation.classes):
        metrics.append((f"class_accuracy/{number} {score.name.replace('/', '_')}", score.accuracy, time, 0))
    for number, retraining in enumerate(evaluation.retrainings):
        for name, curve in retraining.curves.items():
            metrics += [(f"retraining_{number}/{name}", value, time, epoch) for epoch, value in enumerate(curve, 1)]
    metrics += [(f"validation/{name}", value, time, evaluation.epochs) for name, value in evaluation.validation.items()]
    return metrics


def _files(store: Store, evaluation: Evaluation) -> list[str]:
    return store.names(layout.evaluation(evaluation.dataset, evaluation.method))


def _model_file(files: Sequence[str]) -> str | None:
    return next((name for name in files if name.endswith("/model.keras")), None)


def _model_wanted(run: Run, files: Sequence[str]) -> bool:
    """Return whether an unregistered model can be registered now: its file came later, or Keras was missing before."""
    late = run.tags.get(MODEL) == NO_MODEL or (run.tags.get(MODEL) == NO_KERAS and _has_keras())
    return late and _model_file(files) is not None


def _has_keras() -> bool:
    return importlib.util.find_spec("keras") is not None


def _log_files(runs: Runs, run: Run, store: Store, evaluation: Evaluation, files: Sequence[str]) -> None:
    matrix = {"classes": [c.name for c in evaluation.classes], "rows are true, columns predicted": evaluation.confusion}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in files:
            if name != _model_file(files):
                store.get(name, root / Path(name).name)
        (root / "confusion.json").write_text(json.dumps(matrix), encoding="utf-8")
        (root / "classes.json").write_text(json.dumps([c.model_dump() for c in evaluation.classes]), encoding="utf-8")
        runs.client.log_artifacts(run.id, folder)


def _deliver_model(runs: Runs, run: Run, store: Store, study: Study, evaluation: Evaluation, files: Sequence[str]) -> str:
    """Register the incumbent's model with its alias. Return its URI, or the reason why it was not registered."""
    file = _model_file(files)
    if file is None:
        return NO_MODEL
    if not _has_keras():
        return NO_KERAS
    model = _ready_model(runs, run)
    if model is None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                network = _load(store.get(file, Path(folder) / "model.keras"))
            except Exception as error:  # noqa: BLE001 - a user's model may raise anything, and its scores are still sent
                return f"none: model.keras cannot be loaded ({type(error).__name__}: {error})"
            model = _log_model(runs, run, network, evaluation, Path(folder))
    name = f"{study.name}.{evaluation.dataset}.{evaluation.method}"
    version = _version_of(runs, name, evaluation) or _register(runs, name, model, run, evaluation)
    link = json.dumps([{"name": name, "version": int(version)}])
    runs.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
    runs.client.set_registered_model_alias(name, ALIAS, version)
    return f"models:/{name}/{version}"


def _load(file: Path) -> Any:
    import keras

    return keras.saving.load_model(file, compile=False)


def _version_of(runs: Runs, name: str, evaluation: Evaluation) -> str | None:
    """Return the version that an earlier call registered for this evaluation, or None."""
    versions = runs.client.search_model_versions(f"name = '{name}'")
    ours = {KEY: evaluation_key(runs.study_id, evaluation), STAMP: repr(evaluation.evaluated_at)}
    return next((str(v.version) for v in versions if ours.items() <= dict(v.tags).items()), None)


def _register(runs: Runs, name: str, model: Any, run: Run, evaluation: Evaluation) -> str:
    """Register this LoggedModel as a new version of the registered model. Return the number of the version."""
    from mlflow.exceptions import MlflowException

    client = runs.client
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {KEY: evaluation_key(runs.study_id, evaluation), STAMP: repr(evaluation.evaluated_at)}
    # With a models:/ URI as the source, MLflow would look for the model on the default server of the process, not on this one.
    made = client.create_model_version(
        name, model.artifact_location, run.id, tags=tags, model_id=model.model_id, await_creation_for=0
    )
    return str(made.version)


def _ready_model(runs: Runs, run: Run) -> Any | None:
    """Return the run's LoggedModel that an earlier call completed, or None. Delete incomplete ones of earlier calls."""
    ready = None
    for model in runs.client.search_logged_models([runs.experiment_id], filter_string=f"source_run_id = '{run.id}'"):
        if model.status == "READY":
            ready = model
        else:
            runs.client.delete_logged_model(model.model_id)
    return ready


def _log_model(runs: Runs, run: Run, network: Any, evaluation: Evaluation, folder: Path) -> Any:
    """Create the run's LoggedModel from a Keras model."""
    from mlflow.entities import LoggedModelOutput

    client = runs.client
    model = client.create_logged_model(
        runs.experiment_id,
        name=f"{evaluation.dataset}-{evaluation.method}".replace(".", "_"),
        source_run_id=run.id,
        tags={KEY: evaluation_key(runs.study_id, evaluation)},
        params={name: str(value)[:250] for name, value in evaluation.config.items()},
        model_type="image classifier",
    )
    target = folder / "mlflow-model"
    _save(network, target, model, run)
    client.log_model_artifacts(model.model_id, str(target))
    client.log_outputs(run.id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY")


def _save(network: Any, target: Path, model: Any, run: Run) -> None:
    """Write the model folder. The signature has the input float32 (-1, H, W, C) and the output float32 (-1, classes)."""
    import mlflow.keras
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    kind = np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(kind, (-1, *network.input_shape[1:]))]),
        outputs=Schema([TensorSpec(kind, (-1, *network.output_shape[1:]))]),
    )
    versions = {name: _installed(name) for name in ("keras", "tensorflow", "tensorflow-cpu", "numpy")}
    mlflow.keras.save_model(
        network,
        str(target),
        mlflow_model=Model(model.artifact_location, model_uuid=model.model_id, run_id=run.id, model_id=model.model_id),
        signature=signature,
        pip_requirements=[f"{name}=={version}" for name, version in versions.items() if version],
    )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
