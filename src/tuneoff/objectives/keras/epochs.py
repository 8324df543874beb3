"""Run an epoch as one call of a TensorFlow graph that loops over the batches with Keras's own train_step and test_step.

Keras's `fit` builds a new input pipeline and iterator for each epoch and traces more code around a step. This graph is traced in
half the time and gives the same numbers to the last bit. A model with its own `fit` or steps is trained with `fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
VALIDATION_BATCH = 512
STEPS_PER_EXECUTION = 20
"""Batches that `fit` trains between two calls of Python code. This affects only the speed."""


class GraphEpochs:
    """Epochs of a model that is trained and tested by Keras's own methods only."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size
        self._passes: dict[tuple[str, int], Callable[[Any], None]] = {}

    def train(self, x: Array, y: Array, order: Array) -> dict[str, float]:
        """Train on the images in this order and return the metrics of the epoch."""
        self._model._symbolic_build(data_batch=(x[:1], y[:1]))
        metrics = self._pass("train", self._model.train_step, x, y, order, self._batch_size)
        self._model.optimizer.finalize_variable_values(self._model.trainable_weights)
        return metrics

    def test(self, x: Array, y: Array) -> dict[str, float]:
        """Return the metrics on these images."""
        return self._pass("test", self._model.test_step, x, y, np.arange(len(x)), VALIDATION_BATCH)

    def _pass(self, kind: str, step: Callable[[Any], Any], x: Array, y: Array, order: Array, size: int) -> dict[str, float]:
        import tensorflow as tf

        run = self._passes.get((kind, id(x)))
        if run is None:
            run = self._passes[kind, id(x)] = self._traced(step, x, y, size)
        self._model.reset_metrics()
        run(tf.constant(order.astype(np.int32)))
        return {name: float(value) for name, value in self._model.get_metrics_result().items()}

    def _traced(self, step: Callable[[Any], Any], x: Array, y: Array, size: int) -> Callable[[Any], None]:
        import tensorflow as tf

        images, labels = _tensor(x), _tensor(y)
        whole, rest = divmod(len(x), size)
        # XLA compiles a step for one shape, so the smaller last batch has its own step. Without XLA it uses the common one.
        apart = bool(self._model.jit_compile)
        one = tf.function(step, jit_compile=True) if apart else step

        def batch(order: Any, begin: Any, length: Any) -> None:
            places = tf.slice(order, [begin], [length])
            one((tf.gather(images, places), tf.gather(labels, places)))

        def run(order: Any) -> None:
            def body(number: Any) -> Any:
                begin = number * size
                batch(order, begin, size if apart else tf.minimum(size, len(x) - begin))
                return number + 1

            steps = whole if apart else whole + bool(rest)
            tf.while_loop(lambda number: number < steps, body, [tf.constant(0)], parallel_iterations=1)
            if apart and rest:
                batch(order, whole * size, rest)

        return run if self._model.run_eagerly else tf.function(run, autograph=False)


class FitEpochs:
    """Epochs of a model with its own training code: `fit` and `evaluate`, as a user would call them."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size

    def train(self, x: Array, y: Array, order: Array) -> dict[str, float]:
        """Train on the images in this order and return the metrics of the epoch."""
        history = self._model.fit(_batches(x, y, self._batch_size, order), shuffle=False, verbose=0).history
        return {name: float(values[-1]) for name, values in history.items()}

    def test(self, x: Array, y: Array) -> dict[str, float]:
        """Return the metrics on these images."""
        found = self._model.evaluate(_batches(x, y, VALIDATION_BATCH, np.arange(len(x))), verbose=0, return_dict=True)
        return {name: float(value) for name, value in found.items()}


def epochs_of(model: Any, batch_size: int) -> GraphEpochs | FitEpochs:
    """Return the way in which this compiled model is trained."""
    import keras

    own = ("train_step", "test_step", "fit", "evaluate", "make_train_function", "make_test_function")
    stock = all(getattr(getattr(model, name), "__func__", None) is getattr(keras.Model, name) for name in own)
    return (GraphEpochs if stock else FitEpochs)(model, batch_size)


def _batches(x: Array, y: Array, size: int, order: Array) -> Any:
    """Return batches of images and labels in the given order, with one gather operation per batch."""
    import tensorflow as tf

    images, labels = _tensor(x), _tensor(y)
    indices = tf.data.Dataset.from_tensor_slices(order.astype(np.int32)).batch(size)
    return indices.map(lambda i: (tf.gather(images, i), tf.gather(labels, i))).prefetch(2)


_tensors: dict[int, tuple[Any, Any]] = {}


def _tensor(array: Array) -> Any:
    """Return the array as a tensor. It is converted once per process, and every trial uses it."""
    import tensorflow as tf

    if id(array) not in _tensors:
        with tf.device("CPU:0"):
            _tensors[id(array)] = (array, tf.constant(array))
    return _tensors[id(array)][1]
