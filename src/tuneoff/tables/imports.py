"""Make a table from a finished study of another program: an Optuna database, an MLflow experiment or a CSV file of curves."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ..core.errors import StudyError
from ..core.grid import as_parameter
from ..core.problem import Epoch
from ..core.space import Config, Space, Value, key_of
from ..core.table import HP, METRICS, RecordedTraining, TableInfo, write_table

OF_AN_EPOCH = ("epoch", "seed", "seconds", *METRICS)
"""The columns of a CSV file that are not hyperparameters."""
MAX_VALUES = 1000


@dataclass(frozen=True)
class Run:
    """One training as another program recorded it."""

    config: Config
    curve: tuple[Epoch, ...]
    seed: int | None = None


@dataclass(frozen=True)
class Imported:
    """The result of an import: the table's description, and the number of trainings that were left out of it."""

    info: TableInfo
    left_out: int


def write_imported(runs: Iterable[Run], name: str, origin: str, file: Path, subgrid: bool = False) -> Imported:
    """Write runs as a table of the grid that their values span.

    Args:
        runs: The runs to write.
        name: The table's name.
        origin: Where the runs come from; it is written to the table and used in error messages.
        file: The table to write.
        subgrid: Write only the largest complete part of the grid that is found.

    Raises:
        StudyError: There are no runs, or a run lacks a hyperparameter or a metric.
    """
    trainings = list(_trainings(list(runs), origin))
    epochs = max(len(t.curve) for t in trainings)
    values = _values(trainings)
    kept = trainings
    if subgrid:
        values = whole_part([t.config for t in trainings if t.whole(epochs)], values)
        kept = [t for t in trainings if t.whole(epochs) and all(t.config[n] in v for n, v in values.items())]
    if not kept:
        raise StudyError(f"{origin}: no complete part of the runs' grid was found. Leave --subgrid out.")
    space = Space.model_validate({n: as_parameter(v) for n, v in values.items()})
    kept = [replace(t, config=space.activate(t.config)) for t in kept]
    timed = any(e.seconds > 0 for t in kept for e in t.curve)
    info = TableInfo(
        name=name,
        dataset=dataset_name(name),
        space=space,
        epochs=epochs,
        origin=origin,
        seconds="clock" if timed else "unknown",
    )
    return Imported(write_table(file, info, kept), len(trainings) - len(kept))


def runs_of(kind: str, source: str, name: str | None) -> list[Run]:
    """Return the runs of a source; `kind` is optuna, mlflow or csv."""
    if kind == "csv":
        return list(from_csv(Path(source)))
    if kind == "optuna":
        from .import_optuna import from_optuna

        return list(from_optuna(source, name))
    return without_constants(list(from_mlflow(source, name)))


def from_mlflow(source: str, name: str | None) -> Iterator[Run]:
    """Yield the runs of an MLflow experiment.

    Args:
        source: The server's URI, or a SQLite file.
        name: The experiment's name; by default "Default".
    """
    from .import_mlflow import curves_of

    for texts, steps, seconds in curves_of(source if "://" in source else f"sqlite:///{source}", name or "Default"):
        config = {parameter_name(n): plain_value(text) for n, text in texts.items()}
        yield Run(config, numbered(steps, seconds))


def dataset_name(name: str) -> str:
    """Convert a table's name to a valid data set's name, for folders and labels."""
    return re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("_.-")[:40].strip("_.-") or "data"


def coverage(info: TableInfo) -> str:
    """Describe in words how much of the grid the table covers, and which methods can search it."""
    share = info.whole / info.points
    there = f"{info.whole:,} of the {info.points:,} points ({share:.1%}) of the grid that their values span"
    said = f"{info.trainings:,} trainings; {there}"
    if info.complete:
        return f"{said}. Every method that works on table studies and on spaces of choices and steps can search it."
    return f"{said}. No study can search it, because a method may propose any point. --subgrid keeps a complete part of the grid."


def _trainings(runs: list[Run], origin: str) -> Iterator[RecordedTraining]:
    """Convert runs to trainings. Runs of one configuration that have no seeds get the seeds 0, 1, 2, …"""
    if not runs:
        raise StudyError(f"{origin} holds no finished run with a learning curve. Give a source with at least one.")
    names = set(runs[0].config)
    seeds: dict[str, int] = {}
    taken: set[tuple[str, int]] = set()
    for run in runs:
        if set(run.config) != names:
            odd = ", ".join(sorted(names ^ set(run.config)))
            raise StudyError(f"{origin}: not every run has a value of {odd}. All runs of a table need the same hyperparameters.")
        if not any(metric in run.curve[0].metrics for metric in ("val_accuracy", "val_loss")):
            raise StudyError(f"{origin}: a run has neither val_accuracy nor val_loss. A table study needs one of them.")
        key = key_of(run.config)
        seed = seeds.get(key, 0) if run.seed is None else run.seed
        seeds[key] = seed + 1
        if (key, seed) in taken:
            raise StudyError(f"{origin}: {dict(run.config)} occurs twice with the seed {seed}. Remove one, or change its seed.")
        taken.add((key, seed))
        yield RecordedTraining(run.config, seed, run.curve)


def _values(trainings: Sequence[RecordedTraining]) -> dict[str, list[Value]]:
    """Return the values of each hyperparameter: numbers in ascending order, texts in alphabetical order."""
    found: dict[str, list[Value]] = {}
    for name in trainings[0].config:
        kinds = {type(t.config[name]) for t in trainings}
        known = list(dict.fromkeys(_as_one_kind(t.config[name], kinds) for t in trainings))
        if len(known) > MAX_VALUES:
            raise StudyError(f"{name} has {len(known):,} values. A table's grid has at most {MAX_VALUES:,} per hyperparameter.")
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
        found[name] = sorted(known) if numbers else sorted(known, key=str)
    return found


def _as_one_kind(value: Value, kinds: set[type]) -> Value:
    return float(value) if kinds == {int, float} else value


def whole_part(present: Sequence[Config], values: Mapping[str, Sequence[Value]]) -> dict[str, list[Value]]:
    """Find a part of a grid that is complete, by repeatedly removing the value with the most missing points.

    The search is greedy, so a larger complete part may exist.

    Returns:
        The values of each hyperparameter in the complete part; empty lists if no part was found.
    """
    left = {name: list(known) for name, known in values.items()}
    points = list({key_of(config): config for config in present}.values())
    while points and len(points) < math.prod(map(len, left.values())):
        size = math.prod(map(len, left.values()))
        shares = [
            (sum(c[name] == value for c in points) / (size // len(known)), len(known), name, value)
            for name, known in left.items()
            if len(known) > 1
            for value in known
        ]
        _, _, name, gone = min(shares, key=lambda entry: (entry[0], -entry[1]))
        left[name].remove(gone)
        points = [c for c in points if c[name] != gone]
    return left if points else {name: [] for name in left}


# CSV files of curves


def from_csv(file: Path) -> Iterator[Run]:
    """Yield the runs of a CSV file with one row per epoch.

    The columns are `epoch`, metrics, optionally `seed` and `seconds`, and the hyperparameters. Every column with another name
    is a hyperparameter; a leading `hp.` is removed. Rows with equal hyperparameters and seed form one run, in any order.

    Raises:
        StudyError: The file cannot be read. The message names the line.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{file} cannot be read as a CSV file ({error}). Give a CSV file in UTF-8.") from None
    names = [c for c in columns if c not in OF_AN_EPOCH]
    if "epoch" not in columns or not names:
        raise StudyError(f"{file} needs the column epoch and one column per hyperparameter, but has {', '.join(columns)}.")
    entries = [(_config(row, names), int(row.get("seed") or 0), _epoch(row, line, file)) for line, row in enumerate(rows, 2)]
    entries.sort(key=lambda entry: (key_of(entry[0]), entry[1], entry[2].number))
    for (_, seed), group in groupby(entries, key=lambda entry: (key_of(entry[0]), entry[1])):
        found = list(group)
        numbers = [epoch.number for _, _, epoch in found]
        if numbers != list(range(1, len(numbers) + 1)):
            raise StudyError(f"{file}: the epochs of {dict(found[0][0])}, seed {seed}, are {numbers[:12]}. Give 1, 2, 3, ….")
        yield Run(found[0][0], tuple(epoch for _, _, epoch in found), seed)


def _config(row: Mapping[str, str | None], names: Sequence[str]) -> dict[str, Value]:
    return {parameter_name(name): plain_value(row[name] or "") for name in names if row.get(name) not in (None, "")}


def _epoch(row: Mapping[str, str | None], line: int, file: Path) -> Epoch:
    def number(name: str) -> float:
        text = row.get(name) or ""
        try:
            return float(text) if text else math.nan
        except ValueError:
            raise StudyError(f"{file}, line {line}: {name} is {text!r}, which is not a number. Give a number.") from None

    epoch = number("epoch")
    if not epoch.is_integer():
        raise StudyError(f"{file}, line {line}: epoch is {row.get('epoch')!r}, which is not a whole number. Give 1, 2, 3, ….")
    seconds = number("seconds") if row.get("seconds") else 0.0
    return Epoch(int(epoch), {name: number(name) for name in METRICS if name in row}, seconds)


def parameter_name(name: str) -> str:
    """Convert the name of a column or parameter to a valid hyperparameter name of letters, digits and _."""
    found = re.sub(r"[^A-Za-z0-9_]", "_", name.removeprefix(HP))[:63]
    return found if found[:1].isalpha() else f"p_{found}"[:63]


def plain_value(text: str) -> Value:
    """Convert a text to a number or a truth value if it is one; else return the text."""
    if text in ("True", "False", "true", "false"):
        return text.lower() == "true"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
        return found
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def numbered(values: Mapping[int, Mapping[str, float]], seconds: float) -> tuple[Epoch, ...]:
    """Return a curve from metrics by step. Steps become epochs 1, 2, 3, …, and the seconds are divided evenly over them."""
    each = seconds / max(1, len(values))
    return tuple(Epoch(number, dict(values[step]), each) for number, step in enumerate(sorted(values), 1))


def without_constants(runs: Sequence[Run]) -> list[Run]:
    """Remove parameters with the same value in all runs, because programs also log parameters that they do not search."""
    if len(runs) < 2:
        return list(runs)
    varied = [n for n in runs[0].config if len({json.dumps(r.config.get(n)) for r in runs}) > 1]
    return [replace(run, config={n: run.config[n] for n in varied if n in run.config}) for run in runs]
