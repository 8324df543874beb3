"""Steps whose work is on record already: a run that is started again for the missing cells passes over the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from made import made_study, write_evaluation, write_search
from tuneoff.components.evaluator import step as evaluator
from tuneoff.components.tuner import step as tuner
from tuneoff.core import layout
from tuneoff.core.prepared_data import Prepared
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import Evaluation, claim, read_prepared
from tuneoff.core.study import Study
from tuneoff.evaluation import evaluate as evaluating
from tuneoff.search import searches as tuning

CELL = ("mnist", "random")


@pytest.fixture
def study() -> Study:
    return made_study(datasets=["mnist"], methods=["random"], seeds=[0, 1])


@pytest.fixture
def store(study: Study, tmp_path: Path) -> FolderStore:
    """A store in which the study's one cell is at its end."""
    store = FolderStore(tmp_path / "store")
    claim(store, study)
    (cell,) = study.cells
    for seed in study.seeds:
        write_search(store, study, cell, seed)
    write_evaluation(store, study, cell)
    search, best = evaluating.incumbent(store, study, cell)
    name = layout.evaluation(*CELL) + "evaluation.json"
    found = Evaluation.model_validate_json(store.read(name))
    whole = found.model_copy(update={"seed": search.seed, "trial": best.trial.id, "epochs": study.budget.epochs_per_trial})
    store.write(name, whole.model_dump_json().encode())
    return store


@pytest.fixture
def data(tmp_path: Path) -> str:
    """What the steps read of prepared data before they train."""
    prepared = Prepared(
        name="mnist", source="built-in", input_shape=(28, 28, 1), classes=tuple("0123456789"), counts={"train": 48},
        class_counts={}, raw_sums={}, fingerprint="ab" * 32,
    )  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(prepared.model_dump_json())
    return str(tmp_path / "data")


class Untracked:
    """In the tracker's place, which has tests of its own."""

    waiting = 0

    def __init__(self, *arguments: Any) -> None:
        pass

    def deliver(self, *arguments: Any) -> int:
        return 0

    def deliver_evaluation(self, *arguments: Any) -> bool:
        return False

    def unsent_trials(self, *arguments: Any) -> int:
        return 0


def refuse(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("what is on record is done again")


def test_a_tuner_step_at_its_end_starts_no_worker_and_writes_no_event(
    study: Study, store: FolderStore, data: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("Worker", "HostedMethod", "Search"):
        monkeypatch.setattr(tuning, name, refuse)
    monkeypatch.setattr(tuning, "Tracker", Untracked)
    before = {name: store.read(name) for name in store.journals(layout.RECORD)}
    copies = tmp_path / "copies"
    figures = tuner.run(study.model_dump_json(), *CELL, store.uri, "", data, str(copies), None)
    assert figures["trials"] == 16
    assert {name: store.read(name) for name in before} == before
    assert (copies / "seed-1.jsonl").read_bytes() == before["record/mnist/random/seed-1.jsonl"]


def test_an_evaluator_step_at_its_end_trains_nothing(
    study: Study, store: FolderStore, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneoff.objectives.keras.evaluate.Retrainer", refuse)
    monkeypatch.setattr(evaluating, "Tracker", Untracked)
    before = store.read(layout.evaluation(*CELL) + "evaluation.json")
    found = evaluator.run(study.model_dump_json(), *CELL, store.uri, "", data, None, None)
    assert 0.8 < found["metrics"]["test_accuracy"] < 0.9
    assert store.read(layout.evaluation(*CELL) + "evaluation.json") == before


def test_data_that_kfp_had_in_its_cache_is_noted_in_a_new_store(
    study: Study, store: FolderStore, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "Tracker", Untracked)
    assert read_prepared(store, "mnist") is None
    tuner.run(study.model_dump_json(), *CELL, store.uri, "", data, None, None)
    found = read_prepared(store, "mnist")
    assert found is not None
    assert found.fingerprint == "ab" * 32
