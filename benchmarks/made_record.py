"""Generate records of any size from a formula, without training."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

from tuneoff.core import layout
from tuneoff.core.problem import Epoch, Outcome, Proposal, Status
from tuneoff.core.record.events import epoch_fields, outcome_fields, proposal_fields
from tuneoff.core.space import Config, Space
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import claim
from tuneoff.core.study import Study

DATASETS = ("mnist", "fashion_mnist", "cifar10")
NAMES = ("grid", "random", "bayes", "hyperband")


def made_study(trials: int, seeds: int = 5, epochs_per_trial: int = 10, methods: int = 4, datasets: int = 2) -> Study:
    """Return a study with this total number of trials, equal for all cells. Beyond four, methods repeat with other labels."""
    cells = methods * datasets
    labels = [NAMES[i] if i < len(NAMES) else f"{NAMES[i % len(NAMES)]}-{i // len(NAMES)}" for i in range(methods)]
    return Study.model_validate(
        {
            "name": "made",
            "datasets": list(DATASETS[:datasets]),
            "methods": [{"name": NAMES[i % len(NAMES)], "label": label} for i, label in enumerate(labels)],
            "budget": {"trials": trials // (cells * seeds), "epochs_per_trial": epochs_per_trial},
            "seeds": list(range(seeds)),
        }
    )


def write_study(store: Store, study: Study) -> int:
    """Write the study and the complete records of all its searches. Returns the number of trials."""
    claim(store, study)
    trials = study.budget.trials or 0
    for cell in study.cells:
        for seed in study.seeds:
            events = search_events(study.space, trials, study.budget.epochs_per_trial, f"{cell.name}/{seed}")
            store.write(layout.events(cell.dataset, cell.method.label, seed), b"".join(map(_line, events)))
    return trials * len(study.cells) * len(study.seeds)


def search_events(space: Space, trials: int, epochs: int, seed: str) -> Iterator[dict[str, Any]]:
    """Return the events of one search whose trials all complete."""
    rng = random.Random(seed)
    events = _events(space, trials, epochs, rng)
    return ({"seq": number, "attempt": 1, "time": 1.7e9 + number, **event} for number, event in enumerate(events))


def _events(space: Space, trials: int, epochs: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    yield {"event": "opened", "schema": 1, "pid": 1, "host": "made", "versions": {}}
    for trial in range(trials):
        yield {"event": "asked", "trial": trial, "seconds": 0.01, **proposal_fields(Proposal(config_of(space, rng), epochs))}
        yield {"event": "started", "trial": trial, "worker": "made"}
        curve = tuple(_curve(epochs, rng))
        for epoch in curve:
            yield {"event": "epoch", "trial": trial, "goes_on": epoch.number < epochs, **epoch_fields(epoch)}
        loss = -max(epoch.metrics["val_accuracy"] for epoch in curve)
        outcome = Outcome(Status.COMPLETED, curve, loss, sum(epoch.seconds for epoch in curve), None, "made", 10**9)
        yield {"event": "told", "trial": trial, **outcome_fields(outcome)}
    left = {"trials": 0, "epochs": None, "seconds": None}
    yield {"event": "ended", "reason": "the budget is used up", "seconds": 0.0, "left": left}


def config_of(space: Space, rng: random.Random) -> Config:
    """Draw a configuration uniformly from the space."""
    values: dict[str, Any] = {}
    for name, parameter in space.items():
        if parameter.type == "categorical":
            values[name] = rng.choice(parameter.values)
        elif parameter.log:
            values[name] = parameter.nearest(math.exp(rng.uniform(math.log(parameter.low), math.log(parameter.high))))
        else:
            values[name] = parameter.nearest(rng.uniform(parameter.low, parameter.high))
    return space.activate(values)


def _curve(epochs: int, rng: random.Random) -> Iterator[Epoch]:
    peak = rng.uniform(0.5, 0.95)
    for number in range(1, epochs + 1):
        accuracy = peak * (1 - 0.5 / number)
        metrics = {"loss": 1 - accuracy, "accuracy": accuracy, "val_loss": 1.05 - accuracy, "val_accuracy": accuracy - 0.02}
        yield Epoch(number, metrics, rng.uniform(0.5, 1.0))


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
