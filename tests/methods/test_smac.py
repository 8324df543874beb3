"""SMAC: the rungs of its Hyperband, and the finite costs that it receives for failed trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asked import asked, built, told
from played import played
from tuneoff.core.space import PAPER_SPACE


def test_a_promoted_configuration_resumes_its_trial(tmp_path: Path) -> None:
    """Brackets of nine, three and one configuration at 1, 3 and 9 epochs, as in Li et al."""
    proposals = played("smac-mf", PAPER_SPACE, tmp_path, 9, {"retrain_after": 1000}, epochs=24)
    assert [p.target_epoch for p in proposals[:13]] == [1] * 9 + [3] * 3 + [9]
    assert all(proposals[p.parent].config == p.config for p in proposals[:13] if p.parent is not None)
    assert sum(p.parent is not None for p in proposals[:13]) == 4


def test_a_failure_before_the_first_loss_is_told_later_with_the_worst_loss(tmp_path: Path) -> None:
    method: Any = built("smac-mf", PAPER_SPACE, tmp_path)
    first = [asked(method) for _ in range(3)]
    told(method, 0, first[0], None)
    assert costs(method) == []
    told(method, 1, first[1], 0.4)
    told(method, 2, first[2], 0.7)
    assert costs(method) == [0.4, 0.4, 0.7], "the failure has the worst loss that was known when it was told"


def costs(method: Any) -> list[float]:
    """Return all costs that SMAC has received, including those of failed trials."""
    return sorted(v.cost for v in method._smac.runhistory.values() if v.status.name in ("SUCCESS", "CRASHED"))
