"""What is evaluated: one package per kind of objective. `objective_of` chooses the kind from the study."""

from __future__ import annotations

from ..core.study import Study
from .base import Incumbent as Incumbent
from .base import ObjectiveKind as ObjectiveKind
from .keras import KERAS
from .table import TABLE

KINDS: dict[str, ObjectiveKind] = {"keras": KERAS, "table": TABLE}
"""The kinds of objective by the name that `ObjectiveSettings.kind` gives. A new kind is one line here."""


def objective_of(study: Study) -> ObjectiveKind:
    """Return the kind of the study's objective."""
    return KINDS[study.objective.kind]
