"""The checks that train: three trials of a small network for a method, or a few models for a system."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

from ..core.prepared_data import DESCRIPTION, Part, Prepared
from ..core.problem import Limits, Problem, Status
from ..core.record.events import Event
from ..core.record.writer import Writer
from ..core.runtime.machine import cores
from ..core.space import Space
from ..core.store.folder import FolderStore
from ..core.store.journal import FileJournal
from ..core.study import ObjectiveSettings, Training
from ..methods.spec import MethodSpec
from ..objectives.executor import ProcessExecutor
from ..objectives.keras.training_worker import Worker, Workplace
from ..search.budget import Budget
from ..search.checkpoints import NoCheckpoints, StoredCheckpoints
from ..search.loop import Search, loss_of
from ..systems import predict
from ..systems.host import HostedSystem
from ..systems.protocol import Probabilities, SystemTrial, Work, plain_config
from ..workers.method_host import HostedMethod
from .checks import Check
from .harness import Subject

SIZE, CLASSES = 8, 3
NETWORKS = Space.model_validate(
    {
        "filters1": {"type": "categorical", "values": [2, 4]},
        "filters2": {"type": "categorical", "values": [2, 4]},
        "neurons": {"type": "categorical", "values": [8, 16]},
        "dropout": {"type": "float", "low": 0.0, "high": 0.4, "grid_points": 3},
        "learning_rate": {"type": "categorical", "values": [0.003, 0.01, 0.03]},
    }
)


def trains_three_real_trials(subject: Subject, folder: Path) -> None:
    """Train a small version of the paper's network on images of bright bars. A method with warm start must resume a trial."""
    events = real_search(subject, folder)
    told = [e for e in events if e["event"] == "told"]
    assert len(told) >= 3, f"the search ended after {len(told)} of 3 trials: {events[-1]}"
    assert all(e["status"] in ("completed", "stopped") for e in told), f"trials failed: {told}"
    assert all(math.isfinite(e["loss"]) and e["seconds"] > 0 for e in told), f"trials have no loss or no time: {told}"
    assert not [e for e in events if e["event"] == "restored"], "a trial resumed from weights that had been deleted"
    resumed = [e for e in events if e["event"] == "asked" and e["parent"] is not None]
    expected = subject.spec.warm_start and not subject.spec.warm_start_optional
    assert resumed or not expected, "it resumed no trial in 30 epochs"


def real_search(subject: Subject, folder: Path, in_flight: int = 1) -> list[Event]:
    """Run a search that trains, with `in_flight` workers, and return its events."""
    workplace = Workplace(pictures(folder / "data"), "paper-cnn", Training(), ObjectiveSettings(), 1)
    limits = Limits(epochs=30) if subject.spec.warm_start else Limits(trials=3)
    workers = [Worker(workplace, folder / f"worker-{number}.log") for number in range(in_flight)]
    record = Writer(FileJournal(folder / "events.jsonl"))
    record.open(seed=0)
    (folder / "method").mkdir()
    problem = Problem(NETWORKS, 3, 0, folder / "method", limits.trials, limits.epochs, in_flight=in_flight)
    method = HostedMethod(subject.spec.name, subject.settings, problem, folder / "method.log")
    try:
        for worker in workers:
            worker.serve_search(0)
        stored = StoredCheckpoints(FolderStore(folder / "store"), "checkpoints/", folder)
        kept = stored if subject.spec.warm_start else NoCheckpoints()
        Search(subject.spec, method, ProcessExecutor(workers), record, Budget(limits), ObjectiveSettings(), kept).run()
    finally:
        method.close()
        for worker in workers:
            worker.close()
        record.close()
    return list(record.events)


SYSTEM_SECONDS, LATE_SECONDS = 20.0, 120.0
"""The budget of a system, and the time after it within which the system must end. Building a large architecture takes long."""
ENDED = (Status.COMPLETED, Status.STOPPED)
WORSE = 0.05
"""Maximum difference by which the saved model may be worse than its recorded score. FLAML trains it again on more images."""


def trains_its_own_models(subject: Subject, folder: Path) -> None:
    """The contract of a system: it trains models with scores in time, and its best model predicts in another process."""
    data, kept = pictures(folder / "data"), folder / "kept"
    for directory in (folder / "system", kept):
        directory.mkdir()
    work = Work(data, ObjectiveSettings(), SYSTEM_SECONDS, 0, cores(), folder / "system")
    system = HostedSystem(subject.spec, subject.settings, work, folder / "system.log")
    try:
        trials = list(system.trials(LATE_SECONDS, lambda: False))
        scores = {number: _score(trial) for number, trial in enumerate(trials) if trial.status in ENDED}
        assert scores, f"it trained no model with a score in {SYSTEM_SECONDS:g} s: {trials}"
        best = max(scores, key=lambda number: scores[number])
        system.save(best, kept)
    finally:
        system.close()
    probabilities = _predictions(subject, data, kept, folder)
    labels = np.load(data / "y_validation.npy")
    shape = (len(labels), CLASSES)
    assert probabilities.shape == shape, f"the predictions have the shape {probabilities.shape}, not (images, classes) = {shape}"
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-3), "the predicted probabilities of an image do not add up to 1"
    accuracy = float(np.mean(np.argmax(probabilities, axis=1) == labels))
    assert accuracy > scores[best] - WORSE, (
        f"the best model has a recorded accuracy of {scores[best]:.3f}, but the saved model has {accuracy:.3f}"
    )


def _score(trial: SystemTrial) -> float:
    config = plain_config(trial.config)
    assert json.loads(json.dumps(config)) == config, f"the values are not plain Python objects: {config}"
    numbered = [epoch.number for epoch in trial.curve] == list(range(1, len(trial.curve) + 1))
    assert numbered, f"the epochs are not numbered from 1: {trial.curve}"
    assert trial.seconds > 0, f"the training time of a model is not positive: {trial}"
    score = -loss_of(ObjectiveSettings(), trial.curve)
    assert 0 <= score <= 1, f"val_accuracy is {score}, not from 0 to 1"
    return score


def _predictions(subject: Subject, data: Path, kept: Path, folder: Path) -> Probabilities:
    """Return the saved model's predictions for the validation images. As in the evaluator, another process makes them."""
    command = [sys.executable, "-m", predict.__name__, subject.spec.target, str(kept)]
    subprocess.run([*command, str(data / "x_validation.npy"), str(folder / "predictions.npy")], check=True)
    probabilities: Probabilities = np.load(folder / "predictions.npy")
    return probabilities


TRAINING = Check(trains_three_real_trials.__name__, trains_three_real_trials, lambda spec: spec.kind == "search")
SYSTEM = Check(trains_its_own_models.__name__, trains_its_own_models, lambda spec: spec.kind == "system")


def training_of(spec: MethodSpec) -> Check:
    """Return the check of a full run that trains with this method."""
    return SYSTEM if SYSTEM.applies(spec) else TRAINING


def pictures(folder: Path) -> Path:
    """Write a prepared data set of noise images with one bright bar, whose position is the class. Return its folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    counts: dict[Part, int] = {"train": 180, "validation": 60}
    for part, number in counts.items():
        labels = np.arange(number, dtype=np.int32) % CLASSES
        images = rng.random((number, SIZE, SIZE, 1), dtype=np.float32) * 0.4
        for label in range(CLASSES):
            images[labels == label, label * 2 : label * 2 + 2] += 0.5
        np.save(folder / f"x_{part}.npy", images)
        np.save(folder / f"y_{part}.npy", labels)
    described = Prepared(
        name="bars",
        source="made",
        input_shape=(SIZE, SIZE, 1),
        classes=("top", "middle", "bottom"),
        counts=counts,
        class_counts={part: (number // CLASSES,) * CLASSES for part, number in counts.items()},
        raw_sums={},
        fingerprint="made",
    )
    (folder / DESCRIPTION).write_text(described.model_dump_json(), encoding="utf-8")
    return folder
