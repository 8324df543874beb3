"""Grid search: the order and number of its points."""

from __future__ import annotations

import json
from pathlib import Path

from played import played
from tuneoff.contract.checks import CHECKS
from tuneoff.contract.harness import Subject
from tuneoff.contract.toy_objective import CONDITIONAL
from tuneoff.core.space import PAPER_SPACE
from tuneoff.methods.registry import find


def test_its_default_order_is_that_of_parameter_grid(tmp_path: Path) -> None:
    from sklearn.model_selection import ParameterGrid

    proposals = played("grid", PAPER_SPACE, tmp_path, trials=30)
    expected = list(ParameterGrid(PAPER_SPACE.grid_levels()))[:30]
    assert [dict(p.config) for p in proposals] == [{name: e[name] for name in PAPER_SPACE} for e in expected]


def test_shuffled_it_visits_every_point_once(tmp_path: Path) -> None:
    proposals = played("grid", CONDITIONAL, tmp_path, settings={"order": "shuffled"}, trials=100)
    assert len(proposals) == 3 * 2 + 4, "combinations that differ only in inactive parameters are one point"
    assert len({json.dumps(dict(p.config)) for p in proposals}) == len(proposals)


def test_shuffled_different_seeds_give_different_orders(tmp_path: Path) -> None:
    CHECKS["different_seeds_give_different_proposals"].run(Subject(find("grid"), {"order": "shuffled"}), tmp_path)
