"""FLAML's searchers: their start, suggestions without a configuration, and their end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asked import asked, built, searched, told
from made import made_study
from tuneoff.core.problem import Done, Wait
from tuneoff.core.space import PAPER_SPACE, Config
from tuneoff.methods.registry import find

METHODS = ["flaml-cfo", "flaml-blendsearch"]


def small(config: Config) -> float:
    return float(config["filters1"]) / 128 + float(config["dropout"])


@pytest.mark.parametrize("name", METHODS)
def test_it_starts_at_the_cheap_configuration(name: str, tmp_path: Path) -> None:
    cheap = {"filters1": 16, "filters2": 16, "neurons": 64, "optimizer": "RMSprop"}
    first = asked(built(name, PAPER_SPACE, tmp_path, low_cost_partial_config=cheap)).config
    assert {name: first[name] for name in cheap} == cheap


@pytest.mark.parametrize("name", METHODS)
def test_it_concentrates_on_good_configurations(name: str, tmp_path: Path) -> None:
    configs = searched(built(name, PAPER_SPACE, tmp_path), 40, small)
    assert sum(small(c) for c in configs[20:]) < sum(small(c) for c in configs[:20])


@pytest.mark.parametrize("name", METHODS)
def test_a_suggestion_of_none_is_asked_again_and_no_configuration_is_repeated(name: str, tmp_path: Path) -> None:
    space = {"a": {"type": "categorical", "values": ["x", "y", "z"]}, "b": {"type": "int", "low": 1, "high": 4}}
    method: Any = built(name, space, tmp_path)
    configs = []
    while not isinstance(answer := method.ask(), Done):
        told(method, len(configs), answer, float(answer.config["b"]))
        configs.append(str(answer.config))
    assert answer.reason == "FLAML's searcher has no new configuration"
    assert len(set(configs)) == len(configs) <= 12
    assert method._names > len(configs), "it was asked more often than it answered"


@pytest.mark.parametrize("name", METHODS)
def test_it_waits_for_trials_in_flight_if_it_has_no_new_configuration(name: str, tmp_path: Path) -> None:
    method: Any = built(name, {"b": {"type": "int", "low": 1, "high": 2}}, tmp_path, in_flight=5)
    answers = [method.ask() for _ in range(5)]
    assert isinstance(answers[-1], Wait)
    assert sum(not isinstance(a, Wait) for a in answers) in (1, 2)


def test_a_start_outside_of_the_space_is_refused() -> None:
    spec = find("flaml-cfo")
    settings = spec.settings_model().model_validate({"low_cost_partial_config": {"filters1": 17, "layers": 3}})
    assert spec.refusals(made_study(), settings) == [
        "flaml: low_cost_partial_config sets filters1 = 17, which is not in the space.",
        f"flaml: low_cost_partial_config names 'layers', but the parameters are {', '.join(PAPER_SPACE)}.",
    ]
