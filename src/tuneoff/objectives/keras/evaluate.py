"""Evaluate an incumbent with Keras: retrain it on train + validation, then score the test images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...core import layout
from ...core.errors import CellFailed, Settled
from ...core.prepared_data import Prepared, load_part
from ...core.problem import Inherit, Trial
from ...core.record.state import SearchRecord, Stage, TrialRecord, stages
from ...core.runtime.machine import cores
from ...core.space import Config
from ...core.store.protocol import Store
from ...core.store.stop_request import Stopped
from ...core.store.study_store import Evaluation, Period, Retraining, write_evaluation
from ...core.study import Cell, Study
from ..evaluation_figures import draw_confusion, draw_curves
from ..scoring import accuracy_of, class_scores, confusion_of, counted_metrics
from .learner import Learner, save_checkpoint, seed_of, set_up
from .model import builder

Array = np.ndarray[Any, Any]


class Retrainer:
    """Retrain an incumbent on train + validation, once per seed, and score the test images."""

    def __init__(
        self, study: Study, cell: Cell, data: Path, store: Store, report: Callable[[str], None], stopping: Callable[[], bool]
    ) -> None:
        self._study = study
        self._stopping = stopping
        self._cell = cell
        self._store = store
        self._report = report
        self._prepared = Prepared.read(data)
        self._train = _train_and_validation(data)
        self._test = load_part(data, "test")

    def evaluate(self, search: SearchRecord, best: TrialRecord) -> Evaluation:
        set_up(self._study.training, cores())
        try:
            builder(self._study.model)
        except CellFailed as error:
            raise Settled(f"{self._cell.name}: {error}.") from error
        folder = layout.evaluation(self._cell.dataset, self._cell.method.label)
        schedule = self._schedule(search, best.trial)
        retrainings: list[Retraining] = []
        confusions: list[Array] = []
        for seed in range(self._study.evaluation.seeds):
            with tempfile.TemporaryDirectory() as scratch:
                model = Path(scratch, "model.keras") if seed == 0 else None
                retraining, confusion = self._retrain(schedule, seed, model)
                if model is not None:
                    self._store.put(model, folder + "model.keras")
            retrainings.append(retraining)
            confusions.append(confusion)
            self._report(f"{self._cell.name}: retraining {seed + 1}, test accuracy {retraining.test_accuracy:.4f}")
        names = self._prepared.classes
        evaluation = Evaluation(
            dataset=self._cell.dataset,
            method=self._cell.method.label,
            seed=search.seed,
            trial=best.trial.id,
            config=dict(best.trial.proposal.config),
            schedule=[Period(config=dict(s.config), last_epoch=s.last_epoch) for s in schedule] if len(schedule) > 1 else [],
            epochs=self._study.budget.epochs_per_trial,
            validation=counted_metrics(self._study.objective, best.trial),
            retrainings=retrainings,
            confusion=confusions[0].tolist(),
            classes=class_scores(names, confusions),
            evaluated_at=time.time(),
        )
        self._store.write(folder + "confusion.png", draw_confusion(evaluation))
        self._store.write(folder + "curves.png", draw_curves(evaluation))
        write_evaluation(self._store, evaluation)
        return evaluation

    def _schedule(self, search: SearchRecord, trial: Trial) -> list[Stage]:
        """Return the configurations that the trial was trained with. The last one is used until the end of a full training."""
        recorded = stages(trial, {t.trial.id: t for t in search.trials})
        return [*recorded[:-1], Stage(recorded[-1].config, self._study.budget.epochs_per_trial)]

    def _learner(self, config: Config, seed: int) -> Learner:
        shape, classes = self._train[0].shape[1:], len(self._prepared.classes)
        seed = seed_of("evaluation", self._cell.dataset, seed)
        return Learner(self._study.model, config, self._study.training, shape, classes, seed)

    def _retrain(self, schedule: list[Stage], seed: int, model: Path | None) -> tuple[Retraining, Array]:
        """Train once from new weights and return the retraining and its confusion matrix on the test images.

        The model is saved if `model` is given.
        """
        began = time.monotonic()
        x, y = self._train
        x_test, y_test = self._test
        classes = len(self._prepared.classes)
        learner = self._learner(schedule[0].config, seed)
        epochs: list[dict[str, float]] = []
        for number, stage in enumerate(schedule):
            if number:
                learner = self._changed(learner, stage.config, seed)
            while len(epochs) < stage.last_epoch:
                if self._stopping():
                    raise Stopped(f"{self._cell.name}: stopped during its evaluation, which must start again from the beginning")
                epochs.append(learner.train(len(epochs) + 1, x, y))
        loss, predicted = learner.score(x_test, y_test)
        confusion = confusion_of(np.asarray(y_test), predicted, classes)
        if model is not None:
            learner.model.save(model)
        learner.close()
        retraining = Retraining(
            seed=seed,
            test_accuracy=accuracy_of(confusion),
            test_loss=loss,
            curves={name: [e[name] for e in epochs] for name in ("loss", "accuracy")},
            seconds=round(time.monotonic() - began, 3),
        )
        return retraining, confusion

    def _changed(self, learner: Learner, config: Config, seed: int) -> Learner:
        """Return a learner of another configuration with this learner's weights and optimizer state."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, "weights.npz")
            save_checkpoint(file, [{"last": learner.weights(), "optimizer": learner.state()}])
            learner.close()
            changed = self._learner(config, seed)
            changed.take_over(file, Inherit.STATE)
        return changed


def _train_and_validation(data: Path) -> tuple[Array, Array]:
    x, y = load_part(data, "train")
    if Prepared.read(data).folds is not None:
        return x, y
    x_validation, y_validation = load_part(data, "validation")
    return np.concatenate([x, x_validation]), np.concatenate([y, y_validation])
