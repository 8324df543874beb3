"""The rules of the house, read off the syntax trees: who imports whom, and what the files of the repository must not say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("components", "pipelines", "src/tuneoff")
    for file in (ROOT / folder).rglob("*.py")
    if not file.relative_to(ROOT).as_posix().startswith(("src/tuneoff/components/", "src/tuneoff/pipelines/"))
)
CLI = [m for m in MODULES if m.startswith("src/tuneoff/cli/") and not m.endswith("__init__.py")]


@dataclass(frozen=True)
class Import:
    """One import statement's target, as an absolute name, and whether it runs when the module is imported."""

    name: str
    at_import_time: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def module_name(file: str) -> str:
    """Return the dotted name of a file: src/tuneoff/core/space.py is tuneoff.core.space."""
    stem = file.removeprefix("src/tuneoff/").removesuffix(".py").removesuffix("/__init__")
    return "tuneoff" if stem == "__init__" else "tuneoff." + stem.replace("/", ".")


def imports(file: str) -> list[Import]:
    """Return all imports of a module, except those for type checkers alone."""
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
    """Return the absolute names that a `from` import binds, relative imports resolved."""
    if node.level == 0:
        base = node.module or ""
    else:
        package = module_name(file).split(".") if file.endswith("__init__.py") else module_name(file).split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
    return [f"{base}.{alias.name}" for alias in node.names]


def test_imports_are_read_as_python_reads_them() -> None:
    text = """
import numpy as np, kfp.dsl
from .. import layout
from ..core.space import Space
if TYPE_CHECKING:
    import keras
try:
    import mlflow
except ImportError:
    pass
class A:
    def method(self):
        from . import grid
"""
    assert imports_of(text, "src/tuneoff/methods/smac.py") == [
        Import("numpy", True),
        Import("kfp.dsl", True),
        Import("tuneoff.layout", True),
        Import("tuneoff.core.space.Space", True),
        Import("mlflow", True),
        Import("tuneoff.methods.grid", False),
    ]
    assert imports_of("from .a import b", "src/tuneoff/tracking/__init__.py") == [Import("tuneoff.tracking.a.b", True)]


# Layers are checked by import-linter (`make lint`, contracts in pyproject.toml). These rules are beyond it.


def test_the_linter_knows_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    packages = {name.strip() for contract in contracts for layer in contract["layers"] for name in layer.split("|")}
    folders = {p.name for p in (ROOT / "src" / "tuneoff").iterdir() if list(p.glob("*.py"))}
    assert packages == {*folders, "method"}


def test_a_folder_has_at_most_15_modules() -> None:
    """`methods` is the exception: it holds one file per framework."""
    folders = Counter(m.rpartition("/")[0] for m in MODULES if not m.endswith("__init__.py"))
    assert {folder: n for folder, n in folders.items() if n > 15 and folder != "src/tuneoff/methods"} == {}


def test_a_file_has_at_most_400_lines_of_code() -> None:
    def lines_of_code(file: str) -> int:
        lines = [line.strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
        return len([line for line in lines if line and not line.startswith("#")])

    to_be_split = {"katib/collect.py", "katib/experiments.py", "methods/ray_tune.py", "study_file/check.py"}
    large = {file for file in MODULES if lines_of_code(file) > 400}
    assert large == {f"{SRC}/{file}" for file in to_be_split}


# Frameworks

SRC = "src/tuneoff"
WHO_KNOWS: dict[str, tuple[str, ...]] = {
    "kfp": ("components/*/component.py", "pipelines/*.py", f"{SRC}/cluster/kfp_server.py"),
    "kfp_server_api": (f"{SRC}/cluster/kfp_server.py",),
    "urllib3": (f"{SRC}/doctor/*", f"{SRC}/cluster/kfp_server.py", f"{SRC}/cluster/kubernetes_api.py", f"{SRC}/katib/*"),
    "kubernetes": (f"{SRC}/doctor/*", f"{SRC}/katib/*", f"{SRC}/cluster/*"),
    "keras": (
        f"{SRC}/objectives/keras/*",
        f"{SRC}/evaluation/*",
        f"{SRC}/data/fetch.py",
        f"{SRC}/tracking/mlflow/evaluation.py",
    ),
    "tensorflow": (f"{SRC}/objectives/keras/*", f"{SRC}/evaluation/*"),
    "mlflow": (f"{SRC}/tracking/*", f"{SRC}/tables/import_mlflow.py"),
    "tensorboard": (f"{SRC}/tracking/*",),
    "boto3": (f"{SRC}/core/store/s3.py",),
    "botocore": (f"{SRC}/core/store/s3.py",),
    "keras_tuner": (f"{SRC}/methods/keras_tuner.py",),
    "skopt": (f"{SRC}/methods/skopt.py",),
    "optuna": (f"{SRC}/methods/optuna.py", f"{SRC}/export/optuna.py", f"{SRC}/tables/import_optuna.py"),
    "hyperopt": (f"{SRC}/methods/hyperopt.py",),
    "cmaes": (f"{SRC}/methods/cmaes.py",),
    "nevergrad": (f"{SRC}/methods/nevergrad.py",),
    "flaml": (f"{SRC}/methods/flaml_tune.py", f"{SRC}/systems/flaml_automl.py"),
    "h2o": (f"{SRC}/systems/h2o_automl.py",),
    "autokeras": (f"{SRC}/systems/autokeras.py",),
    "sklearn": (f"{SRC}/methods/grid.py", f"{SRC}/methods/sklearn_halving.py", f"{SRC}/data/splits.py", f"{SRC}/analysis/*"),
    "scipy": (f"{SRC}/methods/*", f"{SRC}/analysis/*"),
    "ConfigSpace": (f"{SRC}/methods/configspace.py",),
    "smac": (f"{SRC}/methods/smac.py",),
    "joblib": (f"{SRC}/methods/smac.py",),
    "syne_tune": (f"{SRC}/methods/syne_tune.py",),
    "dehb": (f"{SRC}/methods/dehb.py",),
    "ax": (f"{SRC}/methods/ax.py",),
    "confopt": (f"{SRC}/methods/confopt.py",),
    "vizier": (f"{SRC}/methods/vizier.py",),
    "jax": (f"{SRC}/methods/vizier.py",),
    "neps": (f"{SRC}/methods/neps.py",),
    "torch": (f"{SRC}/methods/neps.py",),
    "ray": (f"{SRC}/methods/ray_tune.py", f"{SRC}/methods/ray_actor.py"),
    "tenacity": (f"{SRC}/core/runtime/retry.py",),
    "click": (f"{SRC}/cli/*",),
    "rich": (f"{SRC}/cli/*", f"{SRC}/inspect/*"),
    "yaml": (f"{SRC}/study_file/yaml_reader.py", f"{SRC}/cluster/kubernetes_yaml.py", f"{SRC}/katib/*"),
    "kubeflow_katib_api": (f"{SRC}/katib/*",),
    "matplotlib": (f"{SRC}/report/*", f"{SRC}/data/figures.py", f"{SRC}/objectives/evaluation_figures.py"),
    "PIL": (f"{SRC}/data/*",),
    "plotly": (f"{SRC}/report/*",),
    "pandas": (f"{SRC}/analysis/*", f"{SRC}/report/*", f"{SRC}/inspect/study_results.py"),
    "pyarrow": (f"{SRC}/core/table.py", f"{SRC}/analysis/*", f"{SRC}/report/*"),
    "jinja2": (f"{SRC}/report/*",),
    "markupsafe": (f"{SRC}/report/*",),
}
EVERYWHERE = {"tuneoff", "numpy", "pydantic", "pydantic_core"} | sys.stdlib_module_names
AT_IMPORT_TIME = {"kfp", "click", "rich", "optuna", "yaml", "matplotlib", "pandas", "jinja2", "markupsafe"}
"""Packages that their modules may import at the top; the others are imported where they are used."""


def test_a_framework_is_imported_in_its_own_modules_alone() -> None:
    offenders = [
        f"{file} imports {entry.name}"
        for file in MODULES
        for entry in imports(file)
        if entry.package not in EVERYWHERE and not any(fnmatch(file, p) for p in WHO_KNOWS.get(entry.package, ()))
    ]
    assert offenders == []


def test_heavy_packages_are_imported_when_they_are_used() -> None:
    early = {file: {e.package for e in imports(file) if e.at_import_time} - EVERYWHERE for file in MODULES}
    assert {file: names - AT_IMPORT_TIME for file, names in early.items() if names - AT_IMPORT_TIME} == {}
    light = [m for m in MODULES if m.startswith(f"{SRC}/core/") or m in (f"{SRC}/__init__.py", f"{SRC}/method.py")]
    assert {file: early[file] for file in light if early[file]} == {}, "core imports no framework at import time"


def test_the_command_line_imports_nothing_else_before_it_knows_the_command() -> None:
    early = {e.name for file in CLI for e in imports(file) if e.at_import_time and e.package not in sys.stdlib_module_names}
    assert {e for e in early if not e.startswith("tuneoff.cli.")} == {"click", "tuneoff._version.__version__"}


def test_a_method_file_knows_one_framework() -> None:
    beneath = {"scipy", "joblib", "jax", "torch"}  # what a framework itself stands on: distributions, threads, random states
    none = {"__init__", "registry", "spec", "user_method", "inversion", "hyperband_fixed"}  # hyperband_fixed: our own brackets
    for file in (m for m in MODULES if m.startswith(f"{SRC}/methods/")):
        known = {e.package for e in imports(file)} - EVERYWHERE - beneath
        assert len(known) == (0 if Path(file).stem in none else 1), file


# Every file


def test_every_module_says_in_its_first_line_what_it_is_for() -> None:
    files = [
        *MODULES,
        *(f.relative_to(ROOT).as_posix() for f in sorted((ROOT / "tests").rglob("*.py")) if "assets" not in f.parts),
    ]
    docstrings = {file: ast.get_docstring(ast.parse((ROOT / file).read_text(encoding="utf-8"))) or "" for file in files}
    assert [file for file, text in docstrings.items() if len(text.partition("\n")[0]) <= 10] == []


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
    from tuneoff.methods.registry import REGISTRY

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for spec in REGISTRY.values():
        assert any(re.split(r"[=<>\[]", d)[0] == spec.framework for d in extras[spec.extra]), spec.name
