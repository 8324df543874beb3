"""Reading a study file: YAML with line numbers, and all its faults in one pass, one sentence each."""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ..components.core.errors import StudyError
from ..components.core.space import PAPER_SPACE, Space
from ..components.core.study import Budget, Dataset, MethodChoice, Study
from ..components.tuner.registry import REGISTRY, MethodSpec

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_NODES = 100_000

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a study file."""

    where: Path_  # the field, () for the file as a whole
    line: int | None
    message: str  # a clause that quotes the value and says what would be accepted

    def sentence(self, file: str) -> str:
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {field_name(self.where)}{': ' if self.where else ''}{self.message}"


def field_name(where: Sequence[str | int]) -> str:
    """("methods", 1, "settings") as methods[1].settings."""
    name = ""
    for part in where:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def read_study(file: str | Path) -> Study:
    """The study in this file. StudyError holds every fault, one sentence a line."""
    study, faults = check_file(file)
    if study is None or faults:
        raise StudyError("\n".join(f.sentence(str(file)) for f in faults))
    return study


def check_file(file: str | Path) -> tuple[Study | None, list[Fault]]:
    """The study (None where it cannot be built) and all faults of the file, in the order of its lines."""
    path = Path(file)
    try:
        text = _text(path)
        document, lines = parse(text)
    except StudyError as error:
        return None, [Fault((), None, str(error))]
    except _Misformed as error:
        return None, [Fault((), error.line, str(error))]
    return check(document, lines, path.parent)


def check(document: Any, lines: Mapping[Path_, int], folder: Path) -> tuple[Study | None, list[Fault]]:
    """As check_file, of a document that has been read; relative data paths are looked up in `folder`, then here."""
    if not isinstance(document, dict):
        return None, [
            Fault((), 1, f"a study is a mapping of sections such as name, datasets, methods and budget, not {_quoted(document)}")
        ]
    document = {**document, "datasets": _absolute(document.get("datasets"), folder)} if "datasets" in document else document
    found: list[tuple[Path_, str]] = []
    study = None
    try:
        study = Study.model_validate(document)
    except ValidationError as error:
        found += [(_place(e, document), _sentence(e)) for e in error.errors()]
    found += _check_datasets(document)
    found += _check_methods(document)
    found += _check_places(document)
    found += _check_model(document, folder)
    faults = [Fault(where, _line(lines, where), message) for where, message in dict.fromkeys(found)]
    return study, sorted(faults, key=lambda f: f.line or 0)


def warnings(study: Study) -> list[str]:
    """What is allowed, but probably not meant."""
    trials, points = study.budget.trials, None
    for choice in study.methods:
        if choice.name == "grid" and choice.settings.get("order") != "shuffled":
            points = study.space.grid_size()
    if trials is None or points is None or points <= trials:
        return []
    return [
        f"grid: {trials} trials are only the first corner of a grid of {points} points;"
        " settings: {order: shuffled} draws them from all over it."
    ]


# Reading


class _Misformed(Exception):
    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StudyError(f"the file has {path.stat().st_size:,} bytes, and a study file has at most {MAX_BYTES:,}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise StudyError("the file is no UTF-8 text, and a study file is YAML in UTF-8") from None
    except OSError as error:
        raise StudyError(f"the file cannot be read: {error.strerror}; give the path of a study file (YAML)") from None


def parse(text: str) -> tuple[Any, dict[Path_, int]]:
    """The document, and the line of each field in it. Aliases, deep nesting and doubled keys are refused, not expanded."""
    try:
        _refuse_bombs(text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Misformed(mark.line + 1 if mark else None, f"this is no valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _Misformed(None, f"this is no valid YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        raise _Misformed(None, "the file is empty, and a study needs at least name, datasets, methods and budget")
    lines: dict[Path_, int] = {}
    return _construct(node, (), lines), lines


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _refuse_bombs(text: str) -> None:
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Misformed(line, "YAML anchors and aliases (& and *) are not taken: write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            raise _Misformed(line, f"the file is nested more than {MAX_DEPTH} levels deep, and a study needs fewer than ten")
        if nodes > MAX_NODES:
            raise _Misformed(line, f"the file has more than {MAX_NODES:,} values")


def _construct(node: Any, where: Path_, lines: dict[Path_, int]) -> Any:
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*where, i), lines) for i, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, child in node.value:
            key = _scalar(key_node)
            if not isinstance(key, str):
                raise _Misformed(key_node.start_mark.line + 1, f"{key_node.value!r} is no name: keys are text")
            if key in found:
                raise _Misformed(
                    key_node.start_mark.line + 1, f"{field_name((*where, key))} stands there twice: leave one of them out"
                )
            found[key] = _construct(child, (*where, key), lines)
            lines[(*where, key)] = key_node.start_mark.line + 1
        return found
    return _scalar(node)


class _Scalars(yaml.constructor.SafeConstructor):
    pass


def _scalar(node: Any) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        return repr(node.value)[:40]
    if node.tag == "tag:yaml.org,2002:float":
        return _number(node)
    if node.tag not in _PLAIN_TAGS:
        if node.tag.startswith("tag:yaml.org,2002:") and node.style is None:
            return node.value  # a date, say: text here
        raise _Misformed(node.start_mark.line + 1, f"the tag {node.tag!r} is not taken: write plain text, numbers, true or false")
    try:
        return _Scalars().construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise _Misformed(node.start_mark.line + 1, f"{node.value!r} cannot be read as a value") from None


def _number(node: Any) -> Any:
    try:
        return _Scalars().construct_yaml_float(node)
    except ValueError:
        return node.value


_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "bool", "null")}


# Faults


def _line(lines: Mapping[Path_, int], where: Path_) -> int | None:
    for end in range(len(where), -1, -1):
        if where[:end] in lines:
            return lines[where[:end]]
    return None


def _place(error: ErrorDetails, document: Any) -> Path_:
    """The field that pydantic's loc means, without the names of union members that it puts in between."""
    place: list[str | int] = []
    value = document
    for part in error["loc"]:
        if isinstance(value, dict) and (part in value or error["type"] == "missing"):
            place.append(part)
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            place.append(part)
            value = value[part]
    if error["type"] == "extra_forbidden" and (not place or place[-1] != error["loc"][-1]):
        place.append(error["loc"][-1])
    return tuple(place)


def _sentence(error: ErrorDetails) -> str:
    """pydantic's error as our own clause."""
    value, context = _quoted(error["input"]), error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"the field is missing{_wanted_here(error['loc'])}"
        case "extra_forbidden":
            return f"the field is unknown{_nearest(str(error['loc'][-1]), _fields_at(error['loc'][:-1]))}"
        case "literal_error":
            expected = str(context["expected"])
            return f"{value} is not taken: choose {expected.replace(chr(39), '')}{_meant(error['input'], expected)}"
        case "value_error" | "assertion_error":
            return str(context.get("error", error["msg"]))
        case "union_tag_invalid":
            return f"type {_quoted(context['tag'])} is not taken: choose {str(context['expected_tags']).replace(chr(39), '')}"
        case "union_tag_not_found":
            return "the type is missing: give type: categorical, int or float"
        case "string_pattern_mismatch":
            return f"{value} is not taken: {_PATTERNS.get(str(context['pattern']), 'it must match ' + str(context['pattern']))}"
        case "greater_than_equal" | "greater_than" | "less_than_equal" | "less_than":
            (bound,) = context.values()
            return f"{value} is not taken: it must be {_RELATIONS[error['type']]} {bound}"
        case "too_short" | "too_long":
            bound = context.get("min_length", context.get("max_length"))
            relation = "at least" if error["type"] == "too_short" else "at most"
            return f"{relation} {bound} entries are needed, and there are {context['actual_length']}"
        case "finite_number":
            return f"{value} is not taken: it must be a finite number"
        case kind:
            return f"{value} is not taken: {_KINDS.get(kind, _lowered(error['msg']))}"


_RELATIONS = {
    "greater_than_equal": "at least",
    "greater_than": "greater than",
    "less_than_equal": "at most",
    "less_than": "less than",
}
_KINDS = {
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "int_from_float": "a whole number is wanted",
    "float_type": "a number is wanted",
    "float_parsing": "a number is wanted",
    "string_type": "text is wanted (put it in quotation marks)",
    "bool_type": "true or false is wanted",
    "bool_parsing": "true or false is wanted",
    "list_type": "a list is wanted",
    "dict_type": "a mapping (name: value) is wanted",
    "model_type": "a mapping (name: value) is wanted",
    "model_attributes_type": "a mapping (name: value) is wanted",
}
_PATTERNS = {
    r"^[a-z0-9]([a-z0-9_.-]{0,38}[a-z0-9])?$": "a name has 1 to 40 lower-case letters, digits, or _ . - inside",
    r"^(paper-cnn|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$": "give paper-cnn, or module:function for a builder of your own",
    r"^\d+(\.\d+)?$|^\d+m$": "give cores such as 2, 0.5 or 500m",
    r"^\d+(\.\d+)?(Ki|Mi|Gi|Ti|K|M|G|T)?$": "give an amount such as 8Gi or 512Mi",
}


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


def _quoted(value: Any) -> str:
    """A value as the user would write it, cut where it is long."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text if len(text) <= 60 else text[:57] + "…"
    return repr(text) if isinstance(value, str) else text


def _meant(value: Any, expected: Any) -> str:
    return _guess(str(value), [part.strip("' ") for part in str(expected).replace(" or ", ",").split(",")])


def _guess(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _nearest(name: str, known: Sequence[str]) -> str:
    return f": the fields here are {', '.join(known)}{_guess(name, known)}" if known else ""


def _wanted_here(loc: Sequence[str | int]) -> str:
    field = _field_at(loc)
    return f" ({_lowered(field)})" if field else ""


def _fields_at(loc: Sequence[str | int]) -> list[str]:
    """The names that the model at this place knows."""
    model = _model_at(loc)
    return list(model.model_fields) if model else []


def _field_at(loc: Sequence[str | int]) -> str:
    model = _model_at(loc[:-1])
    field = model.model_fields.get(str(loc[-1])) if model else None
    return field.description or "" if field else ""


def _model_at(loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that pydantic validated at this loc, found by walking the types of the fields."""
    model: type[BaseModel] | None = Study
    for part in loc:
        if model is None:
            return None
        if model is Space:
            continue_with = _members(model).get(str(part)) if isinstance(part, str) else None
            if continue_with is None:
                continue  # the parameter's name: its type's tag comes next
            model = continue_with
        elif isinstance(part, str) and part in model.model_fields:
            model = next(_models_in(model.model_fields[part].annotation), None)
    return None if model is Space else model


def _members(space: type[BaseModel]) -> dict[str, type[BaseModel]]:
    from ..components.core.space import Categorical, Float, Int

    return {"categorical": Categorical, "int": Int, "float": Float}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


# What pydantic cannot know


def _entries(document: Mapping[str, Any], section: str, model: type[BaseModel]) -> Iterator[tuple[int, Any]]:
    """The section's entries that are valid by themselves, with their places."""
    listed = document.get(section)
    for place, entry in enumerate(listed if isinstance(listed, list) else []):
        try:
            yield place, model.model_validate(entry)
        except ValidationError:
            continue


def _absolute(datasets: Any, folder: Path) -> Any:
    """Data sets with relative paths made absolute: against the study file's folder, or against the current one."""
    if not isinstance(datasets, list):
        return datasets
    return [_absolute_entry(d, folder) for d in datasets]


def _absolute_entry(entry: Any, folder: Path) -> Any:
    path = entry.get("path") if isinstance(entry, dict) else entry
    if not isinstance(path, str) or "://" in path or not (isinstance(entry, dict) or path.endswith(".npz") or "/" in path):
        return entry
    beside = folder / path
    try:
        found = str((beside if beside.exists() or not Path(path).exists() else Path(path)).absolute())
    except (OSError, ValueError):
        found = path
    return {**entry, "path": found} if isinstance(entry, dict) else {"path": found}


def _check_datasets(document: Mapping[str, Any]) -> Iterator[tuple[Path_, str]]:
    from ..components.data_prep.registry import BUILTINS as DATASETS

    for place, dataset in _entries(document, "datasets", Dataset):
        assert isinstance(dataset, Dataset)
        where: Path_ = ("datasets", place)
        if dataset.path is None:
            if dataset.name not in DATASETS:
                hint = _guess(dataset.name, list(DATASETS))
                yield where, f"{dataset.name!r} is no data set{hint}: choose {', '.join(DATASETS)}, or give the path of an .npz"
        elif "://" in dataset.path and not dataset.path.startswith("s3://"):
            yield (*where, "path"), f"{dataset.path!r} is not taken: give a path or an s3:// URI of an .npz"
        elif not dataset.path.startswith("s3://"):
            yield from (((*where, "path"), message) for message in _npz_faults(Path(dataset.path)))


def _npz_faults(path: Path) -> list[str]:
    from ..components.data_prep.checks import check_npz_header

    if not path.is_file():
        return [f"{str(path)!r} does not exist: give the path of an .npz file with x_train and y_train"]
    return check_npz_header(path)


def _check_methods(document: Mapping[str, Any]) -> Iterator[tuple[Path_, str]]:
    listed = document.get("methods")
    for place, entry in enumerate(listed if isinstance(listed, list) else []):
        name = entry.get("name") if isinstance(entry, dict) else entry
        where: Path_ = ("methods", place)
        if not isinstance(name, str):
            continue
        if name not in REGISTRY:
            yield where, f"{name!r} is no method{_guess(name, list(REGISTRY))}: choose {', '.join(REGISTRY)}"
            continue
        settings = entry.get("settings", {}) if isinstance(entry, dict) else {}
        if isinstance(settings, dict):
            yield from _check_method(document, (*where, "settings"), REGISTRY[name], settings)


def _check_method(
    document: Mapping[str, Any], where: Path_, spec: MethodSpec, settings: dict[str, Any]
) -> Iterator[tuple[Path_, str]]:
    model = spec.settings_model()
    try:
        valid = model.model_validate(settings)
    except ValidationError as error:
        for detail in error.errors():
            if detail["type"] == "extra_forbidden":
                known = list(model.model_fields)
                hint = _nearest(str(detail["loc"][-1]), known) or f": {spec.name} has no settings"
                yield (*where, *detail["loc"]), f"the field is unknown{hint}"
            else:
                yield (*where, *detail["loc"]), _sentence(detail)
        return
    sound = _sound(document)
    if sound is not None:
        yield from ((where[:-1], message) for message in spec.refusals(sound, valid))


def _sound(document: Mapping[str, Any]) -> Study | None:
    """A study with the file's space and budget, where these two are valid, for methods to judge."""
    try:
        return Study(
            name="check",
            datasets=[Dataset(name="mnist")],
            methods=[MethodChoice(name="grid", label="grid")],
            budget=Budget.model_validate(document.get("budget")),
            space=Space.model_validate(document["space"]) if "space" in document else PAPER_SPACE,
        )
    except ValidationError:
        return None


def _check_places(document: Mapping[str, Any]) -> Iterator[tuple[Path_, str]]:
    tracking = document.get("tracking")
    uri = tracking.get("uri") if isinstance(tracking, dict) else None
    if isinstance(uri, str):
        if "@" in uri.partition("://")[2].partition("/")[0]:
            yield (
                ("tracking", "uri"),
                "credentials do not belong into a study: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            )
        elif not uri.startswith(("http://", "https://")):
            yield (
                ("tracking", "uri"),
                f"{_quoted(uri)} is not taken: give an MLflow server's http:// or https:// URI, or leave it out for SQLite",
            )
    artifacts = document.get("artifacts")
    if isinstance(artifacts, str) and "://" in artifacts and not artifacts.startswith("s3://"):
        yield ("artifacts",), f"{_quoted(artifacts)} is not taken: give a folder or s3://bucket/prefix"


def _check_model(document: Mapping[str, Any], folder: Path) -> Iterator[tuple[Path_, str]]:
    model = document.get("model")
    if not isinstance(model, str) or ":" not in model:
        return
    top = model.partition(":")[0].partition(".")[0]
    if top.isidentifier() and PathFinder.find_spec(top, [str(folder.absolute()), str(Path.cwd()), *sys.path]) is None:
        yield ("model",), f"{model!r}: there is no module {top!r} beside the study file or on the Python path"


def schema() -> dict[str, Any]:
    """The JSON schema of a study file, for editors."""
    found = TypeAdapter(Study).json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "Tuneoff study"
    dataset, method = found["$defs"]["Dataset"], found["$defs"]["MethodChoice"]
    dataset["required"], method["required"] = [], ["name"]
    method["properties"]["name"]["enum"] = list(REGISTRY)
    for section, model in (("datasets", "Dataset"), ("methods", "MethodChoice")):
        whole = {"$ref": f"#/$defs/{model}"}
        choices: dict[str, Any] = {"type": "string"} if section == "datasets" else {"enum": list(REGISTRY)}
        found["properties"][section]["items"] = {"anyOf": [choices, whole]}
    return found
