"""Models that are used again: of equal shape, a later trial takes the graph that an earlier one has traced."""

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
"""Models that are kept for trials to come."""


@dataclass
class ModelCache:
    """A compiled model and its traced epochs; `shape` tells which other models they would do for, None for none."""

    model: Any
    epochs: GraphEpochs | FitEpochs
    shape: str | None
    taken_over: bool = False

    def give_back(self) -> None:
        """Keep it for a later trial of its shape, where it has one, and free the oldest of those that are kept."""
        import keras

        if self.shape is not None:
            _kept.append(self)
            del _kept[:-KEPT]
        if not self.taken_over:  # clearing makes TensorFlow prepare the graphs that are kept anew, too
            keras.backend.clear_session(free_memory=False)
        gc.collect()


_kept: list[ModelCache] = []


def forget() -> None:
    """Keep no model any longer: the next of each shape is traced anew, and its time is its own."""
    _kept.clear()


def cache_of(
    name: str, config: Config, input_shape: tuple[int, ...], classes: int, batch_size: int, options: dict[str, Any]
) -> ModelCache:
    """The configuration's model with new weights, on a bench that an equal one has left, or on a new one."""
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
    """All that a traced epoch depends on; None where that cannot be told, since something in it is not Keras's own.

    The learning rate is a variable, and no part of it.
    """
    layers = [model, *model._flatten_layers(include_self=False)]
    if any(not type(layer).__module__.startswith("keras.") for layer in layers):
        return None
    optimizer = {name: value for name, value in model.optimizer.get_config().items() if name not in ("name", "learning_rate")}
    try:
        text = json.dumps([model.get_config(), type(model.optimizer).__name__, optimizer, batch_size])
    except (NotImplementedError, TypeError, ValueError):
        return None
    for place, layer in enumerate(layers):  # Keras numbers names on
        text = text.replace(f'"{layer.name}"', f'"#{place}"')
    foreign = any(not module.startswith("keras") for module in re.findall(r'"module": "([^"]*)"', text))
    return None if foreign or "__lambda__" in text or '"class_name": "function"' in text else text


def _take_over(old: Any, new: Any) -> None:
    """Put the new model's weights, and its optimizer as at its beginning, into the old one."""
    old.set_weights(new.get_weights())
    new.optimizer.build(new.trainable_variables)
    for variable, fresh in zip(old.optimizer.variables, new.optimizer.variables, strict=True):
        variable.assign(fresh)
