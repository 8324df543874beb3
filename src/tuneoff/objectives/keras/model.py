"""Build the model of a configuration: the paper's network or a builder of the user. Keras is imported when a model is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ...core.errors import Settled, plain
from ...core.runtime.machine import in_pod
from ...core.space import Config

Builder = Callable[[Config, tuple[int, ...], int], Any]
"""(configuration, input shape (H, W, C), number of classes) -> keras.Model, compiled or not."""


def builder(name: str) -> Builder:
    """Return the function that builds the models.

    Args:
        name: `paper-cnn`, or `module:function` of the user; the module must be importable where the trial runs.

    Raises:
        Settled: The module cannot be imported, or has no such function. No configuration would change that.
    """
    if name == "paper-cnn":
        return paper_cnn
    module, _, function = name.partition(":")
    try:
        imported = import_module(module)
    except (Exception, SystemExit) as error:
        raise Settled(_import_fault(module, error)) from error
    found: Builder | None = getattr(imported, function, None)
    if not callable(found):
        raise Settled(f"The model's module {module!r} has no function {function!r}. {_FUNCTION_REMEDY[in_pod()]}")
    return found


_IN_IMAGES = "must be in the images of the steps tuner and evaluator (docs/images.md)"
_MODULE_REMEDY = {True: f"It {_IN_IMAGES}", False: "Put it next to the study file, or on PYTHONPATH"}
_NEEDED_REMEDY = {True: f"It {_IN_IMAGES}", False: "Install it, or put it next to the study file"}
_FUNCTION_REMEDY = {
    True: f"The module that has it {_IN_IMAGES}",
    False: "Name the function that builds the model in `model`",
}


def _import_fault(module: str, error: BaseException) -> str:
    """Return why the module cannot be imported and what to do, without the last full stop."""
    reason = plain(" ".join(str(error).split()))[:500].rstrip(".")
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        reason, remedy = f"{type(error).__name__}: {reason}".removesuffix(": "), "Correct the module"
    elif f"{module}.".startswith(f"{error.name}."):
        remedy = _MODULE_REMEDY[in_pod()]
    else:
        remedy = _NEEDED_REMEDY[in_pod()]
    return f"The model's module {module!r} cannot be imported: {reason}. {remedy}"


def paper_cnn(config: Config, input_shape: tuple[int, ...], classes: int) -> Any:
    """The network of Molnár and Poleczki: two 3×3 convolutions, max-pooling, dropout, a dense layer, dropout, softmax.

    The configuration may set dropout, activation, filters1, filters2 and neurons. Each has a default.
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
    """Return the builder's model of this configuration. Raise TypeError if it is not a Keras model."""
    import keras

    model = builder(name)(config, input_shape, classes)
    if not isinstance(model, keras.Model):
        raise TypeError(f"{name} returned {type(model).__name__}, and a keras.Model is wanted")
    return model


def compile_stock(model: Any, config: Config, options: dict[str, Any]) -> None:
    """Compile a model that its builder has not compiled, for integer labels.

    The configuration gives `optimizer` (by default Adam) and `learning_rate`. `options` are passed to Model.compile.
    """
    import keras

    optimizer = keras.optimizers.get(str(config.get("optimizer", "Adam")))
    if "learning_rate" in config:
        optimizer.learning_rate = float(config["learning_rate"])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options)


def load_custom(file: Path, known: Mapping[str, Any]) -> Any:
    """Load a model from its file. `known` are custom classes of a framework that the model may contain."""
    import keras

    return keras.saving.load_model(file, custom_objects=dict(known), compile=False)
