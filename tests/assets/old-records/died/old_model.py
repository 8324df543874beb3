"""A model that trains, or kills its worker process, as the configuration says."""

import os

from keras import Sequential, layers, optimizers


def build(config, input_shape, classes):
    if config["mood"] == "deadly":
        os.kill(os.getpid(), 9)
    model = Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(classes, activation="softmax")])
    model.compile(optimizers.SGD(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
