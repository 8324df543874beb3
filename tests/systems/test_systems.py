"""Systems that train models of their own: how they are run, what is on record of them, and how they are judged."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

import nearest
from small import small_npz
from tuneoff.contract.harness import Subject
from tuneoff.contract.real_training import SYSTEM
from tuneoff.contract.runner import judged
from tuneoff.core import layout
from tuneoff.core.errors import CellFailed
from tuneoff.core.prepared_data import load_part
from tuneoff.core.record.state import SearchRecord, ended_under, read_search
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.open import open_store
from tuneoff.core.store.stop_request import Stopped
from tuneoff.core.store.study_store import read_study, read_system_model
from tuneoff.core.study import Dataset, MethodChoice, ObjectiveSettings, Split, Study
from tuneoff.data.prepare import prepare
from tuneoff.evaluation.evaluate import evaluate
from tuneoff.inspect.progress import cell_progress
from tuneoff.methods.registry import METHODS
from tuneoff.methods.spec import MethodSpec
from tuneoff.search.searches import tune
from tuneoff.systems.host import HostedSystem
from tuneoff.systems.protocol import Work
from tuneoff.workers.method_host import MethodFailed

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(Dataset(name="bars", path=str(small_npz(folder / "bars.npz"))), Split(), folder / "bars", lambda line: None)
    return folder / "bars"


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "nearest", "nearest:Nearest")
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"), prepend=os.pathsep)
        yield


def study_of(settings: dict[str, Any] | None = None, **budget: Any) -> Study:
    return Study.model_validate(
        {
            "name": "systems",
            "datasets": [{"name": "bars", "path": "bars.npz"}],
            "methods": [{"name": "nearest", "label": "own", "settings": settings or {}}],
            "budget": {"seconds": 60, **budget},
            "seeds": [3],
        }
    )


def run(study: Study, data: Path, root: Path, **changes: Any) -> FolderStore:
    store = FolderStore(root / "store")
    tune(study, study.cells[0], data, store, f"sqlite:///{root}/mlflow.db", report=lambda line: None, **changes)
    return store


def search_of(store: FolderStore) -> SearchRecord:
    return read_search(store, "bars", "own", 3)


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, FolderStore]:
    study = study_of()
    return study, run(study, data, tmp_path_factory.mktemp("done"))


def test_every_model_of_a_system_is_a_trial_with_a_configuration_of_its_own(done: tuple[Study, FolderStore]) -> None:
    search = search_of(done[1])
    assert search.is_system
    assert [t.status for t in search.trials] == ["completed", "failed", "completed"]
    assert [dict(t.trial.proposal.config) for t in search.trials] == [
        {"kind": "constant", "depth": 3},
        {"kind": "broken"},
        {"kind": "means", "options": '{"norm": 2}'},
    ]
    assert search.trials[1].trial.outcome is not None
    assert search.trials[1].trial.outcome.reason == "ValueError: no such kind"
    assert search.ended is not None
    assert search.ended["reason"] == "nearest ended by itself after 3 models"
    assert search.incumbent is not None
    assert search.incumbent.trial.id == 2
    assert 0 < search.spent.seconds <= 60


def test_its_best_model_is_kept_and_scored_on_the_test_images_as_it_is(
    done: tuple[Study, FolderStore], data: Path, tmp_path: Path
) -> None:
    study, store = done
    note = read_system_model(store, "bars", "own", 3)
    assert note is not None
    assert note.trial == 2
    found = evaluate(study, study.cells[0], data, store, f"sqlite:///{tmp_path}/m.db", report=lambda line: None)
    x, y = load_part(data, "test")
    means = np.stack([load_part(data, "train")[0][np.asarray(load_part(data, "train")[1]) == k].mean(axis=0) for k in range(3)])
    expected = float(np.mean(np.argmax(nearest._softmax(means, x), axis=1) == np.asarray(y)))
    assert not found.retrained
    assert [r.test_accuracy for r in found.retrainings] == [expected]
    assert (found.trial, found.epochs) == (2, 0)
    assert sum(map(sum, found.confusion)) == len(x)
    again = evaluate(study, study.cells[0], data, store, f"sqlite:///{tmp_path}/m.db", report=lambda line: None)
    assert again.evaluated_at == found.evaluated_at


def test_its_best_model_lies_on_s3_like_all_else(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        study, store, uri = study_of(), open_store("s3://bucket/study"), f"sqlite:///{tmp_path}/mlflow.db"
        tune(study, study.cells[0], data, store, uri, report=lambda line: None)
        found = evaluate(study, study.cells[0], data, store, uri, report=lambda line: None)
    finally:
        moto.stop()
    assert (found.trial, found.retrained) == (2, False)
    assert found.retrainings[0].test_accuracy > 0.9


def test_a_model_that_is_gone_is_said_to_be_gone(done: tuple[Study, FolderStore], data: Path, tmp_path: Path) -> None:
    study, store = done
    place = layout.system("bars", "own", 3) + "model.json"
    note = store.read(place)
    store.delete(place)
    store.delete(layout.evaluation("bars", "own") + "evaluation.json")
    with pytest.raises(CellFailed, match="the model of trial 2 of seed 3 is missing from"):
        evaluate(study, study.cells[0], data, store, f"sqlite:///{tmp_path}/m.db", report=lambda line: None)
    store.write(place, note)


def test_a_finished_system_is_not_run_again_whatever_trials_and_epochs_are_added(
    done: tuple[Study, FolderStore], data: Path
) -> None:
    study, store = done
    before = search_of(store)
    assert ended_under(before.ended, study_of(trials=5, epochs=500).budget.limits)
    assert not ended_under(before.ended, study_of(seconds=90).budget.limits)
    run(study, data, store.root.parent)
    assert search_of(store) == before
    shown = cell_progress(read_study(store), read_study(store).cells[0])
    assert shown.share == 1


@pytest.mark.parametrize(("then", "why"), [("die", "ended by signal 9"), ("raise", "ValueError: out of ideas")])
def test_a_system_that_did_not_end_is_begun_anew_and_what_it_had_recorded_loses_its_score(
    then: str, why: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(CellFailed, match=why):
        run(study_of({"then": then}), data, tmp_path)
    store = FolderStore(tmp_path / "store")
    assert [t.status for t in search_of(store).trials] == ["completed", "failed"]
    store.delete(layout.STUDY)  # another setting is another study
    run(study_of(), data, tmp_path)
    search = search_of(store)
    assert [t.status for t in search.trials] == ["completed", "failed", "completed", "failed", "completed"]
    lost = search.trials[0].trial.outcome
    assert lost is not None
    assert lost.loss is None
    assert lost.reason == "the system was ended before its end and begun anew: this model is lost"
    assert len(lost.curve) == 1, "what was measured stays"
    assert search.incumbent is not None
    assert search.incumbent.trial.id == 4
    note = read_system_model(store, "bars", "own", 3)
    assert note is not None
    assert note.trial == 4


def test_a_system_is_stopped_on_request(data: Path, tmp_path: Path) -> None:
    looks = itertools.count()
    with pytest.raises(Stopped):
        run(study_of({"then": "hang"}), data, tmp_path, stopping=lambda: next(looks) > 8)


def test_a_system_that_runs_far_over_its_time_is_ended(data: Path, tmp_path: Path) -> None:
    work = Work(data, ObjectiveSettings(), 0.5, 0, 1, tmp_path)
    system = HostedSystem(nearest.SPEC, {"then": "hang"}, work, tmp_path / "log")
    with pytest.raises(MethodFailed, match=r"nearest had 0\.5 s and has not ended 2 s after them"):
        list(system.trials(2.0, lambda: False))


def test_the_contract_of_a_system_is_that_it_trains_and_that_its_best_model_predicts_in_another_process(tmp_path: Path) -> None:
    def said(spec: MethodSpec, then: str) -> str:
        folder = tmp_path / f"{spec.target[8:]}-{then}"
        folder.mkdir()
        return judged(Subject(spec, {"then": then}), SYSTEM, folder).said

    assert said(nearest.SPEC, "end") == ""
    assert "ended by signal 9" in said(nearest.SPEC, "die")
    assert re.search(r"the best model has a recorded accuracy of \S+, but the saved model has 0\.\d+", said(careless(), "end"))


def careless() -> MethodSpec:
    return replace(nearest.SPEC, target="nearest:Careless")


def test_validate_says_what_a_system_needs() -> None:
    def refusals(**changes: Any) -> list[str]:
        return nearest.SPEC.refusals(study_of().model_copy(update=changes), nearest.Settings())

    limited = study_of(seconds=None, trials=3).budget
    assert refusals() == []
    assert refusals(budget=limited) == [
        "nearest trains its own models, whose epochs do not compare with those of other methods: give budget.seconds."
    ]
    assert "give split.validation, not split.folds" in refusals(split=Split(folds=3))[0]
    assert "only with the direction max" in refusals(objective=study_of().objective.model_copy(update={"direction": "min"}))[0]
    assert MethodChoice(name="nearest", label="own").settings == {}
