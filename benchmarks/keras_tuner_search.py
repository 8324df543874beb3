"""The paper's random search, written directly in KerasTuner: python -m benchmarks.keras_tuner_search FOLDER JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np


class PaperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """The paper's network in the paper's space."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes

    def build(self, hp: Any) -> Any:
        dropout = hp.Float("dropout", 0.0, 0.4)
        activation = hp.Choice("activation", ["relu", "sigmoid"])
        filters1 = hp.Choice("filters1", [16, 32, 64, 128], ordered=False)
        filters2 = hp.Choice("filters2", [16, 32, 64, 128], ordered=False)
        neurons = hp.Choice("neurons", [64, 128, 256], ordered=False)
        optimizer = hp.Choice("optimizer", ["SGD", "RMSprop", "Adam"])
        learning_rate = hp.Choice("learning_rate", [0.001, 0.01], ordered=False)
        model = keras.Sequential(
            [
                keras.layers.Input(self.shape),
                keras.layers.Conv2D(filters1, 3, activation=activation),
                keras.layers.Conv2D(filters2, 3, activation=activation),
                keras.layers.MaxPooling2D(2),
                keras.layers.Dropout(dropout),
                keras.layers.Flatten(),
                keras.layers.Dense(neurons, activation=activation),
                keras.layers.Dropout(dropout),
                keras.layers.Dense(self.classes, activation="softmax"),
            ]
        )
        chosen = keras.optimizers.get(optimizer)
        chosen.learning_rate = learning_rate
        model.compile(optimizer=chosen, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


def main(folder: Path, trials: int, epochs: int, batch_size: int, seeds: list[int]) -> None:
    """Search with each seed in turn. Print each search's configurations."""
    x, y, x_val, y_val = (np.load(folder / f"{name}.npy") for name in ("x_train", "y_train", "x_validation", "y_validation"))
    searches = []
    for seed in seeds:
        tuner = keras_tuner.RandomSearch(
            PaperModel(x.shape[1:], int(y.max()) + 1),
            objective="val_accuracy",
            max_trials=trials,
            seed=seed,
            directory=str(folder / "keras_tuner"),
            project_name=f"seed-{seed}",
            overwrite=True,
        )
        tuner.search(x, y, epochs=epochs, batch_size=batch_size, validation_data=(x_val, y_val), verbose=0)
        trials_by_id = tuner.oracle.trials
        searches.append([trials_by_id[name].hyperparameters.values for name in tuner.oracle.start_order])
    print(json.dumps(searches))


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
