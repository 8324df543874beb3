"""Each component's folder has what kubeflow/pipelines-components asks for: metadata of its form, and a README that is true."""

from __future__ import annotations

import inspect
import re
import typing
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.specifiers import SpecifierSet

from tuneoff.core.study import Step

ROOT = Path(__file__).parents[1]
STEPS: tuple[str, ...] = get_args(Step)

DEPENDENCIES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "version"],
        "properties": {"version": {"pattern": r"^(==|>=|<=|~=)?\d+\.\d+\.\d+$"}},
    },
}
METADATA = {
    "type": "object",
    "required": ["name", "stability", "dependencies", "lastVerified"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string"},
        "stability": {"enum": ["alpha", "beta", "stable"]},
        "dependencies": {
            "type": "object",
            "required": ["kubeflow"],
            "additionalProperties": False,
            "properties": {"kubeflow": DEPENDENCIES, "external_services": DEPENDENCIES},
        },
        "tags": {"type": "array", "items": {"type": "string"}},
        "lastVerified": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
    },
}
"""What docs/CONTRIBUTING.md of kubeflow/pipelines-components says of metadata.yaml, as far as ours use it."""


def metadata_of(step: str) -> Any:
    """The file's fields; times stay text."""
    return yaml.load((ROOT / "components" / step / "metadata.yaml").read_text(), yaml.BaseLoader)


def readme_of(step: str) -> str:
    return (ROOT / "components" / step / "README.md").read_text(encoding="utf-8")


def component_of(step: str) -> Any:
    """The step's KFP component: the one function of its module."""
    module = import_module(f"tuneoff.components.{step}.component")
    (found,) = [c for c in vars(module).values() if hasattr(c, "python_func")]
    return found


@pytest.mark.parametrize("step", STEPS)
def test_the_metadata_is_of_the_form_that_is_asked_for(step: str) -> None:
    metadata = metadata_of(step)
    assert [e.message for e in Draft202012Validator(METADATA).iter_errors(metadata)] == []
    assert metadata["name"] == step
    assert "Pipelines" in [d["name"] for d in metadata["dependencies"]["kubeflow"]]


@pytest.mark.parametrize("step", STEPS)
def test_the_metadata_wants_releases_that_we_have(step: str) -> None:
    dependencies = metadata_of(step)["dependencies"]
    installed = {"Pipelines": version("kfp"), "MLflow": version("mlflow")}
    for dependency in [*dependencies["kubeflow"], *dependencies.get("external_services", [])]:
        assert installed[dependency["name"]] in SpecifierSet(dependency["version"])


@pytest.mark.parametrize("step", STEPS)
def test_the_readme_has_the_sections_in_their_order(step: str) -> None:
    headings = re.findall(r"^## (.+) \S+$", readme_of(step), re.MULTILINE)
    assert headings[:4] == ["Overview", "Inputs", "Usage Examples", "Metadata"]
    assert readme_of(step).index("## Metadata") < readme_of(step).index("<!-- custom-content -->")


@pytest.mark.parametrize("step", STEPS)
def test_the_readme_names_every_parameter_with_its_type(step: str) -> None:
    function = component_of(step).python_func
    types = {
        name: spelled(hint) for name, hint in typing.get_type_hints(function, include_extras=True).items() if name != "return"
    }
    assert all(p.default is inspect.Parameter.empty for p in inspect.signature(function).parameters.values())
    rows = re.findall(r"^\| `(\w+)` \| `([\w.\[\]]+)` \| `None` \| .+ \|$", readme_of(step), re.MULTILINE)
    assert rows == list(types.items())


def spelled(hint: Any) -> str:
    """A type as component.py writes it: KFP keeps Input and Output of an artifact as an annotation."""
    if not hasattr(hint, "__metadata__"):
        return hint.__name__ if hint.__module__ == "builtins" else f"dsl.{hint.__name__}"
    (artifact, annotation) = (hint.__origin__, hint.__metadata__[0])
    direction = "Input" if "Input" in str(annotation) else "Output"
    return f"dsl.{direction}[dsl.{artifact.__name__}]"


@pytest.mark.parametrize("step", STEPS)
def test_the_readme_repeats_the_metadata(step: str) -> None:
    metadata, text = metadata_of(step), readme_of(step)
    assert f"- **Name**: {step}\n" in text
    assert f"- **Stability**: {metadata['stability']}\n" in text
    for tag in metadata["tags"]:
        assert f"  - {tag}\n" in text
    for dependencies in metadata["dependencies"].values():
        for dependency in dependencies:
            assert f"    - Name: {dependency['name']}, Version: {dependency['version']}\n" in text
    assert metadata["lastVerified"][:10] in text
