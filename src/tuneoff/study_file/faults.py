"""A fault of a study file, and how pydantic's errors become such faults in our own words."""

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
"""A fault before its line is known."""
MAX_CHARACTERS = 60
"""So much of a value is quoted."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a study file."""

    where: Place  # the field, () for the file as a whole
    line: int | None
    message: str  # a clause that quotes the value and says what would be accepted

    def sentence(self, file: str) -> str:
        """The fault as one line: file, line, field, message."""
        place = f"{file}:{self.line}" if self.line else file
        return printable(f"{place}: {field_name(self.where)}{': ' if self.where else ''}{self.message}")


def field_name(where: Sequence[str | int]) -> str:
    """("methods", 1, "settings") as methods[1].settings; a name of other characters in quotation marks."""
    name = ""
    for part in where:
        text = str(part) if isinstance(part, int) or re.fullmatch(r"[\w-]{1,60}", part) else quoted(part)
        name += f"[{text}]" if isinstance(part, int) else f".{text}" if name else text
    return name


def printable(text: str) -> str:
    """The text without line ends and control characters, which are written as Python escapes them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(value: Any) -> str:
    """A value as the user would write it, cut where it is long."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "…"
    return repr(text) if isinstance(value, str) else text


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """ " (did you mean random?)", or nothing where nothing is near."""
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name[:MAX_CHARACTERS].lower(), by_lower, 1, 0.6)
    return f" (did you mean {by_lower[near[0]]}?)" if near else ""


def faults_of(error: ValidationError, document: Any, model: type[BaseModel]) -> list[tuple[ErrorDetails, Found]]:
    """Pydantic's errors of a document read as `model`, each with its fault; a union's complaints are one."""
    by_place: dict[Place, list[tuple[ErrorDetails, type[BaseModel] | None]]] = {}
    for detail in error.errors(include_url=False):
        place, around = _walk(detail, document, model)
        by_place.setdefault(place, []).append((detail, around))
    return [
        (details[0][0], (place, _either(details) if len(details) > 1 else _clause(*details[0])))
        for place, details in by_place.items()
    ]


def _walk(detail: ErrorDetails, document: Any, model: type[BaseModel]) -> tuple[Place, type[BaseModel] | None]:
    """The field that pydantic's loc means, without the names of union members that it puts in between; the model that has it."""
    place: list[str | int] = []
    current: type[BaseModel] | None = model
    around, value, tagged = current, document, False
    for part in detail["loc"]:
        if tagged:  # the type of a parameter, which is no level of the file
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
    """The one clause for a value that no member of a union takes."""
    finite = next((d for d in details if d[0]["type"] == "finite_number"), None)
    if finite is not None:
        return _clause(*finite)
    return f"{quoted(details[0][0]['input'])} is not taken: text, a number, true or false is wanted"


def _clause(error: ErrorDetails, around: type[BaseModel] | None) -> str:
    """Pydantic's error as our own clause; `around` is the model whose field is at fault."""
    value, context, name = quoted(error["input"]), error.get("ctx", {}), str(error["loc"][-1]) if error["loc"] else ""
    fields = dict(around.model_fields) if around and around is not Space else {}
    match error["type"]:
        case "missing":
            hint = _hint(fields[name], around if len(error["loc"]) > 1 else None) if name in fields else ""
            return f"the field is missing{f' ({hint})' if hint else ''}"
        case "extra_forbidden":
            known = f": the fields here are {', '.join(fields)}" if fields else ": nothing can be set here"
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
            return f"{value} is not taken: {_PATTERNS.get(str(context['pattern']), 'it must match ' + str(context['pattern']))}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            (bound,) = context.values()
            return f"{value} is not taken: it must be {_RELATIONS[error['type']]} {bound}"
        case "too_short" | "string_too_short":
            unit = "entry" if error["type"] == "too_short" else "character"
            return f"it is empty: at least {_counted(context['min_length'], unit)} must stand here"
        case "too_long":
            return f"at most {_counted(context['max_length'], 'entry')} are taken, and there are more"
        case "string_too_long":
            return f"{value} is not taken: at most {_counted(context['max_length'], 'character')} are"
        case kind:
            return f"{value} is not taken{_KINDS.get(kind, '')}"


def _hint(field: FieldInfo, around: type[BaseModel] | None) -> str:
    """What a field is for, from its own description, that of its model, or that of the model around it."""
    inner = next(_models_in(field.annotation), around)
    text = field.description or (inner.__doc__ if inner else None) or ""
    return _lowered(text.splitlines()[0]) if text else ""


def _choice(what: str, given: Any, expected: str) -> str:
    choices = expected.replace("'", "")
    return f"{what} is not taken: choose {choices}{did_you_mean(str(given), re.split(', | or ', choices))}"


def shortened(text: str) -> str:
    """A sentence whose long quotations and long lists are cut."""
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
    "int_type": ": a whole number is wanted",
    "int_from_float": ": a whole number is wanted",
    "float_type": ": a number is wanted",
    "string_type": ": text is wanted (put it in quotation marks)",
    "string_unicode": ": text in UTF-8 is wanted",
    "bool_type": ": true or false is wanted",
    "list_type": ": a list is wanted",
    "dict_type": ": a mapping (name: value) is wanted",
    "model_type": ": a mapping (name: value) is wanted",
    "model_attributes_type": ": a mapping (name: value) is wanted",
}
_PATTERNS = {
    r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$": "a name has 1 to 40 lower-case letters, digits, or _ . - inside",
    r"^(paper-cnn|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$": "give paper-cnn, or module:function for a builder of your own",
    r"^[0-9]{1,4}(\.[0-9]{1,3})?$|^[0-9]{1,7}m$": "give cores such as 2, 0.5 or 500m",
    r"^[0-9]{1,15}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|K|M|G|T)?$": "give an amount such as 8Gi or 512Mi",
    r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,98}[A-Za-z0-9]$": "give a cluster's name of GPUs, such as nvidia.com/gpu",
    r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$": "a name of Kubernetes has lower-case letters, digits, or . - inside",
    r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$": "give a label such as pool"
    " or example.org/pool",
    r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$": "a label's value has at most 63 letters, digits, or . _ - inside",
    r"^[A-Za-z_][A-Za-z0-9_]{0,127}$": "give an environment variable such as AWS_ENDPOINT_URL",
    r"^[A-Za-z0-9._-]{1,253}$": "a secret's key has letters, digits and . _ -",
    r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){1,8}$": "give an absolute path such as /tuneoff",
    r"^[a-z0-9][A-Za-z0-9._:/-]{0,198}[A-Za-z0-9]$": "give what stands before images' names, such as registry.example.org/team",
    r"^[a-z_]+(-[a-z]+){0,2}$": "name an image such as tuner or tuner-gpu",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$": "give an image's tag such as 0.1.0",
    r"^[a-z0-9][A-Za-z0-9._:/-]{0,254}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$": "give a whole image with"
    " its tag or digest, such as registry.example.org/team/tuner:1",
    r"^sha256:[0-9a-f]{64}$": "give sha256: and 64 hexadecimal digits",
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": "name a method of your own as module:Class",
}
