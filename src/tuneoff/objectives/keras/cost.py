"""Estimate the cost of training a model from its layers, without training it."""

from __future__ import annotations

import math
from typing import Any

from ...core.space import Config
from .model import build


def size_of(name: str, config: Config, input_shape: tuple[int, ...], classes: int) -> tuple[float, int]:
    """Return the size of a configuration's model.

    Returns:
        The multiplications for one image (each kernel's weights times the positions where it is applied), and the number of
        weights.

    Raises:
        Exception: Any error of the user's builder.
    """
    import keras

    model = build(name, config, input_shape, classes)
    try:
        layers = model._flatten_layers(include_self=False, recursive=True)
        return max(1.0, sum(_multiplications(layer) for layer in layers)), int(model.count_params())
    finally:
        keras.backend.clear_session(free_memory=False)


def _multiplications(layer: Any) -> float:
    if list(layer._flatten_layers(include_self=False, recursive=False)):
        return 0.0  # a nested model, whose layers are counted separately
    weights = sum(math.prod(w.shape) for w in layer.trainable_weights if len(w.shape) > 1)
    try:
        places = math.prod(n or 1 for n in layer.output.shape[1:-1])
    except (AttributeError, ValueError):  # called more than once or never: counted as one position
        places = 1
    return float(weights * places)
