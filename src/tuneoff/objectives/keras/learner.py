"""Train one model epoch by epoch. The same seed gives the same weights, also if the training is interrupted and resumed."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...core.metrics import CLASSIFICATION, names_of
from ...core.problem import Inherit
from ...core.space import Config
from ...core.study import Training
from .epochs import STEPS_PER_EXECUTION
from .model_cache import cache_of


def set_up(training: Training, threads: int) -> str:
    """Prepare this process for training and return the name of the device. Call this once, before the first model."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow is already running, as in a notebook: its threads stay unchanged
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if training.precision != "float32":
        keras.mixed_precision.set_global_policy(f"mixed_{training.precision}")
    gc.freeze()  # imported modules stay: garbage collection between trials can skip them
    if gpus:
        return f"gpu:0 {tf.config.experimental.get_device_details(gpus[0]).get('device_name', '')}".strip()
    return "cpu"


def seed_of(*parts: object) -> int:
    """Return a seed below 2^31 that depends on all parts and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") % 2**31


class Learner:
    """One model in training.

    The shuffling and dropout of an epoch depend only on the seed and the epoch's number. So a training that resumes from a
    checkpoint, in this or another process, gives the same result as an uninterrupted one.
    """

    def __init__(
        self, model: str, config: Config, training: Training, input_shape: tuple[int, ...], classes: int, seed: int
    ) -> None:
        import keras

        self._seed = seed
        keras.utils.set_random_seed(seed_of(seed, "weights"))
        options = {"steps_per_execution": STEPS_PER_EXECUTION, "jit_compile": "auto" if _on_gpu() else False}
        self._cache = cache_of(model, config, input_shape, classes, training.batch_size, options)
        self.model = self._cache.model

    def train(
        self,
        number: int,
        x: np.ndarray[Any, Any],
        y: np.ndarray[Any, Any],
        validation: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None,
    ) -> dict[str, float]:
        """Train epoch `number` (from 1) on images x (N, H, W, C) and labels y (N,).

        Returns:
            Loss and accuracy of the epoch, and val_loss and val_accuracy if validation data is given.
        """
        self._reseed(number)
        order = np.random.default_rng(seed_of(self._seed, "order", number)).permutation(len(x))
        found = self._cache.epochs.train(x, y, order)
        if validation is not None:
            found |= {f"val_{name}": value for name, value in self._cache.epochs.test(*validation).items()}
        return {name: found[name] for name in METRICS if name in found}

    def test(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, float]:
        """Return loss and accuracy on these images."""
        found = self._cache.epochs.test(x, y)
        return {name: found[name] for name in ("loss", "accuracy") if name in found}

    def score(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        """Return the mean loss on these images and their predicted classes, shape (N,)."""
        probabilities = self.model.predict(x, batch_size=512, verbose=0)
        return self._cache.epochs.test(x, y)["loss"], np.argmax(probabilities, axis=-1)

    def _reseed(self, number: int) -> None:
        for place, layer in enumerate(self.model._flatten_layers()):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([seed_of(self._seed, "layer", place), number])

    # Weights

    def weights(self) -> list[np.ndarray[Any, Any]]:
        """Return the model's weights in their order in the model."""
        return [np.asarray(w) for w in self.model.get_weights()]

    def state(self) -> list[np.ndarray[Any, Any]]:
        """Return the optimizer's variables."""
        return [np.asarray(v) for v in self.model.optimizer.variables]

    def take_over(self, file: Path, inherit: Inherit, fold: int = 0) -> None:
        """Continue from a checkpoint. The learning rate stays that of this configuration, which may have changed.

        Raises:
            ValueError: The checkpoint does not fit the model.
            OSError: The checkpoint cannot be read.
        """
        if inherit is Inherit.NOTHING:
            return
        kind = "best" if inherit is Inherit.BEST_WEIGHTS else "last"
        with np.load(file, allow_pickle=False) as saved:
            self.model.set_weights(_numbered(saved, f"{fold}/{kind}/"))
            if inherit is Inherit.STATE:
                self.model.optimizer.build(self.model.trainable_variables)
                values = _numbered(saved, f"{fold}/optimizer/")
                for variable, value in zip(self.model.optimizer.variables, values, strict=True):
                    if variable.name != "learning_rate":
                        variable.assign(value)

    def close(self) -> None:
        """Return the model to the cache for the next model of its shape, and free memory above the limit."""
        del self.model
        self._cache.give_back()


METRICS = names_of(CLASSIFICATION)


def save_checkpoint(file: Path, folds: list[dict[str, list[np.ndarray[Any, Any]]]]) -> None:
    """Write a trial's checkpoint with "last", "optimizer" and "best" for each fold. The file is written atomically."""
    arrays = {
        f"{fold}/{kind}/{place:04d}": value
        for fold, parts in enumerate(folds)
        for kind, values in parts.items()
        for place, value in enumerate(values)
    }
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", suffix=".npz", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as output:
            np.savez(output, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _numbered(saved: Any, prefix: str) -> list[np.ndarray[Any, Any]]:
    return [saved[name] for name in sorted(n for n in saved.files if n.startswith(prefix))]


def _on_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


class PeakMemory:
    """Return the peak memory in bytes of this process (or its GPU) since `reset`."""

    def reset(self) -> None:
        if _on_gpu():
            import tensorflow as tf

            tf.config.experimental.reset_memory_stats("GPU:0")
        with contextlib.suppress(OSError):  # not Linux, or not permitted: the peak then covers the whole process
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        import resource
        import sys

        if _on_gpu():
            import tensorflow as tf

            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        with contextlib.suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
