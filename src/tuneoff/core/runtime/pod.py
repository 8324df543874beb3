"""How a step runs its work, and what it does only in a Kubernetes pod: label the pod, try again after a passing fault."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ..cluster_settings import Step
from ..errors import DataUnavailable, Overtaken, Settled, StoreAway, StudyError
from ..store.stop_request import Stopped
from ..study import Study
from .machine import end_with_run, in_pod, say

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts the token, the namespace and the certificate of the pod's service account."""
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0
LABEL_PATIENCE_SECONDS = 5.0

Result = TypeVar("Result")


def run_step(step: Step, study: Study, what: str, work: Callable[[], Result], labels: Mapping[str, str] | None = None) -> Result:
    """Return what `work` returns, run as this step of the study.

    Args:
        step: Which of the four steps.
        study: Says how often a step that failed is tried again (`resources.retries`).
        what: The step's data set or cell, for the log.
        work: The step's work, which may be called again after a fault that may pass.
        labels: Labels for the pod that only the step itself knows.

    The process ends when its run does. In a pod, the files that it makes can be written by their owner alone: KFP's launcher
    clears the umask.
    """
    end_with_run()
    if in_pod():
        os.umask(0o022)
    if labels:
        label_own_pod(labels, say)
    return attempts(f"{step} of {what}", study.resources.of(step).retries or 0, work, say)


def pod_label(value: str) -> str:
    """Return `value` as Kubernetes takes a label's value: 63 of A-Z a-z 0-9 _ . - at most, a letter or digit at both ends."""
    allowed = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in value)
    return allowed[:63].strip("_.-")


def label_own_pod(labels: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Add labels to the pod that this step runs in; nothing happens elsewhere.

    KFP takes a pod's labels from the compiled pipeline, where a loop's value is not known yet. Where the pod's account may not
    change pods, the label is missing, and nothing else.
    """
    if not in_pod() or not (ACCOUNT / "token").is_file():
        return
    try:
        _patch_own_pod({"metadata": {"labels": dict(labels)}})
    except (OSError, ValueError) as error:
        report(f"Note: this pod could not be labelled with {', '.join(labels)} ({error}). Nothing else depends on it.")


def _patch_own_pod(patch: Mapping[str, object]) -> None:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    namespace = (ACCOUNT / "namespace").read_text().strip()
    pod = os.environ.get("KFP_POD_NAME") or socket.gethostname()  # a host's name holds 63 characters, a pod's 253
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
    """Return whether the same step may succeed a little later: not where the study or its data is at fault, or it was stopped."""
    if isinstance(error, StoreAway | DataUnavailable):
        return True
    return not isinstance(error, StudyError | Settled | Overtaken | Stopped)


def attempts(what: str, retries: int, work: Callable[[], Result], report: Callable[[str], None]) -> Result:
    """Return what `work` returns; in a pod, call it again up to `retries` times after a fault that may pass.

    KFP 2.17 has Argo retry pods that were lost, and no container that failed, so that the step retries itself. The search
    continues from its record each time. Elsewhere `work` is called once: KFP's local runner starts a failed step again itself.
    """
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, (retries if in_pod() else 0) + 1):
        try:
            return work()
        except Exception as error:
            if not may_pass(error):
                raise
            said = f"{what}: attempt {attempt} of {retries + 1} failed: {str(error) or type(error).__name__}"
            report(f"{said.rstrip('.')}. Trying again in {pause:g} s.")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return work()
