"""Notes on tracking in the store, from which `tuneoff status` shows the backlog live without contacting the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracked import small_store
from tuneoff.core import layout
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_delivered, read_study
from tuneoff.inspect.progress import tracking_note
from tuneoff.inspect.terminal_tables import cells, status_json
from tuneoff.tracking import Tracker, sync_study, tracking_uri


def backlog(store: FolderStore) -> int:
    (cell,) = cells(read_study(store))
    return cell.backlog


def test_trials_that_were_never_sent_are_the_backlog_and_sync_empties_it(tmp_path: Path) -> None:
    store = small_store(tmp_path, broken=False)
    assert backlog(store) == 8
    sync_study(store)
    assert backlog(store) == 0
    assert tracking_note(cells(read_study(store))) is None


def test_a_server_that_cannot_be_used_is_in_the_note_with_its_reason(tmp_path: Path) -> None:
    store = small_store(tmp_path, broken=False)
    result = read_study(store)
    tracker = Tracker(store, result.study, result.id, tracking_uri(result.study, store.uri))
    (store.root / layout.MLFLOW_DATABASE).write_bytes(b"no database" * 1000)
    with pytest.raises(Exception, match="is damaged"):
        tracker.deliver(result.cells[0].cell, result.cells[0].searches)
    note = tracking_note(cells(read_study(store))) or ""
    assert note.startswith("8 trials may not be in MLflow yet (MLflow's database")
    assert note.endswith(
        "mlflow.db is damaged (file is not a database): move it away, and Tuneoff creates a new one). The running study sends"
        " missing trials; `tuneoff sync` sends them at once."
    )
    (store.root / layout.MLFLOW_DATABASE).unlink()
    sync_study(store)
    assert backlog(store) == 0


def test_a_server_that_is_away_keeps_what_it_was_known_to_have(tmp_path: Path) -> None:
    store = small_store(tmp_path, broken=False)
    sync_study(store)
    result = read_study(store)
    elsewhere = Tracker(store, result.study, result.id, f"sqlite:///{tmp_path}/study.json/mlflow.db")
    with pytest.raises(Exception, match="cannot be written"):
        elsewhere.deliver(result.cells[0].cell, result.cells[0].searches)
    noted = read_delivered(store, result.cells[0].cell)
    assert noted is not None
    assert noted.trials == 8
    assert "cannot be written" in (noted.trouble or "")


def test_status_in_json_has_budget_left_time_left_and_backlog_of_each_cell(tmp_path: Path) -> None:
    store = small_store(tmp_path)  # one seed of eight trials: three have ended, one goes on
    (cell,) = status_json(read_study(store))["cells"]
    assert (cell["trials"], cell["failed"], cell["backlog"]) == (3, 0, 3)
    assert cell["budget_left"] == {"trials": 4, "epochs": None, "seconds": None}
    assert cell["seconds_left"] > 0
    assert cell["best"] > 0


@pytest.mark.parametrize("torn", [b"", b'{"trials": 3, "tro', b"\xff\xfe", b"[]"])
def test_a_damaged_file_beside_the_record_breaks_no_reading(tmp_path: Path, torn: bytes) -> None:
    store = small_store(tmp_path, broken=False)
    for name in (
        layout.delivered("mnist", "random"),
        layout.prepared("mnist") + "dataset.json",
        layout.evaluation("mnist", "random") + "evaluation.json",
        layout.failure("tuner", "mnist", "random"),
    ):
        store.write(name, torn)
    result = read_study(store)
    (cell,) = result.cells
    assert (cell.evaluation, cell.delivered, result.prepared) == (None, None, {})
    (failure,) = cell.failures
    assert (failure.step, failure.reason) == ("tuner", "failures/mnist/random/tuner.json, which says why, is damaged")
    assert sync_study(store).trials == 8
