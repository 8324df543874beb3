"""Commands that make tables of recorded trainings, for studies that search them without training."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import STOPPED, study_argument

if TYPE_CHECKING:
    from ..tables.build import Progress, Shard

table_option = click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The table; by default NAME.parquet.")


@click.group()
def table() -> None:
    """Make tables of recorded trainings, which a study then searches instead of training (objective: replay:TABLE)."""


@table.command()
@study_argument
@table_option
@click.option("--shard", default="1/1", show_default=True, metavar="N/K", help="Only the n-th of K shares, for K machines.")
@click.option("--workers", type=click.IntRange(1, 256), help="Trainings side by side, a thread each; by default one a core.")
@click.option("--partial", is_flag=True, help="Write the table also where trainings are missing.")
def build(study: str, out: Path | None, shard: str, workers: int | None, partial: bool) -> None:
    """Train every configuration of STUDY's grid with each of its seeds, with whole curves, into one Parquet file.

    Each finished training is on disk, in FILE.building, before the next starts: however it ends, the same command goes on. With
    shards, bring the .jsonl files of all machines into one FILE.building, and run it once more there.
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
        why = "Stopped on request" if built.stopped else "This shard is at its end"
        click.echo(f"tuneoff: {why}: {built.missing:,} trainings are missing; the same command goes on.", err=True)
        sys.exit(STOPPED)


def _shard(text: str) -> Shard:
    from ..core.errors import StudyError
    from ..tables.build import Shard

    found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if not found or int(found[1]) > int(found[2]):
        raise StudyError(f"--shard {text!r} is not taken: give N/K with 1 ≤ N ≤ K, such as 2/4.")
    return Shard(int(found[1]), int(found[2]))


@table.command()
@click.argument("file", metavar="TABLE", type=click.Path(path_type=Path))
def card(file: Path) -> None:
    """Write TABLE's card, beside it: what it is of, how it was made and on what, its limits, and how to make it again."""
    from ..core.table import read_info
    from ..tables.card import write_card

    click.echo(str(write_card(file, read_info(str(file)))))


@table.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--from", "kind", type=click.Choice(["optuna", "mlflow", "csv"]), required=True, help="What SOURCE is.")
@click.option("--study", "name", help="The Optuna study or MLflow experiment in it; may be left out where it is the only one.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The table, a .parquet file.")
@click.option("--subgrid", is_flag=True, help="Keep the largest part of the grid that is whole, so that a study can search it.")
def import_(source: str, kind: str, name: str | None, out: Path, subgrid: bool) -> None:
    """Make a table of a finished study of yours, and say which share of its grid is there.

    SOURCE is an Optuna storage (a SQLite file or a URL), an MLflow server's URI or SQLite file, or a CSV with a row an epoch:
    epoch, val_accuracy or val_loss, what else there is of loss, accuracy, test_loss, test_accuracy, seconds and seed, and a
    column for each hyperparameter.
    """
    from ..tables.card import write_card
    from ..tables.imports import coverage, runs_of, write_imported

    found = write_imported(runs_of(kind, source, name), out.stem, f"{kind} {Path(source).name}", out, subgrid)
    click.echo(f"{out}, {write_card(out, found.info)}: {coverage(found.info)}")
    if found.left_out:
        click.echo(f"Left out: {found.left_out:,} trainings beside that part.")


class _Bar:
    """How far a build is: a bar on a terminal, a line now and then elsewhere."""

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
        """Called after each training, by whichever thread trained it."""
        import time

        from ..tables.build import said

        self._bar.update(self._task, completed=progress.done, total=progress.trainings, description=said(progress))
        due = time.monotonic() - self._said_at > SAY_EVERY_SECONDS or progress.done == progress.trainings
        if not self._console.is_terminal and due:
            self._said_at = time.monotonic()
            self.note(f"{time.strftime('%H:%M:%S')} {progress.done:,} of {progress.trainings:,} trainings{said(progress)}")


SAY_EVERY_SECONDS = 60.0

COMMANDS: tuple[click.Command, ...] = (table,)
