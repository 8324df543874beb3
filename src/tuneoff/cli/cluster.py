"""Commands that run a study on a cluster."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import CELL_FAILED, INTERRUPTED, STOPPED, extent, json_option, study_argument, told

if TYPE_CHECKING:
    from ..cluster.kfp_server import Login
    from ..core.study import Study

_file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@study_argument
@click.option("--host", required=True, envvar="KF_PIPELINES_ENDPOINT", help="KFP's address.  [env: KF_PIPELINES_ENDPOINT]")
@click.option("--namespace", help="Of the runs, where KFP has many users; by default the study's cluster.namespace.")
@click.option("--experiment", help="KFP's experiment; by default that of the study's tracking.")
@click.option("--wait", is_flag=True, help="Follow the run to its end, and restart it where its pods were lost.")
@click.option(
    "--again",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Restart a run whose pods were lost up to N times (with --wait).",
    metavar="N",
)
@click.option("--new", is_flag=True, help="End a run that KFP takes for running into the same store, and start another.")
@click.option("--check", "checking", is_flag=True, help="Start nothing: say what the cluster lacks for this study.")
@click.option("--token-file", type=_file, help="A file with a token for KFP, read anew for each call.")
@click.option("--existing-token", envvar="TUNEOFF_KFP_TOKEN", help="A token for KFP.  [env: TUNEOFF_KFP_TOKEN]")
@click.option("--service-account", is_flag=True, help="In a pod: the token of its service account for KFP.")
@click.option("--cookies", envvar="TUNEOFF_KFP_COOKIES", help="Cookies of a login in a browser.  [env: TUNEOFF_KFP_COOKIES]")
@click.option("--ca-cert", type=_file, help="The certificate of the authority that signed KFP's.")
@click.option("--kube-context", help="For --check and --wait: the kubeconfig's context; by default the current one.")
@json_option
def submit(
    study: str,
    host: str,
    namespace: str | None,
    experiment: str | None,
    wait: bool,
    again: int,
    new: bool,
    checking: bool,
    token_file: Path | None,
    existing_token: str | None,
    service_account: bool,
    cookies: str | None,
    ca_cert: Path | None,
    kube_context: str | None,
    as_json: bool,
) -> None:
    """Run STUDY on the cluster whose KFP is at --host: compile it, upload it, start it; a run that goes on is found, not doubled.

    Without --wait it returns once the run is started. With it, Ctrl-C ends the watching alone (exit code 130): the run continues
    on the cluster, and the same command watches it again. Exit codes otherwise as those of `tuneoff run`; --check gives 1 where
    something is lacking.
    """
    from ..cluster.kfp_server import Login
    from ..cluster.preconditions import refuse_what_stays_here, store_on_cluster
    from ..cluster.workflow_size import refuse_too_large
    from ..study_file.check import read_study

    plan = read_study(study)
    refuse_what_stays_here(plan, study, submitting=True)
    store_on_cluster(plan)
    refuse_too_large(plan)
    login = Login(host, namespace or plan.cluster.namespace, service_account, token_file, existing_token, cookies, ca_cert)
    if checking:
        from ..doctor.cluster import examine

        sys.exit(told(examine(plan, login, kube_context), as_json))
    sys.exit(_submit(plan, login, _Options(experiment, wait, again, new, kube_context, as_json)))


@dataclass(frozen=True)
class _Options:
    experiment: str | None
    wait: bool
    again: int
    new: bool
    kube_context: str | None
    as_json: bool


def _submit(plan: Study, login: Login, options: _Options) -> int:
    from rich.console import Console

    from ..cluster.kfp_server import KfpServer
    from ..cluster.kubernetes_api import view_of
    from ..core.errors import StudyError
    from ..inspect.progress import Display
    from ..pipelines.submit import submit as submit_it

    console = Console(stderr=options.as_json, highlight=False)
    console.print(f"Study {plan.name}: {extent(plan)}, on {login.host}", markup=False, soft_wrap=True)
    server = KfpServer(login)
    if server.many_users and server.namespace is None:
        raise StudyError(f"KFP at {server.host} has many users: give --namespace, or cluster.namespace in the study.")
    view = view_of(server.pods_namespace, options.kube_context)
    links: list[str] = []
    try:
        with Display(console) as display:
            done = submit_it(
                plan, server, options.experiment, options.wait, options.again, display.note, display.show, options.new, view,
                links.append,
            )  # fmt: skip
    except KeyboardInterrupt:
        return _interrupted(links)
    if options.as_json:
        said = {"study": plan.name, "run": done.run.id, "state": done.run.state, "link": done.link, "runs": done.runs}
        click.echo(json.dumps({**said, "missing": None if done.missing is None else list(done.missing)}))
    if not options.wait:
        return 0
    for sentence in done.failed:
        click.echo(f"tuneoff: {sentence}", err=True)
    if done.ended:
        click.echo(f"tuneoff: {done.ended}.", err=True)
        return CELL_FAILED
    if done.run.state == "CANCELED":
        click.echo("tuneoff: The run was canceled; the same command goes on with the study.", err=True)
        return STOPPED
    if done.missing:
        click.echo(f"tuneoff: Not at their end: {', '.join(done.missing)}; the same command goes on.", err=True)
    return CELL_FAILED if done.run.state == "FAILED" else STOPPED if done.missing else 0


def _interrupted(links: list[str]) -> int:
    """Say what continues after Ctrl-C: a run that was started, but not the watching."""
    if links:
        said = f"Interrupted. The run continues on the cluster: {links[-1]}. The same command watches it again."
    else:
        said = "Interrupted before a run was started: the same command begins again."
    click.echo(f"tuneoff: {said}", err=True)
    return INTERRUPTED


COMMANDS: tuple[click.Command, ...] = (submit,)
