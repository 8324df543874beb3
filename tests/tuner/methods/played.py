"""A method's first proposals over the toy objective, for tests of what one method is known for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneoff.components.core.problem import Limits, Proposal
from tuneoff.components.core.space import Space
from tuneoff.components.tuner.contract.subject import MAX_EPOCHS, Subject
from tuneoff.components.tuner.registry import find


def played(
    name: str, space: Space, folder: Path, max_epochs: int = MAX_EPOCHS, settings: dict[str, Any] | None = None, **limits: Any
) -> list[Proposal]:
    """What the method proposes until it is done or the limits are reached, each proposal told before the next."""
    return Subject(find(name), settings or {}).search(folder, space, Limits(**limits), max_epochs=max_epochs).proposals
