"""The commands that make tables of recorded trainings, which table studies search without training."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import STOPPED, study_argument

if TYPE_CHECKING:
    from ..tables.build import Progress, Shard

table_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Table to write.  [default: STUDY_NAME.parquet]"
)


@click.group()
def table() -> None:
    """Make tables of recorded trainings.

    A table study searches such a table instead of training models, so that many methods can be compared in minutes.
    """


@table.command()
@study_argument
@table_option
@click.option("--shard", default="1/1", show_default=True, metavar="N/K", help="Train only share N of K, to build on K machines.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run N trainings at the same time, with one thread each.  [default: the number of cores]",
)
@click.option("--partial", is_flag=True, help="Write the table even if trainings are missing.")
def build(study: str, out: Path | None, shard: str, workers: int | None, partial: bool) -> None:
    """Train the whole grid of STUDY and write a table.

    Every configuration of the grid is trained with each seed of STUDY. The table is one Parquet file with the full learning
    curves.

    Each finished training is saved in FILE.building before the next one starts. After any interruption, run the same command
    again to continue. With --shard, copy the .jsonl files of all machines into one FILE.building, and run the command once
    more there.
    """
    from ..study_file.check import read_study
    from ..tables.build import build as build_it
    from ..tables.card import write_card

    plan = read_study(study)
    sys.path[:0] = [str(Path(study).parent.absolute()), str(Path.cwd())]
    file = out or Path(f"{plan.name}.parquet")
    share = _shard(shard)
    with _Bar() as bar:
        built = build_it(plan, file, share, workers, bar.show, bar.note, partial)
    if built.info is not None:
        click.echo(f"{file}, {write_card(file, built.info)}")
    if built.missing:
        why = "Stopped on request" if built.stopped else "This shard is finished"
        click.echo(
            f"tuneoff: {why}: {built.missing:,} trainings of the table are missing. Run the same command again to continue.",
            err=True,
        )
        sys.exit(STOPPED)


def _shard(text: str) -> Shard:
    from ..core.errors import StudyError
    from ..tables.build import Shard

    found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if not found or int(found[1]) > int(found[2]):
        raise StudyError(f"--shard {text!r} is not allowed: give N/K with 1 ≤ N ≤ K, such as 2/4.")
    return Shard(int(found[1]), int(found[2]))


@table.command()
@click.argument("file", metavar="TABLE", type=click.Path(path_type=Path))
def card(file: Path) -> None:
    """Write a description of TABLE next to it.

    The card is a Markdown file. It says what the table contains, how and on which hardware it was made, what its limits are,
    and how to make it again.
    """
    from ..core.table import read_info
    from ..tables.card import write_card

    click.echo(str(write_card(file, read_info(str(file)))))


@table.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--from", "kind", type=click.Choice(["optuna", "mlflow", "csv"]), required=True, help="Kind of SOURCE.")
@click.option("--study", "name", help="Optuna study, if SOURCE has several, or MLflow experiment.  [MLflow's default: Default]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Table to write, a .parquet file.")
@click.option(
    "--subgrid", is_flag=True, help="Keep only a complete part of the grid, as large as possible, for a study to search."
)
def import_(source: str, kind: str, name: str | None, out: Path, subgrid: bool) -> None:
    """Make a table from your own finished study.

    The command prints how much of the grid the table covers. SOURCE depends on --from:

    \b
    optuna  an Optuna storage: a SQLite file or a URL
    mlflow  the URI of an MLflow server, or its SQLite file
    csv     a CSV file with one row per epoch

    The CSV file needs the column epoch, one of val_accuracy and val_loss, and one column per hyperparameter. The columns loss,
    accuracy, test_loss, test_accuracy, seconds and seed are optional.
    """
    from ..core.credentials import without_credentials
    from ..tables.card import write_card
    from ..tables.imports import coverage, runs_of, write_imported

    origin = f"{kind} {Path(without_credentials(source)).name}"
    found = write_imported(runs_of(kind, source, name), out.stem, origin, out, subgrid)
    click.echo(f"{out}, {write_card(out, found.info)}: {coverage(found.info)}")
    if found.left_out:
        click.echo(f"Left out: {found.left_out:,} trainings that are not in this part of the grid.")


class _Bar:
    """Show the progress of a build: a bar on a terminal, else a line once a minute."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        words = TextColumn("{task.description}", table_column=Column(overflow="fold"))  # wraps, so that no number is cut
        columns = (TextColumn("trainings"), BarColumn(), MofNCompleteColumn(), words)
        self._console = Console(stderr=True, highlight=False)
        self._bar = RichProgress(*columns, console=self._console)
        self._task = self._bar.add_task("", total=None)
        self._said_at = 0.0

    def __enter__(self) -> _Bar:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def note(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        """Show the progress. The threads of the build call this after each training."""
        import time

        from ..tables.build import said

        self._bar.update(self._task, completed=progress.done, total=progress.trainings, description=said(progress))
        due = time.monotonic() - self._said_at > SAY_EVERY_SECONDS or progress.done == progress.trainings
        if not self._console.is_terminal and due:
            self._said_at = time.monotonic()
            self.note(f"{time.strftime('%H:%M:%S')} {progress.done:,} of {progress.trainings:,} trainings{said(progress)}")


SAY_EVERY_SECONDS = 60.0

COMMANDS: tuple[click.Command, ...] = (table,)
