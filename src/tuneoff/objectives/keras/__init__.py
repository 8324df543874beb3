"""Train Keras models on images: the kind of objective of every study that does not search a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.metrics import CLASSIFICATION
from ...core.prepared_data import Prepared
from ...core.store.protocol import Store
from ...core.store.study_store import Evaluation
from ...core.study import Study
from ...methods.spec import MethodSpec
from ..base import Incumbent, ObjectiveKind, Report

if TYPE_CHECKING:
    from .training_worker import Patience, Worker


class KerasProcesses:
    """Start processes that train Keras models."""

    def worker(self, study: Study, data: Path, threads: int, log: Path, patience: Patience) -> Worker:
        from .training_worker import Worker, Workplace

        return Worker(Workplace(data, study.model, study.training, study.objective, threads), log, patience)


class KerasEvaluation:
    """Retrain the incumbent with several seeds and score the test images."""

    def still_holds(self, study: Study, evaluation: Evaluation) -> bool:
        epochs, seeds = study.budget.epochs_per_trial, study.evaluation.seeds
        return evaluation.epochs == epochs and len(evaluation.retrainings) == seeds

    def evaluate(
        self,
        study: Study,
        incumbent: Incumbent,
        data: Path,
        store: Store,
        report: Report,
        stopping: Callable[[], bool],
    ) -> Evaluation:
        from .evaluate import Retrainer

        return Retrainer(study, incumbent.cell, data, store, report, stopping).evaluate(incumbent.search, incumbent.trial)


class KerasObjective(ObjectiveKind):
    """Image classification with a Keras builder."""

    name = "keras"
    metrics = CLASSIFICATION
    extras = ("pipeline", "data", "cpu", "tracking")
    processes = KerasProcesses()
    evaluation = KerasEvaluation()
    needs_prepared_data = True
    tracked_while_running = True
    trainings_repeat_exactly = False

    def refusals(self, spec: MethodSpec) -> list[str]:
        return []

    def local_files(self, study: Study) -> list[str]:
        return []

    def user_modules(self, study: Study) -> list[str]:
        module, _, builder = study.model.partition(":")
        return [module] if builder else []

    def prepare(self, study: Study, dataset: str, folder: Path, store: Store, report: Report) -> Prepared:
        from ...core.store.dataset_copies import input_copy
        from ...core.store.study_store import note_prepared
        from ...data.prepare import prepare

        with input_copy(store, study.dataset(dataset), report) as copy:
            prepared = prepare(study.dataset(dataset), study.split, folder, report, copy)
        note_prepared(store, dataset, folder)
        return prepared


KERAS = KerasObjective()
