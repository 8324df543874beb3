"""TensorBoard's files, read with TensorBoard's readers and HParams backend, without TensorFlow."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from made import made_store, made_study, write_search
from tuneoff.core import layout
from tuneoff.core.problem import Epoch, Outcome, Proposal, Status, Trial
from tuneoff.core.record.state import SearchRecord, TrialRecord, read_search
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, read_study
from tuneoff.tracking.tensorboard import sync_tensorboard, trial_events, write_tensorboard

EVIL = "<script>alert('x')</script>"


class Board:
    """The answers of TensorBoard's server for a log folder."""

    def __init__(self, folder: Path) -> None:
        self.events = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
        self.events.Reload()
        provider = data_provider.MultiplexerDataProvider(self.events, str(folder))
        self._context = backend_context.Context(base_plugin.TBContext(data_provider=provider))

    def scalars(self, run: str, tag: str) -> list[tuple[int, float]]:
        return [(event.step, event.tensor_proto.float_val[0]) for event in self.events.Tensors(run, tag)]

    def experiment(self) -> Any:
        hparams = self._context.hparams_metadata(context.RequestContext(), "")
        answer = get_experiment.Handler(context.RequestContext(), self._context, "", api_pb2.GetExperimentRequest())
        assert hparams
        return answer.run()

    def rows(self) -> Any:
        """One for each row of the HParams table."""
        statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN]
        request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=10_000)
        return list_session_groups.Handler(context.RequestContext(), self._context, "", request).run().session_groups


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    store = made_store(tmp_path_factory.mktemp("made"), made_study(methods=["random", "hyperband"], seeds=[0, 1]))
    assert sync_tensorboard(store, read_study(store)) == 54
    return store


@pytest.fixture(scope="module")
def board(store: FolderStore) -> Board:
    return Board(store.root / layout.TENSORBOARD / "mnist")


def number(row: Any, name: str) -> float:
    return float(row.hparams[name].number_value)


def test_a_trials_curves_have_the_epoch_as_step(store: FolderStore, board: Board) -> None:
    record = read_search(store, "mnist", "hyperband", 1).trials[4]
    for tag in ("loss", "accuracy", "val_loss", "val_accuracy"):
        expected = [(e.number, pytest.approx(e.metrics[tag])) for e in record.curve]
        assert board.scalars("hyperband-seed1-trial0004", tag) == expected
    assert expected[0][0] == 4


def test_the_hparams_table_has_one_row_a_trial(store: FolderStore, board: Board) -> None:
    rows = board.rows()
    assert len(rows) == 32
    assert all(len(row.sessions) == 1 for row in rows)
    child, parent = (next(r for r in rows if r.name.startswith(f"hyperband 0/{trial} mnist ")) for trial in (4, 1))
    assert number(child, "dropout") == number(parent, "dropout")


def test_two_trials_with_equal_values_are_not_averaged(tmp_path: Path) -> None:
    study = made_study(methods=["random"])
    search = SearchRecord("mnist", "random", 0, trials=tuple(ended(number, val_accuracy=0.5 + number / 10) for number in (0, 1)))
    write_tensorboard(FolderStore(tmp_path), study, "id", search, set())
    rows = Board(tmp_path / "tensorboard" / "mnist").rows()
    values = sorted(v.value for row in rows for v in row.metric_values if v.name.tag == "val_accuracy")
    assert values == [pytest.approx(0.5), pytest.approx(0.6)]


def test_columns_are_method_seed_data_set_the_space_and_five_metrics(board: Board) -> None:
    experiment = board.experiment()
    columns = {c.name: c for c in experiment.hparam_infos}
    assert list(columns)[:3] == ["dataset", "method", "seed"]
    assert set(columns) == {"dataset", "method", "seed", *made_study().space}
    assert [v.number_value for v in columns["filters1"].domain_discrete.values] == [16, 32, 64, 128]
    assert columns["filters1"].type == api_pb2.DATA_TYPE_FLOAT64
    assert (columns["dropout"].domain_interval.min_value, columns["dropout"].domain_interval.max_value) == (0.0, 0.4)
    assert [m.name.tag for m in experiment.metric_infos] == ["objective", "val_accuracy", "val_loss", "accuracy", "loss"]
    assert experiment.metric_infos[0].display_name == "best val_accuracy"


def test_a_row_has_the_objective_and_the_last_epochs_metrics(store: FolderStore, board: Board) -> None:
    record = read_search(store, "mnist", "random", 0).trials[2]
    row = next(r for r in board.rows() if r.name.startswith("random 0/2 mnist "))
    metrics = {m.name.tag: m.value for m in row.metric_values}
    assert metrics["objective"] == pytest.approx(max(e.metrics["val_accuracy"] for e in record.curve))
    assert metrics["val_loss"] == pytest.approx(record.curve[-1].metrics["val_loss"])
    session = row.sessions[0]
    assert session.status == api_pb2.STATUS_SUCCESS
    assert (session.start_time_secs, session.end_time_secs) == (record.started_at, record.told_at)


def test_a_failed_trial_is_a_row_without_values_and_nan_is_left_out(board: Board) -> None:
    failed, diverged = (next(r for r in board.rows() if r.name.startswith(f"random 0/{n} mnist ")) for n in (6, 5))
    assert failed.sessions[0].status == diverged.sessions[0].status == api_pb2.STATUS_FAILURE
    assert not failed.metric_values
    assert {m.name.tag for m in diverged.metric_values} == {"accuracy", "val_accuracy"}


def test_all_data_sets_in_one_page_have_all_rows(store: FolderStore) -> None:
    whole = Board(store.root / layout.TENSORBOARD)
    assert len(whole.rows()) == 54
    assert {row.hparams["dataset"].string_value for row in whole.rows()} == {"mnist", "fashion_mnist"}


def test_names_and_bytes_follow_from_the_record_alone(store: FolderStore) -> None:
    before = {name: store.read(name) for name in store.names(layout.TENSORBOARD)}
    program = (
        "import sys; from pathlib import Path; from tuneoff.core.store.folder import FolderStore;"
        "from tuneoff.core.store.study_store import read_study;"
        "from tuneoff.tracking.tensorboard import sync_tensorboard;"
        "store = FolderStore(Path(sys.argv[1])); sync_tensorboard(store, read_study(store));"
        "sys.exit('tensorflow' in sys.modules or 'mlflow' in sys.modules)"
    )
    for name in before:
        store.delete(name)
    subprocess.run([sys.executable, "-c", program, store.uri], check=True, timeout=800)
    assert {name: store.read(name) for name in store.names(layout.TENSORBOARD)} == before
    assert sync_tensorboard(store, read_study(store)) == 0


def test_a_trial_that_has_not_ended_has_no_file(tmp_path: Path) -> None:
    study = made_study(datasets=["mnist"], methods=["random"], seeds=[0])
    store = FolderStore(tmp_path)
    claim(store, study)
    write_search(store, study, study.cells[0], 0, broken=True)
    assert sync_tensorboard(store, read_study(store)) == 3
    assert len(store.names(layout.TENSORBOARD)) == 1 + 3


def test_inactive_hyperparameters_are_left_out(tmp_path: Path) -> None:
    space = {
        "optimizer": {"type": "categorical", "values": ["SGD", "Adam"]},
        "momentum": {"type": "float", "low": 0.5, "high": 0.9, "when": {"optimizer": ["SGD"]}},
    }
    study = made_study(datasets=["mnist"], methods=["random"], space=space)
    trials = (ended(0, {"optimizer": "Adam"}), ended(1, {"optimizer": "SGD", "momentum": 0.7}))
    write_tensorboard(FolderStore(tmp_path), study, "id", SearchRecord("mnist", "random", 0, trials=trials), set())
    board = Board(tmp_path / "tensorboard" / "mnist")
    adam, sgd = sorted(board.rows(), key=lambda row: str(row.name))
    assert "momentum" not in adam.hparams
    assert number(sgd, "momentum") == 0.7
    assert "dataset" not in {c.name for c in board.experiment().hparam_infos}


def test_hostile_text_and_mixed_categories_come_back_as_they_are(tmp_path: Path) -> None:
    space = {
        "a": {"type": "categorical", "values": [EVIL, "b"]},
        "mixed": {"type": "categorical", "values": ["x", 1, True]},
        "flag": {"type": "categorical", "values": [True, False]},
        "method": {"type": "int", "low": 1, "high": 3},
    }
    study = made_study(methods=["random"], space=space, seeds=list(range(20)))
    trial = ended(0, {"a": EVIL, "mixed": True, "flag": False, "method": 2})
    write_tensorboard(FolderStore(tmp_path), study, "id", SearchRecord("mnist", "random", 3, trials=(trial,)), set())
    board = Board(tmp_path / "tensorboard" / "mnist")
    (row,) = board.rows()
    assert row.hparams["a"].string_value == EVIL
    assert row.hparams["mixed"].string_value == "true"
    assert row.hparams["flag"].HasField("bool_value")
    assert number(row, "method") == 2
    assert row.hparams["tuneoff.method"].string_value == "random"
    columns = {c.name: c for c in board.experiment().hparam_infos}
    assert columns["mixed"].type == api_pb2.DATA_TYPE_STRING
    assert columns["flag"].type == api_pb2.DATA_TYPE_BOOL
    assert columns["seed"].domain_interval.max_value == 19


def test_numbers_too_large_for_a_scalar_are_left_out() -> None:
    study = made_study(methods=["random"])
    search = SearchRecord("mnist", "random", 0)
    for value in (math.inf, -math.inf, math.nan, 1e300):
        assert trial_events(study, "id", search, ended(0, val_loss=value)) == trial_events(study, "id", search, ended(0))


def ended(trial: int, config: Any = None, **metrics: float) -> TrialRecord:
    """A completed trial of one epoch."""
    metrics = {"val_accuracy": 0.5, **metrics}
    epoch = Epoch(1, metrics, 1.0)
    outcome = Outcome(Status.COMPLETED, (epoch,), -0.5, 1.0)
    proposal = Proposal(config or {"dropout": 0.1}, 1)
    return TrialRecord(Trial(trial, trial, proposal, 0, outcome), (epoch,), asked_at=1.0, started_at=2.0, told_at=3.0)
