"""Changes that extend a study, and changes that make it a different study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import made_study
from tuneoff.core.errors import StudyError
from tuneoff.core.store.folder import FolderStore
from tuneoff.core.store.study_store import claim, extensions, read_study
from tuneoff.core.study_diff import changes

BUDGET = {"trials": 8, "epochs_per_trial": 9}

EXTENDING: list[tuple[dict[str, Any], str]] = [
    ({"budget": {**BUDGET, "trials": 9}}, "budget.trials was 8 and is 9"),
    ({"budget": {"epochs": 900, "trials": 8, "epochs_per_trial": 9}}, ""),
    ({"seeds": [3, 0, 1, 2]}, "seeds: 3 added"),
    ({"methods": ["grid", "random", "bayes", "hyperband", {"name": "random", "label": "again"}]}, "methods: again added"),
    ({"datasets": ["mnist", "fashion_mnist", "cifar10"]}, "datasets: cifar10 added"),
    ({"evaluation": {"seeds": 5}}, "evaluation.seeds was 3 and is 5"),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "other"}, 'name was "made" and is "other"'),
    ({"budget": {**BUDGET, "trials": 7}}, "budget.trials was 8 and is 7"),
    ({"budget": {**BUDGET, "seconds": 60}}, "budget.seconds was not set and is 60.0"),
    ({"budget": {**BUDGET, "epochs_per_trial": 10}}, "budget.epochs_per_trial was 9 and is 10"),
    ({"budget": {**BUDGET, "trial_seconds": 60}}, "budget.trial_seconds was not set and is 60.0"),
    ({"budget": {**BUDGET, "in_flight": 2}}, "budget.in_flight was 1 and is 2"),
    ({"seeds": [0, 1]}, "seeds: 2 removed"),
    ({"methods": ["grid", "random", "bayes"]}, "methods: hyperband removed"),
    (
        {"methods": [{"name": "grid", "settings": {"order": "shuffled"}}, "random", "bayes", "hyperband"]},
        'methods grid.settings.order was not set and is "shuffled"',
    ),
    (
        {"datasets": [{"name": "mnist", "image_size": 14}, "fashion_mnist"]},
        "datasets mnist.image_size was not set and is 14",
    ),
    ({"evaluation": {"seeds": 2}}, "evaluation.seeds was 3 and is 2"),
    ({"model": "mine:build"}, 'model was "paper-cnn" and is "mine:build"'),
    ({"objective": {"metric": "val_loss"}}, 'objective.metric was "val_accuracy" and is "val_loss"'),
    ({"split": {"validation": 0.1}}, "split.validation was 0.2 and is 0.1"),
    ({"training": {"batch_size": 64}}, "training.batch_size was 32 and is 64"),
    ({"space": {"dropout": {"type": "float", "low": 0.1, "high": 0.2}}}, "space."),
]


@pytest.mark.parametrize(("section", "said"), [e for e in EXTENDING if e[1]])
def test_more_of_the_same_extends_a_study(section: dict[str, Any], said: str) -> None:
    (change,) = changes(made_study(), made_study(**section))
    assert (change.said, change.extends) == (said, True)


@pytest.mark.parametrize(("section", "said"), REFUSED)
def test_less_or_different_settings_make_it_a_different_study(section: dict[str, Any], said: str) -> None:
    found = changes(made_study(), made_study(**section))
    assert any(change.said.startswith(said) for change in found if not change.extends), found


def test_a_limit_that_is_lifted_extends_a_study() -> None:
    both = made_study(budget={"trials": 8, "epochs": 90, "epochs_per_trial": 9})
    (change,) = changes(both, made_study())
    assert (change.said, change.extends) == ("budget.epochs was 90 and is not set", True)


@given(st.lists(st.sampled_from([section for section, said in EXTENDING if said]), unique_by=str))
def test_a_change_that_extends_a_study_is_refused_in_the_other_direction(sections: list[dict[str, Any]]) -> None:
    small, large = made_study(), made_study(**{k: v for section in sections for k, v in section.items()})
    assert all(change.extends for change in changes(small, large))
    assert not any(change.extends for change in changes(large, small))
    assert changes(large, large) == []


def test_a_store_is_extended_and_records_the_former_study(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    assert extensions(store, made_study()) == []
    first = claim(store, made_study())
    larger = made_study(seeds=[0, 1, 2, 3], budget={**BUDGET, "trials": 16})
    assert extensions(store, larger) == ["budget.trials was 8 and is 16", "seeds: 3 added"]
    assert claim(store, larger) == first, "it is the same study"
    assert extensions(store, larger) == []
    assert read_study(store).study == larger
    (former,) = json.loads((tmp_path / "study.json").read_text())["former"]
    assert former["changes"] == ["budget.trials was 8 and is 16", "seeds: 3 added"]
    assert former["study"]["seeds"] == [0, 1, 2]
    with pytest.raises(StudyError, match=r"budget\.trials was 16 and is 8; seeds: 3 removed\. Give another --out"):
        claim(store, made_study())
    assert read_study(store).study == larger, "and what is refused changes nothing"
