"""Evaluate a system that trains its own models: score its best model on the test images without retraining."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..core import layout
from ..core.errors import CellFailed, plain
from ..core.prepared_data import Prepared, load_part
from ..core.record.state import SearchRecord, TrialRecord
from ..core.store.protocol import Store
from ..core.store.study_store import MODEL_FILE, Evaluation, Retraining, SystemModel, read_system_model, write_evaluation
from ..core.study import Cell, Study
from ..objectives.base import Incumbent, Report
from ..objectives.evaluation_figures import draw_confusion
from ..objectives.scoring import accuracy_of, class_scores, confusion_of, counted_metrics

Array = np.ndarray[Any, Any]


class SystemEvaluation:
    """Score the model that the system has kept. Nothing is trained again."""

    def still_holds(self, study: Study, evaluation: Evaluation) -> bool:
        return True

    def evaluate(
        self,
        study: Study,
        incumbent: Incumbent,
        data: Path,
        store: Store,
        report: Report,
        stopping: Callable[[], bool],
    ) -> Evaluation:
        return evaluate_system(study, incumbent.cell, data, store, incumbent.search, incumbent.trial)


def evaluate_system(study: Study, cell: Cell, data: Path, store: Store, search: SearchRecord, best: TrialRecord) -> Evaluation:
    """Score the kept model of a system's best search. Raise CellFailed if the model is missing."""
    note = read_system_model(store, cell.dataset, cell.method.label, search.seed)
    if note is None or note.trial != best.trial.id:
        raise CellFailed(
            f"{cell.name}: the model of trial {best.trial.id} of seed {search.seed} is missing from {store.uri}. Restore its"
            " file, or run the search again in another store."
        )
    began = time.monotonic()
    x, y = load_part(data, "test")
    names = Prepared.read(data).classes
    probabilities = _probabilities(store, cell, search.seed, note, x, len(names))
    confusion = confusion_of(np.asarray(y), np.argmax(probabilities, axis=1), len(names))
    score = Retraining(
        seed=search.seed,
        test_accuracy=accuracy_of(confusion),
        test_loss=_cross_entropy(probabilities, np.asarray(y)),
        curves={},
        seconds=round(time.monotonic() - began, 3),
    )
    evaluation = Evaluation(
        dataset=cell.dataset,
        method=cell.method.label,
        seed=search.seed,
        trial=best.trial.id,
        config=dict(best.trial.proposal.config),
        epochs=0,
        validation=counted_metrics(study.objective, best.trial),
        retrainings=[score],
        confusion=confusion.tolist(),
        classes=class_scores(names, [confusion]),
        evaluated_at=time.time(),
        retrained=False,
    )
    folder = layout.evaluation(cell.dataset, cell.method.label)
    store.write(folder + "confusion.png", draw_confusion(evaluation))
    write_evaluation(store, evaluation)
    return evaluation


def _probabilities(store: Store, cell: Cell, seed: int, note: SystemModel, x: Array, classes: int) -> Array:
    """Return the kept model's probabilities for the images, computed in a process that imports the system."""
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as scratch:
        folder, images, out = Path(scratch, "model"), Path(scratch, "images.npy"), Path(scratch, "probabilities.npy")
        packed = store.get(layout.system(cell.dataset, cell.method.label, seed) + MODEL_FILE, Path(scratch, MODEL_FILE))
        shutil.unpack_archive(packed, folder)
        np.save(images, x)
        command = [sys.executable, "-m", note.predictor, note.target, str(folder), str(images), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise CellFailed(f"{cell.name}: its kept model cannot predict: {plain(last[:300])}.")
        probabilities: Array = np.load(out)
    if probabilities.shape != (len(x), classes) or not math.isfinite(float(probabilities.sum())):
        shape = probabilities.shape
        raise CellFailed(
            f"{cell.name}: its saved model returned an array of shape {shape}. It must return finite probabilities of shape"
            f" {(len(x), classes)}."
        )
    return probabilities


def _cross_entropy(probabilities: Array, labels: Array) -> float:
    """Return the cross-entropy as Keras computes it: probabilities are clipped to at least 1e-7."""
    return float(-np.mean(np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0))))
