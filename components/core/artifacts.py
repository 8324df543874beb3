"""KFP artifacts of the steps: metadata that every KFP release can store, and the study next to the prepared data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STUDY_FILE = "study.json"


def metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that KFP can store as metadata of an artifact. All other values are removed, at every depth.

    On a cluster, KFP's launcher writes metadata to ML Metadata, which accepts strings, finite numbers, booleans, lists and
    mappings with text keys. A step whose metadata contains a null fails after all its work is done (KFP 2.17,
    backend/src/v2/metadata/converter.go), and JSON has no NaN. KFP's local runner accepts everything, so a local run does not
    show this error.
    """
    return {str(name): _plain(value) for name, value in values.items() if _storable(value)}


def _storable(value: Any) -> bool:
    return isinstance(value, str | bool | int | list | tuple | Mapping) or (isinstance(value, float) and math.isfinite(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return metadata(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value if _storable(entry)]
    return value


def keep_study(folder: Path, study: str) -> None:
    """Write the study, in JSON, next to the prepared data, where the steps of each cell read it.

    It is not a pipeline parameter: KFP copies a parameter into a dozen Argo nodes per cell, and Argo stores at most 1 MiB of a
    workflow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STUDY_FILE).write_text(study, encoding="utf-8")


def kept_study(folder: str) -> str:
    """Return the study, in JSON, that the data_prep step wrote next to its prepared data."""
    return Path(folder, STUDY_FILE).read_text(encoding="utf-8")
