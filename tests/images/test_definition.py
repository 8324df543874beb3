"""Test the definitions of the images: a target for every step, consistent locks, and nothing that images should not contain."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tuneoff._version import __version__
from tuneoff.core.runtime.images import image_name
from tuneoff.core.study import Step
from tuneoff.methods.registry import REGISTRY

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
LISTS = sorted(p.stem for p in (DOCKER / "packages").glob("*.txt"))


@cache
def definition(script: str) -> dict[str, Any]:
    """Return the names that a script of docker/ defines."""
    return runpy.run_path(str(DOCKER / script))


def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage of the Containerfile, FROM first, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Containerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("FROM "):
            found[line.split(" AS ")[1]] = []
        if line and found:
            list(found.values())[-1].append(line)
    return found


def history(stage: str) -> list[str]:
    """Return all instructions of a stage, starting with those of its base."""
    instructions = stages()[stage]
    base = instructions[0].split()[1]
    return [*(history(base) if base in stages() else []), *instructions[1:]]


def targets() -> set[str]:
    return {target for target, _ in definition("build.py")["TARGETS"].values()}


def packages(name: str) -> set[str]:
    return set((DOCKER / "packages" / f"{name}.txt").read_text().split())


def names(lock: Path) -> set[str]:
    """All packages of a lock, for whichever Python and processor."""
    return set(re.findall(r"^([a-z0-9-]+)==", lock.read_text(), re.MULTILINE))


def releases(lock: Path) -> dict[str, str]:
    """The releases of a lock for this Python in an image for x86-64."""
    image = definition("packages.py")["linux"](f"{sys.version_info.major}.{sys.version_info.minor}", "x86_64")
    lines = re.findall(r"^([a-z0-9-]+==[^\\\n]+)", lock.read_text(), re.MULTILINE)
    requirements = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate(image)]
    found = {r.name: str(r.specifier).removeprefix("==") for r in requirements}
    assert len(found) == len(requirements), "two releases of a package for one Python"
    return found


def lock_of(name: str) -> Path:
    lock, _ = definition("packages.py")["EXTRAS"].get(name, ("requirements.lock", ""))
    return ROOT / lock


# What is built


def test_every_step_environment_and_device_has_an_image() -> None:
    environments = {spec.environment for spec in REGISTRY.values()}
    named = {image_name(step, e, gpu) for step in get_args(Step) for e in environments for gpu in (False, True)}
    assert named == set(definition("build.py")["TARGETS"])
    assert targets() <= set(stages())


def test_the_build_command_has_the_target_name_and_device_of_each_image() -> None:
    command = [
        sys.executable,
        str(DOCKER / "build.py"),
        "--dry-run",
        "--base",
        "localhost/python:3.11",
        "--prefix",
        "registry/team",
    ]
    done = subprocess.run([*command, "tuner-torch-gpu", "reporter"], capture_output=True, text=True, check=True)
    tuner, reporter = (shlex.split(line) for line in done.stdout.splitlines())
    assert tuner[tuner.index("--target") + 1] == "tuner-apart"
    assert tuner[tuner.index("--tag") + 1] == f"registry/team/tuner-torch-gpu:{__version__}"
    assert {"BASE=localhost/python:3.11", "DEVICE=gpu", "ENVIRONMENT=torch"} <= set(tuner)
    assert reporter[reporter.index("--target") + 1] == "reporter"
    assert f"org.opencontainers.image.version={__version__}" in reporter
    assert tuner[:4] == ["env", "DOCKER_BUILDKIT=1", "docker", "build"]


@pytest.mark.parametrize(("arguments", "said"), [(["tunre"], "there is no image tunre"), (["--tag", "latest"], "the tag latest")])
def test_the_build_refuses_an_unknown_image_and_the_tag_latest(arguments: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, str(DOCKER / "build.py"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# How it is built


@pytest.mark.parametrize("file", ["Containerfile", "stand-ins/Containerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed: make setup")
    done = subprocess.run([str(hadolint), str(DOCKER / file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", sorted(targets()))
def test_an_image_runs_as_a_numeric_user_without_rights(target: str) -> None:
    *_, last = [line for line in history(target) if line.startswith("USER ")]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", last)
    assert stages()[target][-1] == last


@pytest.mark.parametrize("target", sorted(targets()))
def test_an_image_is_a_job_with_one_writable_folder(target: str) -> None:
    lines = history(target)
    assert not [line for line in lines if line.startswith(("HEALTHCHECK", "ENTRYPOINT", "EXPOSE", "ADD"))]
    assert [line for line in lines if line.startswith("VOLUME")] == ['VOLUME ["/tmp"]']
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(line for line in lines if line.startswith("ENV "))))
    for variable in ("HOME", "TMPDIR", "KERAS_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert environment[variable].split("/")[1] == "tmp", variable


@pytest.mark.parametrize("target", sorted(targets()))
def test_an_image_has_descriptive_labels(target: str) -> None:
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=\"([^\"]+)\"", " ".join(history(target)))
    assert {"title", "description", "licenses", "vendor"} <= dict(labels).keys()


@pytest.mark.parametrize("target", sorted(targets()))
def test_build_tools_are_mounted_and_not_copied(target: str) -> None:
    lines = history(target)
    assert not [line for line in lines if line.startswith("COPY")]
    assert all("--mount=type=bind,source=.,target=/source" in line for line in lines if "install.sh" in line)
    assert not [line for line in lines if re.search(r"gcc|build-essential|pip install|curl|wget", line)]


@pytest.mark.parametrize("target", sorted(targets()))
def test_a_layer_is_rebuilt_if_locks_or_code_change(target: str) -> None:
    """Each command contains a digest of the files it uses, because buildah compares only commands before it reuses a layer."""
    for line in (line for line in history(target) if "install.sh" in line):
        assert ("SOURCE=${SOURCE}" if line.endswith(" tuneoff") else "LOCKS=${LOCKS}") in line


def test_no_base_is_latest_and_no_stage_names_its_base() -> None:
    text = (DOCKER / "Containerfile").read_text()
    assert "latest" not in text
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+-\S+$", text, re.MULTILINE)
    assert {lines[0].split()[1] for lines in stages().values()} <= {"${BASE}", *stages()}


@pytest.mark.parametrize("file", ["Containerfile", "install.sh", "build.py", "base.sh", "gpu.lock"])
def test_no_build_file_names_a_package_index(file: str) -> None:
    assert "://" not in (DOCKER / file).read_text()


# What is in it


@pytest.mark.parametrize("name", LISTS)
def test_every_package_of_an_image_is_in_its_lock(name: str) -> None:
    assert packages(name) - names(lock_of(name)) == set()


@pytest.mark.parametrize("name", LISTS)
def test_an_image_contains_all_dependencies_of_its_packages(name: str) -> None:
    """Check packages installed here in the same release. KFP needs no dependency in a step; LEFT_OUT is left out on purpose."""
    locked, looked_at = releases(lock_of(name)), 0
    for package in packages(name) - {"kfp"}:
        if package not in locked or installed(package) != locked[package]:
            continue
        assert needed(package) - definition("packages.py")["LEFT_OUT"] <= packages(name), package
        looked_at += 1
    assert looked_at > len(packages(name)) / 2


@cache
def needed(package: str) -> set[str]:
    """Return the dependencies of a package's installed release on this platform."""
    requirements = [Requirement(line) for line in metadata.requires(package) or []]
    here = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(r.name) for r in here}


def installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("method", sorted(REGISTRY))
def test_a_methods_image_contains_its_framework(method: str) -> None:
    spec = REGISTRY[method]
    assert canonicalize_name(spec.framework) in packages(image_name("tuner", spec.environment))


def test_an_image_contains_no_unneeded_package() -> None:
    assert not packages("common") & {"tensorflow-cpu", "keras", "optuna", "ray"}
    assert not packages("evaluator") & {"keras-tuner", "scikit-optimize", "optuna", "ray"}
    for name in set(LISTS) - {"build", *definition("packages.py")["STAND_INS"]}:
        assert not packages(name) & {"kubernetes", "pytest", "ruff", "uv", "pip", "moto"}, name


def test_shared_layers_go_from_few_packages_to_more() -> None:
    assert packages("common") <= packages("evaluator") <= packages("tuner")


def test_the_gpu_lock_has_cuda_and_the_same_release_of_tensorflow() -> None:
    gpu = releases(DOCKER / "gpu.lock")
    assert gpu["tensorflow"] == releases(ROOT / "requirements.lock")["tensorflow-cpu"]
    assert len([name for name in gpu if name.startswith("nvidia-")]) > 5
    assert not gpu.keys() & releases(ROOT / "requirements.lock").keys()
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", (DOCKER / "gpu.lock").read_text())) >= len(gpu)
