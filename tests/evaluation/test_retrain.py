"""The evaluator: choice of the incumbent, its retraining and scores, and reuse of a recorded evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made import made_store, made_study
from small import small_npz
from tuneoff.core import layout
from tuneoff.core.errors import CellFailed
from tuneoff.core.prepared_data import load_part
from tuneoff.core.problem import Epoch, Outcome, Proposal, Status
from tuneoff.core.record.events import epoch_fields, outcome_fields, proposal_fields
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import Evaluation, read_cell
from tuneoff.core.study import Dataset, Split, Study
from tuneoff.data.prepare import prepare
from tuneoff.evaluation.evaluate import _still_holds, evaluate, incumbent
from tuneoff.objectives.keras import KERAS
from tuneoff.objectives.keras.learner import Learner

Evaluated = tuple[Study, Path, FolderStore, Evaluation]


def test_the_incumbent_is_the_best_trial_over_all_seeds_and_the_first_of_equals(tmp_path: Path) -> None:
    study = made_study()
    store = made_store(tmp_path, study)
    for cell in study.cells[:-1]:
        search, best = incumbent(store, study, cell)
        losses = [t.trial.outcome.loss for s in read_cell(store, study, cell).searches for t in s.told if t.trial.outcome]
        assert best.trial.outcome is not None
        assert best.trial.outcome.loss == min(loss for loss in losses if loss is not None)
        assert best in search.trials


def test_a_cell_without_a_finite_trial_has_no_incumbent(tmp_path: Path) -> None:
    study = made_study()
    with pytest.raises(CellFailed, match="mnist/grid has no incumbent"):
        incumbent(FolderStore(tmp_path), study, study.cells[0])


@pytest.fixture(scope="module", params=[None, 3], ids=["held-out validation", "3 folds"])
def evaluated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    split = Split(folds=request.param)
    dataset = Dataset(name="bars", path=str(small_npz(folder / "bars.npz")))
    prepare(dataset, split, folder / "data", lambda line: None)
    sections: dict[str, Any] = {"name": "s", "datasets": [dataset], "methods": ["random"], "split": split}
    study = Study.model_validate(
        {**sections, "budget": {"trials": 2, "epochs_per_trial": 3}, "seeds": [4, 5], "evaluation": {"seeds": 2}}
    )
    store = FolderStore(folder / "store")
    _record(store, 4, [0.5, 0.7])
    _record(store, 5, [0.6, 0.9])
    return study, folder / "data", store, evaluate(study, study.cells[0], folder / "data", store, f"sqlite:///{folder}/m.db")


def _record(store: FolderStore, seed: int, accuracies: list[float]) -> None:
    writer = Writer(store.journal(layout.events("bars", "random", seed)))
    writer.open(study_id="s")
    for number, accuracy in enumerate(accuracies):
        config = {"filters1": 4, "filters2": 4, "neurons": 8, "learning_rate": 0.01, "dropout": 0.1 * seed}
        writer.append("asked", trial=number, seconds=0.0, **proposal_fields(Proposal(config, 1)))
        epoch = Epoch(1, {"loss": 0.1, "accuracy": 0.9, "val_loss": 0.2, "val_accuracy": accuracy}, 1.0)
        writer.append("epoch", trial=number, goes_on=False, **epoch_fields(epoch))
        writer.append("told", trial=number, **outcome_fields(Outcome(Status.COMPLETED, (epoch,), -accuracy, 1.0)))
    writer.close()


def test_the_incumbent_is_trained_with_the_full_epochs_over_several_seeds(evaluated: Evaluated) -> None:
    _, _, _, found = evaluated
    assert (found.seed, found.trial, found.epochs) == (5, 1, 3), "full epochs, although the trial had one"
    assert found.validation["val_accuracy"] == 0.9
    assert [r.seed for r in found.retrainings] == [0, 1]
    assert all(len(r.curves["loss"]) == 3 for r in found.retrainings)
    assert found.retrainings[0].curves != found.retrainings[1].curves


def test_every_test_image_is_scored_once_and_the_kept_model_scores_the_same(evaluated: Evaluated, tmp_path: Path) -> None:
    import keras

    _, data, store, found = evaluated
    x, y = load_part(data, "test")
    assert sum(map(sum, found.confusion)) == len(x)
    assert [c.images for c in found.classes] == np.bincount(y).tolist()
    model = keras.models.load_model(store.get(layout.evaluation("bars", "random") + "model.keras", tmp_path / "model.keras"))
    predicted = np.argmax(model.predict(np.asarray(x), verbose=0), axis=-1)
    assert float(np.mean(predicted == y)) == found.retrainings[0].test_accuracy
    assert {"confusion.png", "curves.png"} <= {n.rpartition("/")[2] for n in store.names("evaluations/")}


def test_a_recorded_evaluation_is_not_repeated(evaluated: Evaluated) -> None:
    study, data, store, found = evaluated
    again = evaluate(study, study.cells[0], data, store, f"sqlite:///{data.parent}/m.db")
    assert again.evaluated_at == found.evaluated_at


def test_a_better_incumbent_is_evaluated_again(evaluated: Evaluated) -> None:
    study, _, store, found = evaluated
    fewer = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"seeds": 1})})
    search, best = incumbent(store, study, study.cells[0])
    assert _still_holds(found, search, best, same_settings=True)
    assert not _still_holds(found.model_copy(update={"trial": 0}), search, best, same_settings=True)
    assert KERAS.evaluation.still_holds(study, found)
    assert not KERAS.evaluation.still_holds(fewer, found)


def test_an_incumbent_whose_configuration_changed_is_trained_through_the_same_changes(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 1 continues trial 0's first epoch with another learning rate; a full training has three epochs."""
    study, data, _, _ = evaluated
    trained: list[tuple[float, int]] = []

    class Watched(Learner):
        def train(self, number: int, *images: Any) -> dict[str, float]:
            trained.append((float(self.model.optimizer.learning_rate), number))
            return super().train(number, *images)

    monkeypatch.setattr("tuneoff.objectives.keras.evaluate.Learner", Watched)
    store = FolderStore(tmp_path)
    writer = Writer(store.journal(layout.events("bars", "random", 4)))
    writer.open(study_id="s")
    for number, (rate, parent) in enumerate([(0.5, None), (0.25, 0)]):
        config = {"filters1": 4, "filters2": 4, "neurons": 8, "learning_rate": rate}
        writer.append("asked", trial=number, seconds=0.0, **proposal_fields(Proposal(config, number + 1, parent)))
        epoch = Epoch(number + 1, {"loss": 0.1, "accuracy": 0.9, "val_loss": 0.2, "val_accuracy": 0.5 + number / 10}, 1.0)
        writer.append("epoch", trial=number, goes_on=False, **epoch_fields(epoch))
        writer.append("told", trial=number, **outcome_fields(Outcome(Status.COMPLETED, (epoch,), -0.5 - number / 10, 1.0)))
    writer.close()
    once = study.model_copy(update={"seeds": [4], "evaluation": study.evaluation.model_copy(update={"seeds": 1})})
    found = evaluate(once, once.cells[0], data, store, f"sqlite:///{tmp_path}/m.db")
    assert trained == [(0.5, 1), (0.25, 2), (0.25, 3)]
    assert [(p.config["learning_rate"], p.last_epoch) for p in found.schedule] == [(0.5, 1), (0.25, 3)]
    assert len(found.retrainings[0].curves["loss"]) == 3


def test_a_model_whose_module_is_missing_is_reported_in_one_message(evaluated: Evaluated, tmp_path: Path) -> None:
    study, data, _, _ = evaluated
    lost, store = study.model_copy(update={"model": "lost_model:build"}), FolderStore(tmp_path / "store")
    _record(store, 4, [0.5])
    sentence = "bars/random: The model's module 'lost_model' cannot be imported: No module named 'lost_model'. Put it next to"
    with pytest.raises(CellFailed, match=sentence):
        evaluate(lost, lost.cells[0], data, store, f"sqlite:///{tmp_path}/m.db")
