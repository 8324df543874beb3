"""The commands that show, export and publish the record of a study."""

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
@click.option("--watch", "watching", is_flag=True, help="Refresh the table until the study has ended.")
@json_option
def status(place: str, watching: bool, as_json: bool) -> None:
    """Show the progress of each cell of DIR.

    A cell is one method on one data set. The table shows its trials, best score and remaining budget, and the trials that
    tracking has not received yet.

    DIR is a study's output folder or s3:// URI. The command only reads, and contacts no tracking server. It also works while
    the study runs.
    """
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
    """Add the argument and options that `trials` and `best` share."""
    for option in (
        click.option(
            "--format",
            "form",
            type=click.Choice(["table", "json", "csv"]),
            default="table",
            show_default=True,
            help="Output format.",
        ),
        click.option("--method", help="Only trials of this method (its label in the study)."),
        click.option("--dataset", help="Only trials of this data set."),
        place_argument,
    ):
        command = option(command)
    return command


@click.command()
@trial_options
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the N best trials per method and data set.")
def trials(place: str, dataset: str | None, method: str | None, form: str, top: int | None) -> None:
    """List the trials of DIR in the order they were proposed.

    DIR is a study's output folder or s3:// URI.
    """
    from ..core.store.open import open_store
    from ..core.store.study_store import read_study
    from ..inspect.terminal_tables import best, chosen

    result = read_study(open_store(place))
    rows = chosen(result, dataset, method)
    _print_trials(result, rows if top is None else best(result, rows, top), form)


@click.command()
@trial_options
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of trials per method and data set.",
)
def best(place: str, dataset: str | None, method: str | None, form: str, top: int) -> None:
    """List the best trials of DIR by the study's objective.

    DIR is a study's output folder or s3:// URI.
    """
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
@click.option(
    "--to", "kind", type=click.Choice(["optuna", "deepcave", "csv", "figures"]), required=True, help="Format of the export."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File or folder to write.  [default: STUDY_NAME-optuna.db, -deepcave, -csv or -figures]",
)
@click.option("--format", "form", type=click.Choice(["pdf", "png", "svg"]), help="Format of the figures.  [default: pdf]")
def export(place: str, kind: str, out: Path | None, form: str | None) -> None:
    """Export the record of DIR for another program.

    DIR is a study's output folder or s3:// URI. The command prints the path that it wrote. The formats are:

    \b
    optuna    a SQLite file with one Optuna study per search, for Optuna's
              plots and `optuna-dashboard sqlite:///FILE`
    deepcave  a folder with one run per search, for DeepCAVE
    csv       a folder with trials.csv (one row per trial) and curves.csv
              (one row per epoch)
    figures   a folder with every figure of the report and its legend,
              for a paper
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
    """Write the report of DIR again from its record.

    DIR is a study's output folder or s3:// URI.
    """
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
@click.option("--tracking-uri", help="MLflow server.  [default: the study's server, else SQLite in DIR]")
@json_option
def sync(place: str, tracking_uri: str | None, as_json: bool) -> None:
    """Send the record of DIR to MLflow and TensorBoard.

    DIR is a study's output folder or s3:// URI. Only trials and evaluations that are missing there are sent.
    """
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
        raise StudyError(f"{place}: {why}. The record is complete, so you can run the command again later.") from error
    click.echo(json.dumps(asdict(counts)) if as_json else str(counts))


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--mlflow-port", type=int, default=5000, show_default=True, help="Port of MLflow.")
@click.option("--tensorboard-port", type=int, default=6006, show_default=True, help="Port of TensorBoard.")
def ui(folder: Path, mlflow_port: int, tensorboard_port: int) -> None:
    """Serve the MLflow and TensorBoard pages of DIR.

    DIR is a study's output folder. The servers accept connections from this machine only, and run until Ctrl-C. If a port is
    in use, a free port is used instead.
    """
    from ..inspect.ui import serve

    serve(folder, mlflow_port, tensorboard_port, click.echo)


COMMANDS: tuple[click.Command, ...] = (status, trials, best, export, report, sync, ui)
