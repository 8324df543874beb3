"""AutoKeras's image classifiers: every architecture that it tries is a trial, with its learning curve."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ...core.prepared import Prepared, load_part
from ...core.problem import Epoch, Status
from ...core.space import Model
from ...core.study import Study
from ..system import Probabilities, SystemTrial, Work, plain_config

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


class AutoKerasSettings(Model):
    """ImageClassifier's arguments of these names. It ends when the seconds are used up, whatever `max_trials` says."""

    tuner: Literal["greedy", "bayesian", "hyperband", "random"] | None = Field(
        default=None, description="By default AutoKeras's own for image classification, which starts from known architectures."
    )
    max_trials: int = Field(default=1000, ge=1, description="AutoKeras's default is 100.")
    max_model_size: int | None = Field(default=None, ge=1, description="Weights of a model; larger ones are not trained.")
    epochs: int | None = Field(
        default=None, ge=1, description="Most epochs of a model; training ends earlier where validation loss stands still."
    )
    batch_size: int = Field(default=32, ge=1, le=65_536)


def check(study: Study, settings: AutoKerasSettings) -> list[str]:
    """AutoKeras goes by a model's best epoch, and keeps the weights of that."""
    if study.objective.epoch == "last":
        return ["autokeras keeps the weights of a model's best epoch: objective.epoch must be best."]
    return []


class AutoKeras:
    """One fit of ImageClassifier in a thread; its tuner tells of each trial when that has ended."""

    def __init__(self, settings: AutoKerasSettings) -> None:
        self._settings = settings
        self._said: Queue[SystemTrial | BaseException | None] = Queue()
        self._kept: list[tuple[Path, Path] | None] = []

    def run(self, work: Work) -> Iterator[SystemTrial]:
        Thread(target=self._fit, args=(work,), daemon=True).start()
        while (said := self._said.get()) is not None:
            if isinstance(said, BaseException):
                raise said
            yield said

    def _fit(self, work: Work) -> None:
        try:
            self._search(work, time.monotonic() + work.seconds)
            self._said.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by who hears the trials
            self._said.put(error)

    def _search(self, work: Work, deadline: float) -> None:
        import autokeras

        given = {} if self._settings.tuner is None else {"tuner": self._settings.tuner}
        classifier = autokeras.ImageClassifier(
            num_classes=len(Prepared.read(work.data).classes),
            metrics=["accuracy"],
            objective=work.goal.metric,
            max_trials=self._settings.max_trials,
            max_model_size=self._settings.max_model_size,
            directory=str(work.folder),
            overwrite=True,
            seed=work.seed,
            **given,
        )
        tuner = classifier.tuner
        watch = _Watch(tuner, deadline, self._hear)
        x, y = load_part(work.data, "train")
        x_validation, y_validation = load_part(work.data, "validation")
        watch.search(
            lambda: classifier.fit(
                np.asarray(x),
                np.asarray(y),
                validation_data=(np.asarray(x_validation), np.asarray(y_validation)),
                epochs=self._settings.epochs,
                batch_size=self._settings.batch_size,
                verbose=0,
            )
        )

    def _hear(self, trial: SystemTrial, files: tuple[Path, Path] | None) -> None:
        self._kept.append(files)
        self._said.put(trial)

    def save(self, trial: int, folder: Path) -> None:
        kept = self._kept[trial]
        assert kept is not None
        for name, file in zip(("model.keras", "pipeline"), kept, strict=True):
            shutil.copy(file, folder / name)

    @staticmethod
    def predict(folder: Path, images: Any) -> Probabilities:
        raise NotImplementedError
