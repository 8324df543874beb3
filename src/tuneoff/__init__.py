"""Tuneoff: a bake-off of hyperparameter-optimisation methods: equal budgets, several seeds, every trial on record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .components.core.study import Study
    from .pipelines.results import Results

__version__ = "0.1.0"


def run(study: str | Path | Mapping[str, Any] | Study, out: str | Path | None = None) -> Results:
    """Run a study, or what is left of it, on this machine; returns all that it left in its store.

    `study` is a study file's path, or its sections as a dict, or a Study. `out` is by default runs/NAME. Raises
    tuneoff.components.core.errors.StudyError where the study or the folder is at fault; a cell that failed says so in `status`.
    """
    from .pipelines.local import run as run_here
    from .pipelines.results import Results
    from .pipelines.studyfile import study_of

    plan = study_of(study)
    beside = (Path(study).parent,) if isinstance(study, str | Path) else ()
    return Results(run_here(plan, Path(out or f"runs/{plan.name}"), search_path=(*beside, Path.cwd())))


def load(place: str | Path) -> Results:
    """A study's record and results from its output folder or s3:// URI, read without changing it."""
    from .components.core.storage import open_store
    from .components.core.stored import read_study
    from .pipelines.results import Results

    return Results(read_study(open_store(str(place))))
