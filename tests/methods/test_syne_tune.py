"""Syne Tune: trials stop at rungs, settings that cannot work are refused, and BOHB's model starts early enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asked import asked, built
from made import made_study
from tuneoff.core.problem import Epoch
from tuneoff.core.space import PAPER_SPACE
from tuneoff.methods.registry import find


def should_continue(method: Any, trial: int, number: int, accuracy: float) -> bool:
    return method.should_continue(trial, Epoch(number, {"val_accuracy": accuracy}, 1.0))


def test_trials_are_stopped_only_at_rungs(tmp_path: Path) -> None:
    method = built("bohb", PAPER_SPACE, tmp_path)
    for trial in range(6):
        asked(method)
        assert should_continue(method, trial, 1, 0.9)
        assert should_continue(method, trial, 2, 0.9)
        assert should_continue(method, trial, 3, 0.95)
    asked(method)
    assert not should_continue(method, 6, 1, 0.1), "worse than two of three at the first rung"
    asked(method)
    assert should_continue(method, 7, 1, 0.96)
    assert should_continue(method, 7, 2, 0.1), "two epochs are no rung"
    assert not should_continue(method, 7, 3, 0.1)


def test_bohbs_model_starts_with_one_configuration_more_than_the_number_of_parameters(tmp_path: Path) -> None:
    method: Any = built("bohb", PAPER_SPACE, tmp_path)
    assert method._scheduler.searcher.searcher_kwargs["num_min_data_points"] == len(PAPER_SPACE) + 1


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("asha-cqr", {"grace_period": 10}, "grace_period = 10 must be at most epochs_per_trial = 9"),
        ("bohb", {"grace_period": 10}, "grace_period = 10 must be at most epochs_per_trial = 9"),
        ("bohb", {"num_min_data_points": 7}, "num_min_data_points = 7 must be larger than the number of parameters, 7"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    spec = find(name)
    (refusal,) = spec.refusals(made_study(), spec.settings_model()(**settings))
    assert said in refusal
