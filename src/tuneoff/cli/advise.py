"""The command that turns finished searches into advice."""

from __future__ import annotations

import json

import click

from .options import json_option


@click.command()
@click.option("--budget", type=click.IntRange(min=1), required=True, help="Epochs that a search may train in all.")
@click.option("--dir", "places", metavar="DIR", multiple=True, help="A study's output folder or s3:// URI; may be given again.")
@json_option
def advise(budget: int, places: tuple[str, ...], as_json: bool) -> None:
    """Say which method to use at a budget, from the studies in each DIR; by default from the tables that come with Tuneoff.

    The rule is that of the report's recommendation (docs/statistics.md). With two data sets or more it also says what following
    the advice would have cost on each, had it been made from the others alone.
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
