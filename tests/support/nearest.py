"""A tiny system for tests. It trains its own models: class means, at several resolutions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from tuneoff.core.prepared_data import load_part
from tuneoff.core.problem import Epoch, Status
from tuneoff.methods.spec import MethodSpec
from tuneoff.systems.protocol import SystemTrial, Work, scored, scores


class Settings(BaseModel):
    """What happens after the second model."""

    then: Literal["end", "die", "raise", "hang"] = "end"


class Nearest:
    """Three models: a constant, one that fails, and the distance to each class's mean image."""

    Settings = Settings
    spec = MethodSpec(name="nearest", framework="numpy", package="numpy", kind="system", user_defined=True)

    def __init__(self, settings: Settings) -> None:
        self._then = settings.then
        self._means: list[Any] = []

    def run(self, work: Work) -> Iterator[SystemTrial]:
        x, y = load_part(work.data, "train")
        x_validation, y_validation = load_part(work.data, "validation")
        means = np.stack([x[np.asarray(y) == k].mean(axis=0) for k in range(int(y.max()) + 1)])
        self._means = [np.zeros_like(means), None, means]
        yield SystemTrial(
            {"kind": "constant", "depth": np.int64(3), "none": None}, self._curve(0, x_validation, y_validation), 0.01
        )
        yield SystemTrial({"kind": "broken"}, (), 0.01, Status.FAILED, "ValueError: no such kind")
        if self._then == "die":
            os.kill(os.getpid(), 9)
        if self._then == "raise":
            raise ValueError("out of ideas")
        if self._then == "hang":
            time.sleep(1000)
        yield SystemTrial({"kind": "means", "options": {"norm": 2}}, self._curve(2, x_validation, y_validation), 0.01)

    def _curve(self, trial: int, x: Any, y: Any) -> tuple[Epoch, ...]:
        accuracy, loss = scores(_softmax(self._means[trial], x), y)
        return scored({"val_accuracy": accuracy, "val_loss": loss}, 0.01)

    def save(self, trial: int, folder: Path) -> None:
        np.save(folder / "means.npy", self._means[trial])

    @staticmethod
    def predict(folder: Path, images: Any) -> Any:
        return _softmax(np.load(folder / "means.npy"), images)


class Careless(Nearest):
    """Keeps another model than the one that it is asked to keep."""

    def save(self, trial: int, folder: Path) -> None:
        super().save(0, folder)


def _softmax(means: Any, images: Any) -> Any:
    distances = -((np.asarray(images)[:, None] - means[None]) ** 2).sum(axis=(2, 3, 4))
    weights = np.exp(distances - distances.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


SPEC = Nearest.spec.with_target("nearest:Nearest")
