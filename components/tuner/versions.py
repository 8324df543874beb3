"""With what a search was run, as its record keeps it: versions of libraries, and the source of the user's own model."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from pathlib import Path

from ..core.machine import versions
from ..core.stored import StudyResult
from ..core.study import Study
from .registry import find
from .spec import MethodSpec

VERSIONED = ("tuneoff", "tensorflow", "tensorflow-cpu", "keras", "numpy", "kfp", "mlflow")


def versions_of(study: Study, spec: MethodSpec) -> dict[str, str]:
    """Versions by distribution, and digests of the modules of the user's own model and method; imports nothing."""
    own = {f"model {study.model}": study.model} if ":" in study.model else {}
    own |= {} if spec.home else {f"method {spec.name}": spec.target}
    sources = {what: source for what, target in own.items() if (source := _source(target.partition(":")[0]))}
    digests = {what: hashlib.sha256(source.read_bytes()).hexdigest()[:12] for what, source in sources.items()}
    return {"python": platform.python_version(), **versions(*VERSIONED, spec.framework), **digests}


def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def changed_versions(result: StudyResult) -> list[str]:
    """What searches on record were run with, and is another now: sentences without their stop."""
    found: dict[str, None] = {}
    for cell in (c for c in result.cells if not c.cell.method.collected):
        now = versions_of(result.study, find(cell.cell.method.name))
        for search in cell.searches:
            before = search.header.get("versions", {})
            for name, version in before.items():
                if now.get(name) != version:
                    found[f"{name} was {version} and is {now.get(name, 'not installed')}"] = None
    return list(found)
