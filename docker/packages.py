"""Write packages/NAME.txt, the names of the packages in each image, and gpu.lock. `make lock` runs this after updating the locks.

Only the locks contain releases and checksums. install.sh installs the packages of a list in the releases of a lock.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from packaging.markers import Environment, Marker, default_environment

HERE = Path(__file__).parent
ROOT = HERE.parent

PAPER = "grid keras-tuner skopt"
SEARCH = f"{PAPER} optuna hyperopt cmaes smac syne-tune dehb nevergrad ray flaml h2o"
EXTRAS = {
    "common": ("requirements.lock", "s3 tracking data report"),
    "evaluator": ("requirements.lock", "s3 tracking cpu"),
    "tuner": ("requirements.lock", f"s3 tracking cpu {SEARCH}"),
    "tuner-torch": ("requirements-torch.lock", f"s3 tracking cpu {PAPER} torch"),
    "tuner-vizier": ("requirements-vizier.lock", f"s3 tracking cpu {PAPER} vizier"),
    "tuner-neps": ("requirements-neps.lock", f"s3 tracking cpu {PAPER} neps"),
    "tuner-autokeras": ("requirements-autokeras.lock", f"s3 tracking {PAPER} autokeras"),
}
"""For each list of packages: the lock with their releases, and extras of pyproject.toml.

`common` contains everything that data_prep and the reporter need. All images start with it. Splitting it between these two steps
would save less than 1 MB, because MLflow needs the other packages anyway.

All methods of a study run in one tuner image. Each environment therefore also has the paper's methods, for comparison.
"""

LEFT_OUT = {"nvidia-nccl-cu12"}
"""XGBoost requires this package (half a gigabyte), but loads it only for training on several GPUs, which no method does."""

STAND_INS = {"stand-in-mlflow": ["mlflow", "psycopg2-binary", "boto3"], "stand-in-s3": ["moto[server]", "boto3"]}
"""Packages of the servers for tests in containers, on machines that cannot reach a registry."""

KFP = "kfp"
"""Inside a step, KFP imports only its own package. Its dependencies, such as a Kubernetes client, are therefore left out."""

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
"""Pythons and processors that an image may have. A list names the packages of all; install.sh skips those for others."""


def compiled(lock: str, source: str, *options: str, lines: str = "") -> str:
    """Return what uv resolves for pyproject.toml, or for `lines` if the source is -, with the lock's releases only."""
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "compile", source, "--universal", "--python-version", PYTHONS[0], "--constraint", lock]
    command += ["--no-annotate", "--no-header", "--quiet"]
    done = subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, input=lines)
    return done.stdout


def of_extras(lock: str, extras: str, *options: str) -> str:
    return compiled(lock, "pyproject.toml", *(f"--extra={extra}" for extra in extras.split()), *options)


def entries(lock: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the lines of each package of a lock that an image may need."""
    for lines in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        if lines.strip() and in_images(lines.splitlines()[0]):
            yield lines.partition("==")[0], lines


def in_images(requirement: str) -> bool:
    """Return whether the marker of a lock's line holds for a Python and a processor of the images."""
    marker = requirement.partition(" ; ")[2].rstrip("\\ ")
    return not marker or any(Marker(marker).evaluate(linux(p, m)) for p, m in product(PYTHONS, MACHINES))


def linux(python: str, machine: str) -> Environment:
    """Return the values of markers for CPython on Linux."""
    system = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine}
    release = {"python_version": python, "python_full_version": f"{python}.5"}
    return default_environment() | system | release  # type: ignore[return-value]


def write(name: str, resolved: str, *more: str) -> None:
    packages = sorted(({package for package, _ in entries(resolved)} | set(more)) - LEFT_OUT)
    (HERE / "packages" / f"{name}.txt").write_text("".join(f"{package}\n" for package in packages))


def main() -> None:
    for name, (lock, extras) in EXTRAS.items():
        write(name, of_extras(lock, extras), KFP)
    for name, requirements in STAND_INS.items():
        write(name, compiled("requirements.lock", "-", lines="\n".join(requirements)))
    cpu = {name for name, _ in entries((ROOT / "requirements.lock").read_text())} - {"tensorflow"}
    gpu = entries(of_extras("requirements.lock", "gpu", "--generate-hashes"))
    (HERE / "gpu.lock").write_text("".join(lines for name, lines in gpu if name not in cpu))


if __name__ == "__main__":
    main()
