"""Run Tuneoff's tuner step on one cell, as a real run does: python -m benchmarks.tuneoff_search FOLDER JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tuneoff.components.tuner import step
from tuneoff.core.store.open import open_store
from tuneoff.core.study import Study
from tuneoff.tracking.mlflow.runs import tracking_uri


def main(folder: Path, method: str, precision: str, trials: int, epochs: int, batch_size: int, seeds: list[int]) -> None:
    """Search with all seeds and print each search's configurations. Writes record and MLflow runs as usual."""
    plan = Study.model_validate(
        {
            "name": "benchmark",
            "datasets": [json.loads((folder / "dataset.json").read_text())["name"]],
            "methods": [method],
            "budget": {"trials": trials, "epochs_per_trial": epochs},
            "seeds": seeds,
            "training": {"batch_size": batch_size, "precision": precision},
        }
    )
    with tempfile.TemporaryDirectory() as place:
        store, uri, dataset = open_store(place), tracking_uri(plan, place), plan.datasets[0].name
        step.run(plan.model_dump_json(), dataset, method, place, uri, str(folder), None, None)
        logs = [map(json.loads, store.journal_lines(f"record/{dataset}/{method}/seed-{seed}.jsonl")) for seed in seeds]
        print(json.dumps([[event["config"] for event in log if event["event"] == "asked"] for log in logs]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), **json.loads(sys.argv[2]))
