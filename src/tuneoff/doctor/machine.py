"""Check the machine before a study runs: installed packages, GPU, memory, disk and servers, with a remedy for each problem."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..core.credentials import without_credentials
from ..core.finding import Finding, State
from ..core.runtime.extras import EXTRAS, importable, missing
from ..core.runtime.machine import cores, versions
from ..data.registry import BUILTINS

LEAST_FREE_BYTES = 3_000_000_000
LEAST_MEMORY_BYTES = 4_000_000_000
PATIENCE_SECONDS = 5.0
GPU_PATIENCE_SECONDS = 90.0
FRAMEWORKS = ("tensorflow", "tensorflow-cpu", "keras", "kfp", "mlflow", "keras-tuner", "scikit-optimize", "scikit-learn")


def examine(folder: Path, tracking_uri: str | None, kfp_host: str | None) -> Iterator[Finding]:
    """Check everything, and yield each finding as soon as it is known.

    Args:
        folder: The folder to which studies would be written.
        tracking_uri: URI of the MLflow server; None for MLFLOW_TRACKING_URI, if it is set.
        kfp_host: Address of KFP; None for no check of KFP.
    """
    yield _python()
    yield from _extras()
    yield _gpu()
    yield _machine()
    yield _folder(folder)
    yield _cache()
    yield from _server("MLflow", tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"), "/health", "--tracking-uri")
    yield from _server("KFP", kfp_host, "/apis/v2beta1/healthz", "--kfp-host")
    yield from _s3(os.environ)


def _python() -> Finding:
    found = versions("tuneoff", *FRAMEWORKS)
    said = ", ".join(f"{name} {version}" for name, version in {"Python": platform.python_version(), **found}.items())
    return Finding("versions", State.OK, said)


def _extras() -> Iterator[Finding]:
    for extra in EXTRAS:
        lacking = missing(extra)
        if lacking:
            what = f"{', '.join(lacking)} not installed"
            other = ", with an NVIDIA GPU tuneoff[gpu]" if extra == "cpu" else ""
            yield Finding(f"extra {extra}", State.WARNING, what, f"pip install 'tuneoff[{extra}]'{other}")
        else:
            yield Finding(f"extra {extra}", State.OK, "installed")


def _gpu() -> Finding:
    """Count the GPUs with TensorFlow, in a separate process. Without TensorFlow, ask the driver."""
    if not importable("tensorflow"):
        return _driver()
    ask = "import tensorflow as tf; print('gpus', len(tf.config.list_physical_devices('GPU')))"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        command = [sys.executable, "-c", ask]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GPU_PATIENCE_SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return Finding(
            "GPU",
            State.FAILING,
            f"TensorFlow did not start within {GPU_PATIENCE_SECONDS:g} s",
            "run `python -c 'import tensorflow'` to see why",
        )
    count = re.search(r"^gpus (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or not count:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Finding(
            "GPU", State.FAILING, f"TensorFlow cannot be imported ({last[:200]})", "reinstall tuneoff[cpu] or tuneoff[gpu]"
        )
    if int(count[1]):
        return Finding("GPU", State.OK, f"TensorFlow sees {count[1]}")
    seen = _driver()
    if seen.state is State.OK:
        return Finding("GPU", State.WARNING, f"{seen.said}, but TensorFlow sees none", "pip install 'tuneoff[gpu]'")
    return Finding("GPU", State.OK, "no GPU: training uses the CPU")


def _driver() -> Finding:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return Finding("GPU", State.WARNING, "neither TensorFlow nor an NVIDIA driver is installed", "pip install 'tuneoff[cpu]'")
    return Finding("GPU", State.OK, f"the driver sees {len(done.stdout.splitlines())}")


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = f"{cores()} cores, {memory / 1e9:.0f} GB of memory"
    if memory < LEAST_MEMORY_BYTES:
        remedy = "a worker needs about 1 GB; run one worker at a time (resources: {workers: 1})"
        return Finding("machine", State.WARNING, said, remedy)
    return Finding("machine", State.OK, said)


def _folder(folder: Path) -> Finding:
    """Check whether the folder, or its nearest existing parent, is writable, and how much space is free there."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".tuneoff-"):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding("output folder", State.FAILING, f"{folder} is not writable ({error.strerror})", "give another folder")
    said = f"{folder} is writable, {free / 1e9:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return Finding("output folder", State.WARNING, said, "run `tuneoff plan STUDY` to see how much space a study needs")
    return Finding("output folder", State.OK, said)


def _cache() -> Finding:
    from ..data.fetch import cache_path

    held = [name for name in BUILTINS if cache_path(name).is_file()]
    if not held:
        return Finding(
            "data sets",
            State.WARNING,
            f"no data sets in {cache_path('mnist').parent}",
            f"tuneoff data fetch {next(iter(BUILTINS))}",
        )
    return Finding("data sets", State.OK, f"{', '.join(held)} in {cache_path(held[0]).parent}")


def _server(what: str, uri: str | None, health: str, option: str) -> Iterator[Finding]:
    """Check whether a server answers. Yield nothing if no address is given (`uri` is None)."""
    if uri is None:
        return
    named = without_credentials(uri)
    if not uri.startswith(("http://", "https://")):
        if what == "KFP":
            yield Finding(f"{what} server", State.FAILING, f"{named} is not a server address", f"give {option} an http(s) URI")
        return
    user, place = _credentials(uri)
    request = urllib.request.Request(place.rstrip("/") + health, headers=user)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            yield Finding(f"{what} server", State.OK, f"{named} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        yield Finding(
            f"{what} server",
            State.FAILING,
            f"{named} answers {error.code} {error.reason}",
            _ANSWERS.get(error.code, "look at the server's log"),
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        yield Finding(
            f"{what} server", State.FAILING, f"{named} cannot be reached ({why})", f"start it, or give another {option}"
        )


_ANSWERS = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "allow this host name when you start the server (MLflow: --allowed-hosts), or give credentials",
    404: "check that this is the server's address",
}


def _credentials(uri: str) -> tuple[dict[str, str], str]:
    """Return a header with the environment's credentials (empty if none are set), and the URI without its credentials."""
    import base64

    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    place = without_credentials(uri)
    if not (user and password):
        return {}, place
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}, place


_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


def _s3(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check the AWS environment variables, if any is set, and the S3 endpoint that they name."""
    if not any(environment.get(name) for name in _AWS):
        return
    if missing("s3"):
        yield Finding("S3", State.FAILING, "AWS variables are set, but boto3 is not installed", "pip install 'tuneoff[s3]'")
        return
    keys = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if environment.get(name)]
    if len(keys) == 1:
        yield Finding(
            "S3",
            State.FAILING,
            f"of the two AWS keys only {keys[0]} is set",
            "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
        return
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    if endpoint is None:
        said = "credentials are set" if keys else "no keys in the environment; a profile or the machine's role must provide them"
        yield Finding(
            "S3", State.OK if keys else State.WARNING, said, None if keys else "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
        return
    named = without_credentials(endpoint)
    try:
        with urllib.request.urlopen(endpoint, timeout=PATIENCE_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # the endpoint answers; it is right to refuse an unsigned request
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        yield Finding("S3", State.FAILING, f"{named} cannot be reached ({why})", "start it, or set AWS_ENDPOINT_URL to another")
        return
    yield Finding("S3", State.OK, f"{named} answers; {'credentials are set' if keys else 'no keys in the environment'}")
