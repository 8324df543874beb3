"""The checks of the contract find faults: each method with a broken promise fails the check of this promise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuneoff.contract import runner
from tuneoff.contract.checks import CHECKS, at_most, checks_of, distance_from_uniform
from tuneoff.contract.harness import (
    FULL,
    FULL_PROCESSES,
    FULL_SLOW,
    QUICK,
    QUICK_SLOW,
    QUICK_VERY_SLOW,
    Subject,
    size_for,
)
from tuneoff.contract.runner import Pace, Result, Verdict, check_method, judged, pace_of
from tuneoff.core.errors import StudyError
from tuneoff.methods.registry import find

BROKEN = {
    "Logarithmic": "first_draws_cover_the_whole_space",
    "Linear": "first_draws_cover_the_whole_space",
    "Bounded": "first_draws_cover_the_whole_space",
    "Narrow": "first_draws_cover_the_whole_space",
    "Fixed": "first_draws_cover_the_whole_space",
    "Walking": "first_draws_cover_a_space_of_lists",
    "Losing": "proposes_valid_configurations_in_the_papers_space",
    "Outside": "proposes_valid_configurations_in_the_papers_space",
    "Inactive": "proposes_only_active_parameters",
    "Extravagant": "proposes_valid_configurations_in_the_papers_space",
    "Seedless": "same_seed_gives_same_proposals_in_another_process",
    "Falsy": "same_seed_gives_same_proposals_in_another_process",
    "Mislabelled": "same_seed_gives_same_proposals_in_another_process",
    "Deaf": "different_seeds_give_different_proposals",
    "Counting": "different_seeds_give_different_proposals",
    "Lazy": "keeps_an_epoch_budget_to_the_epoch",
    "Wavering": "done_is_final_and_wait_needs_a_trial_in_flight",
    "Waiting": "done_is_final_and_wait_needs_a_trial_in_flight",
    "Fragile": "survives_first_trials_that_fail",
    "Forgetful": "a_killed_search_resumes_as_if_it_had_not_stopped",
    "Hurried": "a_search_killed_with_trials_in_flight_resumes_as_if_it_had_not_stopped",
    "Possessive": "resumes_only_trials_whose_weights_are_kept",
    "Serial": "handles_four_trials_in_flight_that_end_in_any_order",
    "Confused": "handles_four_trials_in_flight_that_end_in_any_order",
    "Perverse": "is_no_worse_than_random_search",
}


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its child processes import broken_methods."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"), prepend=os.pathsep)


def judge(name: str, check: str, folder: Path) -> Result:
    return judged(Subject(find(f"broken_methods:{name}")), CHECKS[check], folder)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_fails_its_check(name: str, tmp_path: Path) -> None:
    result = judge(name, BROKEN[name], tmp_path)
    assert result.verdict is Verdict.FAILED
    assert len(result.said) > 20


def test_a_walk_through_the_lists_fails_no_other_check(tmp_path: Path) -> None:
    others = [check for check in checks_of(find("broken_methods:Walking")) if check.name != BROKEN["Walking"]]
    assert [check.name for check in others if judge("Walking", check.name, tmp_path).verdict is Verdict.FAILED] == []


def test_a_sound_method_passes_every_check() -> None:
    pace, *results = check_method(find("broken_methods:Sound"), {}, QUICK, whole=False)
    assert isinstance(pace, Pace)
    assert 0 <= pace.seconds < 0.1
    assert [(r.check, r.said) for r in results if isinstance(r, Result) and r.verdict is not Verdict.PASSED] == []
    assert {r.check for r in results if isinstance(r, Result)} == {c.name for c in checks_of(find("broken_methods:Sound"))}


def test_a_method_that_is_not_available_here_is_refused_with_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"Method broken_methods:Absent cannot be checked here: its model is not in ~/models and could not be downloaded\.$"
    with pytest.raises(StudyError, match=said):
        list(check_method(find("broken_methods:Absent"), {}, QUICK, whole=False))
    monkeypatch.setattr("tuneoff.methods.spec.importable", lambda package: False)
    with pytest.raises(StudyError, match=r"Method dehb is not installed here: pip install 'tuneoff\[dehb\]'\.$"):
        list(check_method(find("dehb"), {}, QUICK, whole=False))


def test_a_method_without_support_for_conditions_must_refuse_them(tmp_path: Path) -> None:
    checks = {check.name for check in checks_of(find("broken_methods:Unconditional"))}
    assert "refuses_a_conditional_space" in checks
    assert "proposes_only_active_parameters" not in checks
    assert judge("Unconditional", "refuses_a_conditional_space", tmp_path).verdict is Verdict.PASSED
    assert judge("Sound", "refuses_a_conditional_space", tmp_path).verdict is Verdict.FAILED


def test_a_known_failure_is_excused_and_an_unexpected_pass_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = "different_seeds_give_different_proposals"
    for name in ("Deaf", "Sound"):
        monkeypatch.setattr(runner, "KNOWN", {(f"broken_methods:{name}", check): "for a reason"})
        result = judge(name, check, tmp_path)
        assert result.verdict is (Verdict.KNOWN if name == "Deaf" else Verdict.FAILED)
        assert "for a reason" in result.said


def test_every_check_has_a_method_that_breaks_it() -> None:
    by_another_test = {"refuses_a_conditional_space", "refuses_ranges_that_it_does_not_support"}
    alike = {"proposes_valid_configurations_in_a_mixed_space", "uses_up_a_trial_budget"}
    alike |= {"survives_first_trials_that_diverge", "survives_25_trials_that_all_fail"}
    assert set(CHECKS) - set(BROKEN.values()) == by_another_test | alike


def test_the_sizes_of_checks_depend_on_the_pace_of_the_method() -> None:
    quick, ray = find("optuna-tpe"), find("ray-asha")
    assert [size_for(quick, pace, FULL) for pace in (0.01, 0.2, 2.0)] == [FULL, FULL_SLOW, FULL_SLOW]
    assert [size_for(quick, pace, QUICK) for pace in (0.01, 0.2, 2.0)] == [QUICK, QUICK_SLOW, QUICK_VERY_SLOW]
    assert size_for(ray, 0.01, FULL) == FULL_PROCESSES


def test_the_pace_does_not_depend_on_other_processes_of_a_busy_machine(tmp_path: Path) -> None:
    pace = pace_of(Subject(find("broken_methods:Hesitant")), tmp_path)
    assert (pace.suggestions, size_for(find("optuna-tpe"), pace.seconds, QUICK)) == (QUICK.asks, QUICK)


def test_the_sign_test_and_the_distance_agree_with_textbooks() -> None:
    assert at_most(5, 20) == pytest.approx(0.0207, abs=1e-4)
    assert at_most(0, 8) == pytest.approx(1 / 256)
    assert distance_from_uniform([0.1, 0.3, 0.5, 0.7, 0.9]) == pytest.approx(0.1)
    assert distance_from_uniform([0.0] * 10) == 1.0
