"""The one check that trains: three trials of a small network on small pictures, or some models of a system's own."""

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
    """The paper's network, small, on pictures of bright bars; a method that continues trials must continue one for real."""
    events = real_search(subject, folder)
    told = [e for e in events if e["event"] == "told"]
    assert len(told) >= 3, f"it ended after {len(told)} trials: {events[-1]}"
    assert all(e["status"] in ("completed", "stopped") for e in told), f"trials failed: {told}"
    assert all(math.isfinite(e["loss"]) and e["seconds"] > 0 for e in told), f"trials without figures: {told}"
    assert not [e for e in events if e["event"] == "restored"], "weights that it continues from were lost"
    continued = [e for e in events if e["event"] == "asked" and e["parent"] is not None]
    expected = subject.spec.warm_start and not subject.spec.warm_start_optional
    assert continued or not expected, "in 30 epochs it continued no trial"


def real_search(subject: Subject, folder: Path, in_flight: int = 1) -> list[Event]:
    """The events of a search that trains, with so many workers."""
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
"""What a system is given, and how long after that it must have ended: an architecture that trains takes its time to be built."""
ENDED = (Status.COMPLETED, Status.STOPPED)
WORSE = 0.05
"""So much may the kept model be worse than its score on record; FLAML's is trained anew, on more images."""


def trains_models_of_its_own(subject: Subject, folder: Path) -> None:
    """A system's whole contract: models with scores, within its seconds, and the best of them asked in another process."""
    data, kept = pictures(folder / "data"), folder / "kept"
    for place in (folder / "system", kept):
        place.mkdir()
    work = Work(data, ObjectiveSettings(), SYSTEM_SECONDS, 0, cores(), folder / "system")
    system = HostedSystem(subject.spec, subject.settings, work, folder / "system.log")
    try:
        trials = list(system.trials(LATE_SECONDS, lambda: False))
        scores = {number: _score(trial) for number, trial in enumerate(trials) if trial.status in ENDED}
        assert scores, f"it trained no model that has a score, in {SYSTEM_SECONDS:g} s: {trials}"
        best = max(scores, key=lambda number: scores[number])
        system.save(best, kept)
    finally:
        system.close()
    found = _asked(subject, data, kept, folder)
    labels = np.load(data / "y_validation.npy")
    assert found.shape == (len(labels), CLASSES), f"of {len(labels)} images and {CLASSES} classes it gives {found.shape} figures"
    assert np.allclose(found.sum(axis=1), 1, atol=1e-3), "what it says of an image does not add up to 1"
    accuracy = float(np.mean(np.argmax(found, axis=1) == labels))
    assert accuracy > scores[best] - WORSE, f"its best model has {scores[best]:.3f} on record, and as it is kept {accuracy:.3f}"


def _score(trial: SystemTrial) -> float:
    config = plain_config(trial.config)
    assert json.loads(json.dumps(config)) == config, f"not plain values: {config}"
    assert [epoch.number for epoch in trial.curve] == list(range(1, len(trial.curve) + 1)), f"its epochs are {trial.curve}"
    assert trial.seconds > 0, f"a model that took no time: {trial}"
    score = -loss_of(ObjectiveSettings(), trial.curve)
    assert 0 <= score <= 1, f"val_accuracy is {score}"
    return score


def _asked(subject: Subject, data: Path, kept: Path, folder: Path) -> Probabilities:
    """What the kept model says of the validation images in a process of its own, as the evaluator asks it."""
    command = [sys.executable, "-m", predict.__name__, subject.spec.target, str(kept)]
    subprocess.run([*command, str(data / "x_validation.npy"), str(folder / "found.npy")], check=True)
    found: Probabilities = np.load(folder / "found.npy")
    return found


TRAINING = Check(trains_three_real_trials.__name__, trains_three_real_trials, lambda spec: spec.kind == "search")
SYSTEM = Check(trains_models_of_its_own.__name__, trains_models_of_its_own, lambda spec: spec.kind == "system")


def training_of(spec: MethodSpec) -> Check:
    """The check of a full round that this method is put to."""
    return SYSTEM if SYSTEM.applies(spec) else TRAINING


def pictures(folder: Path) -> Path:
    """A prepared data set: noise and one bright bar, whose place is the class."""
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
