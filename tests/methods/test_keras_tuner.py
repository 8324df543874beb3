"""KerasTuner: the grid uses the levels of the space, the model learns, and several trials may be in flight."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asked import asked, built, searched, told
from made import made_study
from played import played
from tuneoff.contract.harness import Subject
from tuneoff.core.problem import Done, Limits, Wait
from tuneoff.core.space import PAPER_SPACE, Config, Space
from tuneoff.methods.keras_tuner import _encode, kerastuners_seed
from tuneoff.methods.registry import find

CONDITIONAL = {
    "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
    "momentum": {"type": "float", "low": 0.1, "high": 0.9, "grid_points": 3, "when": {"optimizer": ["SGD"]}},
    "depth": {"type": "int", "low": 1, "high": 9, "grid_points": 3},
    "skip": {"type": "categorical", "values": [True, False], "when": {"depth": [2, 5]}},
}


@pytest.mark.parametrize("in_flight", [1, 3])
def test_the_grid_visits_every_point_of_a_conditional_space_once(in_flight: int, tmp_path: Path) -> None:
    method = built("keras-tuner-grid", CONDITIONAL, tmp_path, in_flight=in_flight)
    configs: list[Config] = []
    open_: list[tuple[int, Any]] = []
    while not isinstance(answer := method.ask(), Done):
        if not isinstance(answer, Wait):
            open_.append((len(configs), answer))
            configs.append(answer.config)
        if isinstance(answer, Wait) or len(open_) == in_flight:
            told(method, *open_.pop(0), loss=0.5)
    assert len({json.dumps(dict(c)) for c in configs}) == len(configs) == (3 + 1) * (1 + 2 + 1), "skip is active only at depth 5"


def test_a_grid_without_levels_is_refused() -> None:
    study = made_study(space={"x": {"type": "float", "low": 0.0, "high": 1.0}}, methods=["random"])
    spec = find("keras-tuner-grid")
    assert spec.refusals(study, spec.settings_model()()) == [
        "keras-tuner-grid needs step or grid_points on every range of the space: add one of them to x."
    ]


def test_seeds_that_differ_by_the_number_of_values_repeat_configurations_in_kerastuner_but_not_in_tuneoff(tmp_path: Path) -> None:
    from keras_tuner import Objective, oracles

    def theirs(seed: int) -> list[Config]:
        oracle = oracles.RandomSearchOracle(objective=Objective("loss", "min"), seed=seed, hyperparameters=_encode(PAPER_SPACE))
        return [oracle.populate_space(str(number))["values"] for number in range(6)]

    def ours(seed: int) -> list[Config]:
        subject = Subject(find("keras-tuner-random"))
        return [p.config for p in subject.search(tmp_path, PAPER_SPACE, Limits(trials=6), seed).proposals]

    values = len(PAPER_SPACE)
    assert theirs(1)[1:] == theirs(1 + values)[:-1]
    seeds = range(3 * values)
    drawn = [json.dumps(dict(config)) for seed in seeds for config in ours(seed)]
    assert len(set(drawn)) > 0.9 * len(drawn)


def test_kerastuners_seeds_are_far_apart_and_never_0() -> None:
    seeds = [kerastuners_seed(seed) for seed in [*range(2000), 2**31, 2**32 - 1, 2**64]]
    assert min(seeds) >= 1
    assert max(seeds) < 2**32, "numpy does not allow larger seeds"
    assert min(b - a for a, b in pairwise(sorted(seeds[:2000]))) == 1_000_003


def test_bayes_concentrates_on_good_configurations(tmp_path: Path) -> None:
    space = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in "xy"}

    def bowl(config: Config) -> float:
        return (float(config["x"]) - 0.3) ** 2 + (float(config["y"]) - 0.7) ** 2

    configs = searched(built("keras-tuner-bayes", space, tmp_path, num_initial_points=5, beta=0.1), 7, bowl)
    assert min(bowl(c) for c in configs[5:]) < min(bowl(c) for c in configs[:5])


@pytest.mark.parametrize("name", ["keras-tuner-random", "keras-tuner-hyperband", "keras-tuner-bayes"])
def test_trials_in_flight_are_different_ones(name: str, tmp_path: Path) -> None:
    """An oracle allows one trial per tuner. Asked again by the same tuner, it would return the same trial."""
    method = built(name, PAPER_SPACE, tmp_path, in_flight=3)
    proposals = [asked(method) for _ in range(3)]
    assert len({json.dumps(dict(p.config)) for p in proposals}) == 3
    told(method, 1, proposals[1], 0.5)
    told(method, 0, proposals[0], None)
    assert asked(method).config not in [p.config for p in proposals]


def test_hyperband_proposes_the_brackets_of_kerastuner(tmp_path: Path) -> None:
    """With max_epochs 10 and factor 3: 12, 4 and 2 trials of 2, 2 and 6 new epochs; 6 and 2 trials of 4 and 6; 4 trials of 10."""
    proposals = played("hyperband", PAPER_SPACE, tmp_path, 10, {"hyperband_iterations": 1}, trials=100)
    rungs = [(p.target_epoch, 0 if p.parent is None else proposals[p.parent].target_epoch) for p in proposals]
    assert rungs == [(2, 0)] * 12 + [(4, 2)] * 4 + [(10, 4)] * 2 + [(4, 0)] * 6 + [(10, 4)] * 2 + [(10, 0)] * 4
    assert sum(target - first for target, first in rungs) == 120


def test_random_draws_without_repeats_until_the_space_is_used_up(tmp_path: Path) -> None:
    tiny = Space.model_validate({"a": {"type": "categorical", "values": [1, 2, 3]}, "b": {"type": "int", "low": 1, "high": 2}})
    configs = [json.dumps(dict(p.config)) for p in played("random", tiny, tmp_path, trials=50)]
    assert len(set(configs)) == len(configs) <= 6
