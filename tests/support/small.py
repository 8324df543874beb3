"""Small real things for tests that train: an .npz that a network can learn, a study over it, and models that misbehave."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml


def small_npz(file: Path, classes: int = 3, images: int = 240, size: int = 8) -> Path:
    """Images with one bright quadrant or bar a class, and noise: learnable in an epoch or two."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    pictures = rng.integers(0, 90, (images, size, size), dtype=np.uint8)
    for k in range(classes):
        pictures[labels == k, k * 2 : k * 2 + 2, :] += 120
    order = rng.permutation(images)
    pictures, labels = pictures[order], labels[order].astype(np.uint8)
    test = images // 4
    np.savez(file, x_train=pictures[test:], y_train=labels[test:], x_test=pictures[:test], y_test=labels[:test])
    return file


SPACE: dict[str, Any] = {
    "filters1": {"type": "categorical", "values": [2, 4]},
    "filters2": {"type": "categorical", "values": [2, 4]},
    "neurons": {"type": "categorical", "values": [8, 16]},
    "dropout": {"type": "float", "low": 0.0, "high": 0.4, "grid_points": 3},
    "learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True, "grid_points": 3},
}


def small_study(folder: Path, **changes: Any) -> Path:
    """A study file over a small .npz in `folder`; `changes` replace its sections."""
    folder.mkdir(parents=True, exist_ok=True)
    small_npz(folder / "bars.npz")
    sections: dict[str, Any] = {
        "name": "small",
        "datasets": [{"name": "bars", "path": "bars.npz"}],
        "methods": ["random"],
        "space": SPACE,
        "budget": {"trials": 3, "epochs_per_trial": 2},
        "evaluation": {"seeds": 1},
        "resources": {"retries": 0},
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**sections, **changes}, sort_keys=False))
    return file


# Builders: model: small:NAME


def moody(config: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    """Does what the configuration's `mood` says: trains, diverges, cannot be built, or kills its process."""
    from keras import Sequential, layers, optimizers

    if config["mood"] == "unbuildable":
        raise ValueError("no such <layer>")
    if config["mood"] == "deadly":
        os.kill(os.getpid(), 9)
    scale = float("nan") if config["mood"] == "diverging" else 1.0
    body = [layers.Rescaling(scale), layers.Flatten(), layers.Dense(classes, activation="softmax")]
    model = Sequential([layers.Input(input_shape), *body])
    model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def picky(config: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    """Cannot be built for images of 8 × 8."""
    from keras import Sequential, layers

    if input_shape[0] == 8:
        raise ValueError("8 × 8 is too small for me")
    return Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(classes, activation="softmax")])


def _broken_disk(*arguments: object, **arrays: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def faulty(config: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    """Does what the configuration's `fault` says: trains, runs out of memory, segfaults, hangs, is slow, or breaks the disk."""
    import ctypes
    import time

    from keras import Sequential, callbacks, layers, optimizers

    if config["fault"] == "memory":
        np.ones(2**50, dtype=np.uint8)
    if config["fault"] == "segfault":
        ctypes.string_at(0)
    if config["fault"] == "broken disk":
        np.savez = _broken_disk

    class Slow(callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: object = None) -> None:
            time.sleep(1000)

    model = Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(classes, activation="softmax")])
    model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    if config["fault"] in ("hanging", "slow"):
        fit = model.fit
        model.fit = lambda *a, **k: fit(*a, **k, callbacks=[Slow()])
    return model


MOODS = {"mood": {"type": "categorical", "values": ["good", "diverging", "unbuildable", "deadly"]}}
