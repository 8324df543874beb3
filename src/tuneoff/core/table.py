"""A table of recorded trainings: every configuration of a grid with its whole curve, in one Parquet file, to be searched again.

One row per epoch: `hp.NAME` of each hyperparameter (null where it is inactive), `seed`, `epoch`, the metrics, `seconds`, and
`reason` where the training failed (one row of epoch 0). What it is of, and how it was made, is JSON in the file's metadata.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import metrics
from .errors import StudyError, first_line
from .grid import configurations
from .metrics import CLASSIFICATION, names_of
from .prepared_data import Prepared
from .problem import Epoch, Inherit, Trial, TrialId
from .space import Categorical, Config, Float, Int, Model, Space, Value, key_of
from .store.open import fetch_file
from .study import Name

SCHEMA = 1
METADATA = b"tuneoff"
VALIDATED = names_of(CLASSIFICATION)
"""The metrics of an epoch that methods and the record see."""
TESTED = names_of(metrics.TESTED)
"""The metrics that are hidden until a search has ended."""
METRICS = (*VALIDATED, *TESTED)
HP = "hp."
DECIMALS = 6
"""The decimals of metrics. Seconds have four."""


class Provenance(Model):
    """The environment in which trainings were made."""

    hardware: dict[str, str | int]
    versions: dict[str, str]


class TableInfo(Model):
    """The description of a table: its content and how it was made."""

    schema_version: int = SCHEMA
    name: str
    dataset: Name
    space: Space
    """The grid as a search space. A study on the table searches this space."""
    epochs: int
    """The epochs of a complete curve."""
    origin: str
    """`trained`, or the source of an import."""
    seconds: str = "processor"
    """The meaning of its seconds: processor time, wall-clock time or unknown."""
    study: dict[str, Any] | None = None
    """The whole study, if the table was trained here."""
    prepared: Prepared | None = None
    made: tuple[Provenance, ...] = ()
    """The environments of the trainings, one entry for each distinct one."""
    fingerprint: str = ""
    """SHA-256 over the rows."""
    trainings: int = 0
    failed: int = 0
    whole: int = 0
    """The number of configurations whose training is complete or has failed permanently."""
    points: int = 0
    """The number of configurations in the grid."""

    @property
    def complete(self) -> bool:
        """Return whether every point of the grid is recorded. Only then can a study search the table."""
        return self.whole == self.points


@dataclass(frozen=True)
class RecordedTraining:
    """One recorded training. Its curve may end early if it diverged or if an imported training was stopped."""

    config: Config
    seed: int
    curve: tuple[Epoch, ...]
    """The curve with all metrics, including those of the test."""
    reason: str | None = None
    """The reason, if the training failed. It then has no curve."""

    @cached_property
    def shown(self) -> tuple[Epoch, ...]:
        """Return the curve without test metrics, as a search may see it."""
        seen = [name for name in VALIDATED if self.curve and name in self.curve[0].metrics]
        return tuple(Epoch(e.number, {name: e.metrics[name] for name in seen}, e.seconds) for e in self.curve)

    @property
    def diverged(self) -> bool:
        return bool(self.curve) and not math.isfinite(self.curve[-1].metrics.get("loss", 0.0))

    def whole(self, epochs: int) -> bool:
        """Return whether the training answers every question that a search may ask."""
        return self.reason is not None or len(self.curve) >= epochs or self.diverged


class Table:
    """A table in memory: curves by configuration and seed."""

    def __init__(self, info: TableInfo, trainings: Iterable[RecordedTraining], source: str = "") -> None:
        self.info = info
        self.source = source
        self._trainings: dict[str, dict[int, RecordedTraining]] = {}
        for training in trainings:
            self._trainings.setdefault(key_of(training.config), {})[training.seed] = training

    def __iter__(self) -> Iterator[RecordedTraining]:
        for by_seed in self._trainings.values():
            yield from by_seed.values()

    def drawn(self, config: Config, *draw: int) -> RecordedTraining:
        """Return one of a configuration's trainings: the same draw gives the same training. Raise KeyError if the table has none.

        Its place among the seeds in ascending order is SHA-256 of the draw's numbers, joined by a stroke, modulo their number.
        """
        by_seed = self._trainings[key_of(config)]
        if len(by_seed) == 1:
            return next(iter(by_seed.values()))
        place = int.from_bytes(hashlib.sha256("/".join(map(str, draw)).encode()).digest()[:8], "big")
        return by_seed[sorted(by_seed)[place % len(by_seed)]]

    def training(self, config: Config, seed: int) -> RecordedTraining:
        """Return the training of a configuration with this seed. Raise KeyError if the table has none."""
        return self._trainings[key_of(config)][seed]


# Which recorded training answers a trial


@dataclass(frozen=True)
class Source:
    """The recorded training that answers a trial. Epoch n of the trial is epoch n - offset of the training."""

    training: RecordedTraining
    offset: int


def source_of(table: Table, seed: int, trial: Trial, known: Mapping[TrialId, Source]) -> Source:
    """Which training answers a trial of the search with this seed; `known` are the sources of the trials before it.

    A new training is one of the configuration's recorded ones, drawn by the search's seed and the trial's number. A trial that
    takes over its parent's state reads that training on. One that takes over the best weights, which no table has, is answered in
    the same way. One that takes over nothing is a new training, read from its first epoch while the count of the trial continues.
    LookupError where the table has no answer.
    """
    proposal = trial.proposal
    if proposal.parent is not None and proposal.inherit is not Inherit.NOTHING:
        source = known[proposal.parent]
        if source.training.config != proposal.config:
            raise LookupError(
                f"trial {trial.id} continues trial {proposal.parent} with another configuration, which no table can answer"
            )
        return source
    try:
        return Source(table.drawn(proposal.config, seed, trial.id), trial.first_epoch)
    except KeyError:
        raise LookupError(f"trial {trial.id}, {dict(proposal.config)}, is not in the table {table.source}") from None


def sources(table: Table, seed: int, trials: Iterable[Trial]) -> dict[TrialId, Source]:
    """Return the sources of a search's trials, in the order of the proposals. They hold what a record lacks: test scores."""
    known: dict[TrialId, Source] = {}
    for trial in trials:
        known[trial.id] = source_of(table, seed, trial, known)
    return known


# Reading


def read_info(source: str) -> TableInfo:
    """Read the description of a table from a path or s3:// URI. Raise StudyError if the file is not a readable table."""
    with _local(source) as file:
        return _info(file, source)


def read_table(source: str) -> Table:
    """Read a table from a path or s3:// URI. Raise StudyError if the file is not a readable table."""
    import pyarrow.parquet as pq

    with _local(source) as file:
        info = _info(file, source)
        columns: dict[str, list[Any]] = pq.read_table(file, use_threads=False, memory_map=True).to_pydict()
    return Table(info, _trainings(info, columns), source)


@contextmanager
def _local(source: str) -> Iterator[Path]:
    if "://" not in source:
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="tuneoff-") as folder:
        yield fetch_file(source, Path(folder) / "table.parquet")


def _info(file: Path, source: str) -> TableInfo:
    import pyarrow as pa
    import pyarrow.parquet as pq

    what = "give a table that `tuneoff table build` or `tuneoff table import` wrote"
    try:
        text = (pq.read_schema(file).metadata or {}).get(METADATA)
    except FileNotFoundError:
        raise StudyError(f"the table {source!r} does not exist: {what}.") from None
    except (OSError, pa.ArrowException) as error:
        raise StudyError(f"the table {source!r} cannot be read ({first_line(error)[:200]}): {what}.") from None
    if text is None:
        raise StudyError(f"{source!r} is a Parquet file, and no table of Tuneoff's: {what}.")
    version = json.loads(text).get("schema_version", 0)
    if version > SCHEMA:
        raise StudyError(f"the table {source!r} has schema {version}, and this version of tuneoff reads up to {SCHEMA}.")
    try:
        return TableInfo.model_validate_json(text)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise StudyError(f"the table {source!r} is damaged at {place} of its description: {what}.") from None


def _trainings(info: TableInfo, columns: Mapping[str, Sequence[Any]]) -> Iterator[RecordedTraining]:
    names = list(info.space)
    decoded = [_decoded(info.space[name], columns[HP + name]) for name in names]
    metrics = [(name, columns[name]) for name in METRICS if name in columns]
    numbers, seconds, reasons, seeds = columns["epoch"], columns["seconds"], columns["reason"], columns["seed"]
    rows = len(numbers)
    start = 0
    while start < rows:
        end = start + 1
        while end < rows and numbers[end] > numbers[end - 1] and numbers[end] > 1:
            end += 1
        config = {name: values[start] for name, values in zip(names, decoded, strict=True) if values[start] is not None}
        curve = tuple(
            Epoch(numbers[i], {name: math.nan if v[i] is None else v[i] for name, v in metrics}, seconds[i])
            for i in range(start, end)
            if numbers[i] > 0
        )
        yield RecordedTraining(config, seeds[start], curve, reasons[start])
        start = end


# Writing


def write_table(file: Path, info: TableInfo, trainings: Iterable[RecordedTraining]) -> TableInfo:
    """Write the table and return its description with the counts filled in. The same trainings give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    space = info.space
    ordered = sorted(trainings, key=lambda t: (_place(space, t.config), t.seed))
    rows = [(t, epoch) for t in ordered for epoch in (t.curve or (Epoch(0, {}, 0.0),))]
    known = {name for t in ordered for epoch in t.curve for name in epoch.metrics}
    metrics = [name for name in METRICS if name in known]
    columns: dict[str, Any] = {
        HP + name: pa.array([_encoded(p, t.config.get(name)) for t, _ in rows], _arrow_type(p)) for name, p in space.items()
    }
    columns["seed"] = pa.array([t.seed for t, _ in rows], pa.int64())
    columns["epoch"] = pa.array([epoch.number for _, epoch in rows], pa.int32())
    for name in metrics:
        columns[name] = pa.array([_finite(epoch.metrics.get(name, math.nan), DECIMALS) for _, epoch in rows], pa.float64())
    columns["seconds"] = pa.array([round(epoch.seconds, 4) for _, epoch in rows], pa.float64())
    columns["reason"] = pa.array([t.reason for t, _ in rows], pa.string())
    counted = _counted(info, ordered, columns)
    table = pa.table(columns).replace_schema_metadata({METADATA: counted.model_dump_json(exclude_defaults=True).encode()})
    split = [*metrics, "seconds"]
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".tmp-{file.name}")
    try:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=19,
            use_dictionary=[c for c in columns if c not in split],
            column_encoding=dict.fromkeys(split, "BYTE_STREAM_SPLIT"),
        )
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return counted


def _counted(info: TableInfo, trainings: Sequence[RecordedTraining], columns: Mapping[str, Any]) -> TableInfo:
    rows = hashlib.sha256()
    for name, column in columns.items():
        rows.update(json.dumps([name, column.to_pylist()]).encode())
    counts = {
        "schema_version": SCHEMA,
        "fingerprint": rows.hexdigest(),
        "trainings": len(trainings),
        "failed": sum(t.reason is not None for t in trainings),
        "whole": len({key_of(t.config) for t in trainings if t.whole(info.epochs)}),
        "points": len(configurations(info.space)) if info.space.conditional else info.space.grid_size(),
    }
    return info.model_copy(update=counts)


def _place(space: Space, config: Config) -> list[Any]:
    """Return the position of a configuration in the order of the grid."""
    return [_place_of(parameter, config.get(name)) for name, parameter in space.items()]


def _place_of(parameter: Categorical | Int | Float, value: Value | None) -> float:
    if value is None:
        return -math.inf
    return parameter.index(value) if isinstance(parameter, Categorical) else float(value)


def _finite(value: float, decimals: int) -> float | None:
    return round(value, decimals) if math.isfinite(value) else None


def _kind(parameter: Categorical | Int | Float) -> type | None:
    """Return the type of a parameter's values, or None if they have several types and are stored as JSON."""
    kinds = {type(v) for v in parameter.values} if isinstance(parameter, Categorical) else set()
    if not kinds:
        return int if isinstance(parameter, Int) else float
    return kinds.pop() if len(kinds) == 1 else None


def _arrow_type(parameter: Categorical | Int | Float) -> Any:
    import pyarrow as pa

    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(_kind(parameter) or str, pa.string())


def _encoded(parameter: Categorical | Int | Float, value: Value | None) -> Value | None:
    return json.dumps(value) if value is not None and _kind(parameter) is None else value


def _decoded(parameter: Categorical | Int | Float, values: Sequence[Any]) -> Sequence[Any]:
    return values if _kind(parameter) is not None else [None if v is None else json.loads(v) for v in values]
