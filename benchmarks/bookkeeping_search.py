"""Run one search of the tuner step and measure its overhead: python -m benchmarks.bookkeeping_search FOLDER JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuneoff.core import layout
from tuneoff.core.record.events import Event, parse
from tuneoff.core.store.open import open_store
from tuneoff.core.store.study_store import claim
from tuneoff.core.study import Study
from tuneoff.search.searches import tune
from tuneoff.tracking import Tracker
from tuneoff.tracking.mlflow.runs import tracking_uri


def main(folder: Path, store: str, trials: int, epochs: int) -> None:
    """Search. Print the seconds per trial, the seconds between trials, and this process's processor seconds per trial."""
    dataset = json.loads((folder / "dataset.json").read_text())["name"]
    plan = Study.model_validate(
        {
            "name": "benchmark",
            "datasets": [dataset],
            "methods": ["grid"],
            "space": {"learning_rate": {"type": "float", "low": 0.0001, "high": 0.01, "grid_points": 100}},
            "budget": {"trials": trials, "epochs_per_trial": epochs},
        }
    )
    with tempfile.TemporaryDirectory() as place:
        target, uri = open_store(store or place), tracking_uri(plan, place)
        Tracker(target, plan, claim(target, plan), uri).prepare()  # once per study, so it is not a cost of a trial
        cpu = time.process_time()
        tune(plan, plan.cells[0], folder, target, uri)
        cpu = time.process_time() - cpu
        events = parse(target.journal_lines(layout.events(dataset, "grid", plan.seeds[0])))
    trained, between = shares(events)
    print(json.dumps({"trial_seconds": trained / trials, "between_seconds": between / (trials - 1), "own_seconds": cpu / trials}))


def shares(events: Sequence[Event]) -> tuple[float, float]:
    """Return the seconds of all training, and the overhead seconds between the first trial's ask and the last trial's.

    Overhead is neither training nor the method's own time.
    """
    asks = [e for e in events if e["event"] == "asked"]
    trained = {e["trial"]: 0.0 for e in asks}
    for event in events:
        if event["event"] == "epoch":
            trained[event["trial"]] += event["seconds"]
    before_last = sum(trained.values()) - trained[asks[-1]["trial"]]
    own: Any = sum(e["seconds"] for e in asks[1:])
    return sum(trained.values()), asks[-1]["time"] - asks[0]["time"] - before_last - own


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
