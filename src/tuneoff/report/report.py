"""Write a study's report from its store. This works at any time, also while the study runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..analysis.best_so_far import progress_frame
from ..analysis.frames import csv, parquet, trials_frame
from ..analysis.results import Results, compute
from ..analysis.table_truth import table_facts
from ..core import layout
from ..core.runtime.extras import importable, missing
from ..core.runtime.machine import collector_at_rest
from ..core.store.protocol import Store
from ..core.store.study_store import read_study
from .html import page
from .markdown import full, short


@dataclass(frozen=True)
class ReportSummary:
    """Summary of a written report.

    Attributes:
        names: The files written, by their names in the store.
        complete: The complete cells, each as DATASET/METHOD.
        failed: The reasons of the failed cells.
        missing: The reasons of the cells without a result yet.
        markdown: The short report.
        metrics: The main figures by name.
        notes: The parts that were left out, and how to get them.
    """

    names: tuple[str, ...]
    complete: tuple[str, ...]
    failed: Mapping[str, str]
    missing: Mapping[str, str]
    markdown: str
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()


def report(store: Store, versions: Mapping[str, str] | None = None) -> ReportSummary:
    """Read the whole study from its store and write its report there, under `report/`.

    The report shows unfinished cells as missing. A cell whose record is damaged counts as failed.

    Args:
        store: The store of the study.
        versions: The versions of the packages that make the report, by default that of tuneoff.

    Raises:
        StudyError: The store holds no study.
    """
    with collector_at_rest():
        result = read_study(store)
        facts, lost = table_facts(result)
        computed = compute(result, versions if versions is not None else {"tuneoff": _own_version()}, facts)
    trials, curves = trials_frame(computed.rows, result.study.space), progress_frame(computed.progress)
    files = {
        "results.json": computed.results.model_dump_json(indent=1).encode(),
        "results.schema.json": json.dumps(Results.model_json_schema(), indent=1).encode(),
        "trials.csv": csv(trials),
        **_parquet("trials", trials),
        "curves.csv": csv(curves),
        **_parquet("curves", curves),
        "report.md": full(computed.results).encode(),
        "report.html": page(computed, _pictures(store, [d.name for d in result.study.datasets])).encode(),
    }
    for name, data in files.items():
        store.write(layout.REPORT + name, data)
    written = summary(computed.results, tuple(layout.REPORT + name for name in files))
    return replace(written, notes=(*(_LEFT_OUT[package] for package in missing("report")), *lost))


def _parquet(name: str, frame: Any) -> dict[str, bytes]:
    return {f"{name}.parquet": parquet(frame)} if importable("pyarrow") else {}


_LEFT_OUT = {
    "pyarrow": "The report has no Parquet files, because pyarrow is not installed. Run pip install 'tuneoff[report]'.",
    "scipy": "The report has no statistics, because scipy is not installed. Run pip install 'tuneoff[report]'.",
    "sklearn": "The report has no importances, because scikit-learn is not installed. Run pip install 'tuneoff[report]'.",
}


def summary(results: Results, names: tuple[str, ...]) -> ReportSummary:
    """Return the summary of a report that has these results and files."""
    cells = {f"{s.dataset}/{s.method}": s for s in results.states}
    return ReportSummary(
        names=names,
        complete=tuple(name for name, s in cells.items() if s.state == "complete"),
        failed={name: s.reason or "" for name, s in cells.items() if s.state == "failed"},
        missing={name: s.reason or "" for name, s in cells.items() if s.state == "missing"},
        markdown=short(results),
        metrics=_metrics(results),
    )


def _metrics(results: Results) -> dict[str, float]:
    metrics = {}
    for s in results.scores:
        if s.best and s.best.objective is not None and not s.own_models:
            metrics[f"{s.dataset}/{s.method}/best_{results.study.metric}"] = s.best.objective
        if s.incumbents.mean is not None and not s.own_models:
            metrics[f"{s.dataset}/{s.method}/mean_{results.study.metric}"] = s.incumbents.mean
        if s.test and s.test.accuracy.mean is not None:
            metrics[f"{s.dataset}/{s.method}/test_accuracy"] = s.test.accuracy.mean
    return metrics


def _pictures(store: Store, datasets: list[str]) -> dict[str, list[tuple[str, bytes]]]:
    """Return the PNG files next to each data set's description, with their names."""
    return {
        dataset: [
            (name.rpartition("/")[2], store.read(name)) for name in store.names(layout.prepared(dataset)) if name.endswith(".png")
        ]
        for dataset in datasets
    }


def _own_version() -> str:
    try:
        return version("tuneoff")
    except PackageNotFoundError:
        return "unknown"
