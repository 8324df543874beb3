"""The provenance of a search in its record: versions of libraries and the source of the user's model and method."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from pathlib import Path

from ..core.runtime.machine import cores, versions
from ..core.store.study_store import StudyResult
from ..core.study import Cell, Study
from ..methods.registry import find
from ..methods.spec import MethodSpec

TRAINING = ("tuneoff", "tensorflow", "tensorflow-cpu", "keras", "numpy")


def versions_of(study: Study, spec: MethodSpec) -> dict[str, str]:
    """Return versions by distribution and digests of the user's model and method modules, without importing them."""
    own = {} if not spec.user_defined else _digest(f"method {spec.name}", spec.target)
    return {**training_versions(study), **versions("kfp", "mlflow", spec.framework), **own}


def header(study_id: str, study: Study, cell: Cell, spec: MethodSpec, data: str) -> dict[str, object]:
    """Return the fields of an `opened` event that describe the search: the method, the data and the versions."""
    return {
        "study_id": study_id,
        "dataset": cell.dataset,
        "kind": spec.kind,
        "method": cell.method.model_dump(),
        "data": data,
        "versions": versions_of(study, spec),
        "platform": platform.platform(),
        "cores": cores(),
    }


def training_versions(study: Study) -> dict[str, str]:
    """Return the same for everything that a training depends on."""
    own = _digest(f"model {study.model}", study.model) if ":" in study.model else {}
    return {"python": platform.python_version(), **versions(*TRAINING), **own}


def _digest(what: str, target: str) -> dict[str, str]:
    source = _source(target.partition(":")[0])
    return {} if source is None else {what: hashlib.sha256(source.read_bytes()).hexdigest()[:12]}


def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def changed_versions(result: StudyResult) -> list[str]:
    """Return what has changed since the recorded searches were run, as sentences without a full stop."""
    found: dict[str, None] = {}
    for cell in (c for c in result.cells if not c.cell.method.collected):
        now = versions_of(result.study, find(cell.cell.method.name))
        for search in cell.searches:
            before = search.header.get("versions", {})
            for name, version in before.items():
                if now.get(name) != version:
                    found[f"{name} was {version} and is {now.get(name, 'not installed')}"] = None
    return list(found)
