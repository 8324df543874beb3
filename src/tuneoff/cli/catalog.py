"""Commands that tell what there is, and whether a study file is right."""

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
    """List the search methods, those of installed packages' entry points (group tuneoff.methods) last."""
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
@click.option("--settings", default="{}", help="The method's settings, as JSON.")
@click.option("--path", default=".", type=click.Path(exists=True, file_okay=False), help="Where your module lies.")
@click.option("--quick", is_flag=True, help="Fewer draws, seeds and kills, and no training: about ten seconds.")
@json_option
def check_method(name: str, settings: str, path: str, quick: bool, as_json: bool) -> None:
    """Put the search method NAME, or module:Class of your own, to every check of the contract that its spec asks for.

    Exit code 1 where one fails, 2 where NAME cannot be had here. Slow methods take minutes: a suggestion's own seconds are said
    first. A system that trains models of its own has one check, which trains: none with --quick.
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
        click.echo(f"{name}: {len(results) - failed} of {len(results)} checks passed or fail as is known of it.")
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
    from ..contract.runner import Pace

    if isinstance(entry, Pace):
        return f"{entry.seconds:.4f} s a suggestion (the last of {entry.suggestions})"
    said = f": {entry.said}" if entry.said else ""
    return f"{entry.verdict:<13} {entry.seconds:7.2f} s  {entry.check.replace('_', ' ')}{said}"


@click.command()
@json_option
def datasets(as_json: bool) -> None:
    """List the built-in data sets, and whether they lie in the cache."""
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
    """Get data sets."""


@data.command("fetch")
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Fetch built-in data sets into the cache, each checked against its pinned SHA-256 sums."""
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
    """Check STUDY: every fault in one pass, one sentence each."""
    from ..study_file.check import check_file, warnings
    from ..study_file.faults import field_name

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
    """Print the JSON schema of a study file."""
    from ..study_file.check import schema as made

    click.echo(json.dumps(made(), indent=1))


@click.command()
@study_argument
@click.option("--no-probe", "unprobed", is_flag=True, help="Only what the file says: nothing is fetched, trained or timed.")
@table_option
@json_option
def plan(study: str, unprobed: bool, table: str | None, as_json: bool) -> None:
    """Say what STUDY will take before it starts: trials, epochs, time, memory, disk.

    A probe of about a minute prepares the data, trains the space's cheapest, middle and dearest configuration for two epochs as
    a run would, and leads each method through its search without training.
    """
    from ..objectives import objective_of
    from ..study_file.check import read_study, warnings

    found = read_study(study, table)
    sys.path[:0] = [str(Path(study).parent.absolute()), str(Path.cwd())]
    if unprobed or objective_of(found).processes is None:  # there is nothing to train, and nothing to probe
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
@click.option("--name", default="my-study", show_default=True, help="The study's name.")
@click.option(
    "--data",
    multiple=True,
    shell_complete=_data_names,
    help="A built-in data set or an .npz; may be given again.  [default: a part of fashion_mnist]",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    shell_complete=_method_names,
    help="A search method; may be given again.  [default: random, bayes, hyperband]",
)
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Epochs that each method may train in all.  [default: ten full trials]"
)
@click.option("--trials", type=click.IntRange(min=1), help="Configurations that each method may start.")
@click.option("--epochs-per-trial", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Epochs of a full trial.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many seeds.")
def init(file: Path, **choices: Any) -> None:
    """Write a study file with every section explained, by default study.yaml. A file that is there is left alone."""
    from ..study_file.template import Choices, write

    write(Choices(**choices), file)
    click.echo(f"{file}. Next: tuneoff plan {file}, tuneoff run {file}")


@click.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default="runs")
@click.option("--tracking-uri", help="An MLflow server to look for; by default MLFLOW_TRACKING_URI.")
@click.option("--kfp-host", help="A KFP server to look for, such as http://127.0.0.1:8888.")
@json_option
def doctor(folder: Path, tracking_uri: str | None, kfp_host: str | None, as_json: bool) -> None:
    """Look at this machine: what is installed, what can be written in DIR (by default runs) and reached, and what to do.

    Exit code 1 where something that is needed, or was asked for, does not work.
    """
    from ..doctor.machine import examine

    sys.exit(told(examine(folder, tracking_uri, kfp_host), as_json))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), default="bash")
def completion(shell: str) -> None:
    """Print the script that completes commands, options and study files in SHELL.

    For bash: tuneoff completion bash > ~/.local/share/bash-completion/completions/tuneoff
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "tuneoff", "_TUNEOFF_COMPLETE").source())


COMMANDS: tuple[click.Command, ...] = (init, validate, plan, doctor, schema, methods, check_method, datasets, data, completion)
"""The commands of `tuneoff`, by what they are for. Each imports what it needs when it is called."""
