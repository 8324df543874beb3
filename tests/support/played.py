"""Run a method on the toy objective, for tests of its proposals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneoff.contract.harness import MAX_EPOCHS, Subject
from tuneoff.core.problem import Limits, Proposal
from tuneoff.core.space import Space
from tuneoff.methods.registry import find


def played(
    name: str, space: Space, folder: Path, max_epochs: int = MAX_EPOCHS, settings: dict[str, Any] | None = None, **limits: Any
) -> list[Proposal]:
    """Return the proposals of a method until it is done or a limit is reached. Each trial ends before the next one starts."""
    return Subject(find(name), settings or {}).search(folder, space, Limits(**limits), max_epochs=max_epochs).proposals
