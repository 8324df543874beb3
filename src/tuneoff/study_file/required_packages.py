"""Refuse a study whose optional packages are not installed."""

from __future__ import annotations

from ..core.errors import StudyError
from ..core.runtime.extras import importable, missing
from ..core.runtime.images import MAIN
from ..core.study import Study
from ..methods.registry import find
from ..objectives import objective_of


def require_for(study: Study) -> None:
    """StudyError with the line that installs it where this Python lacks what a run of the study needs."""
    methods = [find(choice.name) for choice in study.methods]
    for spec in methods:
        if spec.program is not None and importable(spec.package) and not spec.installed:
            raise StudyError(f"Method {spec.name} needs {spec.program}, which is not found here: {spec.remedy}.")
        if spec.environment != MAIN and not spec.installed:
            raise StudyError(
                f"Method {spec.name} is of the environment {spec.environment}, and not installed here: {spec.remedy}."
            )
    needed = objective_of(study).extras
    lacking = [extra for extra in needed if missing(extra)]
    lacking += [spec.extra for spec in methods if not spec.installed]
    if lacking:
        extras = ",".join(dict.fromkeys(lacking))
        raise StudyError(f"A run of this study needs what is not installed here: pip install 'tuneoff[{extras}]'.")
