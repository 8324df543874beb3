"""Example network for studies/own-model.yaml: convolution, normalisation and pooling blocks with one of two heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def build(config: Mapping[str, Any], input_shape: tuple[int, ...], classes: int) -> Any:
    """Build the uncompiled network. Tuneoff compiles it with the configuration's optimizer and learning rate."""
    from keras import Sequential, layers

    model = Sequential([layers.Input(input_shape)])
    for block in range(config["blocks"]):
        model.add(layers.Conv2D(config["width"] * 2**block, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))  # the default averages over more batches than a trial has
        model.add(layers.ReLU())
        model.add(layers.MaxPooling2D(2))
    if config["head"] == "dense":
        model.add(layers.Flatten())
        model.add(layers.Dense(config["units"], activation="relu"))
    else:
        model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(classes, activation="softmax", dtype="float32"))
    return model
