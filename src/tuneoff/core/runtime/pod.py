"""Run the work of a step. In a Kubernetes pod, also label the pod and retry after temporary faults."""

from __future__ import annotations

import itertools
import json
import math
import os
import socket
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ..cluster_settings import Step
from ..errors import DataUnavailable, Overtaken, Settled, StoreAway, StudyError
from ..store.stop_request import Stopped
from ..study import Study
from .machine import end_with_run, in_pod, say
from .retry import repeat

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which the kubelet mounts the token, the namespace and the certificate of the pod's service account."""
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0
LABEL_PATIENCE_SECONDS = 5.0

Result = TypeVar("Result")


def run_step(step: Step, study: Study, what: str, work: Callable[[], Result], labels: Mapping[str, str] | None = None) -> Result:
    """Run `work` as this step of the study and return its result.

    The process ends when its run ends. In a pod, the umask is set so that only the owner of a file can write it, because
    KFP's launcher clears the umask.

    Args:
        step: One of the four steps.
        study: The study, which sets the number of retries (`resources.retries`).
        what: The data set or the cell of the step, for the log.
        work: The work of the step. It may be called again after a temporary fault.
        labels: Labels for the pod that are only known at run time.
    """
    end_with_run()
    if in_pod():
        os.umask(0o022)
    if labels:
        label_own_pod(labels, say)
    return attempts(f"{step} of {what}", study.resources.of(step).retries or 0, work, say)


def pod_label(value: str) -> str:
    """Return `value` as a valid label value of Kubernetes: at most 63 of A-Z a-z 0-9 _ . -, a letter or digit at both ends."""
    allowed = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in value)
    return allowed[:63].strip("_.-")


def label_own_pod(labels: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Add labels to the pod that this step runs in. Outside a pod, do nothing.

    KFP reads a pod's labels from the compiled pipeline, in which the value of a loop is not yet known. If the pod's account may
    not change pods, only the label is missing.
    """
    if not in_pod() or not (ACCOUNT / "token").is_file():
        return
    try:
        _patch_own_pod({"metadata": {"labels": dict(labels)}})
    except (OSError, ValueError) as error:
        report(f"Note: this pod could not be labelled with {', '.join(labels)} ({error}). The step works without the label.")


def _patch_own_pod(patch: Mapping[str, object]) -> None:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    namespace = (ACCOUNT / "namespace").read_text().strip()
    pod = (
        os.environ.get("KFP_POD_NAME") or socket.gethostname()
    )  # the host name is cut to 63 characters, a pod name has up to 253
    request = urllib.request.Request(
        f"https://{host}:{port}/api/v1/namespaces/{namespace}/pods/{pod}",
        data=json.dumps(patch).encode(),
        method="PATCH",
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}",
            "Content-Type": "application/merge-patch+json",
        },
    )
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    urllib.request.urlopen(request, timeout=LABEL_PATIENCE_SECONDS, context=trusted).close()


def may_pass(error: BaseException) -> bool:
    """Return whether a retry of the step may succeed: False if the study or its data are invalid, or the step was stopped."""
    if isinstance(error, StoreAway | DataUnavailable):
        return True
    return not isinstance(error, StudyError | Settled | Overtaken | Stopped)


def attempts(what: str, retries: int, work: Callable[[], Result], report: Callable[[str], None]) -> Result:
    """Return the result of `work`. In a pod, call it again up to `retries` times after a temporary fault.

    In KFP 2.17, Argo retries lost pods but not failed containers, so the step retries itself. The search resumes from its
    record each time. Outside a pod, `work` is called once, because KFP's local runner restarts a failed step itself.
    """
    numbers = itertools.count(1)

    def announce(error: BaseException, pause: float) -> None:
        message = f"{what}: attempt {next(numbers)} of {retries + 1} failed: {str(error) or type(error).__name__}"
        report(f"{message.rstrip('.')}. Trying again in {pause:g} s.")

    return repeat(
        work,
        lambda error: isinstance(error, Exception) and may_pass(error),
        math.inf,
        FIRST_PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
        tries=(retries if in_pod() else 0) + 1,
        before_pause=announce,
    )
