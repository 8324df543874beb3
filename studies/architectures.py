"""Networks for studies/architecture.yaml: blocks of two convolutions with a width per block, optional skips and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def build(config: Mapping[str, Any], input_shape: tuple[int, ...], classes: int) -> Any:
    """Build the uncompiled network. Tuneoff compiles it with the configuration's optimizer and learning rate."""
    from keras import Input, Model, layers

    images = x = Input(input_shape)
    for block in range(1, config["blocks"] + 1):
        x = _block(x, config, config[f"width{block}"])
        x = layers.MaxPooling2D(2)(x)
    if config["head"] == "dense":
        x = layers.Flatten()(x)
        x = layers.Dense(config["units"], activation="relu")(x)
        x = layers.Dropout(config["dropout"])(x)
    else:
        x = layers.GlobalAveragePooling2D()(x)
    return Model(images, layers.Dense(classes, activation="softmax", dtype="float32")(x))


def _block(x: Any, config: Mapping[str, Any], width: int) -> Any:
    """Add two convolutions, with a skip connection around both if the configuration has skips."""
    from keras import layers

    entry = x
    for _ in range(2):
        x = layers.Conv2D(width, config["kernel"], padding="same")(x)
        x = _normalised(x, config)
        x = layers.ReLU()(x)
    if not config["skip"]:
        return x
    return layers.Add()([x, layers.Conv2D(width, 1)(entry)])


def _normalised(x: Any, config: Mapping[str, Any]) -> Any:
    from keras import layers

    match config["normalisation"]:
        case "batch":
            return layers.BatchNormalization(momentum=config["momentum"])(x)
        case "group":
            return layers.GroupNormalization(groups=4)(x)
        case _:
            return x
