"""A small made-up table, and a study on it: six configurations of two hyperparameters, some of them with several seeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from tuneoff.core.grid import configurations
from tuneoff.core.problem import Epoch
from tuneoff.core.space import Config, Space
from tuneoff.core.table import METRICS, RecordedTraining, TableInfo, write_table

SPACE = Space.model_validate(
    {
        "units": {"type": "int", "low": 8, "high": 24, "step": 8},
        "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
    }
)
EPOCHS = 4


def training(config: Config, seed: int = 0, epochs: int = EPOCHS, nan_from: int = 99) -> RecordedTraining:
    """A training whose every number tells whose it is: units / 100 + seed / 1000 + epoch / 10000, and more for Adam."""
    base = float(config["units"]) / 100 + seed / 1000 + (0.5 if config["optimizer"] == "Adam" else 0.0)  # type: ignore[arg-type]
    curve = []
    for number in range(1, epochs + 1):
        value = base + number / 10_000 if number < nan_from else math.nan
        metrics = {name: round(value + place / 100_000, 6) for place, name in enumerate(METRICS)}
        curve.append(Epoch(number, metrics, 1.0 + number / 10))
    return RecordedTraining(config, seed, tuple(curve))


def trainings() -> list[RecordedTraining]:
    """Every point once, and the first one with three seeds."""
    points = configurations(SPACE)
    return [*(training(config) for config in points), training(points[0], 1), training(points[0], 2)]


def table_file(file: Path, recorded: list[RecordedTraining] | None = None, space: Space = SPACE, **changes: Any) -> Path:
    """A table's file of these trainings."""
    told = {"name": "made", "dataset": "made", "space": space, "epochs": EPOCHS, "origin": "trained", **changes}
    write_table(file, TableInfo(**told), recorded if recorded is not None else trainings())
    return file


def study_file(folder: Path, **changes: Any) -> Path:
    """A study on the table `table.parquet` beside it, which is made where it is not there."""
    if not (folder / "table.parquet").exists():
        table_file(folder / "table.parquet")
    sections: dict[str, Any] = {
        "name": "replayed",
        "objective": "replay:table.parquet",
        "methods": ["grid"],
        "budget": {"trials": 6},
        "resources": {"retries": 0},
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**sections, **changes}, sort_keys=False))
    return file
