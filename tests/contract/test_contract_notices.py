"""The contract's checks notice what they are for: each broken promise fails the check of that promise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuneoff.contract import runner
from tuneoff.contract.checks import CHECKS, at_most, checks_of, distance_from_uniform
from tuneoff.contract.harness import DEAR, FULL, PATIENT, QUICK, SLOW, STARTING, Subject, size_for
from tuneoff.contract.runner import Pace, Result, Verdict, check_method, judged, pace_of
from tuneoff.core.errors import StudyError
from tuneoff.methods.registry import find

BROKEN = {
    "Logarithmic": "its_first_draws_come_from_the_whole_space",
    "Linear": "its_first_draws_come_from_the_whole_space",
    "Bounded": "its_first_draws_come_from_the_whole_space",
    "Narrow": "its_first_draws_come_from_the_whole_space",
    "Fixed": "its_first_draws_come_from_the_whole_space",
    "Walking": "its_first_draws_come_from_all_of_a_space_of_lists",
    "Losing": "proposes_what_the_papers_space_allows",
    "Outside": "proposes_what_the_papers_space_allows",
    "Inactive": "proposes_active_parameters_alone",
    "Extravagant": "proposes_what_the_papers_space_allows",
    "Seedless": "the_same_seed_proposes_the_same_in_another_process",
    "Falsy": "the_same_seed_proposes_the_same_in_another_process",
    "Mislabelled": "the_same_seed_proposes_the_same_in_another_process",
    "Deaf": "another_seed_proposes_others",
    "Counting": "another_seed_proposes_others",
    "Lazy": "an_epoch_budget_is_kept_to_the_epoch",
    "Wavering": "done_is_final_and_it_never_waits_for_nothing",
    "Waiting": "done_is_final_and_it_never_waits_for_nothing",
    "Fragile": "survives_first_trials_that_fail",
    "Forgetful": "a_killed_search_goes_on_as_if_it_had_not_stopped",
    "Hurried": "a_search_killed_with_trials_in_flight_goes_on_as_if_it_had_not_stopped",
    "Possessive": "continues_only_trials_whose_weights_are_kept",
    "Serial": "may_be_asked_four_times_before_it_is_told_in_another_order",
    "Confused": "may_be_asked_four_times_before_it_is_told_in_another_order",
    "Perverse": "is_no_worse_than_random_search",
}


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes find broken_methods, as this one does."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"), prepend=os.pathsep)


def judge(name: str, check: str, folder: Path) -> Result:
    return judged(Subject(find(f"broken_methods:{name}")), CHECKS[check], folder)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_noticed(name: str, tmp_path: Path) -> None:
    result = judge(name, BROKEN[name], tmp_path)
    assert result.verdict is Verdict.FAILED
    assert len(result.said) > 20


def test_a_walk_through_the_lists_was_seen_by_no_other_check(tmp_path: Path) -> None:
    others = [check for check in checks_of(find("broken_methods:Walking")) if check.name != BROKEN["Walking"]]
    assert [check.name for check in others if judge("Walking", check.name, tmp_path).verdict is Verdict.FAILED] == []


def test_a_sound_method_passes_every_check() -> None:
    pace, *results = check_method(find("broken_methods:Sound"), {}, QUICK, whole=False)
    assert isinstance(pace, Pace)
    assert 0 <= pace.seconds < 0.1
    assert [(r.check, r.said) for r in results if isinstance(r, Result) and r.verdict is not Verdict.PASSED] == []
    assert {r.check for r in results if isinstance(r, Result)} == {c.name for c in checks_of(find("broken_methods:Sound"))}


def test_a_method_that_cannot_be_had_here_is_refused_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = r"Method broken_methods:Absent cannot be checked here: its model is not in ~/models, and cannot be downloaded\.$"
    with pytest.raises(StudyError, match=said):
        list(check_method(find("broken_methods:Absent"), {}, QUICK, whole=False))
    monkeypatch.setattr("tuneoff.methods.spec.importable", lambda package: False)
    with pytest.raises(StudyError, match=r"Method dehb is not installed here: pip install 'tuneoff\[dehb\]'\.$"):
        list(check_method(find("dehb"), {}, QUICK, whole=False))


def test_a_method_that_knows_no_conditions_is_asked_to_refuse_them(tmp_path: Path) -> None:
    checks = {check.name for check in checks_of(find("broken_methods:Unconditional"))}
    assert "refuses_a_conditional_space" in checks
    assert "proposes_active_parameters_alone" not in checks
    assert judge("Unconditional", "refuses_a_conditional_space", tmp_path).verdict is Verdict.PASSED
    assert judge("Sound", "refuses_a_conditional_space", tmp_path).verdict is Verdict.FAILED


def test_a_known_failure_is_no_fault_and_an_unexpected_pass_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = "another_seed_proposes_others"
    for name in ("Deaf", "Sound"):
        monkeypatch.setattr(runner, "KNOWN", {(f"broken_methods:{name}", check): "it is as it is"})
        result = judge(name, check, tmp_path)
        assert result.verdict is (Verdict.KNOWN if name == "Deaf" else Verdict.FAILED)
        assert "it is as it is" in result.said


def test_every_check_has_a_method_that_breaks_it() -> None:
    by_another_test = {"refuses_a_conditional_space", "refuses_the_ranges_that_it_does_not_know"}
    alike = {"proposes_what_a_mixed_space_allows", "a_trial_budget_is_used_up"}
    alike |= {"survives_first_trials_that_diverge", "survives_25_trials_that_all_fail"}
    assert set(CHECKS) - set(BROKEN.values()) == by_another_test | alike


def test_a_method_is_asked_as_much_as_its_pace_allows() -> None:
    quick, ray = find("optuna-tpe"), find("ray-asha")
    assert [size_for(quick, pace, FULL) for pace in (0.01, 0.2, 2.0)] == [FULL, PATIENT, PATIENT]
    assert [size_for(quick, pace, QUICK) for pace in (0.01, 0.2, 2.0)] == [QUICK, SLOW, DEAR]
    assert size_for(ray, 0.01, FULL) == STARTING


def test_a_machine_that_is_busy_elsewhere_does_not_make_a_method_slow(tmp_path: Path) -> None:
    pace = pace_of(Subject(find("broken_methods:Hesitant")), tmp_path)
    assert (pace.suggestions, size_for(find("optuna-tpe"), pace.seconds, QUICK)) == (QUICK.asks, QUICK)


def test_the_sign_test_and_the_distance_are_the_textbooks() -> None:
    assert at_most(5, 20) == pytest.approx(0.0207, abs=1e-4)
    assert at_most(0, 8) == pytest.approx(1 / 256)
    assert distance_from_uniform([0.1, 0.3, 0.5, 0.7, 0.9]) == pytest.approx(0.1)
    assert distance_from_uniform([0.0] * 10) == 1.0
