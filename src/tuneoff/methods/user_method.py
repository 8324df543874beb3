"""User-defined methods: classes named as module:Class, or registered in the entry point group tuneoff.methods."""

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
"""The entry point group in which a package registers its methods."""
RENAMED = {"goes_on": "should_continue", "continuable": "resumable"}
"""Verbs of a method that release 0.2 renamed."""
PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""Matches names of the form module:Class."""


@cache
def registered() -> dict[str, str]:
    """Return the names of the entry points, each with its class as module:Class."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def own_method(name: str, target: str) -> MethodSpec:
    """Return the spec of a user-defined method.

    Args:
        name: The method's name in the study file.
        target: Its class, as module:Class.

    Raises:
        StudyError: The class cannot be imported, or it is not a method.
    """
    module, _, class_name = target.partition(":")
    method = _class(name, module, class_name)
    for old, new in RENAMED.items():
        if callable(getattr(method, old, None)) and not callable(getattr(method, new, None)):
            raise StudyError(f"method {name!r} has {old}, the former name of {new}. Rename it in its class.")
    missing = [verb for verb in ("ask", "tell", "should_continue") if not callable(getattr(method, verb, None))]
    if missing:
        raise StudyError(
            f"method {name!r} has no {', '.join(missing)}: a method must have ask, tell and should_continue. Add what is missing."
        )
    settings = getattr(method, "Settings", NoSettings)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise StudyError(f"method {name!r}: its Settings are not a pydantic model. Derive them from pydantic.BaseModel.")
    declared = getattr(method, "spec", MethodSpec())
    if not isinstance(declared, MethodSpec):
        raise StudyError(
            f"method {name!r}: its spec is not a MethodSpec. Write spec = MethodSpec(…), with MethodSpec from tuneoff.method."
        )
    package = module.partition(".")[0]
    return replace(
        declared,
        name=name,
        target=target,
        user_defined=True,
        summary=declared.summary or (method.__doc__ or target).strip().splitlines()[0],
        framework=declared.framework or package,
        package=package,
    )


def _class(name: str, module: str, class_name: str) -> Any:
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
            raise StudyError(f"method {name!r} needs {error.name}, which is not installed.") from None
        raise StudyError(
            f"method {name!r}: module {module!r} was found neither next to the study file nor on the Python path."
        ) from None
    except Exception as error:
        raise StudyError(f"method {name!r}: importing {module} raised {type(error).__name__}: {error}.") from error
    if not isinstance(getattr(imported, class_name, None), type):
        raise StudyError(f"method {name!r}: module {module!r} has no class {class_name}.")
    return getattr(imported, class_name)


def is_own(name: str) -> bool:
    """Return whether the name has the form module:Class."""
    return re.match(PATTERN, name) is not None
