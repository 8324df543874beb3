"""Hyperband of KerasTuner today, of KerasTuner until 2022, and of the paper: each difference has one test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asked import asked, told
from played import played
from tuneoff.core.problem import Done, Inherit, Method, Outcome, Problem, Proposal, Status, Trial, Wait
from tuneoff.core.space import PAPER_SPACE, Space
from tuneoff.methods.hyperband_fixed import last_bracket, rung_epochs, rung_sizes, starts
from tuneoff.methods.registry import find

ONE_PASS = [(1, 0)] * 9 + [(3, 1)] * 3 + [(10, 3)] + [(3, 0)] * 5 + [(10, 3)] + [(10, 0)] * 3
"""The brackets of the paper for 10 epochs and factor 3: the last epoch of each trial and of its parent. They cost 74 epochs."""


def rungs(proposals: list[Proposal]) -> list[tuple[int, int]]:
    """Return the last epoch of each trial, and that of its parent (0 without one)."""
    return [(p.target_epoch, 0 if p.parent is None else proposals[p.parent].target_epoch) for p in proposals]


def cost(proposals: list[Proposal]) -> int:
    return sum(to - first for to, first in rungs(proposals))


def fixed(folder: Path, **limits: Any) -> list[Proposal]:
    return played("hyperband-fixed", PAPER_SPACE, folder, 10, **limits)


class TestKerasTunersPeculiarities:
    """The faults of hyperband-2020, and the settings that remove them."""

    def test_a_promoted_trial_inherits_nothing_unless_the_setting_says_so(self, tmp_path: Path) -> None:
        for settings, inherit in (({}, Inherit.NOTHING), ({"inherit": "state"}, Inherit.STATE)):
            proposals = played("hyperband-2020", PAPER_SPACE, tmp_path, 10, settings, trials=12, epochs=40)
            assert {p.inherit for p in proposals if p.parent is not None} == {inherit}

    def test_with_inherited_weights_it_equals_the_current_keras_tuner(self, tmp_path: Path) -> None:
        today = played("keras-tuner-hyperband", PAPER_SPACE, tmp_path, 10, epochs=120)
        assert played("hyperband-2020", PAPER_SPACE, tmp_path, 10, {"inherit": "best_weights"}, epochs=120) == today

    def test_its_rungs_are_larger_than_those_of_the_paper_of_hyperband(self, tmp_path: Path) -> None:
        def sizes(max_epochs: int, brackets: str) -> list[int]:
            settings = {"brackets": brackets, "hyperband_iterations": 1}
            found = rungs(played("hyperband-2020", PAPER_SPACE, tmp_path, max_epochs, settings, trials=100))
            return [found.count(rung) for rung in dict.fromkeys(found)]

        assert sizes(10, "keras-tuner") == [12, 4, 2 + 2, 6, 4], "12, 4, 2; then 6, 2; then 4"
        assert sizes(10, "li-2018") == [9, 3, 1 + 1, 5, 3], "9, 3, 1; then 5, 1; then 3"
        assert sizes(9, "keras-tuner") == [9, 3, 1 + 2, 5, 3], "a power of the factor hides the difference, except for one trial"

    def test_one_pass_of_all_brackets_pays_for_a_tenth_of_120_full_trials(self, tmp_path: Path) -> None:
        proposals = played("hyperband-2020", PAPER_SPACE, tmp_path, 10, {"hyperband_iterations": 1}, epochs=1200)
        assert cost(proposals) == 120
        assert sum(p.parent is None for p in proposals) == 22
        assert sum(p.target_epoch == 10 for p in proposals) == 8, "fewer than ten, so the ten best must include shorter ones"


class TestTheBracketsOfThePaper:
    def test_table_1_of_li_et_al(self) -> None:
        """R = 81, η = 3: 81, 34, 15, 8 and 5 configurations."""
        assert last_bracket(81, 3) == 4
        assert [starts(s, 4, 3) for s in (4, 3, 2, 1, 0)] == [81, 34, 15, 8, 5]
        assert rung_sizes(3, 34, 3) == [34, 11, 3, 1]
        assert rung_epochs(3, 81, 3) == [3, 9, 27, 81]

    @pytest.mark.parametrize(("max_epochs", "factor"), [(1, 3), (2, 2), (5, 2), (10, 3), (27, 3), (100, 4), (243, 3)])
    def test_every_rung_trains_further_than_the_one_below(self, max_epochs: int, factor: int) -> None:
        epochs = rung_epochs(last_bracket(max_epochs, factor), max_epochs, factor)
        assert epochs == sorted(set(epochs))
        assert (epochs[0], epochs[-1]) == (max(1, epochs[0]), max_epochs)

    def test_one_pass(self, tmp_path: Path) -> None:
        proposals = fixed(tmp_path, epochs=74)
        assert rungs(proposals) == ONE_PASS
        assert {p.inherit for p in proposals} == {Inherit.STATE}


class TestTheBudgetIsUsedUp:
    def test_the_papers_1200_epochs_to_the_last(self, tmp_path: Path) -> None:
        proposals = fixed(tmp_path, epochs=1200)
        assert cost(proposals) == 1200
        assert rungs(proposals)[: len(ONE_PASS)] == ONE_PASS

    @pytest.mark.parametrize("epochs", [10, 15, 23, 31, 50, 99, 121, 148])
    def test_less_than_a_full_training_is_left_and_every_bracket_ends_with_one(self, epochs: int, tmp_path: Path) -> None:
        proposals = fixed(tmp_path, epochs=epochs)
        assert epochs - 10 < cost(proposals) <= epochs
        last_start = max(i for i, p in enumerate(proposals) if p.parent is None)
        assert any(p.target_epoch == 10 for p in proposals[last_start:]), "the last bracket is not cut off"

    def test_a_budget_of_configurations_is_planned_too(self, tmp_path: Path) -> None:
        assert rungs(fixed(tmp_path, trials=5)) == [(3, 0)] * 5 + [(10, 3)]

    def test_epochs_that_failed_trials_did_not_use_are_spent_on_other_trials(self, tmp_path: Path) -> None:
        method = find("hyperband-fixed").build(Problem(PAPER_SPACE, 10, 0, tmp_path, epochs=20), {})
        for number in range(30):
            told(method, number, asked(method), None)
        assert isinstance(method.ask(), Proposal), "trials that cost nothing leave the budget unchanged"


class TestOnlyTrialsOfTheSameRungAreCompared:
    @pytest.fixture
    def method(self, tmp_path: Path) -> Method:
        return find("hyperband-fixed").build(Problem(PAPER_SPACE, 10, 0, tmp_path, in_flight=3), {})

    def test_only_the_best_trials_of_a_full_rung_are_promoted(self, method: Method) -> None:
        first = [asked(method) for _ in range(9)]
        for number, loss in enumerate([0.9, 0.1, 0.8, None, 0.2, 0.7, 0.3, 0.6, 0.5]):
            told(method, number, first[number], loss)
        second = [asked(method) for _ in range(3)]
        assert [p.parent for p in second] == [1, 4, 6]
        assert [p.config for p in second] == [first[i].config for i in (1, 4, 6)]
        for place, (loss, proposal) in enumerate(zip((0.4, 0.6, 0.5), second, strict=True)):
            end(method, 9 + place, proposal, 1, loss)
        assert asked(method).parent == 9, "worse than its parent, but the best of its rung"

    def test_a_rung_that_is_not_full_promotes_no_trial(self, method: Method) -> None:
        first = [asked(method) for _ in range(9)]
        for number in range(8):
            told(method, number, first[number], 0.1 * number)
        following = asked(method)
        assert (following.parent, following.target_epoch) == (None, 3), "the next bracket begins meanwhile"
        told(method, 8, first[8], 0.05)
        assert [asked(method).parent for _ in range(3)] == [0, 8, 1]

    def test_trials_that_may_still_be_promoted_are_resumable(self, method: Method) -> None:
        first = [asked(method) for _ in range(9)]
        for number in range(5):
            told(method, number, first[number], 1.0 - 0.1 * number)
        assert method.resumable() == {2, 3, 4}  # type: ignore[attr-defined]

    def test_a_rung_of_failures_ends_its_bracket(self, method: Method) -> None:
        first = [asked(method) for _ in range(9)]
        for number in range(9):
            told(method, number, first[number], None if number else 0.5)
        assert asked(method).parent == 0
        assert asked(method).parent is None, "one trial is promoted, and the other two places of the rung stay empty"


def end(method: Method, number: int, proposal: Proposal, first: int, loss: float) -> None:
    method.tell(Trial(number, proposal.parent or 0, proposal, first, Outcome(Status.COMPLETED, (), loss, 0.1)))


def test_the_same_seed_draws_the_same_configurations_in_all_four_methods(tmp_path: Path) -> None:
    """A difference between two of the methods is then not a matter of chance."""
    drawn = [
        [p.config for p in played(name, PAPER_SPACE, tmp_path, 9, trials=9, epochs=81) if p.parent is None][:9]
        for name in ("keras-tuner-random", "keras-tuner-hyperband", "hyperband-2020", "hyperband-fixed")
    ]
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]


def test_a_space_without_new_configurations_ends_the_search(tmp_path: Path) -> None:
    space = Space.model_validate({"a": {"type": "categorical", "values": [1, 2, 3, 4]}})
    method = find("hyperband-fixed").build(Problem(space, 10, 1, tmp_path), {})
    number = 0
    while not isinstance(answer := method.ask(), Done):
        assert not isinstance(answer, Wait)
        told(method, number, answer, 0.5)
        number += 1
    assert number == 4 + 3 + 1, "the rung has only the four existing configurations"
    assert method.ask() == answer
