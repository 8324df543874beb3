"""A search method of the user's own: found by module and class or by entry point, checked before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import jsonschema
import pytest

from tuneoff.contract.harness import Subject
from tuneoff.contract.real_training import TRAINING
from tuneoff.core.errors import StudyError
from tuneoff.core.study import MethodChoice
from tuneoff.methods import user_method
from tuneoff.methods.registry import find, names
from tuneoff.methods.spec import FailedRule
from tuneoff.study_file.check import check_file, schema

STUDIES = Path(__file__).parents[2] / "studies"
STUDY = "name: own\ndatasets: [mnist]\nbudget: {{trials: 4}}\nmethods:\n  - {}\n"
MINE = """
from pydantic import BaseModel, ConfigDict

class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    start: int = 3

class Mine:
    "Tries things."
    Settings = Settings
    def ask(self): ...
    def tell(self, trial): ...
    def should_continue(self, trial, epoch): ...
    @staticmethod
    def check(study, settings):
        return ["Mine wants seven trials."] if settings.start == 7 else []

class Mute:
    def ask(self): ...

class Old(Mute):
    def tell(self, trial): ...
    def goes_on(self, trial, epoch): ...

class Loose(Mine):
    Settings = dict

class Vague(Mine):
    spec = {"parallel": True}

function = print
"""


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Modules of one test are not those of the next."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name in ("mine", "faulty_import", "needs_more", "own_method"):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "faulty_import.py").write_text("1 / 0")
    (tmp_path / "needs_more.py").write_text("import no_such_framework")
    return tmp_path


def faults(folder: Path, method: str) -> list[str]:
    file = folder / "study.yaml"
    file.write_text(STUDY.format(method))
    return [fault.sentence("study.yaml") for fault in check_file(file)[1]]


def test_the_spec_of_a_class_is_made_from_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    spec = find("own_method:NearBest")
    assert spec.parallel
    assert spec.failed is FailedRule.UNTOLD
    assert spec.summary.startswith("Draw randomly first")
    assert spec.settings_model()().start == 5  # type: ignore[attr-defined]
    assert spec.installed


def test_its_label_is_the_classs_name() -> None:
    assert MethodChoice.model_validate("own_method:NearBest").label == "near-best"
    assert MethodChoice.model_validate({"name": "a.b:BOHB2Fast", "label": "mine"}).label == "mine"


def test_a_study_with_one_is_valid_and_the_path_is_left_as_it_was(beside: Path) -> None:
    before = list(sys.path)
    assert faults(beside, "{name: 'mine:Mine', settings: {start: 4}}") == []
    assert sys.path == before


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            "{name: 'mine:Mine', settings: {start: many}}",
            "methods[0].settings.start: 'many' is not allowed: give a whole number",
        ),
        ("{name: 'mine:Mine', settings: {begin: 4}}", "methods[0].settings.begin: the field is unknown"),
        ("{name: 'mine:Mine', settings: {start: 7}}", "methods[0]: Mine wants seven trials."),
        ("'mine:Yours'", "methods[0]: method 'mine:Yours': module 'mine' has no class Yours"),
        ("'mine:function'", "methods[0]: method 'mine:function': module 'mine' has no class function"),
        (
            "'mine:Mute'",
            "methods[0]: method 'mine:Mute' has no tell, should_continue: a method has ask, tell and should_continue",
        ),
        ("'mine:Old'", "methods[0]: method 'mine:Old' has goes_on, which is called should_continue since release 0.2"),
        ("'mine:Loose'", "methods[0]: method 'mine:Loose' has Settings that are no pydantic model"),
        ("'mine:Vague'", "methods[0]: method 'mine:Vague' has a spec that is no MethodSpec"),
        ("'nowhere:Mine'", "methods[0]: method 'nowhere:Mine': there is no module 'nowhere' beside the study file"),
        ("'faulty_import:Mine'", "methods[0]: method 'faulty_import:Mine': importing faulty_import raised ZeroDivisionError"),
        ("'needs_more:Mine'", "methods[0]: method 'needs_more:Mine' needs no_such_framework, which is not installed"),
        ("hyperbnad", "methods[0]: 'hyperbnad' is not a method (did you mean hyperband"),
    ],
)
def test_what_is_wrong_with_one_is_one_sentence(beside: Path, method: str, said: str) -> None:
    (found,) = faults(beside, method)
    assert found.startswith(f"study.yaml:5: {said}")
    assert "Traceback" not in found


def test_the_schema_takes_it_and_no_other_unknown_name() -> None:
    study = {"name": "own", "datasets": ["mnist"], "budget": {"trials": 4}}
    for method in ("own_method:NearBest", {"name": "own_method:NearBest"}, "random"):
        jsonschema.validate({**study, "methods": [method]}, schema())
    for method in ("own_method", {"name": "own method:NearBest"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**study, "methods": [method]}, schema())


def test_an_entry_point_is_a_method_by_its_name(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("things", "mine:Mine", user_method.GROUP)]
    monkeypatch.setattr(user_method, "entry_points", lambda group: points if group == user_method.GROUP else [])
    user_method.registered.cache_clear()
    monkeypatch.syspath_prepend(str(beside))
    try:
        assert "things" in names()
        assert find("things").summary == "Tries things."
        assert faults(beside, "{name: things, settings: {start: 4}}") == []
    finally:
        user_method.registered.cache_clear()


def test_the_example_trains_three_real_trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setenv("PYTHONPATH", str(STUDIES))
    TRAINING.run(Subject(find("own_method:NearBest"), {"start": 2}), tmp_path)


def test_an_unknown_name_is_answered_with_what_is_near_and_not_with_all() -> None:
    said = r"'hyperban' is not a method \(did you mean .*hyperband.*\): `tuneoff methods` lists them"
    with pytest.raises(StudyError, match=said):
        find("hyperban")
