"""Check the methods and the user's modules that a study file names, without running them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..core.errors import StudyError
from ..core.runtime.images import MAIN
from ..core.space import PAPER_SPACE, Space
from ..core.study import Budget, Dataset, MethodChoice, Study
from ..methods.registry import find
from ..methods.spec import MethodSpec
from ..objectives import objective_of
from .document import listed_entries
from .faults import Found, Place, did_you_mean, faults_of, quoted

MAX_SOURCE_BYTES = 1_000_000


def check_methods(document: Mapping[str, Any], study: Study | None) -> Iterator[Found]:
    judged = study or _sound_study(document)
    known: dict[tuple[str, str], list[Found]] = {}
    environments: dict[str, str] = {}  # the first method of each environment except the main one
    for where, entry in listed_entries(document, "methods"):
        named = isinstance(entry, dict)
        name = entry.get("name") if named else entry
        if not isinstance(entry, dict | str):
            yield where, f"{quoted(entry)} is not allowed: give a name or a mapping (name: …, settings: …)"
        if not isinstance(name, str):
            continue
        try:
            spec = find(name)
        except StudyError as error:
            yield (*where, "name") if named else where, str(error).removesuffix(".")
            continue
        environment = spec.environment
        if environment != MAIN:
            environments.setdefault(environment, name)
            other, first = next(iter(environments.items()))
            if other != environment:
                clash = f"{name} needs the environment {environment}, but {first} needs {other}"
                yield where, f"{clash}: one study runs in one environment, so put them into separate studies"
        settings = entry.get("settings", {}) if named else {}
        if isinstance(settings, dict):
            key = name, repr(settings)  # equal settings under many labels are checked once
            if key not in known:
                known[key] = _method_faults(judged, spec, settings)
            yield from (((*where, *place), message) for place, message in known[key])


@contextmanager
def importable_from(folder: Path) -> Iterator[None]:
    """Let imports find the user's modules next to the study file and in the current folder, as a run does."""
    before = list(sys.path)
    sys.path[:0] = [str(folder.absolute()), str(Path.cwd())]
    try:
        yield
    finally:
        sys.path[:] = before


def _method_faults(study: Study | None, spec: MethodSpec, settings: dict[str, Any]) -> list[Found]:
    model = spec.settings_model()
    try:
        valid = model.model_validate(settings, strict=True)
    except ValidationError as error:
        return [(("settings", *place), message) for _, (place, message) in faults_of(error, settings, model)]
    if study is None:
        return []
    return [((), message) for message in objective_of(study).refusals(spec) or spec.refusals(study, valid)]


def _sound_study(document: Mapping[str, Any]) -> Study | None:
    """Build a study with the file's space and budget, for methods to check; None if one of the two is invalid."""
    try:
        return Study(
            name="check",
            datasets=[Dataset(name="mnist")],
            methods=[MethodChoice(name="grid", label="grid")],
            budget=Budget.model_validate(document.get("budget"), strict=True),
            space=Space.model_validate(document["space"], strict=True) if "space" in document else PAPER_SPACE,
        )
    except ValidationError:
        return None


def check_model(document: Mapping[str, Any], folder: Path) -> Iterator[tuple[Place, str]]:
    model = document.get("model")
    if not isinstance(model, str) or ":" not in model:
        return
    module, _, function = model.partition(":")
    if not module.partition(".")[0].isidentifier():
        return
    with importable_from(folder):
        file, missing = _source(module)
    if missing:
        where = "next to the study file or on the Python path"
        yield ("model",), f"{quoted(model)}: there is no module {missing!r} {where}; put it there, or correct the name"
        return
    defined = _defined(file)
    if defined is not None and function not in defined:
        near = did_you_mean(function, sorted(defined))
        remedy = "give the name of the function that builds the model"
        yield ("model",), f"{quoted(model)}: {file.name} does not define {function!r}{near}: {remedy}"


def _source(module: str) -> tuple[Path, str | None]:
    """Find a module's source without importing it.

    Returns:
        The file, and None; if the module does not exist, an empty path and the first part of its name that was not found.
    """
    places: list[str] | None = None
    origin, known = None, ""
    for name in module.split("."):
        known = f"{known}.{name}" if known else name
        spec = PathFinder.find_spec(known, places)
        if spec is None:
            return Path(), known
        origin, places = spec.origin, list(spec.submodule_search_locations or ())
    return Path(origin or ""), None


def _defined(file: Path) -> set[str] | None:
    """Return the names that a module's source defines at its top level; None if the source alone does not determine them."""
    if file.suffix != ".py" or file.stat().st_size > MAX_SOURCE_BYTES:
        return None
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names: set[str] = set()
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {a.asname or a.name for a in aliases}
            case ast.Assign() | ast.AnnAssign():
                names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            case ast.Expr():
                pass
            case _:
                return None  # conditions and loops may define anything
    return None if "*" in names or "__getattr__" in names else names
