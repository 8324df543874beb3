"""Tuneoff: a bake-off of hyperparameter-optimisation methods: equal budgets, several seeds, every trial on record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .core.study import Study
    from .inspect.study_results import Results


def run(study: str | Path | Mapping[str, Any] | Study, out: str | Path | None = None) -> Results:
    """Run a study, or what is left of it, on this machine; returns all that it left in its store.

    `study` is a study file's path, or its sections as a dict, or a Study. `out` is by default runs/NAME. Raises
    tuneoff.core.errors.StudyError where the study or the folder is at fault; a cell that failed says so in `status`.
    """
    from .inspect.study_results import Results
    from .pipelines.local import run as run_here
    from .study_file.check import study_of

    plan = study_of(study)
    beside = (Path(study).parent,) if isinstance(study, str | Path) else ()
    return Results(run_here(plan, Path(out or f"runs/{plan.name}"), search_path=(*beside, Path.cwd())))


def load(place: str | Path) -> Results:
    """A study's record and results from its output folder or s3:// URI, read without changing it."""
    from .core.store.open import open_store
    from .core.store.study_store import read_study
    from .inspect.study_results import Results

    return Results(read_study(open_store(str(place))))
