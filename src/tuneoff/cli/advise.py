"""The command that recommends a method from finished searches."""

from __future__ import annotations

import json

import click

from .options import json_option


@click.command()
@click.option("--budget", type=click.IntRange(min=1), required=True, metavar="N", help="Total training epochs of one search.")
@click.option("--dir", "places", metavar="DIR", multiple=True, help="Output folder or s3:// URI of a study. May be repeated.")
@json_option
def advise(budget: int, places: tuple[str, ...], as_json: bool) -> None:
    """Recommend a method for a budget.

    The advice is made from the studies in each --dir. Without --dir it is made from the tables that come with Tuneoff.

    The rule is the same as in the report's recommendation (see docs/statistics.md). With two or more data sets, the command
    also prints for each of them what following the advice would have cost there, if it had been made from the others alone.
    """
    from ..advice.advise import advice_json, lines, shipped_tables, study_in
    from ..advice.advise import advise as made

    advice = made([study_in(place) for place in places] or shipped_tables(), budget)
    if as_json:
        click.echo(json.dumps(advice_json(advice), indent=1))
        return
    for line in lines(advice):
        click.echo(line)


COMMANDS: tuple[click.Command, ...] = (advise,)
