"""CatCMAwM: it receives whole generations, and parameters of mixed spaces keep their kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from asked import asked, built, searched, told
from made import made_study
from tuneoff.core.problem import Wait
from tuneoff.core.space import PAPER_SPACE, Config
from tuneoff.methods.registry import find

MIXED = {
    "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "units": {"type": "int", "low": 8, "high": 64, "step": 8},
    "width": {"type": "int", "low": 1, "high": 100, "log": True},
    "wide": {"type": "int", "low": 1, "high": 10**9},
    "two": {"type": "int", "low": 3, "high": 4},
    "kind": {"type": "categorical", "values": ["a", "b", "c"]},
    "same": {"type": "categorical", "values": ["only"]},
}


def far(config: Config) -> float:
    return abs(float(config["units"]) - 48) / 48 + (config["kind"] != "b") + (config["two"] != 4)


def test_the_parameters_of_a_mixed_space_keep_their_kinds(tmp_path: Path) -> None:
    method: Any = built("catcma", MIXED, tmp_path)
    assert [a.name for a in method._reals] == ["rate", "wide"], "a long range of integers is searched as a real number"
    assert [a.name for a in method._integers] == ["units", "width"]
    assert [a.name for a in method._categories] == ["two", "kind"], "the package advises a category for two values"
    configs = searched(method, 200, far)
    assert {c["two"] for c in configs} == {3, 4}
    assert np.mean([far(c) for c in configs[-20:]]) < 0.3 * np.mean([far(c) for c in configs[:20]])


def test_it_waits_for_its_generation_and_tells_it_as_a_whole(tmp_path: Path) -> None:
    method: Any = built("catcma", PAPER_SPACE, tmp_path, in_flight=4, population_size=4)
    proposals = [asked(method) for _ in range(4)]
    assert isinstance(method.ask(), Wait)
    for number in (3, 0, 2):
        told(method, number, proposals[number], 0.1 * number)
        assert isinstance(method.ask(), Wait)
    assert method._strategy.generation == 0
    told(method, 1, proposals[1], None)
    assert method._strategy.generation == 1
    assert asked(method)


def test_a_generation_without_any_loss_is_drawn_again(tmp_path: Path) -> None:
    method: Any = built("catcma", PAPER_SPACE, tmp_path, population_size=4)
    searched(method, 4, lambda config: None)
    assert method._strategy.generation == 0
    searched_on = asked(method)
    told(method, 4, searched_on, 0.5)
    assert len(method._losses) == 1


def test_losses_without_spread_keep_their_ranks(tmp_path: Path) -> None:
    """The package then computes NaN. The category of the one good trial must become likelier nevertheless."""
    space = {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "kind": {"type": "categorical", "values": ["a", "b"]},
    }
    method: Any = built("catcma", space, tmp_path, population_size=10)
    proposals = [asked(method) for _ in range(10)]
    good = next(n for n, p in enumerate(proposals) if p.config["kind"] == "b")
    for number, proposal in enumerate(proposals):
        told(method, number, proposal, 0.0 if number == good else 1.0)
    assert not np.isnan(method._strategy._q).any()
    assert not np.isnan(method._strategy._mean).any()
    assert method._strategy.generation == 1


def test_a_search_that_has_converged_restarts(tmp_path: Path) -> None:
    method: Any = built("catcma", {"x": {"type": "float", "low": 0.0, "high": 1.0}}, tmp_path)
    searched(method, 160, lambda config: 0.5)
    assert method._strategy.generation < 160 // method._strategy.population_size - 1


def test_a_space_of_categories_only_is_searched(tmp_path: Path) -> None:
    method: Any = built("catcma", {"kind": {"type": "categorical", "values": ["a", "b", "c"]}}, tmp_path)
    configs = searched(method, 120, lambda config: float(config["kind"] != "c"))
    assert [c["kind"] for c in configs[-40:]].count("c") > 24, "random draws have 13"


def test_a_space_in_which_nothing_varies_is_refused() -> None:
    study = made_study(space={"same": {"type": "categorical", "values": ["only"]}}, methods=["random"])
    spec = find("catcma")
    assert spec.refusals(study, spec.settings_model()()) == [
        "catcma needs a parameter with more than one value: add one to the space."
    ]
