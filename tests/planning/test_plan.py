"""The plan: what the budget gives without a probe, how times are put together, and a whole probe of a small study."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from made import made_study
from small import MOODS, small_study
from toy import SPACE
from tuneoff.core.errors import StudyError
from tuneoff.core.study import MethodChoice
from tuneoff.planning.dry_run import Pace, PlannedSearch, Timing, Unestimated, rehearse, sample
from tuneoff.planning.plan import CellPlan, Disk, Extent, Plan, Probe, extent, lines, plan_json, without_probe
from tuneoff.planning.probe import _side_by_side, with_probe
from tuneoff.study_file.check import read_study


def choice(name: str) -> MethodChoice:
    return MethodChoice.model_validate(name)


def pace(images: float = 1.0) -> Pace:
    timings = [Timing({}, cost, start, epoch, 10) for cost, start, epoch in ((10, 1.0, 2.0), (20, 1.0, 4.0), (40, 3.0, 4.0))]
    return Pace(tuple(timings), images)


class FlatCosts:
    """Every configuration costs the same."""

    def of(self, config: Any) -> tuple[float, int]:
        return 10.0, 100


# Without a probe


def test_the_budget_says_how_much_a_search_does_at_most() -> None:
    study = made_study(budget={"epochs": 50, "epochs_per_trial": 9})
    assert (extent(study, choice("random")).trials, extent(study, choice("random")).epochs) == (5, 45)
    assert (extent(study, choice("hyperband")).trials, extent(study, choice("hyperband")).epochs) == (None, 50)
    both = made_study(budget={"epochs": 50, "trials": 3, "epochs_per_trial": 9})
    assert (extent(both, choice("hyperband")).trials, extent(both, choice("random")).epochs) == (3, 27)
    assert extent(made_study(budget={"seconds": 9.0}), choice("random")).trials is None


def test_a_grid_that_is_smaller_than_its_budget_says_so() -> None:
    space = {
        "neurons": {"type": "categorical", "values": [8, 16]},
        "dropout": {"type": "float", "low": 0, "high": 1, "step": 0.5},
    }
    found = extent(made_study(space=space), choice("grid"))
    assert (found.trials, found.epochs, found.limited_by) == (6, 54, "its grid has 6 points")


def test_a_plan_without_a_probe_adds_up_and_estimates_no_time() -> None:
    plan = without_probe(made_study(methods=["grid", "random"]))
    assert (plan.trials, plan.epochs) == (2 * 2 * 3 * 8, 2 * 2 * 3 * 8 * 9)
    assert (plan.seconds, plan.memory_bytes) == (None, None)
    assert json.loads(json.dumps(plan_json(plan)))["trials"] == 96
    text = "\n".join(lines(plan))
    assert "mnist/grid" in text
    assert "Total: at most 96 trials and 864 epochs." in text
    assert "not estimated without the probe" in text


# Times


def test_times_lie_between_the_timings_and_grow_with_the_images() -> None:
    assert [pace().epoch_seconds(cost) for cost in (5, 10, 15, 20, 30)] == [2.0, 2.0, 3.0, 4.0, 4.0]
    assert pace().start_seconds(30) == 2.0
    assert pace(images=10).epoch_seconds(10) == 20.0
    assert pace(images=10).start_seconds(10) == 1.0


def test_the_sample_holds_both_corners_and_legal_values() -> None:
    drawn = sample(SPACE, 20)
    assert drawn[:2] == [{"x": 0.0, "n": 1}, {"x": 1.0, "n": 9}]
    assert all(SPACE[name].contains(value) for config in drawn for name, value in config.items())
    assert drawn == sample(SPACE, 20)


def test_cells_begin_when_a_slot_is_free() -> None:
    assert _side_by_side([4, 1, 1, 1], 2) == 4
    assert _side_by_side([4, 3], 1) == 7


def test_a_rehearsal_leads_the_real_method_through_its_budget(tmp_path: Path) -> None:
    study = made_study(methods=["grid"], budget={"epochs": 30, "epochs_per_trial": 9})
    course = rehearse(study, study.methods[0], FlatCosts(), pace(), tmp_path, 60)  # type: ignore[arg-type]
    assert isinstance(course, PlannedSearch)
    assert (course.trials, course.epochs) == (3, 27)
    assert course.seconds - course.method_seconds == pytest.approx(3 * (1 + 9 * 2))
    timed = made_study(methods=["grid"], budget={"seconds": 100.0, "epochs_per_trial": 9})
    course = rehearse(timed, timed.methods[0], FlatCosts(), pace(), tmp_path, 60)  # type: ignore[arg-type]
    assert isinstance(course, PlannedSearch)
    assert course.trials in (5, 6), "a trial takes 19 s, and the one that the limit cuts is trained whole"
    beside = made_study(methods=["random"], budget={"epochs": 36, "epochs_per_trial": 9, "in_flight": 2})
    course = rehearse(beside, beside.methods[0], FlatCosts(), pace(), tmp_path, 60)  # type: ignore[arg-type]
    assert isinstance(course, PlannedSearch)
    assert (course.trials, course.epochs) == (4, 36)
    assert course.seconds == pytest.approx(2 * (1 + 9 * 2), abs=1.0), "two by two"


def test_a_method_that_begins_slowly_is_given_time_for_a_few_trials_and_the_rest_is_extrapolated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = rehearsed("unhurried:SlowToBegin", tmp_path, monkeypatch, patience_seconds=1.0)
    assert isinstance(course, PlannedSearch)
    assert (course.trials, course.epochs, course.ended) == (100, 900, None)
    assert course.seconds - course.method_seconds == pytest.approx(100 * (1 + 9 * 2), rel=0.1)
    assert 1.5 < course.method_seconds < 15, "its first suggestion is no measure of the others"


def test_what_a_rehearsal_cannot_tell_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = rehearsed("unhurried:Slow", tmp_path, monkeypatch, patience_seconds=0.05)
    assert isinstance(course, Unestimated)
    assert re.fullmatch(r"it began too slowly to tell: [012] trials in \d+ s", course.why)


def rehearsed(method: str, folder: Path, monkeypatch: pytest.MonkeyPatch, patience_seconds: float) -> PlannedSearch | Unestimated:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"), prepend=os.pathsep)
    study = made_study(methods=[method], budget={"epochs": 900, "epochs_per_trial": 9})
    return rehearse(study, study.methods[0], FlatCosts(), pace(), folder, patience_seconds)  # type: ignore[arg-type]


def test_a_plan_says_whose_time_is_not_known() -> None:
    untold = CellPlan("mnist/ray-asha", 1, Extent(None, 81), untold="it began too slowly to tell: 0 trials in 64 s")
    known = CellPlan("mnist/random", 1, Extent(9, 81), 10.0, 1.0, 20.0, 5.0)
    probe = Probe(("mnist",), 100, 100, pace().timings, 1.0, 1, "cpu")
    text = "\n".join(lines(Plan("study", (known, untold), Disk(1, 1, 1, 1, 1), 2, 1, None, 10**9, (probe,))))
    assert re.search(r"mnist/ray-asha +[?] +81 +– +– +– +it began too slowly to tell: 0 trials in 64 s", text)
    assert "A ? means that the number is not known: it cannot be known in advance." in text
    assert "Memory: at most about 1.0 GB." in text
    why = "not known, because mnist/ray-asha started too slowly in the probe"
    assert f"Time on this machine: {why}. Run the command again when this machine is less busy." in text


# The whole of it


def test_a_probe_plans_time_memory_and_disk(tmp_path: Path) -> None:
    study = read_study(small_study(tmp_path, methods=["grid"]))
    said: list[str] = []
    plan = with_probe(study, [], said.append)
    (cell,) = plan.cells
    assert isinstance(cell, CellPlan)
    assert (cell.extent.trials, cell.extent.epochs) == (3, 6)
    (probe,) = plan.probes
    assert probe.timings[0].cost < probe.timings[-1].cost
    assert plan.seconds is not None
    assert cell.tuner_seconds is not None
    assert plan.seconds > cell.tuner_seconds > (cell.search_seconds or 0) > 0
    assert plan.memory_bytes is not None
    assert plan.memory_bytes > 200e6
    assert plan.disk.prepared
    assert plan.disk.models
    assert any("simulating the searches of grid" in line for line in said)
    assert re.search(r"Time on this machine: about .* one cell on", "\n".join(lines(plan)))


def test_a_builder_that_breaks_is_one_sentence(tmp_path: Path) -> None:
    moods = {"mood": {"type": "categorical", "values": ["unbuildable"]}}
    assert set(moods) == set(MOODS)
    study = read_study(small_study(tmp_path, methods=["grid"], space=moods, model="small:moody"))
    with pytest.raises(StudyError) as refused:
        with_probe(study, [str(Path(__file__).parents[1] / "support"), *sys.path[:1]], lambda line: None)
    assert str(refused.value) == ("model 'small:moody' cannot be built for {'mood': 'unbuildable'}: ValueError: no such <layer>.")


def test_a_model_whose_module_cannot_be_imported_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "lost_model.py").write_text("import no_such_framework\ndef build(config, input_shape, classes): ...\n")
    study = read_study(small_study(tmp_path, model="lost_model:build"))
    with pytest.raises(StudyError) as refused:
        with_probe(study, [str(tmp_path)], lambda line: None)
    assert str(refused.value) == (
        "The model's module 'lost_model' cannot be imported: No module named 'no_such_framework'."
        " Install it, or put it next to the study file."
    )
