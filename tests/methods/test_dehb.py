"""DEHB: it uses the rungs of Hyperband, and a configuration that is proposed again for more epochs resumes its trial."""

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


def test_a_configuration_that_is_proposed_again_for_more_epochs_resumes_its_trial(tmp_path: Path) -> None:
    proposals = played("dehb", PAPER_SPACE, tmp_path, 9, epochs=120)
    continued = [(p, proposals[p.parent]) for p in proposals if p.parent is not None]
    assert continued
    assert all(dict(p.config) == dict(parent.config) and p.target_epoch > parent.target_epoch for p, parent in continued)


def test_a_failed_configuration_is_not_promoted(tmp_path: Path) -> None:
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
    assert spec.refusals(study, spec.settings_model()()) == ["dehb: min_epochs = 1 must be smaller than epochs_per_trial = 1."]
