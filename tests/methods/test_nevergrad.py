"""Nevergrad: its optimizers, both ends of ranges, and the budget that it plans with."""

from __future__ import annotations

from pathlib import Path

import pytest

from asked import asked, built, searched, told
from tuneoff.core.space import PAPER_SPACE, Config

SPACE = {
    "depth": {"type": "int", "low": 1, "high": 3},
    "rate": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.5},
    "kind": {"type": "categorical", "values": ["a", "b", "c"]},
}


@pytest.mark.parametrize("optimizer", ["NGOpt", "PortfolioDiscreteOnePlusOne", "OnePlusOne", "DE", "PSO", "CMA"])
def test_every_optimizer_proposes_beyond_its_planned_budget(optimizer: str, tmp_path: Path) -> None:
    def far(config: Config) -> float:
        return float(config["depth"]) + (config["kind"] != "c")

    configs = searched(built("nevergrad-ngopt", SPACE, tmp_path, optimizer=optimizer, budget=30), 40, far)
    assert len(configs) == 40
    assert min(far(c) for c in configs) <= 2.0, "the mean of random draws is 2.7"


@pytest.mark.parametrize(("depth", "rate"), [(1, 0.0), (3, 1.0)])
def test_both_ends_are_reached(depth: int, rate: float, tmp_path: Path) -> None:
    def far(config: Config) -> float:
        return abs(float(config["depth"]) - depth) + abs(float(config["rate"]) - rate)

    assert min(far(c) for c in searched(built("nevergrad-ngopt", SPACE, tmp_path), 50, far)) == 0.0


def test_trials_in_flight_may_end_in_any_order(tmp_path: Path) -> None:
    method = built("nevergrad-ngopt", PAPER_SPACE, tmp_path, in_flight=3)
    proposals = [asked(method) for _ in range(3)]
    for number in (2, 0, 1):
        told(method, number, proposals[number], 0.1 * number)
    assert asked(method).config
