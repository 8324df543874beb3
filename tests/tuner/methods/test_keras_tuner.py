"""What KerasTuner's methods are known for."""

from __future__ import annotations

import json
from pathlib import Path

from played import played

from tuneoff.components.core.space import PAPER_SPACE, Space


def test_hyperband_asks_kerastuners_brackets(tmp_path: Path) -> None:
    """The table of brackets at max_epochs 10 and factor 3: 12, 4, 2 trials of 2, 2, 6 new epochs; 6, 2 of 4, 6; 4 of 10."""
    proposals = played("hyperband", PAPER_SPACE, tmp_path, 10, {"hyperband_iterations": 1}, trials=100)
    rungs = [(p.target_epoch, 0 if p.parent is None else proposals[p.parent].target_epoch) for p in proposals]
    assert rungs == [(2, 0)] * 12 + [(4, 2)] * 4 + [(10, 4)] * 2 + [(4, 0)] * 6 + [(10, 4)] * 2 + [(10, 0)] * 4
    assert sum(target - first for target, first in rungs) == 120


def test_random_draws_without_repeats_until_the_space_is_used_up(tmp_path: Path) -> None:
    tiny = Space.model_validate({"a": {"type": "categorical", "values": [1, 2, 3]}, "b": {"type": "int", "low": 1, "high": 2}})
    configs = [json.dumps(dict(p.config)) for p in played("random", tiny, tmp_path, trials=50)]
    assert len(set(configs)) == len(configs) <= 6
