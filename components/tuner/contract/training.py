"""The one check that trains: three trials of a small network on small pictures, as a search has it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ...core.prepared import DESCRIPTION, Part, Prepared
from ...core.problem import Limits, Problem
from ...core.record import Event, Writer
from ...core.space import Space
from ...core.storage import FileJournal, FolderStore
from ...core.study import Goal, Training
from ..bench import Workers
from ..budget import Budget
from ..checkpoints import NoCheckpoints, StoredCheckpoints
from ..host import HostedMethod
from ..loop import Search
from ..training import Worker, Workplace
from .checks import Check
from .subject import Subject

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
    assert continued or not subject.spec.warm_start, "in 30 epochs it continued no trial"


def real_search(subject: Subject, folder: Path, in_flight: int = 1) -> list[Event]:
    """The events of a search that trains, with so many workers."""
    workplace = Workplace(pictures(folder / "data"), "paper-cnn", Training(), Goal(), 1)
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
        Search(subject.spec, method, Workers(workers), record, Budget(limits), Goal(), kept).run()
    finally:
        method.close()
        for worker in workers:
            worker.close()
        record.close()
    return list(record.events)


TRAINING = Check(trains_three_real_trials.__name__, trains_three_real_trials, lambda spec: True)


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
