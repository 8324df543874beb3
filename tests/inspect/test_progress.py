"""The progress of a run as numbers, lines and a table, read from the record alone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from made import made_store, made_study, write_evaluation, write_search
from tuneoff.core import layout
from tuneoff.core.problem import Outcome, Proposal, Status
from tuneoff.core.record.events import outcome_fields, proposal_fields
from tuneoff.core.record.state import SearchRecord
from tuneoff.core.record.writer import Writer
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.protocol import Store
from tuneoff.core.store.study_store import StudyResult, claim, read_study, write_failure
from tuneoff.core.study import Study
from tuneoff.inspect import progress
from tuneoff.inspect.progress import CellProgress, Display, cell_progress, line, table


def progress_of(result: StudyResult, name: str) -> CellProgress:
    (cell,) = [c for c in result.cells if c.cell.name == name]
    return cell_progress(result, cell)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return read_study(made_store(tmp_path_factory.mktemp("made")))


def started(store: Store, study: Study, trials: int, seed: int = 0) -> SearchRecord:
    """Write a search of the study's only cell: this many finished trials of a second each, and one running trial."""
    (cell,) = study.cells
    writer = Writer(store.journal(layout.events(cell.dataset, cell.method.label, seed)))
    writer.open(study_id="x")
    for number in range(trials + 1):
        writer.append("asked", trial=number, seconds=0.0, **proposal_fields(Proposal({}, 9)))
        writer.append("started", trial=number, worker="cpu:0")
        if number < trials:
            outcome = Outcome(Status.COMPLETED, (), -0.5 - number / 100, 1.0)
            writer.append("told", trial=number, **outcome_fields(outcome))
    writer.close()
    return read_study(store).cells[0].searches[0]


def one_cell(**changes: object) -> Study:
    return made_study(**{"datasets": ["mnist"], "methods": ["random"], "seeds": [0], "budget": {"trials": 8}, **changes})


# Numbers


def test_a_finished_cell_shows_its_mean_test_accuracy(made: StudyResult) -> None:
    cell = progress_of(made, "mnist/random")
    assert (cell.share, cell.trials, cell.failed, cell.seconds_left) == (1.0, 24, 6, None)
    (found,) = [c for c in made.cells if c.cell.name == "mnist/random"]
    assert found.evaluation is not None
    scores = [r.test_accuracy for r in found.evaluation.retrainings]
    assert cell.state == f"test {sum(scores) / 3:.4f}"
    assert cell.epochs == sum(s.spent.epochs for s in found.searches) == 3 * (6 * 9 + 1)


def test_the_best_score_is_over_all_seeds_in_the_direction_of_the_objective(tmp_path: Path, made: StudyResult) -> None:
    cell = progress_of(made, "mnist/random")
    (found,) = [c for c in made.cells if c.cell.name == "mnist/random"]
    curves = [
        e.metrics["val_accuracy"]
        for s in found.searches
        for t in s.told
        if t.trial.outcome and t.trial.outcome.loss
        for e in t.curve
    ]
    assert cell.best == pytest.approx(max(curves))
    store, study = FolderStore(tmp_path), one_cell(objective={"metric": "val_loss"})
    claim(store, study)
    started(store, study, 2)
    assert progress_of(read_study(store), "mnist/random").best == -0.51, "a loss is shown as it is, the least is the best"


def test_a_failed_cell_shows_the_reason_and_keeps_its_numbers(made: StudyResult) -> None:
    cell = progress_of(made, "fashion_mnist/hyperband")
    assert cell.state == "failed: RuntimeError: the oven <script>alert(1)</script> is cold"
    assert (cell.trials, cell.failed) == (9, 0)
    assert 0 < cell.share < 1


def test_a_cell_without_a_search_is_waiting(tmp_path: Path) -> None:
    store, study = FolderStore(tmp_path), one_cell()
    claim(store, study)
    cell = progress_of(read_study(store), "mnist/random")
    left = {"trials": 8, "epochs": None, "seconds": None}
    assert cell == CellProgress("mnist/random", 0.0, 0, 0, 0, None, None, "waiting", left, 0, None)


def test_a_searching_cell_shows_its_share_and_its_remaining_time(tmp_path: Path) -> None:
    store, study = FolderStore(tmp_path), one_cell()
    claim(store, study)
    started(store, study, 2)
    cell = progress_of(read_study(store), "mnist/random")
    assert (cell.share, cell.trials, cell.state) == (2 / 8, 2, "searching"), "a trial counts when it has ended"
    assert cell.seconds_left == pytest.approx(2 * 6 / 2)


def test_before_the_first_trial_has_ended_no_time_is_estimated(tmp_path: Path) -> None:
    store, study = FolderStore(tmp_path), one_cell()
    claim(store, study)
    started(store, study, 0)
    cell = progress_of(read_study(store), "mnist/random")
    assert (cell.share, cell.seconds_left, cell.state) == (0.0, None, "searching")


def test_a_table_study_shows_no_remaining_time(tmp_path: Path) -> None:
    replay = {"metric": "val_accuracy", "replay": {"table": "table.parquet"}}
    store, study = FolderStore(tmp_path), one_cell(objective=replay)
    claim(store, study)
    started(store, study, 2)
    cell = progress_of(read_study(store), "mnist/random")
    assert (cell.share, cell.seconds_left) == (2 / 8, None)


def test_the_share_counts_the_nearest_limit_and_is_the_mean_over_seeds(tmp_path: Path) -> None:
    store, study = FolderStore(tmp_path), one_cell(budget={"trials": 100, "seconds": 8}, seeds=[0, 1])
    claim(store, study)
    started(store, study, 4)
    cell = progress_of(read_study(store), "mnist/random")
    assert cell.share == pytest.approx((4 / 8 + 0) / 2)


def test_a_search_that_ended_early_counts_as_complete(tmp_path: Path) -> None:
    store, study = FolderStore(tmp_path), one_cell(budget={"trials": 1000})
    claim(store, study)
    write_search(store, study, study.cells[0], 0)
    cell = progress_of(read_study(store), "mnist/random")
    assert (cell.share, cell.state, cell.seconds_left) == (1.0, "evaluating", None)
    write_evaluation(store, study, study.cells[0])
    assert progress_of(read_study(store), "mnist/random").state.startswith("test 0.8")


def test_a_data_set_that_cannot_be_prepared_fails_each_of_its_cells(tmp_path: Path) -> None:
    store, study = FolderStore(tmp_path), made_study()
    claim(store, study)
    write_failure(store, layout.failure("data_prep", "mnist"), "data_prep", OSError("the disk is full"))
    result = read_study(store)
    states = {c.cell.name: cell_progress(result, c).state for c in result.cells}
    assert {n for n, s in states.items() if s == "failed: OSError: the disk is full"} == {
        f"mnist/{m}" for m in ("grid", "random", "bayes", "hyperband")
    }
    assert {s for n, s in states.items() if n.startswith("fashion")} == {"waiting"}


# Lines

CELL = CellProgress("mnist/bayes", 0.4236, 17, 0, 153, 0.98765, 3723.4, "searching", {"trials": 23}, 0, None)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "mnist/bayes  42% · 17 trials · 153 epochs · best 0.9877 · 1:02:03 left · searching"),
        ({"failed": 2}, "mnist/bayes  42% · 17 trials, 2 failed · 153 epochs · best 0.9877 · 1:02:03 left · searching"),
        ({"seconds_left": 59.9}, "mnist/bayes  42% · 17 trials · 153 epochs · best 0.9877 · 0:59 left · searching"),
        ({"seconds_left": None, "share": 1.0}, "mnist/bayes 100% · 17 trials · 153 epochs · best 0.9877 · searching"),
        (
            {"share": 0.0, "trials": 0, "epochs": 0, "best": None, "seconds_left": None, "state": "waiting"},
            "mnist/bayes   0% · 0 trials · 0 epochs · waiting",
        ),
    ],
)
def test_a_line_shows_the_known_numbers(changes: dict[str, object], text: str) -> None:
    assert line(replace(CELL, **changes)) == text  # type: ignore[arg-type]


def said(display: Display, out: io.StringIO, result: StudyResult) -> list[str]:
    begin = len(out.getvalue())
    display.show(result)
    return out.getvalue()[begin:].splitlines()


def test_without_a_terminal_each_change_of_state_is_printed_and_progress_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    store, study = FolderStore(tmp_path), one_cell()
    claim(store, study)
    out = io.StringIO()
    with Display(Console(file=out, width=40)) as display:
        assert said(display, out, read_study(store)) == ["mnist/random   0% · 0 trials · 0 epochs · waiting"], "each cell once"
        started(store, study, 0)
        (begun,) = said(display, out, read_study(store))
        assert begun == "mnist/random   0% · 0 trials · 0 epochs · searching"
        assert said(display, out, read_study(store)) == [], "nothing has changed"
        (tmp_path / layout.events("mnist", "random", 0)).unlink()
        started(store, study, 3)
        assert said(display, out, read_study(store)) == [], "mere progress waits"
        clock[0] += 11
        (moved,) = said(display, out, read_study(store))
        assert moved.startswith("mnist/random  38% · 3 trials · 0 epochs · best 0.5200 · ")
        write_failure(store, layout.failure("tuner", "mnist", "random"), "tuner", RuntimeError("[red]cold[/red]"))
        (failed,) = said(display, out, read_study(store))
        assert failed.endswith("failed: RuntimeError: [red]cold[/red]"), "a change of state is printed at once, and as it is"
        clock[0] += 100
        assert said(display, out, read_study(store)) == []
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_table_is_redrawn_in_place(made: StudyResult) -> None:
    out = io.StringIO()
    with Display(Console(file=out, force_terminal=True, width=200)) as display:
        display.show(made)
        display.show(made)
    assert "\x1b[" in out.getvalue()
    assert "fashion_mnist/hyperband" in out.getvalue()


def test_the_table_has_a_row_per_cell_and_prints_texts_literally(made: StudyResult) -> None:
    cells = [cell_progress(made, c) for c in made.cells]
    out = io.StringIO()
    Console(file=out, width=200).print(table([*cells, replace(CELL, name="x/y", failed=3, state="failed: [bold]x[/bold]")]))
    rows = out.getvalue().splitlines()
    assert len(rows) == 1 + 8 + 1
    assert "mnist/random" in rows[2]
    assert "24 (6 failed)" in rows[2]
    assert "17 (3 failed)" in rows[-1]
    assert "failed: [bold]x[/bold]" in rows[-1]
