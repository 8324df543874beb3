"""The commands that run a study or a part of it on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from .options import CELL_FAILED, STOPPED, extent, json_option, place_argument, report_of, study_argument, table_option


@click.command()
@study_argument
@click.option("--out", type=click.Path(path_type=Path), help="Output folder.  [default: runs/STUDY_NAME]")
@table_option
@json_option
def run(study: str, out: Path | None, table: str | None, as_json: bool) -> None:
    """Run STUDY on this machine.

    If the output folder holds an unfinished run of STUDY, the command continues it.

    Ctrl-C, SIGTERM or `tuneoff stop DIR` stops the run: the running epochs finish, and the report is written. A second Ctrl-C
    stops it at once.
    """
    from rich.console import Console

    from ..inspect.progress import Display
    from ..pipelines.local import failures, full_disk, unfinished
    from ..pipelines.local import run as run_here
    from ..study_file.check import read_study, warnings
    from ..study_file.required_packages import require_for

    plan = read_study(study, table)
    require_for(plan)
    folder = out or Path("runs") / plan.name
    console = Console(stderr=as_json, highlight=False)
    for warning in warnings(plan, study):
        console.print(f"Note: {warning}", markup=False, soft_wrap=True)
    console.print(f"Study {plan.name}: {extent(plan)}, into {folder}", markup=False, soft_wrap=True)
    with Display(console) as display:
        result = run_here(plan, folder, display.show, (Path(study).parent, Path.cwd()), display.note)
    failed = failures(result)
    if failed and (full := full_disk(folder)):
        failed.append(full)
    for sentence in failed:
        click.echo(f"tuneoff: {sentence}", err=True)
    stopped = unfinished(result)
    if stopped:
        click.echo(f"tuneoff: {stopped}", err=True)
    report = report_of(plan.artifacts or str(folder))
    if as_json:
        store = plan.artifacts or str(folder)
        said = {"study": plan.name, "store": store, "report": report, "failed": failed, "stopped": stopped is not None}
        click.echo(json.dumps(said))
    elif "://" in report or Path(report).exists():
        console.print(f"Report: {report}", markup=False, soft_wrap=True)
    sys.exit(CELL_FAILED if failed else STOPPED if stopped else 0)


@click.command()
@place_argument
def stop(place: str) -> None:
    """Stop the study that runs in DIR.

    DIR is the study's output folder or s3:// URI. As after Ctrl-C, the running epochs finish, and the report is written.
    """
    from ..pipelines.local import stop as stop_it

    stop_it(place)
    click.echo(f"Asked the study in {place} to stop. The running epochs finish, and the report is written.")


@click.command("compile")
@study_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="YAML file to write.")
def compile_(study: str, output: Path) -> None:
    """Compile STUDY to a Kubeflow Pipelines (KFP v2) pipeline.

    The file works on any cluster: it contains no paths of this machine and no secrets.
    """
    from ..cluster.preconditions import refuse_what_stays_here
    from ..core.errors import StudyError
    from ..pipelines.submit import compile_study
    from ..study_file.check import read_study

    plan = read_study(study)
    refuse_what_stays_here(plan, study)
    if output.suffix not in (".yaml", ".yml"):
        raise StudyError(f"--output {str(output)!r} is not allowed: give a file name that ends in .yaml, as KFP requires.")
    compile_study(plan, output)
    click.echo(str(output))


@click.command()
@click.argument("name", type=click.Choice(["data_prep", "tuner", "evaluator", "reporter"]))
@study_argument
@click.option("--out", type=click.Path(path_type=Path), help="Output folder.  [default: runs/STUDY_NAME]")
@click.option("--dataset", help="Name of the data set in the study. Required by every step except reporter.")
@click.option("--method", help="Label of the method in the study. Required by tuner and evaluator.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the prepared data.  [default: OUT/prepared/DATASET]")
def step(name: str, study: str, out: Path | None, dataset: str | None, method: str | None, data: Path | None) -> None:
    """Run one step of STUDY as plain Python, without KFP."""
    from importlib import import_module

    from ..core.errors import StudyError
    from ..core.store.open import open_store
    from ..core.store.stop_request import withdraw
    from ..core.store.study_store import held_study
    from ..objectives import objective_of
    from ..study_file.check import read_study
    from ..tracking import tracking_uri

    plan = read_study(study)
    folder = out or Path("runs") / plan.name
    held = held_study(open_store(plan.artifacts or str(folder))) if name == "evaluator" else None
    plan = plan.keeping(held) if held else plan  # methods that were collected from Katib are evaluated like the others
    missing = [o for o, v in (("--dataset", dataset), ("--method", method)) if v is None and o in _NEEDED[name]]
    if missing:
        raise StudyError(f"The step {name} requires {' and '.join(missing)}.")
    if dataset is not None and dataset not in [d.name for d in plan.datasets]:
        raise StudyError(f"--dataset {dataset!r} is not in the study: choose {', '.join(d.name for d in plan.datasets)}.")
    if method is not None and method not in [m.label for m in plan.methods]:
        raise StudyError(f"--method {method!r} is not in the study: choose {', '.join(m.label for m in plan.methods)}.")
    sys.path[:0] = [str(Path(study).parent.absolute()), str(Path.cwd())]
    withdraw(open_store(plan.artifacts or str(folder)))
    prepared = str(data or folder / "prepared" / str(dataset))
    store, tracking, text = plan.artifacts or str(folder), tracking_uri(plan, str(folder)), plan.model_dump_json()
    work = import_module(f"tuneoff.components.{name}.step").run
    if name == "data_prep":
        work(text, dataset, store, prepared)
    elif name == "reporter":
        work(text, store, tracking, None, None)
    elif objective_of(plan).needs_prepared_data and not Path(prepared, "dataset.json").is_file():
        raise StudyError(f"{prepared} holds no prepared data. Run `tuneoff step data_prep {study} --dataset {dataset}` first.")
    else:
        work(text, dataset, method, store, tracking, prepared, None, None)


_NEEDED: dict[str, tuple[str, ...]] = {
    "data_prep": ("--dataset",),
    "tuner": ("--dataset", "--method"),
    "evaluator": ("--dataset", "--method"),
    "reporter": (),
}


COMMANDS: tuple[click.Command, ...] = (run, stop, compile_, step)
