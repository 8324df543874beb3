"""The command that takes a study to Katib and brings back what it found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import study_argument

if TYPE_CHECKING:
    from ..katib.experiments import Planned


@click.command()
@study_argument
@click.option("--out", type=click.Path(path_type=Path), help="The output folder; by default runs/NAME.")
@click.option(
    "--algorithm", "named", multiple=True, help="One of Katib's algorithms, instead of the study's methods; repeatable."
)
@click.option("--namespace", help="The experiments' namespace; by default the study's cluster.namespace, else kubeflow.")
@click.option("--image", help="The image of the trials; by default that of the tuner step.")
@click.option("--data", help="Prepared data: pvc://CLAIM/FOLDER or s3://…; by default `prepared` beside the study's record.")
@click.option("--secret", help="A Kubernetes secret whose keys become the trials' environment, as for s3://.")
@click.option("--parallel", type=click.IntRange(1, 1000), default=1, show_default=True, help="Trials of a search side by side.")
@click.option("--submit", "action", flag_value="submit", help="Also create the experiments in the cluster.")
@click.option(
    "--dry-run", "action", flag_value="dry-run", help="Write nothing: show the experiments, and what Katib reads of a log."
)
@click.option("--collect", "action", flag_value="collect", help="Bring back what the experiments found, as methods katib-….")
@click.option("--from", "source", type=click.Path(path_type=Path), help="For --collect: a folder that kubectl's output is in.")
def katib(
    study: str,
    out: Path | None,
    named: tuple[str, ...],
    namespace: str | None,
    image: str | None,
    data: str | None,
    secret: str | None,
    parallel: int,
    action: str | None,
    source: Path | None,
) -> None:
    """Write STUDY as Katib Experiments, one per method, data set and seed, into OUT/katib.

    What Katib cannot express is refused, a sentence each. docs/katib.md has the methods and their counterparts.
    """
    from ..core.errors import StudyError
    from ..katib.experiments import ALGORITHMS, algorithms_of, experiments, place_of
    from ..study_file.check import read_study

    unknown = [name for name in named if name not in ALGORITHMS]
    if unknown:
        raise StudyError(f"--algorithm {unknown[0]!r} is none of Katib's: choose {', '.join(ALGORITHMS)}.")
    if source is not None and action != "collect":
        raise StudyError("--from belongs to --collect: it names a folder with what kubectl wrote.")
    sys.path[:0] = [str(Path(study).parent.absolute()), str(Path.cwd())]
    plan = read_study(study)
    place = place_of(plan, namespace, image, data, parallel, secret)
    planned = experiments(plan, algorithms_of(plan, named), place)
    folder = out or Path("runs") / plan.name
    if action == "dry-run":
        _show(planned)
    elif action == "collect":
        from ..core.store.open import open_store
        from ..katib.collect import collect, exported, on_cluster

        store, volume = plan.artifacts or str(folder), plan.cluster.volume
        if volume is not None and volume.holds(store) and not Path(volume.mount).is_dir():
            raise StudyError(
                f"The record is at {store} on the cluster's volume: collect in a pod that mounts it, or give artifacts."
            )
        found = exported(source) if source else on_cluster(planned, place.namespace)
        said = collect(plan, open_store(store), planned, found)
        for one in said:
            click.echo(one.sentence)
        if any(one.recorded for one in said):
            click.echo(f"Now: tuneoff report {store}, tuneoff sync {store}")
    else:
        _write(planned, folder / "katib")
        if action == "submit":
            from ..katib.collect import submit

            submit(planned, place.namespace)
            click.echo(f"Submitted to namespace {place.namespace}: kubectl -n {place.namespace} get experiments -w")


def _write(planned: list[Planned], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one in planned:
        file = folder / f"{one.name}.yaml"
        file.write_text(one.yaml(), encoding="utf-8")
        click.echo(str(file))
    _note(planned)


def _note(planned: list[Planned]) -> None:
    if any(one.algorithm.name == "hyperband" for one in planned):
        click.echo("Note: Katib 0.19 ends hyperband after its first rung and one survivor; see docs/katib.md.", err=True)


def _show(planned: list[Planned]) -> None:
    from ..katib.collect import kept, readings, sample_log

    for one in planned:
        plan = one.plan
        epochs = "up to " * (one.algorithm.name == "hyperband") + f"{plan.epochs} epochs"
        click.echo(f"{one.name}: {one.algorithm.name}, {plan.trials} trials of {epochs}, {plan.parallel} side by side")
    objective = planned[0].manifest["spec"]["objective"]
    metrics = [objective["objectiveMetricName"], *objective["additionalMetricNames"]]
    log = sample_log()
    read = readings(log.splitlines(), metrics)
    click.echo(f"\nOf a trial's log such as\n\n{log}\nKatib's collector reads, by its default expression,\n")
    for reading in read:
        click.echo(f"{reading.time}  {reading.metric} = {reading.value}")
    click.echo("\nand the trial keeps\n")
    for metric, values in kept(read).items():
        click.echo(f"{metric}: min {values.least:g}, max {values.most:g}, latest {values.latest:g}")
    _note(planned)


COMMANDS: tuple[click.Command, ...] = (katib,)
