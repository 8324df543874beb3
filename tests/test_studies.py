"""The studies that come with Tuneoff: their files are valid, and their models can be built everywhere in their spaces."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tuneoff.objectives.keras.cost import size_of
from tuneoff.planning.dry_run import sample
from tuneoff.study_file.check import check_file

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.mark.parametrize("file", sorted(STUDIES.rglob("*.yaml")), ids=lambda file: file.stem)
def test_a_study_that_comes_with_tuneoff_is_valid(file: Path) -> None:
    study, faults = check_file(file)
    assert study is not None
    assert faults == []


@pytest.mark.parametrize("name", ["own-model", "architecture"])
def test_its_own_model_builds_all_over_its_space(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, _ = check_file(STUDIES / f"{name}.yaml")
    assert study is not None
    monkeypatch.syspath_prepend(str(STUDIES))
    configs = sample(study.space)
    active = [frozenset(config) for config in configs]
    assert len(set(active)) > 1, "its space has conditions"
    sizes = [size_of(study.model, config, (14, 14, 1), 10) for config in configs]
    assert all(multiplications > 0 and weights > 0 for multiplications, weights in sizes)
    assert len(set(sizes)) > len(sizes) / 2, "what the space varies, the model varies"
    sys.modules.pop(study.model.partition(":")[0], None)
