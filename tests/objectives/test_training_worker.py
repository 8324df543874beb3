"""Training in a worker: the same seed gives the same curve wherever it is cut, and whatever a model does is an outcome."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small import small_npz
from tuneoff.core.problem import Checkpoint, Epoch, Inherit, Proposal, TrainingFailed, Trial
from tuneoff.core.study import Dataset, ObjectiveSettings, Split, Training
from tuneoff.data.prepare import prepare
from tuneoff.objectives.executor import WorkerDied
from tuneoff.objectives.keras.training_worker import Worker, Workplace

CONFIG = {"filters1": 4, "filters2": 4, "neurons": 16, "dropout": 0.2, "learning_rate": 0.01, "optimizer": "Adam"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare(Dataset(name="bars", path=str(small_npz(folder / "bars.npz"))), Split(), folder / "prepared", lambda line: None)
    for name in ("x_test.npy", "y_test.npy"):
        (folder / "prepared" / name).unlink()  # model selection never sees the test split: training must do without it
    return folder / "prepared"


@pytest.fixture(scope="module")
def worker(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(Workplace(data, "paper-cnn", Training(), ObjectiveSettings(), 1), tmp_path_factory.mktemp("log") / "worker.log")
    made.serve_search(7)
    yield made
    made.close()


def trial(number: int = 0, target: int = 3, first: int = 0, config: Any = None, **fields: Any) -> Trial:
    return Trial(number, number, Proposal(config or CONFIG, target, **fields), first)


def curve(epochs: Iterator[Epoch]) -> list[dict[str, float]]:
    return [dict(e.metrics) for e in epochs]


def test_a_trial_reports_four_metrics_an_epoch_and_learns(worker: Worker) -> None:
    epochs = list(worker(trial(), None))
    assert [e.number for e in epochs] == [1, 2, 3]
    assert all(set(e.metrics) == {"loss", "accuracy", "val_loss", "val_accuracy"} for e in epochs)
    assert epochs[-1].metrics["val_accuracy"] > 0.5, "chance is a third"
    assert all(e.seconds > 0 for e in epochs)
    assert worker.device == "cpu" or worker.device.startswith("gpu")
    assert worker.peak_memory_bytes is not None
    assert worker.peak_memory_bytes > 50_000_000


def test_the_same_trial_gives_the_same_curve_in_another_process_and_another_trial_another(
    worker: Worker, data: Path, tmp_path: Path
) -> None:
    first = curve(worker(trial(), None))
    assert curve(worker(trial(number=1), None)) != first
    other = Worker(Workplace(data, "paper-cnn", Training(), ObjectiveSettings(), 1), tmp_path / "log")
    other.serve_search(7)
    try:
        assert curve(other(trial(), None)) == first
    finally:
        other.close()


def test_a_training_that_is_cut_and_continued_from_its_state_goes_on_as_if_it_had_not_been_cut(
    worker: Worker, tmp_path: Path
) -> None:
    whole = curve(worker(trial(target=4), None))
    saved = tmp_path / "0.npz"
    assert curve(worker(trial(target=2), Checkpoint(save=saved))) == whole[:2]
    rest = curve(worker(trial(target=4, first=2, parent=0), Checkpoint(load=saved)))
    assert rest == whole[2:]


def test_what_is_inherited_is_what_was_asked_for(worker: Worker, tmp_path: Path) -> None:
    saved = tmp_path / "0.npz"
    list(worker(trial(target=2), Checkpoint(save=saved)))
    following = {}
    for inherit in Inherit:
        (third,) = worker(trial(target=3, first=2), Checkpoint(load=saved, inherit=inherit))
        following[inherit] = third.metrics["loss"]
    assert len(set(following.values())) == 3
    assert following[Inherit.NOTHING] > max(following[Inherit.STATE], following[Inherit.BEST_WEIGHTS])


def test_a_stopped_trial_ends_after_its_epoch_and_leaves_its_weights(worker: Worker, tmp_path: Path) -> None:
    epochs = worker(trial(target=50), Checkpoint(save=tmp_path / "0.npz"))
    assert next(epochs).number == 1
    epochs.close()
    assert (tmp_path / "0.npz").exists()
    assert len(list(worker(trial(target=1), None))) == 1, "the worker takes the next trial"


def test_a_checkpoint_that_does_not_fit_fails_the_trial_and_not_the_worker(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(TrainingFailed, match="BadZipFile"):
        list(worker(trial(target=3, first=2), Checkpoint(load=tmp_path / "torn.npz")))
    assert len(list(worker(trial(target=1), None))) == 1


def test_models_that_misbehave_are_outcomes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"), prepend=os.pathsep)
    made = Worker(Workplace(data, "small:moody", Training(), ObjectiveSettings(), 1), tmp_path / "log")
    made.serve_search(0)
    try:
        with pytest.raises(TrainingFailed, match="ValueError: no such <layer>"):
            list(made(trial(config={"mood": "unbuildable"}), None))
        diverged = list(made(trial(config={"mood": "diverging"}, target=2), None))
        assert math.isnan(diverged[-1].metrics["loss"])
        with pytest.raises(WorkerDied, match="by signal 9"):
            list(made(trial(config={"mood": "deadly"}), None))
        assert len(list(made(trial(config={"mood": "good"}, target=2), None))) == 2, "a new worker takes over"
    finally:
        made.close()


def test_cross_validation_reports_the_means_over_its_folds(data: Path, tmp_path: Path) -> None:
    folded = tmp_path / "folded"
    prepare(Dataset(name="bars", path=str(data.parent / "bars.npz")), Split(folds=3), folded, lambda line: None)
    made = Worker(Workplace(folded, "paper-cnn", Training(), ObjectiveSettings(), 1), tmp_path / "log")
    made.serve_search(0)
    try:
        epochs = list(made(trial(target=2), Checkpoint(save=tmp_path / "0.npz")))
        assert [e.number for e in epochs] == [1, 2]
        (third,) = list(made(trial(target=3, first=2), Checkpoint(load=tmp_path / "0.npz")))
        assert third.metrics["loss"] < epochs[0].metrics["loss"]
    finally:
        made.close()


def test_mixed_precision_trains(data: Path, tmp_path: Path) -> None:
    made = Worker(Workplace(data, "paper-cnn", Training(precision="bfloat16"), ObjectiveSettings(), 1), tmp_path / "log")
    made.serve_search(0)
    try:
        assert list(made(trial(), None))[-1].metrics["val_accuracy"] > 0.45
    finally:
        made.close()
