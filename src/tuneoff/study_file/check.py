"""Read and check a study file. All faults are found in one pass, and each is one sentence with file, line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..core.cluster_settings import Volume
from ..core.credentials import has_credentials, without_credentials
from ..core.errors import StudyError
from ..core.space import Space
from ..core.study import Budget, Dataset, MethodChoice, Split, Study
from .check_code import check_methods, check_model, importable_from
from .document import listed_entries, located, narrowed, without
from .faults import Fault, Found, Place, did_you_mean, faults_of, quoted, shortened
from .table_binding import filled, on_another_table, table_of
from .yaml_reader import Document, read

MAX_FAULTS = 100
"""At most this many faults are shown."""
MAX_PARAMETERS = 500
MAX_URI = 1000


def read_study(file: str | Path, table: str | None = None) -> Study:
    """Read a study file.

    Args:
        file: The study file.
        table: The path or s3:// URI of a table to search instead of the one that the file names.

    Raises:
        StudyError: The file has faults. The message has one line per fault.
    """
    study, faults = check_file(file, table)
    if study is None or faults:
        raise StudyError("\n".join(f.sentence(str(file)) for f in faults))
    return study


def study_of(given: str | Path | Mapping[str, Any] | Study) -> Study:
    """Return the checked study from a file's path, from a mapping of sections, or from a Study.

    Raises:
        StudyError: The study has faults. The message has one line per fault.
    """
    if isinstance(given, str | Path):
        return read_study(given)
    sections = given.model_dump(mode="json", exclude_none=True) if isinstance(given, Study) else dict(given)
    study, faults = check(Document(sections), Path.cwd())
    if study is None or faults:
        raise StudyError("\n".join(f.sentence("study") for f in faults))
    return study


def check_file(file: str | Path, table: str | None = None) -> tuple[Study | None, list[Fault]]:
    """Check a study file.

    Args:
        file: The study file.
        table: The path or s3:// URI of a table to search instead of the one that the file names. The table's name is appended
            to the study's name.

    Returns:
        The study (None if it cannot be built), and all faults of the file in the order of its lines.

    Raises:
        StudyError: `table` is given, but the study is not a table study.
    """
    document = read(Path(file))
    return check(document if table is None else on_another_table(document, table, str(file)), Path(file).parent)


def check(document: Document, folder: Path) -> tuple[Study | None, list[Fault]]:
    """Check a document as `check_file` does. Relative data paths are searched in `folder`, then in the current folder."""
    if isinstance(document.value, dict):
        study, found = _check_sections(document.value, folder)
    else:
        study, found = None, [((), _not_a_study(document.value))]
    faults = [
        Fault(where, document.line(where), message)
        for where, message in dict.fromkeys(found)
        if not any(where[:end] in document.unread for end in range(len(where) + 1))
    ]
    faults = sorted([*document.faults, *faults], key=lambda f: f.line or 0)
    if len(faults) > MAX_FAULTS:
        faults = [*faults[:MAX_FAULTS], Fault((), None, f"{len(faults) - MAX_FAULTS:,} more faults are not shown")]
    return study, faults


def _not_a_study(value: Any) -> str:
    return f"{quoted(value)} is not a study: give a mapping of sections such as name, datasets, methods and budget"


def _check_sections(document: dict[str, Any], folder: Path) -> tuple[Study | None, list[Found]]:
    """Return the study that a mapping of sections describes, and the faults of the sections."""
    document, found = narrowed(located(document, folder))
    on_table = table_of(document.get("objective"))
    if on_table is not None:
        document, refused = filled(document, *on_table)
        found += refused
    study = None
    try:
        study = Study.model_validate(document, strict=True)
    except ValidationError as error:
        found += [fault for detail, fault in faults_of(error, document, Study) if not _said_elsewhere(detail, document)]
        found += _check_conditions(document.get("space"))
        found += _check_budget(document.get("budget"))
        found += _check_folds(document)
    found += _check_doubles(document)
    found += _check_datasets(document) if on_table is None else []
    with importable_from(folder):
        found += check_methods(document, study)
    found += _check_places(document)
    found += check_model(document, folder)
    return study, found


# Checks that pydantic does not make, or makes too late


def _said_elsewhere(error: ErrorDetails, document: Mapping[str, Any]) -> bool:
    """Return whether the checks below report the same error at a better place, or report its cause."""
    loc, kind = error["loc"], error["type"]
    if kind == "value_error" and loc in ((), ("space",)):
        return loc == () or 0 < len(document["space"]) <= MAX_PARAMETERS
    if len(loc) == 2 and loc[0] in ("datasets", "methods"):
        return True  # neither text nor a mapping
    if len(loc) < 3 or not isinstance(loc[1], int):
        return False
    entry = document[str(loc[0])][loc[1]]
    fields = entry if isinstance(entry, dict) else {"name": entry}
    match loc[0], loc[2]:
        case "methods", "label":
            return "label" not in fields
        case "datasets", "name":
            return isinstance(fields.get("name"), str) if fields.get("path") is None else "name" not in fields
        case _:
            return False


def _faulty(model: type[BaseModel], entry: Any) -> set[str]:
    """Return the fields of an entry that are invalid by themselves."""
    try:
        model.model_validate(entry, strict=True)
    except ValidationError as error:
        return {str(e["loc"][0]) for e in error.errors(include_url=False) if e["loc"]}
    return set()


_M = TypeVar("_M", bound=BaseModel)


def _sound_part(model: type[_M], entry: Any) -> _M | None:
    """Build an entry without its invalid fields; None if it cannot be built without them."""
    try:
        return model.model_validate(without(entry, *_faulty(model, entry)) if isinstance(entry, dict) else entry, strict=True)
    except ValidationError:
        return None


def _check_doubles(document: Mapping[str, Any]) -> Iterator[Found]:
    datasets = [(where, d.name) for where, entry in listed_entries(document, "datasets") if (d := _sound_part(Dataset, entry))]
    labels = [(where, m.label) for where, entry in listed_entries(document, "methods") if (m := _sound_part(MethodChoice, entry))]
    seeds = [(where, seed) for where, seed in listed_entries(document, "seeds") if type(seed) is int]
    yield from _doubles(datasets, "give this one another name, or remove it")
    yield from _doubles(labels, "give this one another label, or remove it")
    yield from _doubles(seeds, "remove one of the two")


def _doubles(names: list[tuple[Place, Any]], remedy: str) -> Iterator[Found]:
    seen: set[Any] = set()
    for where, name in names:
        if name in seen:
            yield where, f"{quoted(name)} is listed twice: {remedy}"
        seen.add(name)


def _check_budget(budget: Any) -> Iterator[Found]:
    """Check the budget's valid fields together; pydantic does not do so while another field is invalid."""
    if not isinstance(budget, dict):
        return
    try:
        Budget.model_validate({"seconds": 1, **without(budget, *_faulty(Budget, budget))}, strict=True)
    except ValidationError as error:
        yield from ((("budget", *where), message) for _, (where, message) in faults_of(error, budget, Budget))


def _check_folds(document: Mapping[str, Any]) -> Iterator[Found]:
    """Check that the budget's epochs pay for one training of every fold."""
    budget, split = _sound_part(Budget, document.get("budget")), _sound_part(Split, document.get("split", {}))
    if budget is None or split is None or budget.epochs is None or split.folds is None:
        return
    wanted = budget.epochs_per_trial * split.folds
    if budget.epochs < wanted:
        training = f"{split.folds} folds × epochs_per_trial = {wanted} epochs"
        yield ("budget", "epochs"), f"{budget.epochs} is too small: one trial trains {training}; give at least {wanted}"


def _check_conditions(space: Any) -> Iterator[Found]:
    """Find all faults of parameter names and conditions.

    Space itself stops at the first of these faults, and checks none of them while a parameter is invalid.
    """
    if not isinstance(space, dict) or len(space) > MAX_PARAMETERS:
        return
    misnamed = {name: message for name in space if (message := _space_fault({name: _ANY_RANGE}))}
    yield from ((("space", name), message) for name, message in misnamed.items())
    plain = {name: without(p, "when") for name, p in space.items() if isinstance(p, dict) and name not in misnamed}
    sound = {name: p for name, p in plain.items() if not _faulty(Space, {name: p})}
    if not sound:
        return
    unconditional = Space.model_validate(sound, strict=True)
    sound_conditions: dict[str, dict[str, Any]] = {name: {} for name in sound}
    for name, other, values in _conditions(space):
        if name in sound and (other in sound or other not in space):
            try:
                unconditional.check_condition(name, other, values)
                sound_conditions[name][other] = values
            except ValueError as error:
                yield ("space", name, "when", other), shortened(str(error))
    if message := _space_fault({name: {**p, "when": sound_conditions[name]} for name, p in sound.items()}):
        yield ("space",), message


_ANY_RANGE = {"type": "int", "low": 0, "high": 1}


def _conditions(space: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for name, parameter in space.items():
        when = parameter.get("when") if isinstance(parameter, dict) else None
        for other, values in when.items() if isinstance(when, dict) else ():
            if isinstance(values, list) and all(isinstance(v, str | int | float) for v in values):
                yield name, other, values


def _space_fault(space: dict[str, Any]) -> str | None:
    """Return the error that Space itself, rather than one of its parameters, raises for these parameters."""
    try:
        Space.model_validate(space, strict=True)
    except ValidationError as error:
        listed = faults_of(error, space, Space)
        return next((message for detail, (_, message) in listed if detail["loc"] == ()), None)
    return None


def _check_datasets(document: Mapping[str, Any]) -> Iterator[Found]:
    from ..data.registry import BUILTINS

    for where, entry in listed_entries(document, "datasets"):
        named = isinstance(entry, dict)
        name = entry.get("name") if named else entry
        path = entry.get("path") if named else None
        if not isinstance(entry, dict | str):
            yield where, f"{quoted(entry)} is not allowed: give a name, a path or a mapping (name: …, path: …)"
        if isinstance(path, str) and not _on_volume(document, path):
            yield from (((*where, "path"), message) for message in _path_faults(path))
        elif isinstance(name, str) and path is None and name not in BUILTINS:
            hint = did_you_mean(name, list(BUILTINS))
            choices = f"choose {', '.join(BUILTINS)}, or give the path of an .npz file"
            yield (*where, "name") if named else where, f"{quoted(name)} is not a built-in data set{hint}: {choices}"


def _on_volume(document: Mapping[str, Any], path: str) -> bool:
    """Return whether the path lies on the volume of the study's cluster, which this machine cannot read."""
    cluster = document.get("cluster")
    volume = _sound_part(Volume, cluster.get("volume")) if isinstance(cluster, dict) else None
    return volume is not None and volume.holds(path)


def _path_faults(path: str) -> list[str]:
    if "://" in path:
        return _uri_faults(path, _S3_FILE, "give a path or an s3://bucket/key.npz", _S3_CREDENTIALS)
    from ..data.npz import check_npz_header

    try:
        if Path(path).is_file():
            return check_npz_header(Path(path))
        missing = "is not a file" if Path(path).exists() else "does not exist"
    except OSError as error:
        missing = f"cannot be read ({error.strerror})"
    return [f"{quoted(path)} {missing}: give the path of an .npz file with x_train and y_train"]


_SERVER = re.compile(r"https?://[^/?#]+.*", re.DOTALL)
_S3_PLACE = re.compile(r"s3://[A-Za-z0-9._-]{1,255}(/.*)?", re.DOTALL)
_S3_FILE = re.compile(r"s3://[A-Za-z0-9._-]{1,255}/.*[^/]", re.DOTALL)
_FOLDER = re.compile(r".{1,1000}")
_S3_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def _check_places(document: Mapping[str, Any]) -> Iterator[Found]:
    tracking = document.get("tracking")
    uri = tracking.get("uri") if isinstance(tracking, dict) else None
    if isinstance(uri, str):
        wanted = "give an MLflow server's http:// or https:// URI, or leave it out for SQLite"
        variables = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        yield from ((("tracking", "uri"), message) for message in _uri_faults(uri, _SERVER, wanted, variables))
    artifacts = document.get("artifacts")
    if isinstance(artifacts, str):
        wanted, pattern = "give a folder or s3://bucket/prefix", _S3_PLACE if "://" in artifacts else _FOLDER
        yield from ((("artifacts",), message) for message in _uri_faults(artifacts, pattern, wanted, _S3_CREDENTIALS))
    experiment = tracking.get("experiment") if isinstance(tracking, dict) else None
    if isinstance(experiment, str) and not experiment.isprintable():
        yield (
            ("tracking", "experiment"),
            f"{quoted(experiment)} is not allowed: give a name on one line, without control characters",
        )


def _uri_faults(uri: str, pattern: re.Pattern[str], wanted: str, variables: str) -> list[str]:
    """Return the faults of a URI, without repeating any part of it that may be a secret."""
    if has_credentials(uri):
        return [f"the URI holds credentials, which a study file must not: set {variables} in the environment instead"]
    if not pattern.fullmatch(uri) or not uri.isprintable() or len(uri) > MAX_URI:
        return [f"{quoted(re.split('[?#]', without_credentials(uri))[0])} is not allowed: {wanted}"]
    return []
