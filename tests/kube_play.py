"""`podman kube play` of MLflow, PostgreSQL and S3 as manifests/podman has them, and a study that runs against them.

Needs podman and root. Images that are there under the names of the manifests are not pulled, so that stand-ins can take their
place. Exit code 1 where anything of the study did not arrive, or is gone after a restart.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from arrived import missing
from small import small_study
from tuneoff.components.core.storage import open_store

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
MLFLOW = "http://127.0.0.1:5000"
S3 = "http://127.0.0.1:8333"
STORE = "s3://tuneoff/played"
VOLUMES = ("postgres", "s3")
SECRETS = ("mlflow-postgres", "mlflow-s3")


def run(*command: object, told: str | None = None) -> str:
    """Run a command, with `told` on its standard input; what it printed. SystemExit with its last lines where it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(list(map(str, command)), input=told, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit("\n".join((done.stdout + done.stderr).splitlines()[-30:]))
    return done.stdout


@contextlib.contextmanager
def played() -> Iterator[None]:
    """The pods, as long as the block lasts; their volumes and secrets are gone after it."""
    if there := {*run("podman", "volume", "ls", "--quiet").split()} & set(VOLUMES):
        sys.exit(f"podman has volumes of these names already, which this would delete: {', '.join(sorted(there))}.")
    pods = run(PROGRAMS / "kubectl", "kustomize", ROOT / "manifests" / "podman")
    run(ROOT / "manifests" / "secrets.sh", "podman")
    try:
        run("podman", "kube", "play", "-", told=pods)
        wait_for(f"{MLFLOW}/health")
        yield
    finally:
        run("podman", "kube", "down", "-", told=pods)
        run("podman", "volume", "rm", *VOLUMES)
        run("podman", "secret", "rm", *SECRETS)


def wait_for(url: str, patience_seconds: float = 180) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:  # it answers, if only that it wants a signature
            return
        except OSError:
            if time.monotonic() > deadline:
                logs = [run("podman", "pod", "logs", "--tail", "20", pod) for pod in run("podman", "pod", "ps", "-q").split()]
                sys.exit(f"{url} does not answer:\n" + "\n".join(logs))
            time.sleep(1)


def lacking(when: str) -> list[str]:
    found = missing(open_store(STORE), MLFLOW)
    print(f"{when}: {'all has arrived' if not found else '; '.join(found)}", flush=True)
    return found


def main() -> int:
    os.environ |= {"AWS_ACCESS_KEY_ID": f"played-{secrets.token_hex(4)}", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
    os.environ |= {"AWS_ENDPOINT_URL": S3, "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory() as folder, played():
        wait_for(S3)
        study = small_study(Path(folder), methods=["random", "hyperband"], artifacts=STORE, tracking={"uri": MLFLOW})
        run(sys.executable, "-m", "tuneoff", "run", study, "--out", Path(folder, "out"))
        after_the_run = lacking("After the run")
        pods = run("podman", "pod", "ps", "--format", "{{.Name}}").split()
        run("podman", "pod", "restart", *(pod for pod in pods if pod.startswith(("postgres-pod", "mlflow-pod"))))
        wait_for(f"{MLFLOW}/health")
        after_a_restart = lacking("After a restart of PostgreSQL and MLflow")
    return 1 if after_the_run or after_a_restart else 0


if __name__ == "__main__":
    sys.exit(main())
