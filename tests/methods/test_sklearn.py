"""scikit-learn: the draws of ParameterSampler, with and without replacement."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from asked import asked, built
from tuneoff.core.problem import Done

LISTS = {
    "kind": {"type": "categorical", "values": ["a", "b", "c"]},
    "units": {"type": "int", "low": 8, "high": 30, "step": 8},
}


def test_lists_are_drawn_without_replacement_as_in_scikit_learn(tmp_path: Path) -> None:
    method = built("sklearn-random", LISTS, tmp_path)
    assert len({str(asked(method).config) for _ in range(9)}) == 9
    assert isinstance(method.ask(), Done)


def test_lists_are_drawn_in_a_random_order_from_the_first_draw_on(tmp_path: Path) -> None:
    """For all points at once, ParameterSampler would use the order of the grid."""
    from sklearn.model_selection import ParameterSampler

    space = {name: {"type": "categorical", "values": list(range(6))} for name in "abc"}
    method = built("sklearn-random", space, tmp_path, seed=3)
    configs = [dict(asked(method).config) for _ in range(100)]
    assert configs == list(ParameterSampler({name: list(range(6)) for name in "abc"}, 100, random_state=3))
    assert all(len({c[name] for c in configs[:30]}) == 6 for name in "abc")


def test_lists_repeat_if_the_space_also_has_a_range_as_in_scikit_learn(tmp_path: Path) -> None:
    method = built("sklearn-random", {**LISTS, "x": {"type": "float", "low": 0.0, "high": 1.0}}, tmp_path)
    configs = [asked(method).config for _ in range(40)]
    assert len({(c["kind"], c["units"]) for c in configs[:12]}) < 12
    assert len({c["x"] for c in configs}) == 40


@pytest.mark.parametrize("log", [False, True])
def test_integers_reach_both_ends(log: bool, tmp_path: Path) -> None:
    method = built("sklearn-random", {"depth": {"type": "int", "low": 1, "high": 4, "log": log}}, tmp_path)
    counts = Counter(asked(method).config["depth"] for _ in range(300))
    assert sorted(counts) == [1, 2, 3, 4]
    assert (counts[1] > 2 * counts[4]) == log


def test_draws_work_for_a_grid_of_any_size(tmp_path: Path) -> None:
    space = {f"c{n}": {"type": "categorical", "values": list(range(100))} for n in range(20)}
    assert len(asked(built("sklearn-random", space, tmp_path)).config) == 20
