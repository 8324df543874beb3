"""`podman kube play` of MLflow, PostgreSQL and S3 from the manifests, and a study that runs against them.

    python tests/kube_play.py --base IMAGE    where IMAGE is Debian with Python 3.11, such as docker/base.sh makes

The images of manifests/podman are replaced by those of servers/Containerfile, built here. Needs podman and root; exit code 1
where anything of the study did not arrive.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from arrived import missing
from small import small_study
from tuneoff.components.core.storage import open_store

HERE = Path(__file__).parent
ROOT = HERE.parent
PROGRAMS = Path(sys.executable).parent
SERVERS = HERE / "servers"
IMAGES = ("postgres", "s3", "mlflow")
PACKAGES = {"mlflow": ("mlflow", "psycopg2-binary", "boto3"), "moto": ("moto[server]",)}
MLFLOW = "http://127.0.0.1:5000"
S3 = "http://127.0.0.1:8333"
STORE = "s3://tuneoff/played"


def run(*command: object, told: str | None = None) -> str:
    """Run a command, with `told` on its standard input; what it printed. SystemExit with its last lines where it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(list(map(str, command)), input=told, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit("\n".join((done.stdout + done.stderr).splitlines()[-30:]))
    return done.stdout


def build(base: str, options: list[str]) -> None:
    """The three images, localhost/tuneoff-test/NAME."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for file in ("Containerfile", "postgres.sh"):
            (context / file).write_bytes((SERVERS / file).read_bytes())
        for name, packages in PACKAGES.items():
            target = context / "packages" / name
            install = (PROGRAMS / "uv", "pip", "install", "--quiet", "--python", sys.executable, "--link-mode", "copy")
            run(*install, "--target", target, "--constraint", ROOT / "requirements.lock", *packages)
        for name in IMAGES:
            tag = f"localhost/tuneoff-test/{name}:1.0"
            run("podman", "build", *options, "--build-arg", f"BASE={base}", "--target", name, "--tag", tag, context)


@contextlib.contextmanager
def played() -> Iterator[None]:
    """The pods, as long as the block lasts; their volumes and secrets are gone after it."""
    made = run(ROOT / "manifests" / "secrets.sh")
    pods = run(PROGRAMS / "kubectl", "kustomize", SERVERS)
    run("podman", "kube", "play", "-", told=made)
    try:
        run("podman", "kube", "play", "-", told=pods)
        wait_for(f"{MLFLOW}/health")
        yield
    finally:
        run("podman", "kube", "down", "-", told=pods)
        for kind, names in (("volume", ("postgres", "s3")), ("secret", ("mlflow-postgres", "mlflow-s3", "tuneoff-s3"))):
            subprocess.run(["podman", kind, "rm", *names], capture_output=True, check=False)


def wait_for(url: str, patience_seconds: float = 180) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                logs = [run("podman", "pod", "logs", "--tail", "20", pod) for pod in run("podman", "pod", "ps", "-q").split()]
                sys.exit(f"{url} does not answer:\n" + "\n".join(logs))
            time.sleep(1)


def make_buckets() -> None:
    """SeaweedFS makes them when it starts; moto does not."""
    import boto3

    for bucket in ("mlflow", "tuneoff"):
        boto3.client("s3").create_bucket(Bucket=bucket)


def lacking(when: str) -> list[str]:
    found = missing(open_store(STORE), MLFLOW)
    print(f"{when}: {'all has arrived' if not found else '; '.join(found)}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="build the images on this one; left out where they are there already")
    parser.add_argument("--build-option", action="append", default=[], help="of podman build, such as --isolation=chroot")
    arguments = parser.parse_args()
    if arguments.base:
        build(arguments.base, arguments.build_option)
    os.environ |= {"AWS_ACCESS_KEY_ID": f"played-{secrets.token_hex(4)}", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
    os.environ |= {"AWS_ENDPOINT_URL": S3, "AWS_DEFAULT_REGION": "us-east-1"}
    with tempfile.TemporaryDirectory() as folder, played():
        make_buckets()
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
