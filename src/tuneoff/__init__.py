"""Tuneoff compares hyperparameter tuners fairly: equal budgets, the same seeds, and a record of every trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .core.errors import StudyError

if TYPE_CHECKING:
    from .core.study import Study
    from .inspect.study_results import Results

__all__ = ["Results", "Study", "StudyError", "__version__", "load", "run", "validate"]


def __getattr__(name: str) -> Any:
    """Import `Study` and `Results` when they are first used, so that `import tuneoff` stays fast."""
    if name == "Study":
        from .core.study import Study

        return Study
    if name == "Results":
        from .inspect.study_results import Results

        return Results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def validate(study: str | Path | Mapping[str, Any] | Study) -> Study:
    """Check a study without running it.

    Args:
        study: The path of a study file, its sections as a dict, or a Study.

    Returns:
        The checked study, with all defaults filled in.

    Raises:
        StudyError: The study is invalid. The message has one line per fault.
    """
    from .study_file.check import study_of

    return study_of(study)


def run(study: str | Path | Mapping[str, Any] | Study, out: str | Path | None = None) -> Results:
    """Run a study on this machine, or continue it if the output folder holds an unfinished run of it.

    Args:
        study: The path of a study file, its sections as a dict, or a Study.
        out: The output folder. The default is runs/NAME, with the study's name.

    Returns:
        The record and the results of the study. A cell that failed has its error in `status`.

    Raises:
        StudyError: The study is invalid, or the output folder holds another study.
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

    Raises:
        StudyError: The place holds no study.
    """
    from .core.store.open import open_store
    from .core.store.study_store import read_study
    from .inspect.study_results import Results

    return Results(read_study(open_store(str(place))))
