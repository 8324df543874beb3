"""Syne Tune: rungs stop trials, settings that it would break on are refused, its BOHB models from the start it is given."""

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


def test_trials_are_stopped_at_rungs_and_nowhere_between(tmp_path: Path) -> None:
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


def test_bohbs_model_needs_one_configuration_more_than_there_are_parameters(tmp_path: Path) -> None:
    method: Any = built("bohb", PAPER_SPACE, tmp_path)
    assert method._scheduler.searcher.searcher_kwargs["num_min_data_points"] == len(PAPER_SPACE) + 1


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("asha-cqr", {"grace_period": 10}, "need grace_period at most epochs_per_trial, and 10 is more than 9"),
        ("bohb", {"grace_period": 10}, "need grace_period at most epochs_per_trial, and 10 is more than 9"),
        ("bohb", {"num_min_data_points": 7}, "needs num_min_data_points above the number of parameters, and 7 is not above 7"),
    ],
)
def test_settings_that_could_never_work_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    spec = find(name)
    (refusal,) = spec.refusals(made_study(), spec.settings_model()(**settings))
    assert said in refusal
