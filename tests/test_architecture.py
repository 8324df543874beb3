"""The rules of the house, read off the syntax trees: who imports whom, and what the files of the repository must not say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
STEPS = ("data_prep", "tuner", "evaluator", "reporter")
MODULES = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("components", "pipelines", "src/tuneoff")
    for file in (ROOT / folder).rglob("*.py")
    if not file.relative_to(ROOT).as_posix().startswith(("src/tuneoff/components/", "src/tuneoff/pipelines/"))
)

COMMANDS = [m for m in MODULES if m.startswith("src/tuneoff/commands/") and not m.endswith("__init__.py")]


@dataclass(frozen=True)
class Import:
    """One import statement's target, as an absolute name, and whether it runs when the module is imported."""

    name: str
    at_import_time: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def module_name(file: str) -> str:
    """components/core/space.py as tuneoff.components.core.space."""
    stem = file.removeprefix("src/tuneoff/").removesuffix(".py").removesuffix("/__init__")
    return "tuneoff" if stem == "__init__" else "tuneoff." + stem.replace("/", ".")


def imports(file: str) -> list[Import]:
    """All imports of a module but those for type checkers alone."""
    return imports_of((ROOT / file).read_text(encoding="utf-8"), file)


def imports_of(text: str, file: str) -> list[Import]:
    found: list[Import] = []

    def walk(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend(Import(name, top) for name in _targets(node, file))
        inside = top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            walk(child, inside)

    walk(ast.parse(text), True)
    return found


def _targets(node: ast.ImportFrom, file: str) -> list[str]:
    """`from ..core import layout` in a step as tuneoff.components.core.layout."""
    if node.level == 0:
        base = node.module or ""
    else:
        package = module_name(file).split(".") if file.endswith("__init__.py") else module_name(file).split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def ours(file: str) -> Iterator[str]:
    """The part of the house that each import of ours is in, such as components.core or pipelines.studyfile."""
    for entry in imports(file):
        if entry.package == "tuneoff":
            yield ".".join(entry.name.split(".")[1:3])


def room(file: str) -> str:
    return ".".join(module_name(file).split(".")[1:3])


def test_imports_are_read_as_python_reads_them() -> None:
    text = """
import numpy as np, kfp.dsl
from .. import layout
from ...core.space import Space
if TYPE_CHECKING:
    import keras
try:
    import mlflow
except ImportError:
    pass
class A:
    def method(self):
        from .methods import grid
"""
    assert imports_of(text, "components/tuner/methods/grid.py") == [
        Import("numpy", True),
        Import("kfp.dsl", True),
        Import("tuneoff.components.tuner.layout", True),
        Import("tuneoff.components.core.space.Space", True),
        Import("mlflow", True),
        Import("tuneoff.components.tuner.methods.methods.grid", False),
    ]
    assert _targets(ast.parse("from . import __version__").body[0], "src/tuneoff/cli.py") == ["tuneoff.__version__"]  # type: ignore[arg-type]
    assert _targets(ast.parse("from .a import b").body[0], "components/core/tracking/__init__.py") == [  # type: ignore[arg-type]
        "tuneoff.components.core.tracking.a.b"
    ]


# Direction


@pytest.mark.parametrize("file", [m for m in MODULES if m.startswith("components/core/")])
def test_core_imports_core_alone(file: str) -> None:
    assert set(ours(file)) <= {"components.core", "__version__"}


@pytest.mark.parametrize("file", [m for m in MODULES if m.startswith(tuple(f"components/{s}/" for s in STEPS))])
def test_a_step_imports_core_and_itself_and_no_other_step(file: str) -> None:
    assert set(ours(file)) <= {"components.core", room(file)}


@pytest.mark.parametrize("file", [m for m in MODULES if m.startswith("pipelines/")])
def test_pipelines_import_components_and_each_other(file: str) -> None:
    assert all(name.startswith(("components.", "pipelines.")) or name == "__version__" for name in ours(file))


def test_only_the_command_is_above_the_pipelines() -> None:
    above = [m for m in MODULES for name in ours(m) if name.startswith("pipelines.") and not m.startswith("pipelines/")]
    assert set(above) <= {*COMMANDS, "src/tuneoff/__init__.py"}
    assert [m for m in MODULES for name in ours(m) if name.startswith("cli")] == ["src/tuneoff/__main__.py"]
    assert {m for m in MODULES for name in ours(m) if name.startswith("commands")} <= {"src/tuneoff/cli.py", *COMMANDS}


def test_every_part_of_the_house_is_known() -> None:
    parts = {m.split("/")[1] for m in MODULES if m.startswith("components/") and m.count("/") > 1}
    assert parts == {"core", *STEPS}


# Frameworks

WHO_KNOWS: dict[str, tuple[str, ...]] = {
    "kfp": (
        "components/*/component.py",
        "pipelines/bakeoff.py",
        "pipelines/local.py",
        "pipelines/submit.py",
        "pipelines/kfp_server.py",
    ),
    "kfp_server_api": ("pipelines/kfp_server.py",),
    "urllib3": ("pipelines/cluster_check.py", "pipelines/kfp_server.py", "pipelines/kube.py", "pipelines/katib_results.py"),
    "kubernetes": ("pipelines/cluster_check.py", "pipelines/katib_results.py", "pipelines/kube.py", "pipelines/waiting.py"),
    "keras": (
        "components/core/learning/*",
        "components/evaluator/*",
        "components/data_prep/sources.py",
        "components/core/tracking/mlflow_evaluation.py",
    ),
    "tensorflow": ("components/core/learning/*", "components/evaluator/*"),
    "mlflow": ("components/core/tracking/*",),
    "tensorboard": ("components/core/tracking/*",),
    "boto3": ("components/core/storage.py",),
    "botocore": ("components/core/storage.py",),
    "keras_tuner": ("components/tuner/methods/keras_tuner.py",),
    "skopt": ("components/tuner/methods/skopt.py",),
    "optuna": ("components/tuner/methods/optuna.py", "pipelines/export_optuna.py", "pipelines/import_optuna.py"),
    "hyperopt": ("components/tuner/methods/hyperopt.py",),
    "cmaes": ("components/tuner/methods/cmaes.py",),
    "nevergrad": ("components/tuner/methods/nevergrad.py",),
    "flaml": ("components/tuner/methods/flaml_tune.py", "components/tuner/methods/flaml_automl.py"),
    "h2o": ("components/tuner/methods/h2o_automl.py",),
    "autokeras": ("components/tuner/methods/autokeras_system.py",),
    "sklearn": (
        "components/tuner/methods/grid.py",
        "components/tuner/methods/sklearn_halving.py",
        "components/data_prep/splits.py",
        "components/reporter/*",
    ),
    "scipy": ("components/tuner/methods/*.py", "components/reporter/*"),
    "ConfigSpace": ("components/tuner/methods/configspace.py",),
    "smac": ("components/tuner/methods/smac.py",),
    "joblib": ("components/tuner/methods/smac.py",),
    "syne_tune": ("components/tuner/methods/syne_tune.py",),
    "dehb": ("components/tuner/methods/dehb.py",),
    "ax": ("components/tuner/methods/ax.py",),
    "confopt": ("components/tuner/methods/confopt.py",),
    "vizier": ("components/tuner/methods/vizier.py",),
    "jax": ("components/tuner/methods/vizier.py",),
    "neps": ("components/tuner/methods/neps.py",),
    "torch": ("components/tuner/methods/neps.py",),
    "ray": ("components/tuner/methods/ray_tune.py", "components/tuner/methods/ray_actor.py"),
    "click": ("src/tuneoff/cli.py", "src/tuneoff/commands/*.py"),
    "rich": ("src/tuneoff/commands/*.py", "pipelines/progress.py", "pipelines/looking.py"),
    "yaml": ("pipelines/yamlfile.py", "pipelines/kubernetes_yaml.py", "pipelines/katib_results.py"),
    "kubeflow_katib_api": ("pipelines/katib.py", "pipelines/katib_results.py"),
    "matplotlib": ("components/reporter/*", "components/*/pictures.py"),
    "PIL": ("components/data_prep/*",),
    "plotly": ("components/reporter/*",),
    "pandas": ("components/reporter/*", "pipelines/results.py"),
    "pyarrow": ("components/core/table.py", "components/reporter/*"),
    "jinja2": ("components/reporter/*",),
    "markupsafe": ("components/reporter/*",),
}
EVERYWHERE = {"tuneoff", "numpy", "pydantic", "pydantic_core"} | sys.stdlib_module_names
WHEN_IMPORTED = {"kfp", "click", "rich", "optuna", "yaml", "matplotlib", "pandas", "jinja2", "markupsafe"}
"""Packages that those who know them may import at the top of a module; the others are imported where they are used."""


@pytest.mark.parametrize("file", MODULES)
def test_a_framework_is_known_in_its_own_room_alone(file: str) -> None:
    for entry in imports(file):
        if entry.package not in EVERYWHERE:
            assert any(fnmatch(file, pattern) for pattern in WHO_KNOWS.get(entry.package, ())), f"{file} imports {entry.name}"


@pytest.mark.parametrize("file", MODULES)
def test_heavy_packages_are_imported_when_they_are_used(file: str) -> None:
    early = {e.package for e in imports(file) if e.at_import_time} - EVERYWHERE
    assert early <= WHEN_IMPORTED
    if file.startswith("components/core/") or file == "src/tuneoff/__init__.py":
        assert not early, "core imports no framework at import time"


def test_the_command_imports_nothing_of_ours_before_it_knows_what_to_do() -> None:
    files = ("src/tuneoff/cli.py", *COMMANDS)
    early = {e.name for file in files for e in imports(file) if e.at_import_time and e.package not in sys.stdlib_module_names}
    assert {e for e in early if not e.startswith("tuneoff.commands.")} == {"click", "tuneoff.__version__"}


@pytest.mark.parametrize("file", [m for m in MODULES if m.startswith("components/tuner/methods/")])
def test_a_method_file_knows_one_framework(file: str) -> None:
    beneath = {"scipy", "joblib", "jax", "torch"}  # what a framework itself stands on: distributions, threads, random states
    known = {e.package for e in imports(file)} - EVERYWHERE - beneath
    none = file.endswith(("__init__.py", "hyperband_fixed.py"))  # our own brackets, over the draws of methods/keras_tuner.py
    assert len(known) == (0 if none else 1)


def test_only_method_files_know_the_frameworks_of_methods() -> None:
    frameworks = {"keras_tuner", "skopt"}
    assert {m for m in MODULES for e in imports(m) if e.package in frameworks} == {
        "components/tuner/methods/keras_tuner.py",
        "components/tuner/methods/skopt.py",
    }


# Every file


@pytest.mark.parametrize("file", [*MODULES, *(f.relative_to(ROOT).as_posix() for f in sorted((ROOT / "tests").rglob("*.py")))])
def test_every_module_says_in_its_first_line_what_it_is_for(file: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    assert docstring
    assert len(docstring.splitlines()[0]) > 10


def committed() -> list[str]:
    """Files that are in the repository, or would be with the next commit."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no git repository")
    return [f for f in done.stdout.splitlines() if (ROOT / f).is_file() and not (ROOT / f).is_symlink()]


def test_no_file_names_a_place_of_the_machine_that_it_was_written_on() -> None:
    homes = [str(Path.home()) + "/"] if Path.home().parts[1:2] in (("home",), ("Users",)) else []
    places = [str(ROOT) + "/", str(ROOT) + "\n", *homes]
    for file in committed():
        content = (ROOT / file).read_bytes()
        assert not [p for p in places if p.encode() in content], file


@pytest.mark.parametrize("pattern", ["requirements*.lock", "requirements*.txt", "pyproject.toml", "docker/*", "Makefile"])
def test_no_file_names_a_package_index(pattern: str) -> None:
    """Which index packages come from is the business of the machine that installs them."""
    for file in (f for f in committed() if fnmatch(f, pattern)):
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert not [x for x in lines if re.search(r"--(extra-)?index(-url)?\b|--find-links|--trusted-host|^-[if] ", x)], file
        if file.endswith((".lock", ".toml")):
            assert not [x for x in lines if "://" in x.partition("#")[0]], file


def test_lock_files_hold_exact_versions() -> None:
    locks = [f for f in committed() if fnmatch(f, "requirements*.lock")]
    assert locks
    for file in locks:
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            requirement = line.partition("#")[0].strip().rstrip("\\").strip()
            if requirement and not requirement.startswith("--hash"):
                release, _, marker = requirement.partition(" ; ")
                assert re.fullmatch(r"[A-Za-z0-9_.-]+(\[[a-z0-9,_-]+\])?==[A-Za-z0-9.!+-]+( +--hash=\S+)*", release), requirement
                assert not marker or Marker(marker), requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_a_lock_holds_one_release_of_each_package_for_each_python(python: str) -> None:
    for file in (f for f in committed() if fnmatch(f, "requirements*.lock")):
        text = (ROOT / file).read_text(encoding="utf-8")
        requirements = [Requirement(line) for line in re.findall(r"^([a-z0-9][^\\\n]+)", text, re.MULTILINE)]
        version = {"python_version": python, "python_full_version": f"{python}.0"}
        names = [r.name for r in requirements if r.marker is None or r.marker.evaluate(version)]
        assert len(names) == len(set(names)), file


def test_each_method_names_an_extra_that_installs_it() -> None:
    from tuneoff.components.tuner.registry import REGISTRY

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for spec in REGISTRY.values():
        assert any(re.split(r"[=<>\[]", d)[0] == spec.framework for d in extras[spec.extra]), spec.name
