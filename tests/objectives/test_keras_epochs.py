"""An epoch is the same to the last bit however it is trained: by Keras's fit, by one graph, or by a graph traced for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneoff.core.problem import Inherit
from tuneoff.core.study import Training
from tuneoff.objectives.keras import model_cache
from tuneoff.objectives.keras.epochs import FitEpochs, GraphEpochs, epochs_of
from tuneoff.objectives.keras.learner import Learner, save_checkpoint
from tuneoff.objectives.keras.model import build, compile_stock

CONFIG = {"filters1": 4, "filters2": 4, "neurons": 8, "dropout": 0.2, "learning_rate": 0.01, "optimizer": "Nadam"}
SHAPE, CLASSES = (8, 8, 1), 3
RNG = np.random.default_rng(0)
X, Y = RNG.random((70, *SHAPE), dtype=np.float32), RNG.integers(0, CLASSES, 70)
X_VAL, Y_VAL = RNG.random((30, *SHAPE), dtype=np.float32), RNG.integers(0, CLASSES, 30)


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    """No model is left from another test."""
    model_cache._kept.clear()
    yield
    model_cache._kept.clear()


def curve(learner: Learner, epochs: int = 3) -> list[dict[str, float]]:
    found = [learner.train(number, X, Y, (X_VAL, Y_VAL)) for number in range(1, epochs + 1)]
    learner.close()
    return found


def learner(**changes: Any) -> Learner:
    return Learner("paper-cnn", CONFIG | changes, Training(batch_size=16), SHAPE, CLASSES, 5)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad", "Nadam"])
def test_one_graph_gives_what_fit_gives(optimizer: str) -> None:
    import keras

    found = []
    for kind in (GraphEpochs, FitEpochs):
        keras.utils.set_random_seed(1)
        model = build("paper-cnn", CONFIG, SHAPE, CLASSES)
        compile_stock(model, {"optimizer": optimizer, "learning_rate": 0.01}, {})
        epochs = kind(model, 16)
        order = np.random.default_rng(0).permutation(len(X))
        for layer in model.layers:
            if hasattr(layer, "seed_generator"):
                layer.seed_generator.state.assign([7, 1])
        found.append([epochs.train(X, Y, order), epochs.test(X_VAL, Y_VAL), epochs.train(X, Y, order), epochs.test(X_VAL, Y_VAL)])
    assert found[0] == found[1]


def test_one_graph_compiled_by_xla_gives_nearly_what_fit_gives() -> None:
    import keras

    found = []
    for kind in (GraphEpochs, FitEpochs):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.layers.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=True)
        epochs = kind(model, 16)
        found.append([epochs.train(X, Y, np.arange(len(X))), epochs.test(X_VAL, Y_VAL)])
    assert found[0] == [pytest.approx(metrics, rel=1e-4) for metrics in found[1]]


def test_a_model_of_equal_shape_takes_the_traced_graph_and_nothing_else_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = {}
    for rate in (0.01, 0.1):
        alone[rate] = curve(learner(learning_rate=rate))
        model_cache._kept.clear()
    traced = count_traces(monkeypatch)
    assert curve(learner(learning_rate=0.1)) == alone[0.1]
    assert traced() == 2, "training and validation"
    assert curve(learner(learning_rate=0.01)) == alone[0.01]
    assert curve(learner(learning_rate=0.1)) == alone[0.1]
    assert traced() == 2
    curve(learner(neurons=9))
    assert traced() == 4


def count_traces(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls = []
    true = GraphEpochs._traced

    def traced(self: GraphEpochs, *arguments: Any) -> Any:
        calls.append(1)
        return true(self, *arguments)

    monkeypatch.setattr(GraphEpochs, "_traced", traced)
    return lambda: len(calls)


def test_only_so_many_models_are_kept() -> None:
    for neurons in range(2, 3 + model_cache.KEPT):
        learner(neurons=neurons).close()
    assert len(model_cache._kept) == model_cache.KEPT


def lambda_model(config: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    """A closure over the configuration, which its layer's own description does not tell."""
    import keras

    def activation(x: Any) -> Any:
        return x * config["neurons"]

    return keras.Sequential(
        [keras.layers.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(classes, activation=activation)]
    )


def compiled_model(config: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    import keras

    model = keras.Sequential([keras.layers.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(classes, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("builder", ["lambda_model", "compiled_model"])
def test_a_model_of_which_not_all_can_be_told_is_used_once(builder: str) -> None:
    made = Learner(f"{__name__}:{builder}", {"neurons": 2}, Training(), SHAPE, CLASSES, 5)
    made.train(1, X, Y)
    made.close()
    assert model_cache._kept == []


def test_a_model_with_its_own_step_is_trained_by_fit() -> None:
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(CLASSES, "softmax")])

        def call(self, x: Any) -> Any:
            return self.body(x)

        def train_step(self, data: Any) -> Any:
            super().train_step(data)
            return {"loss": 0.25}

    model = Own()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    epochs = epochs_of(model, 16)
    assert isinstance(epochs, FitEpochs)
    assert epochs.train(X, Y, np.arange(len(X)))["loss"] == 0.25
    assert set(epochs.test(X_VAL, Y_VAL)) == {"loss", "accuracy"}


def test_a_changed_configuration_takes_over_weights_and_optimizer_and_keeps_its_own_learning_rate(tmp_path: Path) -> None:
    parent = learner(learning_rate=0.01, dropout=0.1)
    parent.train(1, X, Y)
    save_checkpoint(tmp_path / "parent.npz", [{"last": parent.weights(), "optimizer": parent.state()}])
    child = learner(learning_rate=0.001, dropout=0.3)
    child.take_over(tmp_path / "parent.npz", Inherit.STATE)
    assert all(np.array_equal(a, b) for a, b in zip(child.weights(), parent.weights(), strict=True))
    assert int(child.model.optimizer.iterations) == int(parent.model.optimizer.iterations) == 5
    assert float(child.model.optimizer.learning_rate) == pytest.approx(0.001)


def test_weights_of_another_shape_are_not_taken_over(tmp_path: Path) -> None:
    parent = learner(neurons=8)
    save_checkpoint(tmp_path / "parent.npz", [{"last": parent.weights(), "optimizer": parent.state()}])
    with pytest.raises(ValueError, match="shape"):
        learner(neurons=16).take_over(tmp_path / "parent.npz", Inherit.STATE)
