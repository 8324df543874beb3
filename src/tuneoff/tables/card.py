"""A table's card: what it is of, how it was made and on what, its limits, and the command that makes it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.space import Categorical, Float, Int
from ..core.table import TableInfo, read_table


def write_card(file: Path, info: TableInfo) -> Path:
    """Write FILE.md beside the table; returns its path."""
    target = file.with_suffix(".md")
    target.write_text("\n".join(lines(file, info)) + "\n", encoding="utf-8")
    return target


def lines(file: Path, info: TableInfo) -> Iterator[str]:
    """The card, line by line."""
    yield f"# {info.name}: {info.points:,} configurations on {info.dataset}, {info.epochs} epochs each"
    yield ""
    yield from _extent(file, info)
    yield ""
    yield "## What"
    yield ""
    yield from _what(info)
    yield ""
    yield "| hyperparameter | values |"
    yield "|---|---|"
    for name, parameter in info.space.items():
        yield f"| `{name}` | {_values(parameter)} |"
    yield ""
    yield from _scores(file)
    yield ""
    yield "## How"
    yield ""
    yield from _how(file, info)
    yield ""
    yield "## Limits"
    yield ""
    yield from _limits(info)


def _extent(file: Path, info: TableInfo) -> Iterator[str]:
    size = file.stat().st_size
    said = f"{info.trainings:,} trainings, {info.failed:,} of them failed; {size / 1e6:.2f} MB. "
    there = (
        "Every point of the grid is there" if info.complete else f"{info.whole:,} of {info.points:,} points of the grid are there"
    )
    yield f"{said}{there}. Rows (SHA-256): `{info.fingerprint[:16]}`."


def _what(info: TableInfo) -> Iterator[str]:
    study = info.study
    if study is None:
        yield f"Imported from {info.origin}."
        return
    prepared = info.prepared
    model, training = study["model"], study["training"]
    yield f"Model `{model}`, batches of {training['batch_size']}, {training['precision']}."
    if prepared is not None:
        counts = ", ".join(f"{n:,} {part}" for part, n in prepared.counts.items())
        size = " × ".join(map(str, prepared.input_shape))
        yield f"Images {size}: {counts}; arrays (SHA-256): `{prepared.fingerprint[:16]}`."
    yield f"Seeds of every configuration: {_listed(study['seeds'])}."
    if study.get("noise"):
        noise = study["noise"]
        yield f"Seeds of {noise['configurations']:,} configurations, drawn by chance: also {_listed(noise['seeds'])}."


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _values(parameter: Categorical | Int | Float) -> str:
    shown = ", ".join(str(value) for value in (parameter.levels() or [])[:24])
    when = f"; where {json.dumps(parameter.when)}" if parameter.when else ""
    return shown + when


def _scores(file: Path) -> Iterator[str]:
    """The best whole training by validation, and how much of the training a processor took."""
    trainings = [t for t in read_table(str(file)) if t.curve]
    best: list[tuple[float, Any]] = []
    for training in trainings:
        scores = [e.metrics["val_accuracy"] for e in training.curve if "val_accuracy" in e.metrics]
        if scores:
            best.append((max(scores), training))
    if not best:
        return
    score, training = max(best, key=lambda entry: entry[0])
    hours = sum(e.seconds for t in trainings for e in t.curve) / 3600
    config = ", ".join(f"{name} {value}" for name, value in training.config.items())
    yield f"Best validation accuracy of an epoch: {score:.4f} ({config}; seed {training.seed}). All trainings: {hours:.1f} hours."


def _how(file: Path, info: TableInfo) -> Iterator[str]:
    if info.study is None:
        yield "See `tuneoff table import --help`."
        return
    study = info.study["name"]
    yield f"`tuneoff table build {study}.yaml --out {file.name}`; the study is in the file's metadata, under `tuneoff`."
    for made in info.made:
        versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
        hardware = ", ".join(f"{name}: {value}" for name, value in made.hardware.items())
        yield f"- {hardware}; {versions}"


TRAINED = """
- Seconds are a processor's, of one thread; the first epoch's hold building and tracing the model, none hold scoring the test.
- The test part was scored after every epoch, and no method sees it.
- Metrics are kept to six decimals. Scores at this size of data compare with each other, and with no published figure.
- A continued trial reads the curve on: what the weights of the best epoch, or a new optimizer, would have changed is not in it.
"""


def _limits(info: TableInfo) -> Iterator[str]:
    if info.study is not None:
        yield TRAINED.strip()
        if len({str(m.hardware) for m in info.made}) > 1:
            yield "- They are of unlike processors: whether a training or its processor was the slower one, seconds do not tell."
    elif info.seconds == "unknown":
        yield "- How long its trainings took is not known: a study on it knows no clock but trials and epochs."
    else:
        yield "- Seconds are those that were imported, shared out evenly over a training's epochs where there were none of each."
    if not info.complete:
        yield "- The grid is not whole: no study can search it."
