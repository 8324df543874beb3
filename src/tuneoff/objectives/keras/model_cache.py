"""Cache of compiled models, keyed by architecture. A later trial of the same shape uses the traced graph again."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from ...core.space import Config
from .epochs import FitEpochs, GraphEpochs, epochs_of
from .model import build, compile_stock

KEPT = 4
"""The number of models in the cache."""


@dataclass
class ModelCache:
    """A compiled model and its traced epochs. `shape` identifies models that can share them; None means none can."""

    model: Any
    epochs: GraphEpochs | FitEpochs
    shape: str | None
    taken_over: bool = False

    def give_back(self) -> None:
        """Keep the model for a later trial of its shape, if it has one, and free the oldest kept model."""
        import keras

        if self.shape is not None:
            _kept.append(self)
            del _kept[:-KEPT]
        if not self.taken_over:  # clearing makes TensorFlow prepare the kept graphs again too
            keras.backend.clear_session(free_memory=False)
        gc.collect()


_kept: list[ModelCache] = []


def forget() -> None:
    """Empty the cache. The next model of each shape is traced again, so its time includes the tracing."""
    _kept.clear()


def cache_of(
    name: str, config: Config, input_shape: tuple[int, ...], classes: int, batch_size: int, options: dict[str, Any]
) -> ModelCache:
    """Return the configuration's model with new weights: a cached one of equal shape, or a new one."""
    model = build(name, config, input_shape, classes)
    if model.compiled:
        return ModelCache(model, epochs_of(model, batch_size), None)
    compile_stock(model, config, options)
    shape = _shape(model, batch_size)
    known = next((bench for bench in _kept if bench.shape == shape is not None), None)
    if known is None:
        return ModelCache(model, epochs_of(model, batch_size), shape)
    _kept.remove(known)
    _take_over(known.model, model)
    return replace(known, taken_over=True)


def _shape(model: Any, batch_size: int) -> str | None:
    """Return everything that a traced epoch depends on, or None if the model has parts that are not Keras's own.

    The learning rate is a variable and not part of the shape.
    """
    layers = [model, *model._flatten_layers(include_self=False)]
    if any(not type(layer).__module__.startswith("keras.") for layer in layers):
        return None
    optimizer = {name: value for name, value in model.optimizer.get_config().items() if name not in ("name", "learning_rate")}
    try:
        text = json.dumps([model.get_config(), type(model.optimizer).__name__, optimizer, batch_size])
    except (NotImplementedError, TypeError, ValueError):
        return None
    for place, layer in enumerate(layers):  # Keras numbers the names of layers
        text = text.replace(f'"{layer.name}"', f'"#{place}"')
    foreign = any(not module.startswith("keras") for module in re.findall(r'"module": "([^"]*)"', text))
    return None if foreign or "__lambda__" in text or '"class_name": "function"' in text else text


def _take_over(old: Any, new: Any) -> None:
    """Copy the new model's weights into the cached model and reset its optimizer."""
    old.set_weights(new.get_weights())
    new.optimizer.build(new.trainable_variables)
    for variable, fresh in zip(old.optimizer.variables, new.optimizer.variables, strict=True):
        variable.assign(fresh)
