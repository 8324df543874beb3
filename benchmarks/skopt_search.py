"""The paper's Bayesian search, written directly with scikit-optimize: python -m benchmarks.skopt_search FOLDER JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from skopt import Optimizer
from skopt.space import Categorical, Real

CHOICES: dict[str, list[Any]] = {
    "activation": ["relu", "sigmoid"],
    "filters1": [16, 32, 64, 128],
    "filters2": [16, 32, 64, 128],
    "neurons": [64, 128, 256],
    "optimizer": ["SGD", "RMSprop", "Adam"],
    "learning_rate": [0.001, 0.01],
}


def build(config: dict[str, Any], shape: tuple[int, ...], classes: int) -> Any:
    """Build and compile the paper's network."""
    activation = config["activation"]
    model = keras.Sequential(
        [
            keras.layers.Input(shape),
            keras.layers.Conv2D(config["filters1"], 3, activation=activation),
            keras.layers.Conv2D(config["filters2"], 3, activation=activation),
            keras.layers.MaxPooling2D(2),
            keras.layers.Dropout(config["dropout"]),
            keras.layers.Flatten(),
            keras.layers.Dense(config["neurons"], activation=activation),
            keras.layers.Dropout(config["dropout"]),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.get(config["optimizer"])
    optimizer.learning_rate = config["learning_rate"]
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(folder: Path, trials: int, epochs: int, batch_size: int, seeds: list[int]) -> None:
    """Search with each seed in turn. Print each search's configurations."""
    x, y, x_val, y_val = (np.load(folder / f"{name}.npy") for name in ("x_train", "y_train", "x_validation", "y_validation"))
    searches = []
    for seed in seeds:
        # Choices are indices, as in Tuneoff's space, so that the same seed draws the same configurations.
        dimensions = [Real(0.0, 0.4), *(Categorical(list(range(len(values)))) for values in CHOICES.values())]
        optimizer = Optimizer(
            dimensions, base_estimator="GP", acq_func="EI", acq_func_kwargs={"xi": 0.01, "kappa": 1.96}, random_state=seed
        )
        configs = []
        for _ in range(trials):
            point = optimizer.ask()
            config = {"dropout": float(point[0])}
            config |= {name: values[int(place)] for (name, values), place in zip(CHOICES.items(), point[1:], strict=True)}
            keras.backend.clear_session()
            model = build(config, x.shape[1:], int(y.max()) + 1)
            fit = model.fit(x, y, epochs=epochs, batch_size=batch_size, validation_data=(x_val, y_val), verbose=0)
            optimizer.tell(point, -max(fit.history["val_accuracy"]))
            configs.append(config)
        searches.append(configs)
    print(json.dumps(searches))


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
