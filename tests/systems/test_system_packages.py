"""FLAML, H2O and AutoKeras on a little data: each model a trial, the best one kept and asked again in another process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small import small_npz
from tuneoff.core.errors import StudyError
from tuneoff.core.prepared_data import load_part
from tuneoff.core.runtime.extras import importable
from tuneoff.core.study import Dataset, ObjectiveSettings, Split, Study
from tuneoff.data.prepare import prepare
from tuneoff.methods.registry import find
from tuneoff.planning.plan import Extent, extent
from tuneoff.search.loop import loss_of
from tuneoff.study_file.required_packages import require_for
from tuneoff.systems.h2o_automl import _free_ports
from tuneoff.systems.host import HostedSystem
from tuneoff.systems.protocol import SystemTrial, Work

pytestmark = pytest.mark.timeout(1800)
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="H2O needs Java, and no program java is found")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    file = small_npz(folder / "bars.npz", images=600)
    prepare(Dataset(name="bars", path=str(file)), Split(), folder / "bars", lambda line: None)
    return folder / "bars"


def searched(
    name: str, seconds: float, metric: Any, data: Path, folder: Path, settings: dict[str, Any] | None = None
) -> tuple[list[SystemTrial], Any]:
    """The system's trials, and what the first of the best says of the test images."""
    for place in ("work", "model"):
        (folder / place).mkdir()
    spec = find(name)
    system = HostedSystem(
        spec, settings or {}, Work(data, ObjectiveSettings(metric=metric), seconds, 1, 2, folder / "work"), folder / "log"
    )
    try:
        trials = list(system.trials(300, lambda: False))
        losses = [loss_of(ObjectiveSettings(metric=metric), t.curve) for t in trials]
        system.save(int(np.argmin(losses)), folder / "model")
    finally:
        system.close()
    np.save(folder / "images.npy", load_part(data, "test")[0])
    command = [sys.executable, "-m", "tuneoff.systems.predict", spec.target]
    subprocess.run([*command, folder / "model", folder / "images.npy", folder / "out.npy"], check=True, capture_output=True)
    return trials, np.load(folder / "out.npy")


def judged(trials: list[SystemTrial], probabilities: Any, data: Path) -> None:
    labels = np.asarray(load_part(data, "test")[1])
    assert trials
    assert all({"val_accuracy", "val_loss"} <= set(t.curve[0].metrics) for t in trials)
    assert all(t.seconds > 0 for t in trials)
    assert probabilities.shape == (len(labels), 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    assert np.mean(np.argmax(probabilities, axis=1) == labels) > 0.9, "bars are easy"


def test_flaml_tries_learners_and_keeps_its_best(data: Path, tmp_path: Path) -> None:
    trials, probabilities = searched("flaml", 4, "val_loss", data, tmp_path)
    assert {"learner", "images", "n_estimators"} <= set(trials[0].config)
    judged(trials, probabilities, data)


def test_flaml_refuses_a_learner_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find("flaml")
    study = Study.model_validate({"name": "s", "datasets": ["mnist"], "methods": ["flaml"], "budget": {"seconds": 9}})
    monkeypatch.setattr("tuneoff.systems.flaml_automl.importable", lambda name: name != "catboost")
    settings = spec.settings_model().model_validate({"estimator_list": ["lgbm", "catboost"]})
    assert spec.refusals(study, settings) == ["flaml's learner catboost needs the package catboost, which is not installed."]


@needs_java
def test_h2os_leaderboard_becomes_trials_and_its_server_ends(data: Path, tmp_path: Path) -> None:
    trials, probabilities = searched("h2o-automl", 15, "val_accuracy", data, tmp_path)
    assert all("algo" in t.config for t in trials)
    judged(trials, probabilities, data)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "work") not in listed, "the Java server has ended"


@pytest.mark.skipif(not importable("autokeras"), reason="AutoKeras has an environment of its own: make setup-autokeras")
def test_autokeras_tells_of_every_epoch_of_an_architecture(data: Path, tmp_path: Path) -> None:
    settings = {"epochs": 2, "max_trials": 1}
    trials, probabilities = searched("autokeras", 300, "val_accuracy", data, tmp_path, settings)
    assert [len(t.curve) for t in trials] == [2]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} == set(trials[0].curve[0].metrics)
    assert trials[0].config["image_block_1/block_type"] == "vanilla", "what AutoKeras tries first"
    judged(trials, probabilities, data)


def test_autokeras_refuses_an_objective_of_which_it_keeps_no_weights() -> None:
    spec = find("autokeras")
    sections = {"name": "s", "datasets": ["mnist"], "methods": ["autokeras"], "budget": {"seconds": 9}}
    study = Study.model_validate({**sections, "objective": {"epoch": "last"}})
    said = "autokeras keeps the weights of a model's best epoch: objective.epoch must be best."
    assert spec.refusals(study, spec.settings_model()()) == [said]


def test_h2o_takes_two_free_ports_side_by_side() -> None:
    port = _free_ports()
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", port))
        other.bind(("127.0.0.1", port + 1))


def test_without_java_h2o_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = find("h2o-automl")
    assert not spec.installed
    assert spec.remedy == "install what brings the program java, so that it is found in PATH"
    study = Study.model_validate({"name": "s", "datasets": ["mnist"], "methods": ["h2o-automl"], "budget": {"seconds": 9}})
    with pytest.raises(StudyError, match="Method h2o-automl needs java, which is not found here: install what brings"):
        require_for(study)


def test_the_plan_of_a_system_has_its_seconds_alone() -> None:
    study = Study.model_validate(
        {"name": "s", "datasets": ["mnist"], "methods": ["flaml"], "budget": {"seconds": 9, "trials": 3}}
    )
    assert extent(study, study.methods[0]) == Extent(None, None, "trains its own models for 9 s")
