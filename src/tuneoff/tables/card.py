"""Write a table's card: its contents, how and on which hardware it was made, its limits, and the command that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.space import Categorical, Float, Int
from ..core.table import TableInfo, read_table


def write_card(file: Path, info: TableInfo) -> Path:
    """Write the card next to the table, with the suffix .md, and return its path."""
    target = file.with_suffix(".md")
    target.write_text("\n".join(lines(file, info)) + "\n", encoding="utf-8")
    return target


def lines(file: Path, info: TableInfo) -> Iterator[str]:
    """Yield the lines of the card."""
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
        "The grid is complete" if info.complete else f"The grid is incomplete: it has {info.whole:,} of {info.points:,} points"
    )
    yield f"{said}{there}. Rows (SHA-256): `{info.fingerprint[:16]}`."


def _what(info: TableInfo) -> Iterator[str]:
    study = info.study
    if study is None:
        yield f"Imported from {info.origin}."
        return
    prepared = info.prepared
    model, training = study["model"], study["training"]
    yield f"Model `{model}`, batch size {training['batch_size']}, precision {training['precision']}."
    if prepared is not None:
        counts = ", ".join(f"{n:,} {part}" for part, n in prepared.counts.items())
        size = " × ".join(map(str, prepared.input_shape))
        yield f"Images {size}: {counts}; arrays (SHA-256): `{prepared.fingerprint[:16]}`."
    yield f"Seeds of every configuration: {_listed(study['seeds'])}."
    if study.get("noise"):
        noise = study["noise"]
        yield f"More seeds of {noise['configurations']:,} randomly drawn configurations: {_listed(noise['seeds'])}."


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _values(parameter: Categorical | Int | Float) -> str:
    shown = ", ".join(str(value) for value in (parameter.levels() or [])[:24])
    when = f"; where {json.dumps(parameter.when)}" if parameter.when else ""
    return shown + when


def _scores(file: Path) -> Iterator[str]:
    """Yield the best validation accuracy, and the total time of all trainings."""
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
    best_epoch = f"Best validation accuracy of an epoch: {score:.4f} ({config}; seed {training.seed})"
    yield f"{best_epoch}. Total time of all trainings: {hours:.1f} hours."


def _how(file: Path, info: TableInfo) -> Iterator[str]:
    if info.study is None:
        yield "See `tuneoff table import --help`."
        return
    study = info.study["name"]
    command = f"tuneoff table build {study}.yaml --out {file.name}"
    yield f"`{command}` made the table. The file's metadata holds the study, under `tuneoff`."
    for made in info.made:
        versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
        hardware = ", ".join(f"{name}: {value}" for name, value in made.hardware.items())
        yield f"- {hardware}; {versions}"


TRAINED = """
- Seconds are those of training with one CPU thread. The first epoch includes building and tracing the model; scoring the test
  part is never included.
- The test part was scored after every epoch. No method sees these scores.
- Metrics are rounded to six decimals. Scores on this little data can be compared with each other, but not with published figures.
- A resumed trial continues on the recorded curve. The effect of resuming from the best epoch's weights, or with a new optimizer,
  is not recorded.
"""


def _limits(info: TableInfo) -> Iterator[str]:
    if info.study is not None:
        yield TRAINED.strip()
        if len({str(m.hardware) for m in info.made}) > 1:
            yield "- The trainings ran on different processors, so their seconds cannot be compared with each other."
    elif info.seconds == "unknown":
        yield "- The times of the trainings are not known. A table study on this table needs a budget of trials or epochs."
    else:
        yield "- Seconds were imported. A training without seconds per epoch has its total divided evenly over its epochs."
    if not info.complete:
        yield "- The grid is incomplete, so no study can search the table."
