"""Exit codes, options and helpers that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..core.finding import Finding
    from ..core.study import Study

CELL_FAILED, BAD_INPUT, STOPPED = 1, 2, 3
INTERRUPTED = 130
"""The shell's code for Ctrl-C: 128 plus the number of SIGINT. Only `submit --wait` uses it; the watched run continues."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def _study_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the YAML files, and the folders that may contain some, that complete an argument."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else "."))
    found = sorted(p for p in place.glob("*") if p.name.startswith(start) and (p.is_dir() or p.suffix in (".yaml", ".yml")))
    before = incomplete.removesuffix(start)
    return [f"{before}{p.name}/" if p.is_dir() else f"{before}{p.name}" for p in found]


study_argument = click.argument("study", type=click.Path(), shell_complete=_study_files)
table_option = click.option(
    "--table",
    help="For a table study: search this table (a path or s3:// URI) instead of the study's own. The table's name is appended to"
    " the study's name.",
)
place_argument = click.argument("place", metavar="DIR")


def extent(plan: Study) -> str:
    """Return the size of a study in words: its numbers of data sets, methods and seeds."""
    counts = ((plan.datasets, "data set"), (plan.methods, "method"), (plan.seeds, "seed"))
    return " × ".join(f"{len(listed)} {what}{'' if len(listed) == 1 else 's'}" for listed, what in counts)


def told(findings: Iterable[Finding], as_json: bool) -> int:
    """Print each finding at once, or all findings as JSON at the end.

    Returns:
        The exit code: CELL_FAILED if a finding is a failure, else 0.
    """
    from ..core.finding import State

    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            remedy = f": {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.state:<8} {finding.what:<18} {finding.said}{remedy}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=1))
    return CELL_FAILED if any(finding.state is State.FAILING for finding in found) else 0


def report_of(place: str) -> str:
    """Return the path or URI of a store's report."""
    from ..core import layout

    return f"{place.rstrip('/')}/{layout.REPORT}report.html"
