"""The commands that create, check and plan studies, and that list methods and data sets."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import BAD_INPUT, CELL_FAILED, extent, json_option, study_argument, table_option, told

if TYPE_CHECKING:
    from ..contract.runner import Pace, Result
    from ..methods.spec import MethodSpec


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List the search methods.

    Methods that installed packages add (entry points of the group tuneoff.methods) come last. With --json the list includes
    each method's settings.
    """
    from ..methods.registry import REGISTRY, find
    from ..methods.user_method import registered

    specs = [*REGISTRY.values(), *(find(name) for name in registered())]
    if as_json:
        click.echo(json.dumps([_method(spec) for spec in specs], indent=1))
        return
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        click.echo(f"{spec.name:<{width}}  {spec.summary} [{_state(spec)}]")


def _state(spec: MethodSpec) -> str:
    if spec.user_defined:
        return spec.target
    return f"{spec.framework} {spec.version}" if spec.installed else f"not installed: {spec.remedy}"


def _method(spec: MethodSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "source": spec.source,
        "framework": spec.framework,
        "version": spec.version,
        "installed": spec.installed,
        "extra": spec.extra,
        "environment": spec.environment,
        "kind": spec.kind,
        "fidelity": spec.fidelity,
        "warm_start": spec.warm_start,
        "stop_rule": spec.stop_rule,
        "conditional": spec.conditional,
        "settings": spec.settings_model().model_json_schema().get("properties", {}),
    }


@click.command("check-method")
@click.argument("name")
@click.option("--settings", default="{}", help="Settings of the method, as JSON.")
@click.option(
    "--path",
    default=".",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of your own module.  [default: the current folder]",
)
@click.option("--quick", is_flag=True, help="Use fewer draws, seeds and kills, and train nothing: about ten seconds.")
@json_option
def check_method(name: str, settings: str, path: str, quick: bool, as_json: bool) -> None:
    """Check a search method against the method contract.

    NAME is a name that `tuneoff methods` lists, or module:Class for your own method. The command runs every check of the
    contract that applies to the method's spec.

    Slow methods take minutes; the time per suggestion is printed first. A system that trains its own models has one check,
    which trains and is skipped with --quick.

    Exit code 1 means that a check failed, and 2 that the method is not available here.
    """
    from ..contract.harness import FULL, QUICK
    from ..contract.runner import Result, Verdict
    from ..contract.runner import check_method as checked
    from ..methods.registry import find

    sys.path.insert(0, str(Path(path).absolute()))
    places = os.pathsep.join([sys.path[0], *(p for p in [os.environ.get("PYTHONPATH")] if p)])
    spec = find(name)
    found = []
    for entry in checked(spec, _settings_of(spec, settings), QUICK if quick else FULL, whole=not quick, path=places):
        found.append(entry)
        if not as_json:
            click.echo(_checked_line(entry))
    results = [entry for entry in found if isinstance(entry, Result)]
    failed = sum(result.verdict is Verdict.FAILED for result in results)
    if as_json:
        click.echo(json.dumps({"method": name, "checks": [asdict(entry) for entry in found]}, indent=1))
    else:
        click.echo(f"{name}: {len(results) - failed} of {len(results)} checks passed, or failed as its known failures say.")
    sys.exit(CELL_FAILED if failed else 0)


def _settings_of(spec: MethodSpec, text: str) -> dict[str, Any]:
    from pydantic import ValidationError

    from ..core.errors import StudyError

    try:
        settings = json.loads(text)
        spec.settings_model().model_validate(settings, strict=True)
    except (ValueError, ValidationError) as error:
        first = str(error).splitlines()
        raise StudyError(f"--settings: {' '.join(line.strip() for line in first[:3])}.") from None
    return dict(settings)


def _checked_line(entry: Result | Pace) -> str:
    from ..contract.runner import LAST, Pace

    if isinstance(entry, Pace):
        return f"{entry.seconds:.4f} s per suggestion (mean of the last {min(entry.suggestions, LAST)} of {entry.suggestions})"
    said = f": {entry.said}" if entry.said else ""
    return f"{entry.verdict:<13} {entry.seconds:7.2f} s  {entry.check.replace('_', ' ')}{said}"


@click.command()
@json_option
def datasets(as_json: bool) -> None:
    """List the built-in data sets.

    The list shows whether each data set is in the cache already.
    """
    from ..data.fetch import cache_path
    from ..data.registry import BUILTINS

    entries = [
        {"name": d.name, "title": d.title, "shape": d.shape, "classes": d.class_names, "cached": cache_path(d.name).is_file()}
        for d in BUILTINS.values()
    ]
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    for entry in entries:
        size = "×".join(str(n) for n in BUILTINS[str(entry["name"])].shape)
        state = "in the cache" if entry["cached"] else f"not fetched yet: tuneoff data fetch {entry['name']}"
        click.echo(f"{entry['name']:<14} {entry['title']}, images {size} [{state}]")


@click.group()
def data() -> None:
    """Fetch data sets."""


@data.command("fetch")
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Fetch built-in data sets into the cache.

    NAMES are names that `tuneoff datasets` lists. Each downloaded file is checked against its pinned SHA-256 sum.
    """
    from ..data.fetch import fetch as fetch_one
    from ..data.registry import builtin

    for name in names:
        builtin(name)
    for name in names:
        click.echo(str(fetch_one(name, lambda line: click.echo(line, err=True))))


@click.command()
@study_argument
@table_option
@json_option
def validate(study: str, table: str | None, as_json: bool) -> None:
    """Check STUDY and print every fault.

    All faults are found in one pass. Each is one sentence with the file, the line and the field.
    """
    from ..study_file.check import check_file
    from ..study_file.faults import field_name
    from ..study_file.warnings import warnings

    plan, faults = check_file(study, table)
    said = warnings(plan, study) if plan is not None and not faults else []
    if as_json:
        listed = [{"file": study, "line": f.line, "field": field_name(f.where), "message": f.message} for f in faults]
        click.echo(json.dumps({"valid": not faults, "faults": listed, "warnings": said}, indent=1))
    else:
        for fault in faults:
            click.echo(f"tuneoff: {fault.sentence(study)}", err=True)
        for warning in said:
            click.echo(f"Note: {warning}")
        if plan is not None and not faults:
            click.echo(f"{study} is valid: {extent(plan)}.")
    sys.exit(BAD_INPUT if faults else 0)


@click.command()
def schema() -> None:
    """Print the JSON schema of a study file.

    Editors use it to check and complete study files.
    """
    from ..study_file.schema import schema as made

    click.echo(json.dumps(made(), indent=1))


@click.command()
@study_argument
@click.option("--no-probe", "unprobed", is_flag=True, help="Use only the study file; fetch, train and time nothing.")
@table_option
@json_option
def plan(study: str, unprobed: bool, table: str | None, as_json: bool) -> None:
    """Estimate the cost of STUDY before it starts.

    The plan shows trials, epochs, time, memory and disk space. It is based on a probe of about a minute, which prepares the
    data, trains a cheap, a medium and an expensive configuration for two epochs as a run would, and simulates each method's
    search without training.
    """
    from ..objectives import objective_of
    from ..study_file.check import read_study
    from ..study_file.warnings import warnings

    found = read_study(study, table)
    sys.path[:0] = [str(Path(study).parent.absolute()), str(Path.cwd())]
    if unprobed or objective_of(found).processes is None:  # a table study trains nothing that could be probed
        from ..planning.plan import without_probe

        made = without_probe(found)
    else:
        from ..planning.probe import with_probe

        made = with_probe(found, sys.path[:2], lambda line: click.echo(line, err=True))
    if as_json:
        from ..planning.plan import plan_json

        click.echo(json.dumps(plan_json(made), indent=1))
        return
    from ..planning.plan import lines

    for line in (*(f"Note: {w}" for w in warnings(found, study)), f"Study {found.name}: {extent(found)}", "", *lines(made)):
        click.echo(line)


def _method_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..methods.registry import names

    return [name for name in names() if name.startswith(incomplete)]


def _data_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..data.registry import BUILTINS

    files = [str(file) for file in Path().glob("*.npz")]
    return [name for name in (*BUILTINS, *files) if name.startswith(incomplete)]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="study.yaml")
@click.option("--name", default="my-study", show_default=True, help="Name of the study.")
@click.option(
    "--data",
    multiple=True,
    shell_complete=_data_names,
    help="Built-in data set, or path of an .npz file. May be repeated.  [default: a part of fashion_mnist]",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    shell_complete=_method_names,
    help="Search method. May be repeated.  [default: random, bayes, hyperband]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Total training epochs of each search.  [default: enough for ten full trials]",
)
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Number of trials of each search.")
@click.option(
    "--epochs-per-trial",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    metavar="N",
    help="Epochs of a full trial.",
)
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N", help="Number of seeds.")
def init(file: Path, **choices: Any) -> None:
    """Write a first study file that explains every section.

    FILE is study.yaml by default. An existing file is never overwritten.
    """
    from ..study_file.template import Choices, write

    write(Choices(**choices), file)
    click.echo(f"{file}. Next: tuneoff plan {file}, tuneoff run {file}")


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default="runs")
@click.option("--tracking-uri", help="MLflow server to check.  [default: MLFLOW_TRACKING_URI]")
@click.option("--kfp-host", help="KFP server to check, such as http://127.0.0.1:8888.")
@json_option
def doctor(folder: Path, tracking_uri: str | None, kfp_host: str | None, as_json: bool) -> None:
    """Check this machine, and say how to fix problems.

    The command checks what is installed, whether DIR (by default runs) can be written, and whether servers can be reached.

    Exit code 1 means that something that is needed, or that an option asks for, does not work.
    """
    from ..doctor.machine import examine

    sys.exit(told(examine(folder, tracking_uri, kfp_host), as_json))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), default="bash")
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    The script completes commands, options and study files. The default shell is bash. To install the script for bash:

    \b
    tuneoff completion bash \\
        > ~/.local/share/bash-completion/completions/tuneoff
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "tuneoff", "_TUNEOFF_COMPLETE").source())


COMMANDS: tuple[click.Command, ...] = (init, validate, plan, doctor, schema, methods, check_method, datasets, data, completion)
"""The commands of `tuneoff`, by what they are for. Each imports what it needs when it is called."""
