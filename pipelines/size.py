"""How large a study one workflow can hold, as measured on a cluster, and what to do with a larger one."""

from __future__ import annotations

from ..components.core.errors import StudyError
from ..components.core.study import Study

LARGEST_CELLS = 100


def refuse_too_large(study: Study) -> None:
    """Raise StudyError where the study has more cells than one workflow can hold."""
    if (excess := too_large(study)) is not None:
        raise StudyError(excess)


def too_large(study: Study) -> str | None:
    """Return a sentence where the study has more cells than one workflow can hold; None where it fits."""
    cells = len(study.cells)
    if cells <= LARGEST_CELLS:
        return None
    return (
        f"The study has {len(study.datasets)} data sets × {len(study.methods)} methods = {cells} cells, and Argo cannot keep the"
        f" workflow of more than {LARGEST_CELLS}: give the data sets to several studies, or take fewer methods. Seeds may be as"
        " many as you like: they add no cells."
    )
