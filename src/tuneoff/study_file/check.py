"""Read and check a study file. All faults are found in one pass, and each is one sentence with file, line and field."""

from __future__ import annotations

import ast
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ..core.cluster_settings import Volume
from ..core.credentials import has_credentials, without_credentials
from ..core.errors import StudyError
from ..core.runtime.images import MAIN
from ..core.runtime.machine import cores
from ..core.space import PAPER_SPACE, Space
from ..core.study import FORMERLY_REPLAY, Budget, Dataset, MethodChoice, Split, Study
from ..methods.registry import REGISTRY, SHORT, find
from ..methods.spec import MethodSpec
from ..methods.user_method import PATTERN as OWN_METHOD
from ..objectives import objective_of
from .faults import Fault, Found, Place, did_you_mean, faults_of, quoted, shortened
from .table_binding import filled, on_another_table, table_of, with_table
from .yaml_reader import Document, read

MAX_FAULTS = 100
"""At most this many faults are shown."""
MAX_PARAMETERS = 500
MAX_URI = 1000
MAX_STEPS = 10_000
"""A range with a step may have at most this many values."""
MAX_SOURCE_BYTES = 1_000_000


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
    document, found = _narrowed(_located(document, folder))
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
    with _importable_from(folder):
        found += _check_methods(document, study)
    found += _check_places(document)
    found += _check_model(document, folder)
    return study, found


def warnings(study: Study, file: str | Path | None = None) -> list[str]:
    """Return notes on settings that are allowed but probably not intended, and on old spellings in the study file."""
    spelling = [] if file is None else _old_spellings(read(Path(file)).value)
    return [*spelling, *_of_grids(study), *_of_flights(study)]


def _old_spellings(document: Any) -> list[str]:
    objective = document.get("objective") if isinstance(document, dict) else None
    if isinstance(objective, str) and objective.startswith(FORMERLY_REPLAY):
        new = f"table:{objective.removeprefix(FORMERLY_REPLAY)}"
        return [f"objective: replay: is the spelling of release 0.1 and is still read. Write objective: {quoted(new)}."]
    if isinstance(objective, dict) and "replay" in objective:
        return ["objective.replay is the spelling of release 0.1 and is still read. Write objective.table, with path in it."]
    return []


def _of_flights(study: Study) -> Iterator[str]:
    in_flight, resources, trials = study.budget.in_flight, study.resources, _trials(study)
    if trials is not None and in_flight > max(1, trials):
        pays = "one full training" if trials == 1 else f"{trials} full trainings"
        yield f"budget.in_flight: the budget pays for only {pays}, so {in_flight} trials will seldom run at the same time."
    if in_flight > cores() and not (resources.gpu or resources.of("tuner").cpu):
        yield f"budget.in_flight: each search trains in {in_flight} processes at the same time, but there are {cores()} cores."


def _of_grids(study: Study) -> list[str]:
    trials = _trials(study)
    in_order = [m for m in study.methods if find(m.name).name == "sklearn-grid" and m.settings.get("order") != "shuffled"]
    if not in_order or trials is None or study.space.grid_size() <= trials:
        return []
    return [
        f"grid: {trials} trials cover only the first corner of a grid of {study.space.grid_size()} points."
        " With settings: {order: shuffled} they are drawn from the whole grid."
    ]


def _trials(study: Study) -> int | None:
    """Return how many full trainings the budget pays for; None if only the clock limits them."""
    budget = study.budget
    by_epochs = budget.epochs // study.full_epochs if budget.epochs is not None else None
    return min((n for n in (budget.trials, by_epochs) if n is not None), default=None)


# Preparing a document


def _located(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the relative paths of data sets and of the table absolute, from the study file's folder or the current folder."""
    listed, on_table = document.get("datasets"), table_of(document.get("objective"))
    if isinstance(listed, list):
        document = {**document, "datasets": [_located_entry(d, folder) for d in listed]}
    if on_table is not None and "://" not in on_table[0]:
        document = {**document, "objective": with_table(document["objective"], _found(on_table[0], folder))}
    return document


def _located_entry(entry: Any, folder: Path) -> Any:
    path = entry.get("path") if isinstance(entry, dict) else entry
    if not isinstance(path, str) or not (isinstance(entry, dict) or path.endswith(".npz") or "/" in path):
        return entry
    return {**(entry if isinstance(entry, dict) else {}), "path": path if "://" in path else _found(path, folder)}


def _found(path: str, folder: Path) -> str:
    try:
        here = Path(path).expanduser()
        beside = folder / here
        return str((beside if beside.exists() or not here.exists() else here).absolute())
    except (OSError, ValueError, RuntimeError):  # not a valid file name on this system, or an unknown user after ~
        return path


def _narrowed(document: dict[str, Any]) -> tuple[dict[str, Any], list[Found]]:
    """Remove steps that give a range too many values. Returns the new document, and a fault for each removed step."""
    space = document.get("space")
    if not isinstance(space, dict):
        return document, []
    many = {name: values for name, p in space.items() if (values := _steps(p)) > MAX_STEPS}
    most = f"at most {MAX_STEPS:,} are allowed: give a larger step, or none"
    found: list[Found] = [
        (("space", name, "step"), f"{quoted(space[name]['step'])} gives {values:.3g} values, and {most}")
        for name, values in many.items()
    ]
    narrowed = {name: _without(p, "step") | {"grid_points": 2} if name in many else p for name, p in space.items()}
    return {**document, "space": narrowed}, found


def _steps(parameter: Any) -> float:
    """Return how many steps a range has; 0 if the parameter is not a numeric range with a step."""
    match parameter:
        case {"low": int() | float() as low, "high": int() | float() as high, "step": int() | float() as step} if step > 0:
            steps = (high - low) / step
            return steps if not math.isnan(steps) else 0
        case _:
            return 0


def _without(entry: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k not in fields}


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
        return model.model_validate(_without(entry, *_faulty(model, entry)) if isinstance(entry, dict) else entry, strict=True)
    except ValidationError:
        return None


def _listed(document: Mapping[str, Any], section: str) -> Iterator[tuple[Place, Any]]:
    """Yield the entries of a section with their places."""
    entries = document.get(section)
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        yield (section, number), entry


def _check_doubles(document: Mapping[str, Any]) -> Iterator[Found]:
    datasets = [(where, d.name) for where, entry in _listed(document, "datasets") if (d := _sound_part(Dataset, entry))]
    labels = [(where, m.label) for where, entry in _listed(document, "methods") if (m := _sound_part(MethodChoice, entry))]
    seeds = [(where, seed) for where, seed in _listed(document, "seeds") if type(seed) is int]
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
        Budget.model_validate({"seconds": 1, **_without(budget, *_faulty(Budget, budget))}, strict=True)
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
    plain = {name: _without(p, "when") for name, p in space.items() if isinstance(p, dict) and name not in misnamed}
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

    for where, entry in _listed(document, "datasets"):
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


def _check_methods(document: Mapping[str, Any], study: Study | None) -> Iterator[Found]:
    judged = study or _sound_study(document)
    known: dict[tuple[str, str], list[Found]] = {}
    environments: dict[str, str] = {}  # the first method of each environment except the main one
    for where, entry in _listed(document, "methods"):
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
def _importable_from(folder: Path) -> Iterator[None]:
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


def _check_model(document: Mapping[str, Any], folder: Path) -> Iterator[tuple[Place, str]]:
    model = document.get("model")
    if not isinstance(model, str) or ":" not in model:
        return
    module, _, function = model.partition(":")
    if not module.partition(".")[0].isidentifier():
        return
    with _importable_from(folder):
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


def schema() -> dict[str, Any]:
    """Return the JSON schema of a study file, for editors."""
    found = TypeAdapter(Study).json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "Tuneoff study"
    shipped = [*SHORT, *REGISTRY]
    dataset, method = found["$defs"]["Dataset"], found["$defs"]["MethodChoice"]
    dataset["required"], method["required"] = [], ["name"]
    found["required"].remove("datasets")  # a table study takes it from the table
    text = {"type": "string"}
    found["properties"]["objective"] = {"anyOf": [text, {"$ref": "#/$defs/ObjectiveSettings"}], "default": {}}
    found["$defs"]["ObjectiveSettings"]["properties"]["table"]["anyOf"].insert(0, text)
    method["properties"]["name"] |= {"anyOf": [{"enum": shipped}, {"pattern": OWN_METHOD}]}
    for section, model in (("datasets", "Dataset"), ("methods", "MethodChoice")):
        whole = {"$ref": f"#/$defs/{model}"}
        choices: dict[str, Any] = {"type": "string"} if section == "datasets" else {"enum": shipped}
        more = [{"type": "string", "pattern": OWN_METHOD}] if section == "methods" else []
        found["properties"][section]["items"] = {"anyOf": [choices, *more, whole]}
    return found
