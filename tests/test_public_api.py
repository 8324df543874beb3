"""The public Python API: what it exports, what it costs to import, and that the docs use nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tuneoff
import tuneoff.method

ROOT = Path(__file__).parents[1]
MINIMAL = {"name": "a", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 3}}


def test_every_exported_name_exists() -> None:
    assert all(hasattr(tuneoff, name) for name in tuneoff.__all__)
    assert all(hasattr(tuneoff.method, name) for name in tuneoff.method.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tuneoff' has no attribute 'Nothing'"):
        tuneoff.Nothing  # noqa: B018 - reading it is the test


def test_validate_returns_the_study_with_its_defaults() -> None:
    study = tuneoff.validate(MINIMAL)
    assert isinstance(study, tuneoff.Study)
    assert study.budget.epochs_per_trial == 10
    assert tuneoff.validate(study) == study
    assert tuneoff.validate(ROOT / "studies" / "quickstart.yaml").name == "quickstart"


def test_validate_reports_every_fault() -> None:
    with pytest.raises(tuneoff.StudyError) as refused:
        tuneoff.validate({**MINIMAL, "methods": ["randm"], "seeds": [1, 1]})
    assert len(str(refused.value).splitlines()) == 2


def test_importing_the_package_imports_no_dependency() -> None:
    code = "import sys, tuneoff; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"numpy", "pydantic", "pandas", "click", "yaml", "matplotlib"}


def test_the_docs_import_nothing_deeper_than_the_public_modules() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    imported = {
        (page.name, module)
        for page in pages
        for module in re.findall(r"^\s*(?:from|import) (tuneoff[\w.]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {entry for entry in imported if entry[1] not in ("tuneoff", "tuneoff.method", "tuneoff.data")} == set()
    assert imported
