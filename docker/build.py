"""Build the images with the first of docker, podman and buildah that works. This script needs only Python.

    python3 docker/build.py                      build every image for CPUs
    python3 docker/build.py tuner tuner-gpu      build these two images
    python3 docker/build.py --base IMAGE ...     use another base image: Debian with Python 3.11, venv and ensurepip
    python3 docker/build.py --dry-run            only print the commands

The build uses the same package index as this machine. Variables such as UV_DEFAULT_INDEX and HTTPS_PROXY, and the certificates
in SSL_CERT_FILE, are passed to the build as secrets, which do not stay in an image.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "src" / "tuneoff" / "_version.py").read_text())[1]  # type: ignore[index]
APART = ("torch", "vizier", "neps", "autokeras")

TARGETS: dict[str, tuple[str, dict[str, str]]] = {"data_prep": ("data_prep", {}), "reporter": ("reporter", {})}
"""The Containerfile target and the build arguments of each image."""
for device, ending in (("cpu", ""), ("gpu", "-gpu")):
    TARGETS |= {step + ending: (step, {"DEVICE": device}) for step in ("evaluator", "tuner")}
    TARGETS |= {f"tuner-{e}{ending}": ("tuner-apart", {"DEVICE": device, "ENVIRONMENT": e}) for e in APART}
CPU = [name for name in TARGETS if not name.endswith("-gpu")]
STAND_INS = {f"stand-in-{name}": (name, {}) for name in ("mlflow", "postgres", "s3")}
"""Images for tests on machines that cannot reach a registry: targets of docker/stand-ins/Containerfile."""

BUILDKIT = ["env", "DOCKER_BUILDKIT=1"]
"""BuildKit supports mounts. Before version 23 (such as in Debian 12), Docker uses it only if this variable is set."""
ENGINES = {"docker": [*BUILDKIT, "docker", "build"], "podman": ["podman", "build"], "buildah": ["buildah", "bud", "--layers"]}
INDEX = re.compile(r"(UV|PIP)_\w*(INDEX|HOST|TIMEOUT|KEYRING|OFFLINE)\w*|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)


def engine() -> str:
    """Return the first engine that works. A client without a running daemon does not work."""
    for name in ENGINES:
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    sys.exit("No working docker, podman or buildah was found. Install one, for example with `apt-get install podman buildah`.")


def secrets(folder: Path) -> list[str]:
    """Return the options that pass the index settings and certificates to the build. `folder` holds their files."""
    options = []
    variables = {name: value for name, value in os.environ.items() if INDEX.fullmatch(name)}
    if variables:
        index = folder / "index"
        index.touch(mode=0o600)
        index.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))
        options += ["--secret", f"id=index,src={index}"]
    if certificates := os.environ.get("SSL_CERT_FILE"):
        options += ["--secret", f"id=ca,src={certificates}"]
    return options


def revision() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def digest(*patterns: str) -> str:
    """Return a digest of the names and contents of the files that match the patterns."""
    files = sorted(f for pattern in patterns for f in ROOT.glob(pattern) if f.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def command(name: str, reference: str, with_: str, base: str | None, arguments: list[str], options: list[str]) -> list[str]:
    """Return the command line that builds one image."""
    target, own = (TARGETS | STAND_INS)[name]
    file = "docker/stand-ins/Containerfile" if name in STAND_INS else "docker/Containerfile"
    labels = {"version": VERSION, "revision": revision(), **({"base.name": base} if base else {})}
    line = [*ENGINES[with_], "--file", file, "--target", target, "--tag", reference]
    locks = digest("docker/install.sh", "docker/gpu.lock", "docker/packages/*.txt", "docker/wheels/*.whl", "requirements*.lock")
    source = digest("pyproject.toml", "*.md", "src/**/*.py", "components/**/*.*", "pipelines/**/*.py")
    given = {**({"BASE": base} if base else {}), **own, "LOCKS": locks, "SOURCE": source}
    for argument in [*(f"{k}={v}" for k, v in given.items()), *arguments]:
        line += ["--build-arg", argument]
    for key, value in labels.items():
        line += ["--label", f"org.opencontainers.image.{key}={value}"]
    return [*line, *options, "."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = f"one or more of {', '.join(TARGETS)} [default: all images for CPUs]"
    parser.add_argument("images", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--engine", choices=list(ENGINES), help="build program [default: the first that works]")
    parser.add_argument("--base", help="base image")
    parser.add_argument(
        "--prefix", default="tuneoff", help="prefix of the images' names, such as registry.example.org/team/tuneoff"
    )
    parser.add_argument("--tag", default=VERSION, help="tag of the images [default: Tuneoff's version]")
    parser.add_argument("--network", help="network of the build, such as host")
    parser.add_argument("--build-arg", action="append", default=[], help="build argument, such as TORCH=torch==2.13.0+cpu")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    options = parser.parse_args()
    if unknown := sorted(set(options.images) - (TARGETS | STAND_INS).keys()):
        parser.error(f"there is no image {', '.join(unknown)}: choose from {', '.join(TARGETS)}")
    if options.tag == "latest":
        parser.error("the tag latest does not identify an image's content: give another tag, such as a version")
    with_ = options.engine or ("docker" if options.dry_run else engine())
    with tempfile.TemporaryDirectory() as folder:
        more = ["--network", options.network] if options.network else []
        more += [] if options.dry_run else secrets(Path(folder))
        for name in options.images or CPU:
            line = command(name, f"{options.prefix}/{name}:{options.tag}", with_, options.base, options.build_arg, more)
            print(shlex.join(line), flush=True)
            if not options.dry_run and subprocess.run(line, cwd=ROOT, check=False).returncode:
                sys.exit(f"{name} could not be built.")


if __name__ == "__main__":
    main()
