"""The command that runs a study's searches in Katib and collects their results."""

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
@click.option("--out", type=click.Path(path_type=Path), help="Output folder.  [default: runs/STUDY_NAME]")
@click.option(
    "--algorithm", "named", multiple=True, help="Use this Katib algorithm instead of the study's methods. May be repeated."
)
@click.option("--namespace", help="Namespace of the experiments.  [default: cluster.namespace in STUDY, else kubeflow]")
@click.option("--image", help="Image of the trials.  [default: the image of the tuner step]")
@click.option("--data", help="Prepared data: pvc://CLAIM/FOLDER or s3://….  [default: `prepared` next to the study's record]")
@click.option("--secret", help="Kubernetes secret whose keys become environment variables of the trials; needed for s3://.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Run up to N trials of a search at the same time.",
    metavar="N",
)
@click.option("--submit", "action", flag_value="submit", help="Also create the experiments in the cluster.")
@click.option(
    "--dry-run", "action", flag_value="dry-run", help="Write nothing. Show the experiments, and what Katib reads from a log."
)
@click.option("--collect", "action", flag_value="collect", help="Add the experiments' results to the record, as methods katib-….")
@click.option("--from", "source", type=click.Path(path_type=Path), help="With --collect: folder with the output of kubectl.")
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
    """Write STUDY as Katib experiments.

    The folder OUT/katib gets one experiment per method, data set and seed. If Katib cannot express a part of STUDY, the command
    writes nothing and prints one sentence for each such part. docs/katib.md lists Katib's counterpart of each method.
    """
    from ..core.errors import StudyError
    from ..katib.experiments import ALGORITHMS, algorithms_of, experiments, place_of
    from ..study_file.check import read_study

    unknown = [name for name in named if name not in ALGORITHMS]
    if unknown:
        raise StudyError(f"--algorithm {unknown[0]!r} is not an algorithm of Katib: choose {', '.join(ALGORITHMS)}.")
    if source is not None and action != "collect":
        raise StudyError(
            "--from is only for --collect, which reads the output of kubectl from it. Leave it out, or add --collect."
        )
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
                f"The record is at {store} on the cluster's volume, which is not mounted here. Collect in a pod that mounts it,"
                " or set artifacts in the study."
            )
        found = exported(source) if source else on_cluster(planned, place.namespace)
        said = collect(plan, open_store(store), planned, found)
        for one in said:
            click.echo(one.sentence)
        if any(one.recorded for one in said):
            click.echo(f"Next: tuneoff report {store}, tuneoff sync {store}")
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
        click.echo("Note: Katib 0.19 ends hyperband after the first rung and one promoted trial; see docs/katib.md.", err=True)


def _show(planned: list[Planned]) -> None:
    from ..katib.collect import kept, readings, sample_log

    for one in planned:
        plan = one.plan
        epochs = "up to " * (one.algorithm.name == "hyperband") + f"{plan.epochs} epochs"
        click.echo(f"{one.name}: {one.algorithm.name}, {plan.trials} trials of {epochs}, {plan.parallel} at a time")
    objective = planned[0].manifest["spec"]["objective"]
    metrics = [objective["objectiveMetricName"], *objective["additionalMetricNames"]]
    log = sample_log()
    read = readings(log.splitlines(), metrics)
    click.echo(f"\nFrom a trial's log such as\n\n{log}\nKatib's collector reads, with its default expression,\n")
    for reading in read:
        click.echo(f"{reading.time}  {reading.metric} = {reading.value}")
    click.echo("\nand keeps for the trial\n")
    for metric, values in kept(read).items():
        click.echo(f"{metric}: min {values.least:g}, max {values.most:g}, latest {values.latest:g}")
    _note(planned)


COMMANDS: tuple[click.Command, ...] = (katib,)
