"""The command that runs a study on a cluster."""

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
@click.option("--host", required=True, envvar="KF_PIPELINES_ENDPOINT", help="Address of KFP.  [env: KF_PIPELINES_ENDPOINT]")
@click.option("--namespace", help="Namespace of the run, if KFP has several users.  [default: cluster.namespace in STUDY]")
@click.option("--experiment", help="Experiment in KFP.  [default: the experiment in STUDY's tracking section]")
@click.option("--wait", is_flag=True, help="Follow the run until it ends, and restart it if its pods were lost.")
@click.option(
    "--again",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="With --wait: restart a run whose pods were lost up to N times.",
    metavar="N",
)
@click.option("--new", is_flag=True, help="End any run that KFP shows as writing to the same store, and start a new run.")
@click.option("--check", "checking", is_flag=True, help="Start nothing. Check whether the cluster has what STUDY needs.")
@click.option("--token-file", type=_file, help="File with a token for KFP. It is read again for each call.")
@click.option("--existing-token", envvar="TUNEOFF_KFP_TOKEN", help="Token for KFP.  [env: TUNEOFF_KFP_TOKEN]")
@click.option("--service-account", is_flag=True, help="Inside a pod: use the token of the pod's service account.")
@click.option("--cookies", envvar="TUNEOFF_KFP_COOKIES", help="Cookies of a browser login to KFP.  [env: TUNEOFF_KFP_COOKIES]")
@click.option("--ca-cert", type=_file, help="Certificate of the authority that signed KFP's certificate.")
@click.option("--kube-context", help="With --check or --wait: context of the kubeconfig.  [default: the current context]")
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
    """Run STUDY on a cluster with Kubeflow Pipelines (KFP).

    The command compiles STUDY, uploads it, and starts a run. If a run of the same study is active already, the command uses
    that run and does not start a second one.

    Without --wait, the command returns once the run has started. With --wait, Ctrl-C ends only the watching (exit code 130):
    the run continues on the cluster, and the same command watches it again.

    The other exit codes are those of `tuneoff run`. With --check, exit code 1 means that the cluster lacks something.
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
        remedy = "Give --namespace, or set cluster.namespace in the study"
        raise StudyError(f"KFP at {server.host} has several users, so a run needs a namespace. {remedy}.")
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
        click.echo("tuneoff: The run was canceled. Run the same command again to continue the study.", err=True)
        return STOPPED
    if done.missing:
        click.echo(f"tuneoff: Unfinished: {', '.join(done.missing)}. Run the same command again to continue.", err=True)
    return CELL_FAILED if done.run.state == "FAILED" else STOPPED if done.missing else 0


def _interrupted(links: list[str]) -> int:
    """Print that a started run continues after Ctrl-C, and return the exit code."""
    if links:
        said = f"Interrupted. The run continues on the cluster: {links[-1]}. The same command watches it again."
    else:
        said = "Interrupted before a run was started. Run the same command again to start one."
    click.echo(f"tuneoff: {said}", err=True)
    return INTERRUPTED


COMMANDS: tuple[click.Command, ...] = (submit,)
