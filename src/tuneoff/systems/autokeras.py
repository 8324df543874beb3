"""AutoKeras's image classifiers. Each architecture that it tries is a trial with its learning curve."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..core.metrics import CLASSIFICATION, names_of
from ..core.prepared_data import Prepared, load_part
from ..core.problem import Epoch, Status
from ..core.space import Model
from ..core.study import Study
from ..methods.keras_tuner import kerastuners_seed
from ..methods.spec import MethodSpec
from .protocol import Probabilities, SystemTrial, Work, plain_config, whole_columns


class AutoKerasSettings(Model):
    """ImageClassifier's arguments of these names. The search ends when the seconds are used up, even before `max_trials`."""

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
    """Refuse objectives other than the best epoch: AutoKeras judges a model by it and keeps its weights."""
    if study.objective.epoch == "last":
        return ["autokeras keeps the weights of a model's best epoch: objective.epoch must be best."]
    return []


METRICS = names_of(CLASSIFICATION)
TIME_IS_UP = "the seconds of the budget were used up"


class _Over(Exception):
    """End the search before AutoKeras trains its best model again."""


class AutoKeras:
    """One fit of ImageClassifier in a thread. Its tuner reports each trial when it has ended."""

    Settings = AutoKerasSettings
    spec = MethodSpec(
        name="autokeras",
        summary="Trains models of its own: image classifiers whose architecture AutoKeras searches.",
        source="Jin, Chollet, Song and Hu, AutoKeras: an AutoML library for deep learning, JMLR 24, 2023",
        when="The architecture itself is open, and hours are there for each search.",
        framework="autokeras",
        package="autokeras",
        extra="autokeras",
        environment="autokeras",
        kind="system",
    )
    check = staticmethod(check)

    def __init__(self, settings: AutoKerasSettings) -> None:
        self._settings = settings
        self._said: Queue[SystemTrial | BaseException | None] = Queue()
        self._trials: list[Any] = []  # the tuner's own
        self._tuner: Any = None

    def run(self, work: Work) -> Iterator[SystemTrial]:
        Thread(target=self._fit, args=(work,), daemon=True).start()
        while (said := self._said.get()) is not None:
            if isinstance(said, BaseException):
                raise said
            yield said

    def _fit(self, work: Work) -> None:
        try:
            with suppress(_Over):
                self._search(work, time.monotonic() + work.seconds)
            self._said.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the trials are read
            self._said.put(error)

    def _search(self, work: Work, deadline: float) -> None:
        import autokeras

        classifier = autokeras.ImageClassifier(
            num_classes=len(Prepared.read(work.data).classes),
            metrics=["accuracy"],
            objective=work.goal.metric,
            max_trials=self._settings.max_trials,
            max_model_size=self._settings.max_model_size,
            tuner=_telling(_tuner_class(self._settings.tuner), self._hear, deadline),
            directory=str(work.folder),
            overwrite=True,
            seed=kerastuners_seed(work.seed),
        )
        self._tuner = classifier.tuner
        x, y = load_part(work.data, "train")
        x_validation, y_validation = load_part(work.data, "validation")
        classifier.fit(
            np.asarray(x),
            np.asarray(y),
            validation_data=(np.asarray(x_validation), np.asarray(y_validation)),
            epochs=self._settings.epochs,
            batch_size=self._settings.batch_size,
            verbose=0,
        )

    def _hear(self, trial: Any, said: SystemTrial) -> None:
        self._trials.append(trial)
        self._said.put(said)

    def save(self, trial: int, folder: Path) -> None:
        own = self._trials[trial]
        self._tuner.load_model(own).save(folder / "model.keras")  # the weights of its best epoch
        shutil.copy(Path(self._tuner.get_trial_dir(own.trial_id), "pipeline"), folder / "pipeline")

    @staticmethod
    def predict(folder: Path, images: Any) -> Probabilities:
        import autokeras
        from autokeras.pipeline import load_pipeline

        from ..objectives.keras.model import load_custom

        model = load_custom(folder / "model.keras", autokeras.CUSTOM_OBJECTS)
        pipeline = load_pipeline(str(folder / "pipeline"))
        found = np.asarray(model.predict(pipeline.transform_x(np.asarray(images)), verbose=0))
        if found.shape[1] == 1:  # for two classes AutoKeras returns the probability of the second
            found = np.column_stack([1 - found, found])
        labels = next(step.labels for step in pipeline.outputs[0] if hasattr(step, "labels"))
        return whole_columns(found, np.asarray(labels, dtype=int), len(labels))


def _tuner_class(name: str | None) -> Any:
    from autokeras import tuners

    own = {"greedy": "Greedy", "bayesian": "BayesianOptimization", "hyperband": "Hyperband", "random": "RandomSearch"}
    return tuners.ImageClassifierTuner if name is None else getattr(tuners, own[name])


def _telling(base: Any, hear: Callable[[Any, SystemTrial], None], deadline: float) -> Any:
    """Return AutoKeras's tuner, extended to report each trial when it has ended and to end when its time is up."""

    class Telling(base):  # type: ignore[misc]
        def on_trial_begin(self, trial: Any) -> None:
            super().on_trial_begin(trial)
            self.curve: list[Epoch] = []
            self.began = self.last = time.monotonic()

        def on_batch_end(self, trial: Any, model: Any, batch: int, logs: Any = None) -> None:
            super().on_batch_end(trial, model, batch, logs)
            model.stop_training = model.stop_training or time.monotonic() > deadline

        def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(trial, model, epoch, logs=logs)
            now = time.monotonic()
            metrics = {name: float((logs or {})[name]) for name in METRICS if name in (logs or {})}
            self.curve.append(Epoch(len(self.curve) + 1, metrics, now - self.last))
            self.last = now

        def on_trial_end(self, trial: Any) -> None:
            now = time.monotonic()
            hear(trial, _said(trial, tuple(self.curve), now - self.began, late=now > deadline))
            super().on_trial_end(trial)
            if now > deadline:
                raise _Over

        def on_search_end(self) -> None:
            raise _Over

    return Telling


def _said(trial: Any, curve: tuple[Epoch, ...], seconds: float, late: bool) -> SystemTrial:
    config = plain_config(trial.hyperparameters.values)
    if trial.status != "COMPLETED":
        reason = (trial.message or trial.status).strip().splitlines()[-1]
        return SystemTrial(config, curve, seconds, Status.FAILED, reason)
    if late:
        return SystemTrial(config, curve, seconds, Status.STOPPED, TIME_IS_UP)
    return SystemTrial(config, curve, seconds)
