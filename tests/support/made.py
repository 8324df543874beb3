"""A made-up study in a store, for tests of what reads the record: two data sets, four methods, lineage, failures, gaps."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path
from typing import Any

from tuneoff.core import layout
from tuneoff.core.problem import Epoch, Inherit, Outcome, Proposal, Status
from tuneoff.core.record.events import epoch_fields, outcome_fields, proposal_fields
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import ClassScore, Evaluation, Retraining, claim, write_failure
from tuneoff.core.study import Cell, Study

CLASSES = [f"class {i}" for i in range(10)]


def made_study(**changes: Any) -> Study:
    """A small valid study; `changes` replace its sections."""
    sections: dict[str, Any] = {
        "name": "made",
        "datasets": ["mnist", "fashion_mnist"],
        "methods": ["grid", "random", "bayes", "hyperband"],
        "budget": {"trials": 8, "epochs_per_trial": 9},
        "seeds": [0, 1, 2],
    }
    return Study.model_validate({**sections, **changes})


def made_store(root: Path, study: Study | None = None) -> FolderStore:
    """A store with `study` run to its end, but for one failed cell (the last), whose tuner step failed after some trials."""
    study = study or made_study()
    store = FolderStore(root)
    claim(store, study)
    for cell in study.cells:
        for seed in study.seeds:
            write_search(store, study, cell, seed, broken=cell == study.cells[-1] and len(study.cells) > 1)
        if cell == study.cells[-1] and len(study.cells) > 1:
            name = layout.failure("tuner", cell.dataset, cell.method.label)
            write_failure(store, name, "tuner", RuntimeError("the oven <script>alert(1)</script> is cold"))
        else:
            write_evaluation(store, study, cell)
    return store


def write_search(store: Store, study: Study, cell: Cell, seed: int, broken: bool = False) -> None:
    """A search of eight trials: six plain, one continued from trial 1 where the method is hyperband, one diverged, one failed."""
    rng = random.Random(f"{cell.name}/{seed}")
    label = cell.method.label
    writer = Writer(store.journal(layout.events(cell.dataset, label, seed)))
    kind = "system" if cell.method.name == "flaml" else "search"
    method = {"name": cell.method.name}
    writer.open(study_id="made", dataset=cell.dataset, kind=kind, method=method, seed=seed, versions={"keras": "3.15.1"})
    top = study.budget.epochs_per_trial
    halving = cell.method.name == "hyperband"
    continued: dict[str, Any] = {}
    for number in range(8):
        if broken and number == 3:
            writer.append("asked", trial=3, seconds=0.01, **proposal_fields(Proposal(_config(study, rng), top)))
            writer.append("started", trial=3, worker="cpu:0")
            writer.append("epoch", trial=3, goes_on=True, **epoch_fields(_epoch(1, 0.8, rng)))
            writer.close()
            return
        parent = 1 if halving and number == 4 else None
        target = 3 if halving and number < 4 else top
        config = continued if parent is not None else _config(study, rng)
        if number == 1:
            continued = config
        first = 3 if parent is not None else 0
        writer.append(
            "asked", trial=number, seconds=0.02, **proposal_fields(Proposal(config, target, parent, Inherit.BEST_WEIGHTS))
        )
        writer.append("started", trial=number, worker="cpu:0")
        if number == 6:
            _tell(writer, number, Outcome(Status.FAILED, (), None, 0.1, "ValueError: no such layer", "cpu"))
            continue
        peak = rng.uniform(0.7, 0.95)
        curve = tuple(_epoch(n, peak * (1 - 0.5 / n), rng) for n in range(first + 1, target + 1))
        if number == 5:
            curve = (Epoch(1, {"loss": math.nan, "accuracy": 0.1, "val_loss": math.nan, "val_accuracy": 0.1}, 0.5),)
        for epoch in curve:
            writer.append("epoch", trial=number, goes_on=epoch.number < target, **epoch_fields(epoch))
        if number == 5:
            _tell(writer, number, Outcome(Status.DIVERGED, curve, None, 0.6, "loss is nan after epoch 1", "cpu"))
            continue
        loss = -max(e.metrics["val_accuracy"] for e in curve)
        _tell(writer, number, Outcome(Status.COMPLETED, curve, loss, 0.4 + sum(e.seconds for e in curve), None, "cpu", 10**9))
    writer.append("ended", reason="the budget is used up", seconds=0.005, left={"trials": 0, "epochs": None, "seconds": None})
    writer.close()


def _tell(writer: Writer, number: int, outcome: Outcome) -> None:
    writer.append("told", trial=number, **outcome_fields(outcome))


def _config(study: Study, rng: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in study.space.items():
        values[name] = (
            rng.choice(parameter.values) if parameter.type == "categorical" else rng.uniform(parameter.low, parameter.high)
        )
    return study.space.activate(values)


def _epoch(number: int, accuracy: float, rng: random.Random) -> Epoch:
    gap = rng.uniform(0.0, 0.05)
    metrics = {"accuracy": accuracy, "val_accuracy": accuracy - gap, "loss": 1 - accuracy, "val_loss": 1 - accuracy + gap}
    return Epoch(number, metrics, rng.uniform(0.5, 1.0))


def write_evaluation(store: Store, study: Study, cell: Cell) -> None:
    """The evaluation of a made-up incumbent."""
    rng = random.Random(cell.name)
    retrainings = [
        Retraining(
            seed=s,
            test_accuracy=rng.uniform(0.8, 0.9),
            test_loss=rng.uniform(0.3, 0.5),
            curves={"loss": [1.0, 0.5], "accuracy": [0.5, 0.9]},
            seconds=3.0,
        )
        for s in range(study.evaluation.seeds)
    ]
    evaluation = Evaluation(
        dataset=cell.dataset,
        method=cell.method.label,
        seed=study.seeds[0],
        trial=2,
        config=_config(study, rng),
        epochs=study.budget.epochs_per_trial,
        validation={"loss": 0.2, "accuracy": 0.95, "val_loss": 0.3, "val_accuracy": 0.9},
        retrainings=retrainings,
        confusion=[[9 if i == j else int(abs(i - j) == 1) for j in range(10)] for i in range(10)],
        classes=[ClassScore(name=c, accuracy=rng.uniform(0.7, 1.0), images=100) for c in CLASSES],
        evaluated_at=time.time(),
    )
    name = layout.evaluation(cell.dataset, cell.method.label) + "evaluation.json"
    store.write(name, evaluation.model_dump_json(indent=1).encode())
