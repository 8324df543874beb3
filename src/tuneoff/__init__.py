"""Tuneoff compares hyperparameter tuners fairly: equal budgets, the same seeds, and a record of every trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .core.study import Study
    from .inspect.study_results import Results


def run(study: str | Path | Mapping[str, Any] | Study, out: str | Path | None = None) -> Results:
    """Run a study on this machine, or continue it if the output folder holds an unfinished run of it.

    Args:
        study: The path of a study file, its sections as a dict, or a Study.
        out: The output folder. The default is runs/NAME, with the study's name.

    Returns:
        The record and the results of the study. A cell that failed has its error in `status`.

    Raises:
        tuneoff.core.errors.StudyError: The study is invalid, or the output folder holds another study.
    """
    from .inspect.study_results import Results
    from .pipelines.local import run as run_here
    from .study_file.check import study_of

    plan = study_of(study)
    beside = (Path(study).parent,) if isinstance(study, str | Path) else ()
    return Results(run_here(plan, Path(out or f"runs/{plan.name}"), search_path=(*beside, Path.cwd())))


def load(place: str | Path) -> Results:
    """Return the record and results of a study, without changing them.

    Args:
        place: The study's output folder or s3:// URI.
    """
    from .core.store.open import open_store
    from .core.store.study_store import read_study
    from .inspect.study_results import Results

    return Results(read_study(open_store(str(place))))
