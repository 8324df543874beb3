"""What several commands share: exit codes, options, and how they name things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..components.core.study import Study

CELL_FAILED, BAD_INPUT = 1, 2

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
study_argument = click.argument("study", type=click.Path())
place_argument = click.argument("place", metavar="DIR")


def extent(plan: Study) -> str:
    """How large a study is, in words."""
    counts = ((plan.datasets, "data set"), (plan.methods, "method"), (plan.seeds, "seed"))
    return " × ".join(f"{len(listed)} {what}{'' if len(listed) == 1 else 's'}" for listed, what in counts)


def report_of(place: str) -> str:
    """Where the report of a store lies."""
    from ..components.core import layout

    return f"{place.rstrip('/')}/{layout.REPORT}report.html"
