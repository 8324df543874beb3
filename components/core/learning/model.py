"""Models by configuration: the paper's network, or a builder of the user's own. Keras is imported where one is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..space import Config

Builder = Callable[[Config, tuple[int, ...], int], Any]
"""(configuration, input shape (H, W, C), number of classes) -> keras.Model, compiled or not."""


def builder(name: str) -> Builder:
    """`paper-cnn`, or `module:function` of the user's own; the module must be importable where the trial runs."""
    if name == "paper-cnn":
        return paper_cnn
    module, _, function = name.partition(":")
    found: Builder = getattr(import_module(module), function)
    return found


def paper_cnn(config: Config, input_shape: tuple[int, ...], classes: int) -> Any:
    """The network of Molnár and Poleczki: two 3×3 convolutions, max-pooling, dropout, a dense layer, dropout, softmax.

    Reads dropout, activation, filters1, filters2 and neurons from the configuration; each has a default where it is not searched.
    """
    from keras import Sequential, layers

    activation = config.get("activation", "relu")
    dropout = config.get("dropout", 0.0)
    return Sequential(
        [
            layers.Input(input_shape),
            layers.Conv2D(int(config.get("filters1", 32)), 3, activation=activation),
            layers.Conv2D(int(config.get("filters2", 64)), 3, activation=activation),
            layers.MaxPooling2D(2),
            layers.Dropout(dropout),
            layers.Flatten(),
            layers.Dense(int(config.get("neurons", 128)), activation=activation),
            layers.Dropout(dropout),
            layers.Dense(classes, activation="softmax", dtype="float32"),
        ]
    )


def build(name: str, config: Config, input_shape: tuple[int, ...], classes: int) -> Any:
    """The builder's model of this configuration; TypeError where it is none."""
    import keras

    model = builder(name)(config, input_shape, classes)
    if not isinstance(model, keras.Model):
        raise TypeError(f"{name} returned {type(model).__name__}, and a keras.Model is wanted")
    return model


def compile_stock(model: Any, config: Config, options: dict[str, Any]) -> None:
    """Compile a model whose builder has not, for integer labels: `optimizer` (by default Adam) and `learning_rate` come from the
    configuration; `options` go to Model.compile.
    """
    import keras

    optimizer = keras.optimizers.get(str(config.get("optimizer", "Adam")))
    if "learning_rate" in config:
        optimizer.learning_rate = float(config["learning_rate"])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options)


def load_custom(file: Path, known: Mapping[str, Any]) -> Any:
    """A model from its file; `known` are the classes of a framework's own that it may hold."""
    import keras

    return keras.saving.load_model(file, custom_objects=dict(known), compile=False)
