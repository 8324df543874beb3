"""scikit-learn's successive halving: its rungs, promotions and their cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toy import Curve, toy_spec
from tuneoff.core.problem import Done, Limits, Problem
from tuneoff.core.record.state import reduce_events
from tuneoff.core.record.writer import Writer
from tuneoff.core.space import PAPER_SPACE
from tuneoff.core.store.journal import FileJournal
from tuneoff.core.study import ObjectiveSettings
from tuneoff.methods.sklearn_halving import Halving, HalvingSettings
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search


def searched(folder: Path, failing: tuple[int, ...] = (), max_epochs: int = 9, **settings: Any) -> tuple[Any, Any, Halving]:
    """Run a search to its end. Return its trials, its last event and the method."""
    method: Any = Halving(Problem(PAPER_SPACE, max_epochs, 0, folder), HalvingSettings.model_validate(settings))
    method.seconds = 0.0
    record = Writer(FileJournal(folder / "log"))
    record.open()
    spec = toy_spec(stop_rule=False, warm_start=True)
    Search(spec, method, Curve(failing=failing), record, Budget(Limits(epochs=60)), ObjectiveSettings(), NoCheckpoints()).run()
    record.close()
    found = reduce_events(record.events, "", "", 0)
    assert found.ended is not None
    return [t.trial for t in found.trials], found.ended, method


def test_a_third_of_each_rung_is_promoted_and_trained_from_the_start(tmp_path: Path) -> None:
    trials, ended, method = searched(tmp_path, rounds=1)
    assert [t.proposal.target_epoch for t in trials] == [1] * 9 + [3] * 3 + [9]
    assert all(t.proposal.parent is None for t in trials)
    assert sum(t.outcome.trained_epochs for t in trials) == 9 * 1 + 3 * 3 + 1 * 9
    best = sorted(trials[:9], key=lambda t: t.outcome.loss)[:3]
    assert {json.dumps(t.proposal.config) for t in trials[9:12]} == {json.dumps(t.proposal.config) for t in best}
    assert ended["reason"] == "all 1 rounds of successive halving are complete"
    assert method.resumable() == set()
    assert isinstance(method.ask(), Done)


def test_with_resume_a_promoted_trial_resumes_from_the_rung_below(tmp_path: Path) -> None:
    trials, _, _ = searched(tmp_path, rounds=1, resume=True)
    assert [t.proposal.parent is None for t in trials] == [True] * 9 + [False] * 4
    for trial in trials[9:]:
        parent = trials[trial.proposal.parent]
        assert parent.proposal.config == trial.proposal.config
        assert trial.first_epoch == parent.proposal.target_epoch
    assert sum(t.outcome.trained_epochs for t in trials) == 9 * 1 + 3 * 2 + 1 * 6


def test_rounds_with_new_draws_follow_until_the_budget_ends(tmp_path: Path) -> None:
    trials, ended, _ = searched(tmp_path)
    assert [t.proposal.target_epoch for t in trials[13:22]] == [1] * 9, "the second round"
    first, second = ([json.dumps(t.proposal.config) for t in trials[a : a + 9]] for a in (0, 13))
    assert first != second
    assert ended["left"]["epochs"] < 9


def test_a_rung_in_which_all_trials_fail_does_not_end_the_search(tmp_path: Path) -> None:
    trials, _, _ = searched(tmp_path, failing=tuple(range(9)), rounds=1, resume=True)
    assert [t.proposal.target_epoch for t in trials] == [1] * 9 + [3] * 3 + [9]
    assert all(t.proposal.parent is None for t in trials[9:12]), "a failed trial has no weights to resume from"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n_candidates": "exhaust", "min_resources": "exhaust"}, "cannot both be exhaust"),
        ({"min_resources": 11}, "min_resources = 11 must be between 1 and epochs_per_trial = 10"),
        ({"n_candidates": 0}, "n_candidates = 0 must be at least 1"),
    ],
)
def test_settings_that_scikit_learn_would_refuse_are_refused_before_the_run(settings: dict[str, Any], sentence: str) -> None:
    from tuneoff.core.study import Study
    from tuneoff.methods.sklearn_halving import check

    study = Study.model_validate(
        {"name": "s", "datasets": ["mnist"], "methods": ["sklearn-halving"], "budget": {"epochs": 100, "epochs_per_trial": 10}}
    )
    (refusal,) = check(study, HalvingSettings.model_validate(settings))
    assert sentence in refusal
