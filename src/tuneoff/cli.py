"""The command `tuneoff`. Every command imports what it needs when it is called, so that help comes at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__

if TYPE_CHECKING:
    from .components.core.stored import StudyResult
    from .components.reporter.numbers import TrialRow

if TYPE_CHECKING:
    from .components.core.study import Study

CELL_FAILED, BAD_INPUT = 1, 2

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
study_argument = click.argument("study", type=click.Path())


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tuneoff")
def cli() -> None:
    """Compare hyperparameter-optimisation methods: equal budgets, several seeds, every trial on record.

    Begin with `tuneoff run studies/quickstart.yaml`. Exit codes: 0 all went well, 1 a cell failed, 2 bad input.
    """


def main() -> NoReturn:
    """Run the command; a user's mistake is one sentence and exit code 2, never a traceback."""
    from .components.core.errors import CellFailed, RecordError, ReplayError, StudyError

    try:
        cli.main(prog_name="tuneoff", standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except click.exceptions.Abort:
        _fail("Interrupted. What was trained is on record: run the same command again to go on.", CELL_FAILED)
    except StudyError as error:
        _fail(str(error), BAD_INPUT)
    except (CellFailed, RecordError, ReplayError) as error:
        _fail(str(error), CELL_FAILED)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}." if error.filename and error.strerror else f"{error}.", BAD_INPUT)
    except ImportError as error:
        _fail(f"{error}. Install what this command needs: pip install 'tuneoff[all]'.", BAD_INPUT)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"tuneoff: {line}", err=True)
    sys.exit(code)


# Running


@cli.command()
@study_argument
@click.option("--out", type=click.Path(path_type=Path), help="The output folder; by default runs/NAME.")
@json_option
def run(study: str, out: Path | None, as_json: bool) -> None:
    """Run STUDY on this machine, or go on with it where --out holds it already."""
    from rich.console import Console

    from .pipelines.local import failures
    from .pipelines.local import run as run_here
    from .pipelines.progress import Display
    from .pipelines.studyfile import read_study, warnings

    plan = read_study(study)
    folder = out or Path("runs") / plan.name
    console = Console(stderr=as_json, highlight=False)
    for warning in warnings(plan):
        console.print(f"Note: {warning}", markup=False, soft_wrap=True)
    console.print(f"Study {plan.name}: {_extent(plan)}, into {folder}", markup=False, soft_wrap=True)
    with Display(console) as display:
        result = run_here(plan, folder, display.show, (Path(study).parent, Path.cwd()), display.note)
    failed = failures(result)
    for sentence in failed:
        click.echo(f"tuneoff: {sentence}", err=True)
    report = _report_of(plan.artifacts or str(folder))
    if as_json:
        click.echo(json.dumps({"study": plan.name, "store": plan.artifacts or str(folder), "report": report, "failed": failed}))
    else:
        console.print(f"Report: {report}", markup=False, soft_wrap=True)
    sys.exit(CELL_FAILED if failed else 0)


def _extent(plan: Study) -> str:
    counts = ((plan.datasets, "data set"), (plan.methods, "method"), (plan.seeds, "seed"))
    return " × ".join(f"{len(listed)} {what}{'' if len(listed) == 1 else 's'}" for listed, what in counts)


def _report_of(place: str) -> str:
    from .components.core import layout

    return f"{place.rstrip('/')}/{layout.REPORT}report.html"


@cli.command("compile")
@study_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The pipeline's YAML file.")
def compile_(study: str, output: Path) -> None:
    """Compile STUDY to a KFP v2 pipeline, for any cluster: it names no place of this machine and holds no secret."""
    from .components.core.errors import StudyError
    from .pipelines.studyfile import read_study

    plan = read_study(study)
    local = [d for d in plan.datasets if d.path is not None and not d.path.startswith("s3://")]
    if local:
        why = f"the data set {local[0].path!r} lies on this machine, where a cluster cannot read it"
        raise StudyError(f"{study}: {why}: give an s3:// URI.")
    if output.suffix not in (".yaml", ".yml"):
        raise StudyError(f"--output {str(output)!r} is not taken: KFP wants a file name that ends in .yaml.")
    from kfp.compiler import Compiler

    from .pipelines.bakeoff import bakeoff

    output.parent.mkdir(parents=True, exist_ok=True)
    Compiler().compile(bakeoff(plan), str(output))
    click.echo(str(output))


@cli.command()
@click.argument("name", type=click.Choice(["data_prep", "tuner", "evaluator", "reporter"]))
@study_argument
@click.option("--out", type=click.Path(path_type=Path), help="The output folder; by default runs/NAME.")
@click.option("--dataset", help="The data set's name in the study; not for reporter.")
@click.option("--method", help="The method's label in the study; for tuner and evaluator.")
@click.option("--data", type=click.Path(path_type=Path), help="The prepared data's folder; by default OUT/prepared/DATASET.")
def step(name: str, study: str, out: Path | None, dataset: str | None, method: str | None, data: Path | None) -> None:
    """Run one step of STUDY as plain Python, without KFP: data_prep, tuner, evaluator or reporter."""
    from importlib import import_module

    from .components.core.errors import StudyError
    from .components.core.tracking import tracking_uri
    from .pipelines.studyfile import read_study

    plan = read_study(study)
    folder = out or Path("runs") / plan.name
    missing = [o for o, v in (("--dataset", dataset), ("--method", method)) if v is None and o in _NEEDED[name]]
    if missing:
        raise StudyError(f"step {name} needs {' and '.join(missing)}.")
    if dataset is not None and dataset not in [d.name for d in plan.datasets]:
        raise StudyError(f"--dataset {dataset!r} is not in the study: choose {', '.join(d.name for d in plan.datasets)}.")
    if method is not None and method not in [m.label for m in plan.methods]:
        raise StudyError(f"--method {method!r} is not in the study: choose {', '.join(m.label for m in plan.methods)}.")
    sys.path[:0] = [str(Path(study).parent.absolute()), str(Path.cwd())]
    prepared = str(data or folder / "prepared" / str(dataset))
    store, tracking, text = plan.artifacts or str(folder), tracking_uri(plan, str(folder)), plan.model_dump_json()
    work = import_module(f".components.{name}.step", __package__).run
    if name == "data_prep":
        work(text, dataset, store, prepared)
    elif name == "reporter":
        work(text, store, tracking, None, None)
    elif not Path(prepared, "dataset.json").is_file():
        raise StudyError(f"{prepared} holds no prepared data: run `tuneoff step data_prep {study} --dataset {dataset}` first.")
    else:
        work(text, dataset, method, store, tracking, prepared, None, None)


_NEEDED: dict[str, tuple[str, ...]] = {
    "data_prep": ("--dataset",),
    "tuner": ("--dataset", "--method"),
    "evaluator": ("--dataset", "--method"),
    "reporter": (),
}


# Looking back


@cli.command()
@click.argument("place", metavar="DIR")
@click.option("--watch", "watching", is_flag=True, help="Show it again and again until the study has ended.")
@json_option
def status(place: str, watching: bool, as_json: bool) -> None:
    """Show where each cell of DIR (an output folder or s3:// URI) stands. Reads the record only, also while it runs."""
    from rich.console import Console

    from .components.core.storage import open_store
    from .components.core.stored import read_study
    from .pipelines.looking import cells, status_json, watch
    from .pipelines.progress import table

    store = open_store(place)
    if as_json:
        click.echo(json.dumps(status_json(read_study(store)), indent=1))
    elif watching:
        watch(lambda: read_study(store), Console(highlight=False))
    else:
        Console(highlight=False).print(table(cells(read_study(store))))


def trial_options(command: Callable[..., None]) -> Callable[..., None]:
    """What `trials` and `best` share: the place, which cells, and how to print."""
    for option in (
        click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True),
        click.option("--method", help="Of one method only (its label in the study)."),
        click.option("--dataset", help="Of one data set only."),
        click.argument("place", metavar="DIR"),
    ):
        command = option(command)
    return command


@cli.command()
@trial_options
def trials(place: str, dataset: str | None, method: str | None, form: str) -> None:
    """List the trials of DIR (an output folder or s3:// URI) in the order in which they were asked."""
    from .components.core.storage import open_store
    from .components.core.stored import read_study
    from .pipelines.looking import chosen

    result = read_study(open_store(place))
    _print_trials(result, chosen(result, dataset, method), form)


@cli.command()
@trial_options
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="How many of each method and data set.")
def best(place: str, dataset: str | None, method: str | None, form: str, top: int) -> None:
    """List the best trials of DIR (an output folder or s3:// URI) by the study's objective."""
    from .components.core.storage import open_store
    from .components.core.stored import read_study
    from .pipelines.looking import best as best_of
    from .pipelines.looking import chosen

    result = read_study(open_store(place))
    _print_trials(result, best_of(result, chosen(result, dataset, method), top), form)


def _print_trials(result: StudyResult, rows: list[TrialRow], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=1))
    elif form == "csv":
        from .components.reporter.export import csv, trials_frame

        click.echo(csv(trials_frame(rows, result.study.space)).decode(), nl=False)
    else:
        from rich.console import Console

        from .pipelines.looking import trials_table

        Console(highlight=False, width=None if sys.stdout.isatty() else 240).print(trials_table(result, rows))


@cli.command()
@click.argument("place", metavar="DIR")
@json_option
def report(place: str, as_json: bool) -> None:
    """Write the report of DIR (an output folder or s3:// URI) anew from its record."""
    from .components.core.storage import open_store
    from .components.reporter.report import report as write

    found = write(open_store(place))
    if as_json:
        click.echo(json.dumps({"report": _report_of(place), "metrics": dict(found.metrics)}))
    else:
        click.echo(_report_of(place))


@cli.command()
@click.argument("place", metavar="DIR")
@click.option("--tracking-uri", help="The MLflow server; by default the study's, or SQLite in DIR.")
@json_option
def sync(place: str, tracking_uri: str | None, as_json: bool) -> None:
    """Bring MLflow and TensorBoard level with the record of DIR (an output folder or s3:// URI)."""
    from .components.core.errors import RecordError, StudyError
    from .components.core.storage import open_store
    from .components.core.tracking import sync_study
    from .components.core.tracking.delivery import brief

    try:
        counts = sync_study(open_store(place), tracking_uri)
    except (StudyError, RecordError):
        raise
    except Exception as error:
        why = f"the tracking server cannot be used ({brief(error)})"
        raise StudyError(f"{place}: {why}; the record has everything, so try again later.") from error
    if as_json:
        click.echo(json.dumps(asdict(counts)))
    else:
        click.echo(f"Sent {counts.trials} trials and {counts.evaluations} evaluations; wrote {counts.event_files} event files.")


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--mlflow-port", type=int, default=5000, show_default=True)
@click.option("--tensorboard-port", type=int, default=6006, show_default=True)
def ui(folder: Path, mlflow_port: int, tensorboard_port: int) -> None:
    """Serve DIR's MLflow and TensorBoard pages on loopback until Ctrl-C. A port that is taken is replaced by a free one."""
    from .pipelines.ui import serve

    serve(folder, mlflow_port, tensorboard_port, click.echo)


# What there is


@cli.command()
@json_option
def methods(as_json: bool) -> None:
    """List the search methods."""
    from .components.tuner.registry import REGISTRY

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


@cli.command()
@json_option
def datasets(as_json: bool) -> None:
    """List the built-in data sets, and whether they lie in the cache."""
    from .components.data_prep.registry import BUILTINS
    from .components.data_prep.sources import cache_path

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


@cli.group()
def data() -> None:
    """Get data sets."""


@data.command("fetch")
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Fetch built-in data sets into the cache, each checked against its pinned SHA-256 sums."""
    from .components.data_prep.registry import builtin
    from .components.data_prep.sources import fetch as fetch_one

    for name in names:
        builtin(name)
    for name in names:
        click.echo(str(fetch_one(name, lambda line: click.echo(line, err=True))))


@cli.command()
@study_argument
@json_option
def validate(study: str, as_json: bool) -> None:
    """Check STUDY: every fault in one pass, one sentence each."""
    from .pipelines.faults import field_name
    from .pipelines.studyfile import check_file, warnings

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
            click.echo(f"{study} is valid: {_extent(plan)}.")
    sys.exit(BAD_INPUT if faults else 0)


@cli.command()
def schema() -> None:
    """Print the JSON schema of a study file."""
    from .pipelines.studyfile import schema as made

    click.echo(json.dumps(made(), indent=1))


if __name__ == "__main__":
    main()
