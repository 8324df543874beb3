"""`tuneoff init`: the study file that it writes is valid and explained, and no existing file is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from small import small_npz
from tuneoff.core.errors import StudyError
from tuneoff.core.study import Study
from tuneoff.study_file.check import read_study
from tuneoff.study_file.template import Choices, write


def test_without_choices_the_file_is_a_small_valid_study(tmp_path: Path) -> None:
    write(Choices(), tmp_path / "study.yaml")
    study = read_study(tmp_path / "study.yaml")
    assert [m.name for m in study.methods] == ["random", "bayes", "hyperband"]
    assert study.budget.epochs == 50


def test_every_section_is_explained(tmp_path: Path) -> None:
    write(Choices(), tmp_path / "study.yaml")
    listed = (tmp_path / "study.yaml").read_text().splitlines()
    for section in Study.model_fields:
        place = next(i for i, line in enumerate(listed) if line.removeprefix("# ").startswith(f"{section}:"))
        assert listed[place - 1].startswith("# "), section


def test_choices_come_into_the_file_and_data_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_npz(Path("parts.npz"), classes=3, images=240, size=8)
    Path("studies").mkdir()
    chosen = Choices("mine", ("mnist", "parts.npz"), ("grid", "hyperband"), 30, 12, 3, 2)
    write(chosen, Path("studies/mine.yaml"))
    study = read_study("studies/mine.yaml")
    assert [(d.name, d.path) for d in study.datasets] == [("mnist", None), ("parts", str(tmp_path / "studies/../parts.npz"))]
    assert (study.budget.epochs, study.budget.trials, study.budget.epochs_per_trial, study.seeds) == (30, 12, 3, [0, 1])
    text = Path("studies/mine.yaml").read_text()
    assert "# 3 classes, images 8 × 8: 180 for training and validation, 60 for testing." in text
    assert "MNIST: images 28 × 28, 10 classes" in text


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (Choices(data=("mnst",)), "--data 'mnst' is not a built-in data set (did you mean mnist?)"),
        (Choices(data=("none.npz",)), "none.npz is no file"),
        (Choices(methods=("randm",)), "'randm' is not a method (did you mean random"),
        (Choices(name="No Name"), "'No Name' is not allowed"),
        (Choices(epochs=3, epochs_per_trial=5), "Epochs = 3 does not pay"),
    ],
)
def test_a_choice_that_is_not_taken_is_one_sentence_and_leaves_no_file(tmp_path: Path, chosen: Choices, sentence: str) -> None:
    with pytest.raises(StudyError) as refused:
        write(chosen, tmp_path / "study.yaml")
    assert str(refused.value).startswith(sentence)
    assert not (tmp_path / "study.yaml").exists()


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("mine")
    with pytest.raises(StudyError, match="exists already"):
        write(Choices(), tmp_path / "study.yaml")
    assert (tmp_path / "study.yaml").read_text() == "mine"
