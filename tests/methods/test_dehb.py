"""DEHB: its rungs are Hyperband's, a configuration that comes again at more epochs continues the earlier trial."""

from __future__ import annotations

from pathlib import Path

from asked import asked, built, told
from made import made_study
from played import played
from tuneoff.core.space import PAPER_SPACE
from tuneoff.methods.registry import find


def test_its_rungs_are_a_factor_apart(tmp_path: Path) -> None:
    proposals = played("dehb", PAPER_SPACE, tmp_path, 9, epochs=120)
    assert {p.target_epoch for p in proposals} == {1, 3, 9}
    assert [p.target_epoch for p in proposals[:9]] == [1] * 9, "its first bracket's first rung"


def test_what_comes_again_at_more_epochs_continues_and_is_not_another_configuration(tmp_path: Path) -> None:
    proposals = played("dehb", PAPER_SPACE, tmp_path, 9, epochs=120)
    continued = [(p, proposals[p.parent]) for p in proposals if p.parent is not None]
    assert continued
    assert all(dict(p.config) == dict(parent.config) and p.target_epoch > parent.target_epoch for p, parent in continued)


def test_a_failed_configuration_does_not_go_up(tmp_path: Path) -> None:
    method = built("dehb", PAPER_SPACE, tmp_path)
    first = [asked(method) for _ in range(9)]
    for number, proposal in enumerate(first):
        told(method, number, proposal, None if number < 7 else 0.5)
    following = [asked(method) for _ in range(2)]
    failed = [dict(p.config) for p in first[:7]]
    assert not [p for p in following if p.parent is not None and dict(p.config) in failed]


def test_a_single_rung_is_refused() -> None:
    spec = find("dehb")
    study = made_study(methods=["dehb"], budget={"trials": 8, "epochs_per_trial": 1})
    assert spec.refusals(study, spec.settings_model()()) == [
        "dehb needs min_epochs below epochs_per_trial, and 1 is not below 1."
    ]
