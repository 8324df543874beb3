"""Table studies: the sections that the table fills in, and the faults of sections that do not fit the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from ..core.errors import StudyError
from ..core.grid import on_grid
from ..core.space import Space
from ..core.study import FORMERLY_REPLAY, TABLE, Dataset
from ..core.table import TableInfo, read_info
from .faults import Found, Place, quoted
from .yaml_reader import Document


def table_of(objective: Any) -> tuple[str, Place] | None:
    """Return the table that an objective names, and its place in the study file; None if the objective names no table.

    The spelling of release 0.1, `replay` for `table`, is read as well.
    """
    match objective:
        case str() if objective.startswith((TABLE, FORMERLY_REPLAY)):
            return objective.partition(":")[2], ("objective",)
        case dict():
            pass
        case _:
            return None
    for key in ("table", "replay"):
        match objective.get(key):
            case str() as path:
                return path, ("objective", key)
            case {"path": str() as path}:
                return path, ("objective", key, "path")
            case {"table": str() as path}:
                return path, ("objective", key, "table")
    return None


def with_table(objective: Any, path: str) -> Any:
    """Return the objective with this table instead of the one that it names."""
    if isinstance(objective, str):
        return f"{TABLE}{path}"
    key = "table" if "table" in objective else "replay"
    settings = objective[key]
    if isinstance(settings, str):
        return {**objective, key: path}
    return {**objective, key: {**settings, "path" if "path" in settings else "table": path}}


def on_another_table(document: Document, table: str, file: str) -> Document:
    """Return a table study's document with another table.

    Args:
        document: The study file's content.
        table: The other table: a path, relative to the current folder, or a URI.
        file: The study file's name, for the error message.

    Raises:
        StudyError: The study is not a table study.
    """
    sections = document.value if isinstance(document.value, dict) else {}
    if table_of(sections.get("objective")) is None:
        why = f"{file} is not a table study, since its objective names no table"
        raise StudyError(f"--table {table!r} is not allowed: {why}. Leave --table out, or give the file of a table study.")
    place = table if "://" in table else str(Path(table).expanduser().absolute())
    name = {"name": f"{sections['name']}-{PurePosixPath(table).stem}"} if isinstance(sections.get("name"), str) else {}
    return replace(document, value={**sections, **name, "objective": with_table(sections["objective"], place)})


def filled(document: Mapping[str, Any], table: str, where: Place) -> tuple[dict[str, Any], list[Found]]:
    """Fill in the table's data set, space and epochs.

    Returns:
        The new document, and a fault for each section that does not agree with the table.
    """
    try:
        info = read_info(table)
    except StudyError as error:
        return {**document, "datasets": document.get("datasets", ["mnist"])}, [(where, str(error).removesuffix("."))]
    dataset, space = dataset_of(info), info.space.model_dump(mode="json", exclude_none=True)
    budget = document.get("budget")
    if isinstance(budget, dict):
        budget = {"epochs_per_trial": info.epochs, **budget}
    sections = {"datasets": [dataset.model_dump(exclude_none=True)], "space": space, "budget": budget}
    return {**document, **{k: v for k, v in sections.items() if v is not None}}, list(_faults(document, info, dataset, where))


def dataset_of(info: TableInfo) -> Dataset:
    """Return the table's data set as it was prepared. The file that it came from is not needed."""
    described = (info.study or {}).get("datasets") or [{"name": info.dataset}]
    return Dataset.model_validate({k: v for k, v in described[0].items() if k != "path"})


def _faults(document: Mapping[str, Any], info: TableInfo, dataset: Dataset, where: Place) -> Iterator[Found]:
    if not info.complete:
        points = f"only {info.whole:,} of the {info.points:,} points of its grid"
        yield where, f"the table has {points}: a study needs all of them, since a method may propose any; finish the table first"
    if not _same_data(document.get("datasets"), dataset):
        yield ("datasets",), f"the section differs from the table's data set, {dataset.name}: leave the section out"
    if not _same_space(document.get("space"), info.space):
        yield ("space",), "the section differs from the table's grid, which a table study searches: leave the section out"
    budget, split, artifacts = (document.get(name) for name in ("budget", "split", "artifacts"))
    epochs = budget.get("epochs_per_trial") if isinstance(budget, dict) else None
    if type(epochs) is int and epochs > info.epochs:
        yield ("budget", "epochs_per_trial"), f"{epochs} is too large: the table's curves have {info.epochs} epochs"
    if isinstance(split, dict) and split.get("folds") is not None:
        yield ("split", "folds"), "a table's trainings are not cross-validated: leave the field out"
    if isinstance(artifacts, str) and "://" in artifacts:
        yield (
            ("artifacts",),
            f"{quoted(artifacts)} is not allowed: a table study writes thousands of events a second, so give a local folder",
        )


def _same_data(given: Any, dataset: Dataset) -> bool:
    if given is None:
        return True
    try:
        found = [Dataset.model_validate(entry) for entry in given]
    except (ValidationError, TypeError):
        return False
    return found in ([dataset], [Dataset(name=dataset.name)])


def _same_space(given: Any, space: Space) -> bool:
    if given is None:
        return True
    try:
        return on_grid(Space.model_validate(given)) == space
    except ValueError:
        return False
