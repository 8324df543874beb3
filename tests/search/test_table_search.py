"""Searches of a table: curves are looked up, the clock is simulated, and the record is that of any search."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tabled import EPOCHS, SPACE, study_file, table_file, training, trainings
from tuneoff.analysis.results import Computed
from tuneoff.core import layout
from tuneoff.core.errors import CellFailed, StudyError
from tuneoff.core.grid import configurations
from tuneoff.core.problem import Inherit, Proposal, TrainingFailed, Trial
from tuneoff.core.record.state import SearchRecord, read_search
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import read_study as read_stored
from tuneoff.core.study import Study
from tuneoff.core.table import RecordedTraining, read_table
from tuneoff.evaluation.evaluate import evaluate
from tuneoff.report import figure_files
from tuneoff.report.report import report
from tuneoff.search.searches import tune
from tuneoff.search.table_search import RecordedObjective
from tuneoff.study_file.check import read_study

POINTS = configurations(SPACE)


def replayed(folder: Path, recorded: list[RecordedTraining] | None = None, **parts: Any) -> RecordedObjective:
    return RecordedObjective(read_table(str(table_file(folder / "t.parquet", recorded))), 0, **parts)


def trial(number: int, point: int, target: int, parent: Trial | None = None, inherit: Inherit = Inherit.STATE) -> Trial:
    proposal = Proposal(POINTS[point], target, None if parent is None else parent.id, inherit)
    return Trial(
        number, number if parent is None else parent.config_id, proposal, 0 if parent is None else parent.proposal.target_epoch
    )


# The objective


def test_a_trial_is_the_recorded_curve_and_takes_the_recorded_seconds(tmp_path: Path) -> None:
    objective = replayed(tmp_path)
    epochs = list(objective(trial(0, 3, 3), None))
    assert epochs == list(training(POINTS[3]).shown[:3])
    assert [e.seconds for e in epochs] == [1.1, 1.2, 1.3]


def test_a_continued_trial_reads_on_and_pays_for_its_new_epochs_alone(tmp_path: Path) -> None:
    objective = replayed(tmp_path)
    parent = trial(0, 3, 1)
    list(objective(parent, None))
    epochs = list(objective(trial(1, 3, 4, parent), None))
    assert epochs == list(training(POINTS[3]).shown[1:])
    assert [e.seconds for e in epochs] == [1.2, 1.3, 1.4]


def test_a_trial_that_takes_over_nothing_begins_the_curve_anew_and_goes_on_counting(tmp_path: Path) -> None:
    objective = replayed(tmp_path)
    parent = trial(0, 3, 2)
    list(objective(parent, None))
    child = trial(1, 3, 4, parent, Inherit.NOTHING)
    epochs = list(objective(child, None))
    assert [e.number for e in epochs] == [3, 4]
    assert [e.metrics for e in epochs] == [e.metrics for e in training(POINTS[3]).shown[:2]]
    known = [parent, child]
    again = RecordedObjective(read_table(str(tmp_path / "t.parquet")), 0, known=known)
    grandchild = trial(2, 3, 5, replace(child, proposal=replace(child.proposal, target_epoch=4)))
    assert [e.metrics for e in again(grandchild, None)] == [training(POINTS[3]).shown[2].metrics], "as without the break"


def test_what_is_not_in_the_table_is_an_error_and_never_a_guess(tmp_path: Path) -> None:
    objective = replayed(tmp_path)
    off = Trial(5, 5, Proposal({"units": 9, "optimizer": "SGD"}, 2), 0)
    with pytest.raises(CellFailed, match=r"trial 5, \{'units': 9, 'optimizer': 'SGD'\}, is not in the table .*t\.parquet"):
        list(objective(off, None))
    with pytest.raises(CellFailed, match=r"has 4 epochs of .*, and trial 0 wants epoch 5"):
        list(objective(trial(0, 1, 5), None))


def test_a_training_that_failed_fails_again_and_a_long_one_ends_at_trial_seconds(tmp_path: Path) -> None:
    objective = replayed(tmp_path, [RecordedTraining(POINTS[0], 0, (), "no memory"), training(POINTS[1])], trial_seconds=2.5)
    with pytest.raises(TrainingFailed, match="no memory"):
        list(objective(trial(0, 0, 2), None))
    with pytest.raises(TrainingFailed, match=r"longer than trial_seconds = 2\.5"):
        list(objective(trial(1, 1, 4), None))


# A cell


def searched(folder: Path, stopping: Callable[[], bool] = lambda: False, out: str = "out", **sections: Any) -> list[SearchRecord]:
    study = read_study(study_file(folder, **sections))
    return searches(study, folder / out, stopping)


def searches(study: Study, out: Path, stopping: Callable[[], bool] = lambda: False) -> list[SearchRecord]:
    tune(study, study.cells[0], out / "no-data", FolderStore(out), "", stopping=stopping)
    return [read_search(FolderStore(out), study.cells[0].dataset, study.cells[0].method.label, seed) for seed in study.seeds]


def test_a_search_of_a_table_says_one_line_and_none_a_trial(tmp_path: Path) -> None:
    study, lines = read_study(study_file(tmp_path, seeds=[0, 1])), list[str]()
    store = FolderStore(tmp_path / "out")
    tune(study, study.cells[0], tmp_path / "no-data", store, "", lines.append)
    search, other = [read_search(store, study.cells[0].dataset, "grid", seed) for seed in (0, 1)]
    assert search.incumbent is not None
    assert search.incumbent.trial.outcome is not None
    losses = [s.incumbent.trial.outcome.loss for s in (search, other) if s.incumbent and s.incumbent.trial.outcome]
    (line,) = lines
    assert line.startswith(
        f"{study.cells[0].name}: 2 of 2 searches ended: 12 of 12 trials, {2 * 6 * EPOCHS} epochs,"
        f" best val_accuracy {-min(loss for loss in losses if loss is not None):.4f}; this step searched for 0:"
    )


def test_a_search_of_a_table_that_fails_has_its_last_line_too(tmp_path: Path) -> None:
    study, lines = read_study(study_file(tmp_path)), list[str]()
    (tmp_path / "table.parquet").write_bytes(b"no table")
    with pytest.raises(StudyError):
        tune(study, study.cells[0], tmp_path / "no-data", FolderStore(tmp_path / "out"), "", lines.append)
    assert [line.partition(";")[0] for line in lines] == [
        f"{study.cells[0].name}: 0 of 1 search ended: 0 of 6 trials, 0 epochs, no result so far"
    ]


def test_a_grid_search_of_a_table_finds_its_best_point_without_training(tmp_path: Path) -> None:
    (search,) = searched(tmp_path)
    best = search.incumbent
    assert best is not None
    assert best.trial.proposal.config == {"units": 24, "optimizer": "Adam"}
    assert best.curve == training(POINTS[-1]).shown
    assert search.ended is not None
    assert search.header["replay"]["best_weights"] == "answered with the curve of the last state"
    assert search.spent.epochs == 6 * EPOCHS
    assert search.spent.seconds - search.spent.method_seconds == pytest.approx(6 * sum(1 + n / 10 for n in range(1, EPOCHS + 1)))


def test_the_records_times_are_the_simulated_clocks(tmp_path: Path) -> None:
    (search,) = searched(tmp_path, objective={"replay": {"table": "table.parquet", "count_method_seconds": False}})
    taken = [(t.told_at or 0.0) - (t.started_at or 0.0) for t in search.trials]
    assert taken == pytest.approx([5.0] * 6, abs=0.01)
    assert search.spent.method_seconds == 0


def test_without_the_methods_seconds_two_replays_are_the_same_to_the_last_event(tmp_path: Path) -> None:
    sections = {
        "objective": {"replay": {"table": "table.parquet", "count_method_seconds": False}},
        "methods": ["optuna-tpe"],
        "seeds": [0, 1],
    }
    logs = []
    for out in ("a", "b"):
        searched(tmp_path, out=out, **sections)
        lines = (tmp_path / out / layout.events("made", "optuna-tpe", 1)).read_text().splitlines()
        events = [json.loads(line) for line in lines]
        began = events[0]["time"]
        logs.append([{**e, "time": round(e["time"] - began, 2)} for e in events[1:]])
    assert logs[0] == logs[1]


def test_seconds_of_the_budget_are_the_tables(tmp_path: Path) -> None:
    objective = {"replay": {"table": "table.parquet", "count_method_seconds": False}}
    (search,) = searched(tmp_path, budget={"seconds": 12}, objective=objective)
    assert len(search.told) == 3
    assert search.ended is not None
    assert search.ended["reason"] == "all 12 seconds of the budget are used"


def test_trials_in_flight_overlap_on_the_simulated_clock(tmp_path: Path) -> None:
    objective = {"replay": {"table": "table.parquet", "count_method_seconds": False}}
    budget = {"trials": 6, "in_flight": 3}
    (search,) = searched(tmp_path, methods=["optuna-random"], budget=budget, objective=objective)
    began = search.trials[0].asked_at
    assert [(t.started_at or 0) - began for t in search.trials] == pytest.approx([0, 0, 0, 5, 5, 5], abs=0.01)
    assert max(t.told_at or 0 for t in search.trials) - began == pytest.approx(10, abs=0.01)


@pytest.fixture
def own_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `made_methods`, importable here and in the processes of a search."""
    (tmp_path / "made_methods.py").write_text(MADE_METHODS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *sys.path]))
    monkeypatch.delitem(sys.modules, "made_methods", raising=False)


@pytest.mark.usefixtures("own_methods")
def test_a_method_that_continues_trials_hears_the_recorded_curve_on(tmp_path: Path) -> None:
    (search,) = searched(tmp_path, methods=["made_methods:Rung"], budget={"epochs": 24})
    parent, child = search.told
    assert (*parent.curve, *child.curve) == training(POINTS[3]).shown
    assert search.spent.epochs == EPOCHS


def test_a_method_asks_the_same_of_a_table_as_where_it_has_a_process_of_its_own(tmp_path: Path) -> None:
    from tuneoff.workers.method_host import HostedMethod, problem_of

    study = read_study(study_file(tmp_path, methods=["optuna-tpe"]))
    (search,) = searches(study, tmp_path / "out")
    (tmp_path / "method").mkdir()
    hosted = HostedMethod("optuna-tpe", {}, problem_of(study, 0, tmp_path / "method"), tmp_path / "log")
    try:
        for told in search.told:
            assert hosted.ask() == told.trial.proposal
            hosted.tell(told.trial)
    finally:
        hosted.close()


def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    sections = {"objective": {"replay": {"table": "table.parquet", "count_method_seconds": False}}, "methods": ["optuna-tpe"]}
    (whole,) = searched(tmp_path, **sections)
    log = tmp_path / "out" / layout.events("made", "optuna-tpe", 0)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:17]) + lines[17][:9])
    (again,) = searched(tmp_path, **sections)
    assert [t.trial for t in again.trials] == [t.trial for t in whole.trials]
    assert again.spent == whole.spent


def test_a_table_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    searched(tmp_path)
    (tmp_path / "out" / layout.events("made", "grid", 0)).write_bytes(
        b"".join((tmp_path / "out" / layout.events("made", "grid", 0)).read_bytes().splitlines(keepends=True)[:4])
    )
    table_file(tmp_path / "table.parquet", [*trainings(), training(POINTS[1], 5)])
    with pytest.raises(CellFailed, match=r"made/grid, seed 0: the table .* is another than when the search began"):
        searched(tmp_path)


@pytest.mark.usefixtures("own_methods")
def test_a_method_that_fails_is_named_with_its_seed_and_the_other_seeds_end(tmp_path: Path) -> None:
    with pytest.raises(CellFailed, match="made/moody, seed 0: method made_methods:Moody failed: ValueError: I do not like 0"):
        searched(tmp_path, methods=["made_methods:Moody"], seeds=[0, 1], budget={"trials": 2})
    assert read_search(FolderStore(tmp_path / "out"), "made", "moody", 1).ended is not None


MADE_METHODS = '''
from tuneoff.core.problem import Done, Proposal
from tuneoff.methods.spec import MethodSpec

class Moody:
    """Asks the first point, unless its seed is 0."""
    def __init__(self, problem, settings):
        self.seed = problem.seed
    def ask(self):
        if self.seed == 0:
            raise ValueError("I do not like 0")
        return Proposal({"units": 8, "optimizer": "SGD"}, 1)
    def tell(self, trial):
        pass
    def should_continue(self, trial, epoch):
        return True

class Rung(Moody):
    """One trial of an epoch, and one that continues it to the end."""
    spec = MethodSpec(fidelity=True, warm_start=True)
    def __init__(self, problem, settings):
        point = {"units": 16, "optimizer": "Adam"}
        self.left = [Proposal(point, 1), Proposal(point, problem.max_epochs, 0)]
    def ask(self):
        return self.left.pop(0) if self.left else Done("both rungs are there")
    def resumable(self):
        return {0}
'''


# The evaluation


def test_the_incumbents_test_score_is_that_of_its_training_at_the_epoch_that_counted(tmp_path: Path) -> None:
    study = read_study(study_file(tmp_path))
    searches(study, tmp_path / "out")
    found = evaluate(study, study.cells[0], tmp_path / "no-data", FolderStore(tmp_path / "out"), "")
    (score,) = found.retrainings
    last = training(POINTS[-1]).curve[-1]
    assert (score.test_accuracy, score.test_loss) == (last.metrics["test_accuracy"], last.metrics["test_loss"])
    assert (found.recorded, found.epochs, found.classes) == (True, EPOCHS, [])


def test_a_table_without_test_scores_gives_an_evaluation_without_them(tmp_path: Path) -> None:
    bare = [
        replace(t, curve=tuple(replace(e, metrics={"val_accuracy": e.metrics["val_accuracy"]}) for e in t.curve))
        for t in trainings()
    ]
    table_file(tmp_path / "table.parquet", bare)
    study = read_study(study_file(tmp_path))
    (search,) = searches(study, tmp_path / "out")
    assert search.incumbent is not None, "no training loss is known, and none is missed"
    assert evaluate(study, study.cells[0], tmp_path / "no-data", FolderStore(tmp_path / "out"), "").retrainings == []


def test_regret_is_to_the_best_of_the_table_whatever_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(tmp_path, methods=["random", "grid"], budget={"trials": 2}, seeds=[0, 1])
    said = report(FolderStore(tmp_path / "out"))
    results = json.loads((tmp_path / "out/report/results.json").read_text())
    best = max(e.metrics["val_accuracy"] for e in training(POINTS[-1]).shown)
    assert [d["best_known"] for d in results["statistics"]["datasets"]] == [pytest.approx(best)]
    assert said.notes == ()
    drawn: list[Computed] = []
    monkeypatch.setattr(figure_files, "figures", lambda computed: drawn.append(computed) or [])
    figure_files.write_figures(read_stored(FolderStore(tmp_path / "out")), tmp_path / "figures")
    assert [d.best_known for d in drawn[0].results.statistics.datasets] == [pytest.approx(best)]
    (tmp_path / "table.parquet").unlink()
    (note,) = report(FolderStore(tmp_path / "out")).notes
    assert note.startswith("regret is measured from the best value that a search found, not from the table's best: the table ")
