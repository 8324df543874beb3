"""Build the images with docker, podman or buildah, whichever works here. Needs nothing but Python.

    python3 docker/build.py                      every image for CPUs
    python3 docker/build.py tuner tuner-gpu      these two
    python3 docker/build.py --base IMAGE ...     on another base: Python 3.11 to 3.13 on Debian, with venv and ensurepip
    python3 docker/build.py --dry-run            print the commands only

The package index is reached as this machine reaches it: variables such as UV_DEFAULT_INDEX and HTTPS_PROXY, and the
certificates that SSL_CERT_FILE names, are handed to the build as secrets, of which nothing stays in an image.
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
"""Each image's target in the Containerfile, and the arguments that make it that image."""
for device, ending in (("cpu", ""), ("gpu", "-gpu")):
    TARGETS |= {step + ending: (step, {"DEVICE": device}) for step in ("evaluator", "tuner")}
    TARGETS |= {f"tuner-{e}{ending}": ("tuner-apart", {"DEVICE": device, "ENVIRONMENT": e}) for e in APART}
CPU = [name for name in TARGETS if not name.endswith("-gpu")]
STAND_INS = {f"stand-in-{name}": (name, {}) for name in ("mlflow", "postgres", "s3")}
"""For checks where no registry can be reached: targets of docker/stand-ins/Containerfile."""

BUILDKIT = ["env", "DOCKER_BUILDKIT=1"]
"""It knows mounts; before Docker 23, Debian 12's among them, it is asked for."""
ENGINES = {"docker": [*BUILDKIT, "docker", "build"], "podman": ["podman", "build"], "buildah": ["buildah", "bud", "--layers"]}
INDEX = re.compile(r"(UV|PIP)_\w*(INDEX|HOST|TIMEOUT|KEYRING|OFFLINE)\w*|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)


def engine() -> str:
    """The first that answers; a client without its daemon does not."""
    for name in ENGINES:
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    sys.exit("docker, podman or buildah is needed: `apt-get install podman buildah`, for one.")


def secrets(folder: Path) -> list[str]:
    """The options that hand the build what it needs to reach the index; `folder` holds it meanwhile."""
    options = []
    found = {name: value for name, value in os.environ.items() if INDEX.fullmatch(name)}
    if found:
        index = folder / "index"
        index.touch(mode=0o600)
        index.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in found.items()))
        options += ["--secret", f"id=index,src={index}"]
    if certificates := os.environ.get("SSL_CERT_FILE"):
        options += ["--secret", f"id=ca,src={certificates}"]
    return options


def revision() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def digest(*patterns: str) -> str:
    """Of the content of files, and their names."""
    files = sorted(f for pattern in patterns for f in ROOT.glob(pattern) if f.is_file())
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()[:16]


def command(name: str, reference: str, with_: str, base: str | None, arguments: list[str], options: list[str]) -> list[str]:
    """What builds one image."""
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
    parser.add_argument("images", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; by default all but those for GPUs")
    parser.add_argument("--engine", choices=list(ENGINES), help="by default the first that works here")
    parser.add_argument("--base", help="the base image")
    parser.add_argument("--prefix", default="tuneoff", help="before the images' names, such as registry.example.org/team/tuneoff")
    parser.add_argument("--tag", default=VERSION, help="by default Tuneoff's version")
    parser.add_argument("--network", help="the build's network, such as host")
    parser.add_argument("--build-arg", action="append", default=[], help="such as TORCH=torch==2.13.0+cpu")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    options = parser.parse_args()
    if unknown := sorted(set(options.images) - (TARGETS | STAND_INS).keys()):
        parser.error(f"{', '.join(unknown)} is no image: choose of {', '.join(TARGETS)}")
    if options.tag == "latest":
        parser.error("the tag latest says nothing of what is in an image: give another")
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
