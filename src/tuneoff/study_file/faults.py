"""Faults of a study file, and the conversion of pydantic's errors into such faults."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..core.space import Categorical, Float, Int, Space

Place = tuple[str | int, ...]
Found = tuple[Place, str]
"""A fault without its line: the field's place and the message."""
MAX_CHARACTERS = 60
"""A quoted value is cut to this length."""


@dataclass(frozen=True)
class Fault:
    """One mistake in a study file."""

    where: Place  # the field, () for the file as a whole
    line: int | None
    message: str  # a clause that quotes the value and names the accepted values

    def sentence(self, file: str) -> str:
        """Return the fault as one line of text: file, line number, field, message."""
        place = f"{file}:{self.line}" if self.line else file
        return printable(f"{place}: {field_name(self.where)}{': ' if self.where else ''}{self.message}")


def field_name(where: Sequence[str | int]) -> str:
    """Format a place as text: ("methods", 1, "settings") becomes methods[1].settings. Unusual names are quoted."""
    name = ""
    for part in where:
        text = str(part) if isinstance(part, int) or re.fullmatch(r"[\w-]{1,60}", part) else quoted(part)
        name += f"[{text}]" if isinstance(part, int) else f".{text}" if name else text
    return name


def printable(text: str) -> str:
    """Return the text with line ends and control characters replaced by Python's escape sequences."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(value: Any) -> str:
    """Format a value as the user would write it; long values are cut."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "…"
    return repr(text) if isinstance(value, str) else text


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return " (did you mean random?)", or an empty text if no known name is similar."""
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name[:MAX_CHARACTERS].lower(), by_lower, 1, 0.6)
    return f" (did you mean {by_lower[near[0]]}?)" if near else ""


def faults_of(error: ValidationError, document: Any, model: type[BaseModel]) -> list[tuple[ErrorDetails, Found]]:
    """Convert pydantic's errors about a document into faults.

    Args:
        error: The errors of validating `document` as `model`.
        document: The validated data.
        model: The model that it was validated as.

    Returns:
        Each error with its fault. The several errors of one value that no member of a union accepts become one fault.
    """
    by_place: dict[Place, list[tuple[ErrorDetails, type[BaseModel] | None]]] = {}
    for detail in error.errors(include_url=False):
        place, around = _walk(detail, document, model)
        by_place.setdefault(place, []).append((detail, around))
    return [
        (details[0][0], (place, _either(details) if len(details) > 1 else _clause(*details[0])))
        for place, details in by_place.items()
    ]


def _walk(detail: ErrorDetails, document: Any, model: type[BaseModel]) -> tuple[Place, type[BaseModel] | None]:
    """Return the place of an error in the file, and the model that the field belongs to.

    Pydantic's `loc` also contains the names of union members; these are not levels of the file, so they are removed.
    """
    place: list[str | int] = []
    current: type[BaseModel] | None = model
    around, value, tagged = current, document, False
    for part in detail["loc"]:
        if tagged:  # the type of a parameter, which is not a level of the file
            current, tagged = _PARAMETERS.get(str(part)), False
            continue
        around, tagged = current, current is Space
        absent = detail["type"] in ("missing", "extra_forbidden") and part == detail["loc"][-1]
        key = current is not None and part not in current.model_fields and not absent  # of a list or a mapping of models
        current = None if tagged else current if key else _inner(current, str(part))
        if _has(value, part):
            place.append(part)
            value = value[part]
        elif absent:
            place.append(part)
    return tuple(place), around


_PARAMETERS: Mapping[str, type[BaseModel]] = {"categorical": Categorical, "int": Int, "float": Float}


def _has(value: Any, part: str | int) -> bool:
    return (isinstance(value, dict) and part in value) or (
        isinstance(value, list) and isinstance(part, int) and part < len(value)
    )


def _inner(model: type[BaseModel] | None, field: str) -> type[BaseModel] | None:
    known = model.model_fields.get(field) if model else None
    return next(_models_in(known.annotation), None) if known else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _either(details: Sequence[tuple[ErrorDetails, type[BaseModel] | None]]) -> str:
    """Return the message for a value that no member of a union accepts."""
    finite = next((d for d in details if d[0]["type"] == "finite_number"), None)
    if finite is not None:
        return _clause(*finite)
    return f"{quoted(details[0][0]['input'])} is not allowed: give text, a number, true or false"


def _clause(error: ErrorDetails, around: type[BaseModel] | None) -> str:
    """Return the message for one of pydantic's errors; `around` is the model that the wrong field belongs to."""
    value, context, name = quoted(error["input"]), error.get("ctx", {}), str(error["loc"][-1]) if error["loc"] else ""
    fields = dict(around.model_fields) if around and around is not Space else {}
    match error["type"]:
        case "missing":
            hint = _hint(fields[name], around if len(error["loc"]) > 1 else None) if name in fields else ""
            return f"the field is missing{f' ({hint})' if hint else ''}"
        case "extra_forbidden":
            known = f": the allowed fields are {', '.join(fields)}" if fields else ": no fields are allowed here"
            return f"the field is unknown{known}{did_you_mean(name, list(fields))}"
        case "literal_error":
            return _choice(value, error["input"], str(context["expected"]))
        case "union_tag_invalid":
            return _choice(f"type {quoted(context['tag'])}", context["tag"], str(context["expected_tags"]))
        case "union_tag_not_found":
            return "the type is missing: give type: categorical, int or float"
        case "value_error" | "assertion_error":
            return shortened(str(context["error"]))
        case "string_pattern_mismatch":
            return f"{value} is not allowed: {_PATTERNS.get(str(context['pattern']), 'it must match ' + str(context['pattern']))}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            (bound,) = context.values()
            return f"{value} is not allowed: it must be {_RELATIONS[error['type']]} {bound}"
        case "too_short" | "string_too_short":
            unit = "entry" if error["type"] == "too_short" else "character"
            return f"it is empty: give at least {_counted(context['min_length'], unit)}"
        case "too_long":
            return f"there are too many entries: give at most {_counted(context['max_length'], 'entry')}"
        case "string_too_long":
            return f"{value} is too long: give at most {_counted(context['max_length'], 'character')}"
        case kind:
            return f"{value} is not allowed{_KINDS.get(kind, '')}"


def _hint(field: FieldInfo, around: type[BaseModel] | None) -> str:
    """Return what a field is for: its own description, else its model's, else that of the enclosing model."""
    inner = next(_models_in(field.annotation), around)
    text = field.description or (inner.__doc__ if inner else None) or ""
    return _lowered(text.splitlines()[0]) if text else ""


def _choice(what: str, given: Any, expected: str) -> str:
    choices = expected.replace("'", "")
    return f"{what} is not allowed: choose {choices}{did_you_mean(str(given), re.split(', | or ', choices))}"


def shortened(text: str) -> str:
    """Cut the long quotations and long lists in a sentence."""
    text = re.sub(r"""'[^']{61,}'|"[^"]{61,}\"""", lambda m: quoted(m[0][1:-1]), text)
    return re.sub(r"(?<![^ ,])((?:[^ ,]++, ){12})(?:[^ ,]++, )+[^ ,]++", r"\1…", text)


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {'entries' if unit == 'entry' else unit + 's'}"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


_RELATIONS = {
    "greater_than_equal": "at least",
    "greater_than": "greater than",
    "less_than_equal": "at most",
    "less_than": "less than",
}
_KINDS = {
    "finite_number": ": it must be a finite number",
    "int_type": ": give a whole number",
    "int_from_float": ": give a whole number",
    "float_type": ": give a number",
    "string_type": ": give text (put it in quotation marks)",
    "string_unicode": ": give text in UTF-8",
    "bool_type": ": give true or false",
    "list_type": ": give a list",
    "dict_type": ": give a mapping (name: value)",
    "model_type": ": give a mapping (name: value)",
    "model_attributes_type": ": give a mapping (name: value)",
}
_PATTERNS = {
    r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$": "a name has 1 to 40 lower-case letters or digits, with _ . - only inside",
    r"^(paper-cnn|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$": "give paper-cnn, or module:function for your own model builder",
    r"^[0-9]{1,4}(\.[0-9]{1,3})?$|^[0-9]{1,7}m$": "give a number of cores such as 2, 0.5 or 500m",
    r"^[0-9]{1,15}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|K|M|G|T)?$": "give an amount such as 8Gi or 512Mi",
    r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,98}[A-Za-z0-9]$": "give the cluster's name for GPUs, such as nvidia.com/gpu",
    r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$": "a Kubernetes name has lower-case letters or digits, with . - only inside",
    r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$": "give a label such as pool"
    " or example.org/pool",
    r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$": "a label's value has at most 63 letters or digits, . _ - only inside",
    r"^[A-Za-z_][A-Za-z0-9_]{0,127}$": "give the name of an environment variable, such as AWS_ENDPOINT_URL",
    r"^[A-Za-z0-9._-]{1,253}$": "a secret's key has only letters, digits and . _ -",
    r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){1,8}$": "give an absolute path such as /tuneoff",
    r"^[a-z0-9][A-Za-z0-9._:/-]{0,198}[A-Za-z0-9]$": "give the prefix of the images' names, such as registry.example.org/team",
    r"^[a-z_]+(-[a-z]+){0,2}$": "give an image's name such as tuner or tuner-gpu",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$": "give an image's tag such as 0.1.0",
    r"^[a-z0-9][A-Za-z0-9._:/-]{0,254}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$": "give a full image name with"
    " a tag or digest, such as registry.example.org/team/tuner:1",
    r"^sha256:[0-9a-f]{64}$": "give sha256: followed by 64 hexadecimal digits",
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": "name your own method as module:Class",
}
