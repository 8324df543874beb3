"""A study file on a table: what the table fills in, and what is refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tabled import EPOCHS, SPACE, study_file, table_file, trainings
from tuneoff.core.errors import StudyError
from tuneoff.core.study import TableSettings
from tuneoff.core.table import TableInfo
from tuneoff.study_file.check import check_file, read_study, study_of
from tuneoff.study_file.table_binding import dataset_of


def faults(file: Path) -> list[str]:
    return [f.sentence("") for f in check_file(file)[1]]


@pytest.mark.parametrize(
    "objective",
    [
        "replay:table.parquet",
        {"replay": "table.parquet"},
        {"metric": "val_loss", "epoch": "last", "replay": {"table": "table.parquet", "count_method_seconds": False}},
    ],
)
def test_the_table_gives_data_set_space_and_epochs(objective: Any, tmp_path: Path) -> None:
    study, found = check_file(study_file(tmp_path, objective=objective))
    assert found == []
    assert study is not None
    assert study.space == SPACE
    assert [d.name for d in study.datasets] == ["made"]
    assert study.budget.epochs_per_trial == EPOCHS
    assert study.objective.table is not None
    assert study.objective.table.path == str(tmp_path / "table.parquet")


def test_a_study_that_was_read_is_read_again_as_it_is(tmp_path: Path) -> None:
    study, _ = check_file(study_file(tmp_path))
    assert study is not None
    assert study_of(study) == study


def test_the_grid_that_the_table_was_made_from_may_stand_there(tmp_path: Path) -> None:
    space = {
        "units": {"type": "int", "low": 8, "high": 24, "grid_points": 3},
        "optimizer": SPACE["optimizer"].model_dump(exclude_none=True),
    }
    study, found = check_file(study_file(tmp_path, space=space, datasets=["made"]))
    assert found == []
    assert study is not None
    assert study.space == SPACE


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"space": {"units": {"type": "int", "low": 8, "high": 24, "step": 8}}},
            "the section differs from the table's grid, which a table study searches: leave the section out",
        ),
        ({"datasets": ["mnist"]}, "the section differs from the table's data set, made: leave the section out"),
        ({"budget": {"trials": 2, "epochs_per_trial": 5}}, "5 is too large: the table's curves have 4 epochs"),
        ({"split": {"folds": 3}}, "are not cross-validated"),
        ({"artifacts": "s3://bucket/x"}, "give a local folder"),
        ({"methods": ["ray-pbt"]}, "ray-pbt continues trials with another configuration, for which a table"),
        ({"methods": ["flaml"], "budget": {"seconds": 5}}, "flaml trains models of its own, for which a table"),
        ({"objective": "replay:none.parquet"}, "does not exist: give a table"),
    ],
)
def test_what_a_table_cannot_answer_is_one_sentence(sections: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    found = faults(study_file(tmp_path, **sections))
    assert len(found) == 1
    assert sentence in found[0]


def test_a_table_with_gaps_is_refused_and_says_how_much_is_there(tmp_path: Path) -> None:
    table_file(tmp_path / "table.parquet", trainings()[1:3])
    (sentence,) = faults(study_file(tmp_path))
    assert "the table has only 2 of the 6 points of its grid: a study needs all of them" in sentence


def test_the_table_is_looked_for_beside_the_study_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study_file(tmp_path)
    assert faults(tmp_path / "study.yaml") == []


def test_a_tables_data_set_forgets_the_file_that_it_came_from() -> None:
    info = TableInfo(
        name="x",
        dataset="bars",
        space=SPACE,
        epochs=1,
        origin="trained",
        study={"datasets": [{"name": "bars", "path": "/somewhere/bars.npz", "image_size": 8}]},
    )
    assert dataset_of(info).model_dump(exclude_none=True) == {"name": "bars", "subset": {}, "image_size": 8}


def test_the_long_and_the_short_form_are_the_same() -> None:
    assert TableSettings.model_validate("a.parquet") == TableSettings(path="a.parquet", count_method_seconds=True)


def test_an_objective_of_another_shape_is_refused_as_ever(tmp_path: Path) -> None:
    file = study_file(tmp_path)
    sections = yaml.safe_load(file.read_text())
    for odd in ("val_accuracy", {"replay": 3}, {"replay": {"table": ""}}):
        file.write_text(yaml.safe_dump({**sections, "objective": odd, "datasets": ["mnist"]}))
        assert faults(file)


def test_a_study_may_be_put_on_another_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table_file(tmp_path / "other.parquet", name="other", dataset="other")
    file = study_file(
        tmp_path, objective={"metric": "val_loss", "replay": {"table": "table.parquet", "count_method_seconds": False}}
    )
    monkeypatch.chdir(tmp_path)
    study = read_study(file, "other.parquet")
    assert (study.name, [d.name for d in study.datasets]) == ("replayed-other", ["other"])
    assert study.objective.metric == "val_loss"
    assert study.objective.table == TableSettings(path=str(tmp_path / "other.parquet"), count_method_seconds=False)


def test_a_study_that_trains_is_put_on_no_table(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("name: trains\ndatasets: [mnist]\nmethods: [random]\nbudget: {trials: 2}\n")
    with pytest.raises(StudyError, match=r"--table 'x\.parquet' is not allowed: .*study\.yaml is not a table study"):
        read_study(file, "x.parquet")


def test_another_table_is_checked_like_the_studys_own(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"the table '.*gone\.parquet' does not exist"):
        read_study(study_file(tmp_path), "gone.parquet")
