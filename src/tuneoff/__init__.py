"""Tuneoff: a bake-off of hyperparameter-optimisation methods: equal budgets, several seeds, every trial on record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .components.core.stored import StudyResult

__version__ = "0.1.0"


def run(study: str | Path, out: str | Path | None = None) -> StudyResult:
    """Run a study file, or what is left of it, on this machine; returns all that it left in its store.

    `out` is by default runs/NAME. Raises tuneoff.components.core.errors.StudyError where the file or the folder is at fault.
    """
    from .pipelines.local import run as run_here
    from .pipelines.studyfile import read_study

    plan = read_study(study)
    return run_here(plan, Path(out or f"runs/{plan.name}"), search_path=(Path(study).parent, Path.cwd()))


def load(place: str | Path) -> StudyResult:
    """A study's record and results from its output folder or s3:// URI, read without changing it."""
    from .components.core.storage import open_store
    from .components.core.stored import read_study

    return read_study(open_store(str(place)))
