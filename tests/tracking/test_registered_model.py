"""An evaluation in MLflow: its scores, and the incumbent's Keras model in the registry, loaded back and used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made import CLASSES, made_study, write_evaluation
from tracked import Unreliable, client_of, empty_server, runs_of, shown, small_store
from tuneoff.core import layout
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_evaluation, read_study
from tuneoff.tracking import sync_study
from tuneoff.tracking.mlflow import evaluation as mlflow_evaluation
from tuneoff.tracking.mlflow.view import MlflowView

STUDY = made_study(datasets=["mnist"], methods=["random"], seeds=[0])
MODEL = layout.evaluation("mnist", "random") + "model.keras"
PICTURE = layout.evaluation("mnist", "random") + "confusion.png"


def evaluated_store(root: Path) -> FolderStore:
    store = small_store(root, STUDY)
    write_evaluation(store, STUDY, STUDY.cells[0])
    store.write(PICTURE, b"\x89PNG")
    return store


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip("keras")
    file: Path = tmp_path_factory.mktemp("model") / "model.keras"
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    keras.Sequential(layers).save(file)
    return file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> FolderStore:
    store = evaluated_store(tmp_path_factory.mktemp("evaluated"))
    store.put(model_file, MODEL)
    assert sync_study(store).evaluations == 1
    return store


@pytest.fixture(scope="module")
def client(store: FolderStore) -> Any:
    return client_of(store)


def evaluation_run(client: Any) -> Any:
    (run,) = [r for r in runs_of(client) if r.data.tags["tuneoff.kind"] == "evaluation"]
    return run


def test_the_scores_are_metrics_below_the_study(store: FolderStore, client: Any) -> None:
    run, evaluation = evaluation_run(client), read_evaluation(store, STUDY.cells[0])
    assert evaluation is not None
    accuracies = [r.test_accuracy for r in evaluation.retrainings]
    assert run.data.metrics["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert run.data.metrics["test_accuracy_sd"] == pytest.approx(np.std(accuracies, ddof=1))
    each = client.get_metric_history(run.info.run_id, "retraining/test_accuracy")
    assert [(m.step, m.value) for m in each] == list(enumerate(accuracies))
    assert run.data.metrics[f"class_accuracy/3 {CLASSES[3]}"] == evaluation.classes[3].accuracy
    assert run.data.params == {name: str(value) for name, value in evaluation.config.items()}
    (study,) = [r for r in runs_of(client) if r.data.tags["tuneoff.kind"] == "study"]
    assert run.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert run.info.status == "FINISHED"


def test_pictures_confusion_and_classes_are_artifacts(client: Any) -> None:
    names = {f.path for f in client.list_artifacts(evaluation_run(client).info.run_id)}
    assert names == {"confusion.png", "confusion.json", "classes.json", "evaluation.json"}


def test_the_model_is_registered_under_an_alias_and_predicts(client: Any, model_file: Path) -> None:
    import keras
    import mlflow

    version = client.get_model_version_by_alias("made.mnist.random", "incumbent")
    run = evaluation_run(client)
    assert (version.run_id, run.data.tags["tuneoff.model"]) == (run.info.run_id, "models:/made.mnist.random/1")
    (output,) = run.outputs.model_outputs
    assert client.get_logged_model(output.model_id).status == "READY"
    loaded = mlflow.pyfunc.load_model(version.source)
    images = np.random.default_rng(0).random((3, 8, 8, 1), dtype=np.float32)
    assert np.allclose(loaded.predict(images), keras.saving.load_model(model_file).predict(images, verbose=0))
    signature = loaded.metadata.signature
    assert [(s.type, s.shape) for s in signature.inputs.inputs] == [(np.dtype("float32"), (-1, 8, 8, 1))]
    assert [(s.type, s.shape) for s in signature.outputs.inputs] == [(np.dtype("float32"), (-1, 10))]
    with pytest.raises(mlflow.exceptions.MlflowException, match="schema"):
        loaded.predict(images.astype(np.float64).reshape(3, 64))


def test_repeating_makes_no_second_version(store: FolderStore, client: Any) -> None:
    before = shown(client)
    assert sync_study(store).evaluations == 0
    assert shown(client) == before
    client.update_run(evaluation_run(client).info.run_id, status="RUNNING")
    assert sync_study(store).evaluations == 1
    assert shown(client) == before
    assert len(client.search_model_versions("name = 'made.mnist.random'")) == 1
    assert len(client.search_logged_models(["1"])) == 1


def test_a_repeated_evaluation_is_a_new_version_under_the_same_alias(store: FolderStore, client: Any) -> None:
    write_evaluation(store, STUDY, STUDY.cells[0])
    assert sync_study(store).evaluations == 1
    assert evaluation_run(client).data.tags["tuneoff.model"] == "models:/made.mnist.random/2"
    assert client.get_model_version_by_alias("made.mnist.random", "incumbent").version == 2


def test_if_a_model_cannot_be_loaded_only_the_model_is_missing(tmp_path: Path, model_file: Path) -> None:
    store = evaluated_store(tmp_path)
    store.write(MODEL, b"no model")
    assert sync_study(store).evaluations == 1
    assert evaluation_run(client_of(store)).data.tags["tuneoff.model"].startswith("none: model.keras cannot be loaded")
    assert sync_study(store).evaluations == 0


def test_without_keras_the_scores_go_first_and_the_model_later(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = evaluated_store(tmp_path)
    store.put(model_file, MODEL)
    monkeypatch.setattr(mlflow_evaluation, "_has_keras", lambda: False)
    assert [sync_study(store).evaluations for _ in range(2)] == [1, 0]
    run = evaluation_run(client_of(store))
    assert run.data.tags["tuneoff.model"].startswith("none: Keras is not installed")
    assert run.info.status == "FINISHED"
    monkeypatch.undo()
    assert [sync_study(store).evaluations for _ in range(2)] == [1, 0]
    assert evaluation_run(client_of(store)).data.tags["tuneoff.model"] == "models:/made.mnist.random/1"


CALLS = ["create_run", "log_artifacts", "create_logged_model", "log_model_artifacts", "log_outputs", "finalize_logged_model"]
CALLS += ["create_registered_model", "create_model_version", "set_registered_model_alias", "set_terminated"]


def test_whatever_call_fails_there_is_one_run_one_model_and_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_evaluation, "_load", lambda file: file)
    monkeypatch.setattr(mlflow_evaluation, "_save", lambda network, target, model, run: target.mkdir())
    store = evaluated_store(tmp_path)
    store.write(MODEL, b"model")
    result = read_study(store)
    evaluation = read_evaluation(store, STUDY.cells[0])
    assert evaluation is not None
    for call in CALLS:
        server = empty_server(tmp_path / f"{call}.db")
        client = Unreliable(server, fails_at=call, written=True)
        MlflowView(store, STUDY, result.id, f"sqlite:///{tmp_path}/{call}.db", server).prepare()
        view = MlflowView(store, STUDY, result.id, f"sqlite:///{tmp_path}/{call}.db", client)
        with pytest.raises(ConnectionError):
            view.deliver_evaluation(STUDY.cells[0], evaluation)
        view.deliver_evaluation(STUDY.cells[0], evaluation)
        run = evaluation_run(server)
        assert (run.info.status, run.data.tags["tuneoff.model"]) == ("FINISHED", "models:/made.mnist.random/1"), call
        (model,) = server.search_logged_models(["1"])
        assert (model.status, "mlflow.modelVersions" in model.tags) == ("READY", True), call
        assert len(server.search_model_versions()) == 1, call
