"""hyperopt: conditions are nested choices, steps keep their ends, and the model learns from losses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asked import asked, built, searched, told
from tuneoff.core.space import PAPER_SPACE

METHODS = ["hyperopt-tpe", "hyperopt-anneal", "hyperopt-random"]
CONDITIONAL = {
    "optimizer": {"type": "categorical", "values": ["SGD", "RMSprop", "Adam"]},
    "momentum": {"type": "float", "low": 0.1, "high": 0.9, "when": {"optimizer": ["SGD", "RMSprop"]}},
    "nesterov": {"type": "categorical", "values": [True, False], "when": {"optimizer": ["SGD"]}},
    "decay": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "when": {"nesterov": [True]}},
    "layers": {"type": "int", "low": 1, "high": 3},
    "skip": {"type": "categorical", "values": [True, False], "when": {"layers": [2, 3]}},
    "both": {"type": "int", "low": 1, "high": 9, "when": {"optimizer": ["Adam"], "layers": [3]}},
}


@pytest.mark.parametrize("name", METHODS)
def test_hyperopt_draws_only_active_parameters(name: str, tmp_path: Path) -> None:
    method: Any = built(name, CONDITIONAL, tmp_path)
    configs = searched(method, 40, lambda config: float(len(config)))
    drawn = [{k for k, v in t["misc"]["vals"].items() if len(v)} for t in method._trials.trials]
    native = {"optimizer", "momentum", "nesterov", "decay", "layers"}
    assert [d & native for d in drawn] == [set(c) & native for c in configs]
    assert {"decay" in c for c in configs} == {True, False}
    assert all({"skip", "both"} <= d for d in drawn), "hyperopt does not support their conditions"


def test_every_step_and_integer_is_drawn_equally_often_including_both_ends(tmp_path: Path) -> None:
    space = {
        "units": {"type": "int", "low": 8, "high": 30, "step": 8},
        "rate": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.5},
        "depth": {"type": "int", "low": 1, "high": 4},
    }
    configs = searched(built("hyperopt-random", space, tmp_path), 400, lambda config: 0.0)
    for name, values in {"units": [8, 16, 24], "rate": [0.0, 0.5, 1.0], "depth": [1, 2, 3, 4]}.items():
        counts = Counter(c[name] for c in configs)
        assert sorted(counts) == values
        assert min(counts.values()) > 0.7 * 400 / len(values)


def test_tpe_concentrates_on_good_configurations(tmp_path: Path) -> None:
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "kind": {"type": "categorical", "values": ["a", "b", "c", "d"]}}
    method = built("hyperopt-tpe", space, tmp_path, n_startup_jobs=10)
    configs = searched(method, 60, lambda config: abs(float(config["x"]) - 0.3) + (config["kind"] != "b"))
    assert Counter(c["kind"] for c in configs[30:])["b"] > 11, "a random search takes 7 or 8 of 30"


@pytest.mark.parametrize("name", METHODS)
def test_trials_in_flight_may_end_in_any_order(name: str, tmp_path: Path) -> None:
    method: Any = built(name, PAPER_SPACE, tmp_path, in_flight=3)
    proposals = [asked(method) for _ in range(3)]
    for number, loss in ((2, 0.5), (0, None), (1, 0.25)):
        told(method, number, proposals[number], loss)
    assert method._trials.losses() == [None, 0.25, 0.5]
    assert asked(method).config
