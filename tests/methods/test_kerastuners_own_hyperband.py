"""KerasTuner's Hyperband with its own tuner on a tiny network: evidence for docs/hyperband.md."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

MAX_EPOCHS = 3


@dataclass(frozen=True)
class Ran:
    """The results of one search: its trials, KerasTuner's best ten trials, Keras's warnings and the optimizer steps."""

    trials: list[Any]
    best: list[Any]
    warnings: list[str]
    steps: list[tuple[int, int]]  # the number of each epoch, and the optimizer's steps at its start


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run two brackets: 3 trials of 1 epoch, of which 1 is promoted to 3 epochs; then 2 trials of 3 epochs."""
    import keras
    import keras_tuner

    def build(hp: Any) -> Any:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(hp.Int("units", 2, 40)), keras.layers.Dense(1)])
        model.compile(optimizer="adam", loss="mse")
        return model

    steps: list[tuple[int, int]] = []

    class RecordSteps(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            steps.append((epoch, int(self.model.optimizer.iterations)))

    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 4))
    y = x.sum(axis=1, keepdims=True)
    tuner = keras_tuner.Hyperband(
        build, objective="val_loss", max_epochs=MAX_EPOCHS, factor=3, seed=1, directory=str(tmp_path_factory.mktemp("kt"))
    )
    tuner.oracle.verbose = 0
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        tuner.search(x, y, validation_data=(x, y), epochs=50, batch_size=8, verbose=0, callbacks=[RecordSteps()])
    trials = [tuner.oracle.trials[i] for i in tuner.oracle.start_order]
    return Ran(trials, tuner.oracle.get_best_trials(10), [str(w.message) for w in seen], steps)


def epochs(trial: Any) -> tuple[int, int]:
    values = trial.hyperparameters.values
    return values["tuner/initial_epoch"], values["tuner/epochs"]


def test_hyperband_ignores_the_epochs_that_a_user_gives(ran: Ran) -> None:
    assert [epochs(t) for t in ran.trials] == [(0, 1)] * 3 + [(1, 3)] + [(0, 3)] * 2


def test_the_optimizer_of_a_promoted_trial_is_new_and_keras_warns(ran: Ran) -> None:
    second_epochs = [steps for epoch, steps in ran.steps if epoch == 1]
    assert second_epochs == [0, 4, 4], "0 steps after the promotion: Adam's moments and bias correction start from zero"
    assert sum("Skipping variable loading for optimizer" in w for w in ran.warnings) == 1


def test_the_best_trials_mix_one_and_three_epochs_and_a_parent_with_its_child(ran: Ran) -> None:
    assert len(ran.best) == len(ran.trials) == 6
    assert {epochs(t)[1] for t in ran.best} == {1, 3}
    (child,) = [t for t in ran.best if "tuner/trial_id" in t.hyperparameters.values]
    assert child.hyperparameters.values["tuner/trial_id"] in [t.trial_id for t in ran.best]


def test_the_defaults_are_100_epochs_and_1_iteration() -> None:
    import inspect

    import keras_tuner

    defaults = {n: p.default for n, p in inspect.signature(keras_tuner.Hyperband).parameters.items()}
    assert (defaults["max_epochs"], defaults["factor"], defaults["hyperband_iterations"]) == (100, 3, 1)
