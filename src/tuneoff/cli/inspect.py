"""Commands that look back at what a study left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import json_option, place_argument, report_of

if TYPE_CHECKING:
    from ..analysis.trial_rows import TrialRow
    from ..core.store.study_store import StudyResult


@click.command()
@place_argument
@click.option("--watch", "watching", is_flag=True, help="Show it again and again until the study has ended.")
@json_option
def status(place: str, watching: bool, as_json: bool) -> None:
    """Show where each cell of DIR (an output folder or s3:// URI) stands: trials, best, what is left, what tracking lacks.

    Reads only, and asks no server: also while it runs."""
    from rich.console import Console

    from ..core.store.open import open_store
    from ..core.store.study_store import read_study
    from ..inspect.terminal_tables import cells, overview, status_json, watch

    store = open_store(place)
    if as_json:
        click.echo(json.dumps(status_json(read_study(store)), indent=1))
    elif watching:
        watch(lambda: read_study(store), Console(highlight=False))
    else:
        Console(highlight=False).print(overview(cells(read_study(store))))


def trial_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `trials` and `best` share: the place, which cells, and how to print."""
    for option in (
        click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True),
        click.option("--method", help="Of one method only (its label in the study)."),
        click.option("--dataset", help="Of one data set only."),
        place_argument,
    ):
        command = option(command)
    return command


@click.command()
@trial_options
@click.option("--top", type=click.IntRange(min=1), help="Only so many of each method and data set, the best first.")
def trials(place: str, dataset: str | None, method: str | None, form: str, top: int | None) -> None:
    """List the trials of DIR (an output folder or s3:// URI) in the order in which they were asked."""
    from ..core.store.open import open_store
    from ..core.store.study_store import read_study
    from ..inspect.terminal_tables import best, chosen

    result = read_study(open_store(place))
    rows = chosen(result, dataset, method)
    _print_trials(result, rows if top is None else best(result, rows, top), form)


@click.command()
@trial_options
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="How many of each method and data set.")
def best(place: str, dataset: str | None, method: str | None, form: str, top: int) -> None:
    """List the best trials of DIR (an output folder or s3:// URI) by the study's objective."""
    from ..core.store.open import open_store
    from ..core.store.study_store import read_study
    from ..inspect.terminal_tables import best as best_of
    from ..inspect.terminal_tables import chosen

    result = read_study(open_store(place))
    _print_trials(result, best_of(result, chosen(result, dataset, method), top), form)


def _print_trials(result: StudyResult, rows: list[TrialRow], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=1))
    elif form == "csv":
        from ..analysis.frames import csv, trials_frame

        click.echo(csv(trials_frame(rows, result.study.space)).decode(), nl=False)
    else:
        from rich.console import Console

        from ..inspect.terminal_tables import trials_table

        Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(trials_table(result, rows))


@click.command()
@place_argument
@click.option("--to", "kind", type=click.Choice(["optuna", "deepcave", "csv", "figures"]), required=True, help="As what.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="What to write; by default NAME-optuna.db, NAME-deepcave, NAME-csv, NAME-figures.",
)
@click.option("--format", "form", type=click.Choice(["pdf", "png", "svg"]), help="Of the figures.  [default: pdf]")
def export(place: str, kind: str, out: Path | None, form: str | None) -> None:
    """Write the record of DIR (an output folder or s3:// URI) as another program reads it, and print where.

    optuna: a SQLite storage with a study per search, for `optuna-dashboard sqlite:///FILE` and Optuna's plots. deepcave: a folder
    with a run per search, for DeepCAVE. csv: a folder with trials.csv and curves.csv, a row a trial and a row an epoch.
    figures: a folder with each of the report's figures, with its legend, for a paper.
    """
    from ..core.store.open import open_store
    from ..core.store.study_store import read_study
    from ..export import default_target
    from ..export import export as write

    result = read_study(open_store(place))
    target = out or default_target(result, kind)
    write(result, kind, target, form)
    click.echo(str(target))


@click.command()
@place_argument
@json_option
def report(place: str, as_json: bool) -> None:
    """Write the report of DIR (an output folder or s3:// URI) anew from its record."""
    from ..core.store.open import open_store
    from ..report.report import report as write

    found = write(open_store(place))
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
    if as_json:
        click.echo(json.dumps({"report": report_of(place), "metrics": dict(found.metrics)}))
    else:
        click.echo(report_of(place))


@click.command()
@place_argument
@click.option("--tracking-uri", help="The MLflow server; by default the study's, or SQLite in DIR.")
@json_option
def sync(place: str, tracking_uri: str | None, as_json: bool) -> None:
    """Bring MLflow and TensorBoard level with the record of DIR (an output folder or s3:// URI)."""
    from ..core.errors import RecordError, StudyError
    from ..core.store.open import open_store
    from ..tracking import sync_study
    from ..tracking.delivery import brief

    try:
        counts = sync_study(open_store(place), tracking_uri)
    except (StudyError, RecordError):
        raise
    except Exception as error:
        why = f"the tracking server cannot be used ({brief(error)})"
        raise StudyError(f"{place}: {why}; the record has everything, so try again later.") from error
    click.echo(json.dumps(asdict(counts)) if as_json else str(counts))


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--mlflow-port", type=int, default=5000, show_default=True)
@click.option("--tensorboard-port", type=int, default=6006, show_default=True)
def ui(folder: Path, mlflow_port: int, tensorboard_port: int) -> None:
    """Serve DIR's MLflow and TensorBoard pages on loopback until Ctrl-C. A port that is taken is replaced by a free one."""
    from ..inspect.ui import serve

    serve(folder, mlflow_port, tensorboard_port, click.echo)


COMMANDS: tuple[click.Command, ...] = (status, trials, best, export, report, sync, ui)
