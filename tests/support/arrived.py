"""Check that a study's results are complete in its store and in MLflow: arrived.py STORE --tracking-uri URI.

Prints a line for each missing part, and ends with exit code 1 if a part is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tuneoff.core import layout
from tuneoff.core.store.open import open_store
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import StudyResult, read_study
from tuneoff.tracking.mlflow.runs import KEY, connect


def missing(store: Store, tracking_uri: str) -> list[str]:
    """Return a line for each result that a completed study must have in its store and in MLflow, and that is missing."""
    result = read_study(store)
    return [*_of_cells(result), *_of_report(store, result), *_of_mlflow(result, tracking_uri)]


def _of_cells(result: StudyResult) -> Iterator[str]:
    for cell in result.cells:
        searched = [search for search in cell.searches if search.told]
        if len(searched) < len(result.study.seeds):
            yield f"{cell.cell.name}: {len(searched)} of {len(result.study.seeds)} searches have trials"
        if cell.evaluation is None:
            yield f"{cell.cell.name}: no evaluation"
        for failure in cell.failures:
            yield f"{cell.cell.name}: its step {failure.step} failed: {failure.reason}"


def _of_report(store: Store, result: StudyResult) -> Iterator[str]:
    there = set(store.names(layout.REPORT))
    for name in ("report.html", "results.json"):
        if layout.REPORT + name not in there:
            yield f"{layout.REPORT}{name} does not exist"
            return
    results = json.loads(store.read(layout.REPORT + "results.json"))
    for cell in results["states"]:
        if cell["state"] != "complete":
            yield f"{cell['dataset']}/{cell['method']} is {cell['state']} in the report"


def _of_mlflow(result: StudyResult, tracking_uri: str) -> Iterator[str]:
    """Check that each recorded trial is one run that has ended, and that at least one run has a file."""
    client = connect(tracking_uri)
    experiment = client.get_experiment_by_name(result.study.experiment)
    if experiment is None:
        yield f"the experiment {result.study.experiment} does not exist"
        return
    runs = list(_runs(client, experiment.experiment_id, result.id))
    doubled = sorted(key for key, count in Counter(run.data.tags[KEY] for run in runs).items() if count > 1)
    if doubled:
        yield f"duplicate runs: {', '.join(doubled)}"
    told = sum(len(search.told) for cell in result.cells for search in cell.searches)
    trials = sum(run.data.tags["tuneoff.kind"] == "trial" for run in runs)
    if trials != told:
        yield f"the record has {told} trials, but MLflow has {trials}"
    for run in runs:
        if run.info.status not in ("FINISHED", "FAILED"):
            yield f"the run {run.data.tags[KEY]} is {run.info.status}"
    if not any(client.list_artifacts(run.info.run_id) for run in runs):
        yield "no run has a file"


def _runs(client: Any, experiment: str, study: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`tuneoff.study_id` = '{study}'", max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--tracking-uri", required=True)
    arguments = parser.parse_args()
    lacking = missing(open_store(arguments.store), arguments.tracking_uri)
    for line in lacking:
        print(line, file=sys.stderr)
    if not lacking:
        print(f"{arguments.store} and {arguments.tracking_uri} are complete.")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
