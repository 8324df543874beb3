"""Commands that tell what there is, and whether a study file is right."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from .common import BAD_INPUT, extent, json_option, study_argument


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List the search methods."""
    from ..components.tuner.registry import REGISTRY

    if as_json:
        click.echo(json.dumps([_method(spec) for spec in REGISTRY.values()], indent=1))
        return
    width = max(len(name) for name in REGISTRY)
    for spec in REGISTRY.values():
        state = f"{spec.framework} {spec.version}" if spec.installed else f"not installed: pip install 'tuneoff[{spec.extra}]'"
        click.echo(f"{spec.name:<{width}}  {spec.summary} [{state}]")


def _method(spec: Any) -> dict[str, Any]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "source": spec.source,
        "framework": spec.framework,
        "version": spec.version,
        "installed": spec.installed,
        "extra": spec.extra,
        "fidelity": spec.fidelity,
        "warm_start": spec.warm_start,
        "stop_rule": spec.stop_rule,
        "conditional": spec.conditional,
        "settings": spec.settings_model().model_json_schema().get("properties", {}),
    }


@click.command()
@json_option
def datasets(as_json: bool) -> None:
    """List the built-in data sets, and whether they lie in the cache."""
    from ..components.data_prep.registry import BUILTINS
    from ..components.data_prep.sources import cache_path

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
    from ..components.data_prep.registry import builtin
    from ..components.data_prep.sources import fetch as fetch_one

    for name in names:
        builtin(name)
    for name in names:
        click.echo(str(fetch_one(name, lambda line: click.echo(line, err=True))))


@click.command()
@study_argument
@json_option
def validate(study: str, as_json: bool) -> None:
    """Check STUDY: every fault in one pass, one sentence each."""
    from ..pipelines.faults import field_name
    from ..pipelines.studyfile import check_file, warnings

    plan, faults = check_file(study)
    said = warnings(plan) if plan is not None and not faults else []
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
    from ..pipelines.studyfile import schema as made

    click.echo(json.dumps(made(), indent=1))


COMMANDS: tuple[click.Command, ...] = (validate, schema, methods, datasets, data)
