"""Ray Tune's methods, run by Ray: paused trials resume, exploiting trials copy weights and mutate, stopped trials end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toy import Curve, essence
from tuneoff.core.problem import Limits, Problem
from tuneoff.core.record.events import Event
from tuneoff.core.record.state import reduce_events, stages
from tuneoff.core.record.writer import Writer
from tuneoff.core.space import PAPER_SPACE
from tuneoff.core.store.journal import FileJournal, whole_lines
from tuneoff.core.study import ObjectiveSettings, Study
from tuneoff.methods.ray_tune import AshaSettings, PbtSettings, check_asha, check_pbt
from tuneoff.methods.registry import find
from tuneoff.search.budget import Budget
from tuneoff.search.checkpoints import NoCheckpoints
from tuneoff.search.loop import Search
from tuneoff.workers.method_host import HostedMethod


def searched(name: str, folder: Path, epochs: int, failing: tuple[int, ...] = (), **settings: Any) -> list[Event]:
    """Run a search of the paper's space, or resume it if the folder has a record."""
    folder.mkdir(exist_ok=True)
    (folder / "method").mkdir()
    record = Writer(FileJournal(folder / "log"))
    record.open()
    method = HostedMethod(name, settings, Problem(PAPER_SPACE, 9, 0, folder / "method"), folder / "method.log")
    try:
        Search(
            find(name),
            method,
            Curve(failing=failing),
            record,
            Budget(Limits(epochs=epochs)),
            ObjectiveSettings(),
            NoCheckpoints(),
        ).run()
    finally:
        method.close()
        record.close()
    return list(record.events)


def resumed(name: str, folder: Path, epochs: int, failing: tuple[int, ...] = (), **settings: Any) -> list[Event]:
    """Resume the search from the first half of its record."""
    lines = whole_lines((folder / "log").read_bytes())[0]
    again = folder / "again"
    again.mkdir()
    (again / "log").write_bytes(b"".join(line + b"\n" for line in lines[: len(lines) // 2]))
    return searched(name, again, epochs, failing, **settings)


def test_pbt_copies_weights_mutates_only_allowed_parameters_and_resumes_after_a_kill(tmp_path: Path) -> None:
    whole = searched("ray-pbt", tmp_path, 60, failing=(1,), population=4, perturbation_interval=3)
    trials = {t.trial.id: t for t in reduce_events(whole, "", "", 0).trials}
    changed = [t.trial for t in trials.values() if len(stages(t.trial, trials)) > 1]
    assert changed, "some trial exploits another"
    for trial in changed:
        assert trial.first_epoch in (3, 6)
        assert trial.proposal.parent is not None
        parent = trials[trial.proposal.parent].trial.proposal.config
        kept = set(PAPER_SPACE) - {"dropout", "learning_rate"}
        assert {n: parent[n] for n in kept} == {n: trial.proposal.config[n] for n in kept}
    assert all(t.trial.proposal.parent != 1 for t in trials.values()), "a failed trial has no weights"
    assert essence(resumed("ray-pbt", tmp_path, 60, failing=(1,), population=4, perturbation_interval=3)) == essence(whole)


def test_asha_stops_trials_at_its_rungs_and_resumes_after_a_kill(tmp_path: Path) -> None:
    whole = searched("ray-asha", tmp_path, 60, failing=(2,), reduction_factor=3)
    ends = [(e["status"], e["trained_epochs"]) for e in whole if e["event"] == "told"]
    assert ends[2] == ("failed", 0)
    assert {n for status, n in ends if status == "stopped"} == {1, 3}
    assert ("completed", 9) in ends
    assert essence(resumed("ray-asha", tmp_path, 60, failing=(2,), reduction_factor=3)) == essence(whole)


def test_hyperband_fills_its_brackets_and_resumes_paused_trials(tmp_path: Path) -> None:
    """With 9 epochs and factor 3: 3 trials of 9; 5 of 3, of which 2 resume to 9; 9 of 1, of which 3 resume to 3, and 1 to 9."""
    events = searched("ray-hyperband", tmp_path, 85)
    first = [(e["target_epoch"], e["parent"] is not None) for e in events if e["event"] == "asked"][:23]
    assert sorted(first) == sorted(
        [(9, False)] * 3 + [(3, False)] * 5 + [(9, True)] * 2 + [(1, False)] * 9 + [(3, True)] * 3 + [(9, True)]
    )


def study(**changes: Any) -> Study:
    sections = {"name": "s", "datasets": ["mnist"], "methods": ["ray-pbt"], "budget": {"epochs": 100, "epochs_per_trial": 10}}
    return Study.model_validate(sections | changes)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mutate": ["filters1"]}, "mutate must not name filters1, because copied weights would no longer fit"),
        ({"mutate": ["momentum"]}, "mutate names 'momentum', but the parameters are dropout, activation"),
        ({"mutate": []}, "no parameter may change during training: name at least one of dropout"),
        ({"perturbation_interval": 10}, "perturbation_interval = 10 must be less than epochs_per_trial = 10"),
    ],
)
def test_pbt_refuses_parameters_that_cannot_change_during_training(settings: dict[str, Any], sentence: str) -> None:
    (refusal,) = check_pbt(study(), PbtSettings.model_validate(settings))
    assert refusal.startswith("ray-pbt: ")
    assert sentence in refusal


def test_pbt_needs_mutate_for_a_user_defined_model() -> None:
    own = study(model="mine:build")
    (refusal,) = check_pbt(own, PbtSettings())
    assert "list in mutate which of dropout" in refusal
    assert check_pbt(own, PbtSettings(mutate=["learning_rate"])) == []


def test_asha_refuses_a_grace_period_above_a_full_training() -> None:
    (refusal,) = check_asha(study(), AshaSettings(grace_period=11))
    assert refusal == "ray-asha: grace_period = 11 must be at most epochs_per_trial = 10."
