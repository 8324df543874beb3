"""A method of the user's own: a class named as module:Class, or registered in the entry point group tuneoff.methods."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel

from ..core.errors import StudyError
from .spec import MethodSpec, NoSettings

GROUP = "tuneoff.methods"
PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""module:Class."""


@cache
def registered() -> dict[str, str]:
    """Names of the entry points, with the class that each stands for."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def own_method(name: str, target: str) -> MethodSpec:
    """The spec of the class; StudyError where it cannot be had, or is no method."""
    module, _, class_name = target.partition(":")
    found = _class(name, module, class_name)
    lacking = [verb for verb in ("ask", "tell", "should_continue") if not callable(getattr(found, verb, None))]
    if "should_continue" in lacking and callable(getattr(found, "goes_on", None)):
        raise StudyError(f"method {name!r} has goes_on, the former name of should_continue. Rename it in its class.")
    if lacking:
        raise StudyError(f"method {name!r} has no {', '.join(lacking)}: a method has ask, tell and should_continue.")
    settings = getattr(found, "Settings", NoSettings)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise StudyError(f"method {name!r} has Settings that are no pydantic model: derive them from pydantic.BaseModel.")
    declared = getattr(found, "spec", MethodSpec())
    if not isinstance(declared, MethodSpec):
        raise StudyError(f"method {name!r} has a spec that is no MethodSpec: write spec = MethodSpec(…), from tuneoff.method.")
    package = module.partition(".")[0]
    return replace(
        declared,
        name=name,
        target=target,
        user_defined=True,
        summary=declared.summary or (found.__doc__ or target).strip().splitlines()[0],
        framework=declared.framework or package,
        package=package,
    )


def _class(name: str, module: str, class_name: str) -> Any:
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise StudyError(f"method {name!r} needs {error.name}, which is not installed.") from None
        raise StudyError(f"method {name!r}: there is no module {module!r} beside the study file or on the Python path.") from None
    except Exception as error:
        raise StudyError(f"method {name!r}: importing {module} raised {type(error).__name__}: {error}.") from error
    if not isinstance(getattr(found, class_name, None), type):
        raise StudyError(f"method {name!r}: module {module!r} has no class {class_name}.")
    return getattr(found, class_name)


def is_own(name: str) -> bool:
    """Whether the name is written as module:Class."""
    return re.match(PATTERN, name) is not None
