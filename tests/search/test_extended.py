"""A study that got more budget and more seeds goes on as if it had been that large from the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from small import small_npz, small_study
from toy import essence
from tuneoff.core import layout
from tuneoff.core.errors import CellFailed
from tuneoff.core.record.events import parse
from tuneoff.core.record.state import read_search
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.study import Dataset, Split
from tuneoff.data.prepare import prepare
from tuneoff.search.searches import tune
from tuneoff.study_file.check import read_study


@pytest.mark.parametrize("method", ["random", "hyperband"])
def test_an_extended_search_goes_on_as_if_its_budget_had_been_larger_from_the_start(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two seeds side by side have half the threads of one, and TensorFlow adds in another order on other threads.
    monkeypatch.setenv("TUNEOFF_CORES", "1")
    prepare(Dataset(name="bars", path=str(small_npz(tmp_path / "bars.npz"))), Split(), tmp_path / "data", lambda line: None)

    def searched(place: str, epochs: int, seeds: list[int]) -> FolderStore:
        budget = {"epochs": epochs, "epochs_per_trial": 3}
        study = read_study(small_study(tmp_path / f"{place}-study", methods=[method], budget=budget, seeds=seeds))
        store = FolderStore(tmp_path / place)
        tune(study, study.cells[0], tmp_path / "data", store, f"sqlite:///{tmp_path}/{place}.db", report=lambda line: None)
        return store

    grown = searched("grown", 5, [0])
    first = grown.journal_lines(layout.events("bars", method, 0))
    searched("grown", 9, [0, 1])
    searched("grown", 9, [0, 1])
    whole = searched("whole", 9, [0, 1])
    for seed in (0, 1):
        name = layout.events("bars", method, seed)
        ours, theirs = (
            [e for e in essence(parse(s.journal_lines(name))) if e["event"] not in ("ended", "restored")] for s in (grown, whole)
        )
        changing = ("peak_memory_bytes", "left")
        assert [{k: v for k, v in e.items() if k not in changing} for e in ours] == [
            {k: v for k, v in e.items() if k not in changing} for e in theirs
        ]
        assert read_search(grown, "bars", method, seed).spent.epochs == read_search(whole, "bars", method, seed).spent.epochs
    lines = grown.journal_lines(layout.events("bars", method, 0))
    assert lines[: len(first)] == first, "what was on record stays as it was"
    assert sum(e["event"] == "ended" for e in parse(lines)) == 2, "a search that ended under these limits is left as it is"


def test_a_search_is_not_gone_on_with_on_other_data(tmp_path: Path) -> None:
    study = read_study(small_study(tmp_path, budget={"trials": 1, "epochs_per_trial": 1}))
    store = FolderStore(tmp_path / "out")
    for images in (240, 180):
        small_npz(tmp_path / "bars.npz", images=images)
        prepare(Dataset(name="bars", path=str(tmp_path / "bars.npz")), Split(), tmp_path / f"data-{images}", lambda line: None)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tune(study, study.cells[0], tmp_path / "data-240", store, uri, report=lambda line: None)
    larger = study.model_copy(update={"budget": study.budget.model_copy(update={"trials": 2})})
    with pytest.raises(CellFailed, match=r"^bars/random, seed 0: the data is another than when the search began \("):
        tune(larger, study.cells[0], tmp_path / "data-180", store, uri, report=lambda line: None)
