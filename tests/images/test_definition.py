"""The images as they are written down: targets for all that runs, locks that agree, and none of what an image should not have."""

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
    """What a script of docker/ defines."""
    return runpy.run_path(str(DOCKER / script))


def stages() -> dict[str, list[str]]:
    """Each stage of the Containerfile: its instructions, continued lines joined, the FROM line first."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Containerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("FROM "):
            found[line.split(" AS ")[1]] = []
        if line and found:
            list(found.values())[-1].append(line)
    return found


def history(stage: str) -> list[str]:
    """All instructions that made a stage, its base's first."""
    instructions = stages()[stage]
    base = instructions[0].split()[1]
    return [*(history(base) if base in stages() else []), *instructions[1:]]


def targets() -> set[str]:
    return {target for target, _ in definition("build.py")["TARGETS"].values()}


def packages(name: str) -> set[str]:
    return set((DOCKER / "packages" / f"{name}.txt").read_text().split())


def releases(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def lock_of(name: str) -> Path:
    lock, _ = definition("packages.py")["EXTRAS"].get(name, ("requirements.lock", ""))
    return ROOT / lock


# What is built


def test_every_step_environment_and_device_has_an_image() -> None:
    environments = {spec.environment for spec in REGISTRY.values()}
    named = {image_name(step, e, gpu) for step in get_args(Step) for e in environments for gpu in (False, True)}
    assert named == set(definition("build.py")["TARGETS"])
    assert targets() <= set(stages())


def test_the_build_says_target_name_and_device_of_each_image() -> None:
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


@pytest.mark.parametrize(("arguments", "said"), [(["tunre"], "tunre is no image"), (["--tag", "latest"], "the tag latest")])
def test_the_build_refuses_an_unknown_image_and_a_tag_that_says_nothing(arguments: list[str], said: str) -> None:
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
def test_an_image_runs_as_a_number_without_rights(target: str) -> None:
    *_, last = [line for line in history(target) if line.startswith("USER ")]
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", last)
    assert stages()[target][-1] == last


@pytest.mark.parametrize("target", sorted(targets()))
def test_an_image_is_a_job_with_one_place_to_write(target: str) -> None:
    lines = history(target)
    assert not [line for line in lines if line.startswith(("HEALTHCHECK", "ENTRYPOINT", "EXPOSE", "ADD"))]
    assert [line for line in lines if line.startswith("VOLUME")] == ['VOLUME ["/tmp"]']
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(line for line in lines if line.startswith("ENV "))))
    for variable in ("HOME", "TMPDIR", "KERAS_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert environment[variable].split("/")[1] == "tmp", variable


@pytest.mark.parametrize("target", sorted(targets()))
def test_an_image_says_what_it_is(target: str) -> None:
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=\"([^\"]+)\"", " ".join(history(target)))
    assert {"title", "description", "licenses", "vendor"} <= dict(labels).keys()


@pytest.mark.parametrize("target", sorted(targets()))
def test_what_installs_is_mounted_and_not_copied(target: str) -> None:
    lines = history(target)
    assert not [line for line in lines if line.startswith("COPY")]
    assert all("--mount=type=bind,source=.,target=/source" in line for line in lines if "install.sh" in line)
    assert not [line for line in lines if re.search(r"gcc|build-essential|pip install|curl|wget", line)]


@pytest.mark.parametrize("target", sorted(targets()))
def test_a_layer_is_made_anew_where_locks_or_code_are_others(target: str) -> None:
    """What stands for their content is part of each command: buildah looks at nothing else before it reuses a layer."""
    for line in (line for line in history(target) if "install.sh" in line):
        assert ("SOURCE=${SOURCE}" if line.endswith(" tuneoff") else "LOCKS=${LOCKS}") in line


def test_no_base_is_called_latest_and_none_is_written_into_a_stage() -> None:
    text = (DOCKER / "Containerfile").read_text()
    assert "latest" not in text
    assert re.search(r"^ARG BASE=\S+:\d+\.\d+-\S+$", text, re.MULTILINE)
    assert {lines[0].split()[1] for lines in stages().values()} <= {"${BASE}", *stages()}


@pytest.mark.parametrize("file", ["Containerfile", "install.sh", "build.py", "base.sh", "gpu.lock"])
def test_nothing_names_a_place_that_packages_come_from(file: str) -> None:
    assert "://" not in (DOCKER / file).read_text()


# What is in it


@pytest.mark.parametrize("name", LISTS)
def test_every_package_of_an_image_is_in_the_lock_that_it_is_taken_from(name: str) -> None:
    assert packages(name) - releases(lock_of(name)).keys() == set()


@pytest.mark.parametrize("name", LISTS)
def test_an_image_holds_all_that_its_packages_need(name: str) -> None:
    """As far as the same release is installed here; KFP needs nothing in a step, and the left out has its reason."""
    locked, looked_at = releases(lock_of(name)), 0
    for package in packages(name) - {"kfp"}:
        if installed(package) != locked[package]:
            continue
        assert needed(package) - definition("packages.py")["LEFT_OUT"] <= packages(name), package
        looked_at += 1
    assert looked_at > len(packages(name)) / 2


@cache
def needed(package: str) -> set[str]:
    """What the installed release of a package depends on here."""
    requirements = [Requirement(line) for line in metadata.requires(package) or []]
    here = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(r.name) for r in here}


def installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("method", sorted(REGISTRY))
def test_a_methods_image_holds_its_framework(method: str) -> None:
    spec = REGISTRY[method]
    assert canonicalize_name(spec.framework) in packages(image_name("tuner", spec.environment))


def test_an_image_holds_no_more_than_it_needs() -> None:
    assert not packages("common") & {"tensorflow-cpu", "keras", "optuna", "ray"}
    assert not packages("evaluator") & {"keras-tuner", "scikit-optimize", "optuna", "ray"}
    for name in set(LISTS) - {"build", *definition("packages.py")["STAND_INS"]}:
        assert not packages(name) & {"kubernetes", "pytest", "ruff", "uv", "pip", "moto"}, name


def test_the_layers_that_images_share_go_from_few_packages_to_more() -> None:
    assert packages("common") <= packages("evaluator") <= packages("tuner")


def test_the_gpu_lock_holds_tensorflow_in_the_release_of_the_other_locks_and_cuda() -> None:
    gpu = releases(DOCKER / "gpu.lock")
    assert gpu["tensorflow"] == releases(ROOT / "requirements.lock")["tensorflow-cpu"]
    assert len([name for name in gpu if name.startswith("nvidia-")]) > 5
    assert not gpu.keys() & releases(ROOT / "requirements.lock").keys()
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", (DOCKER / "gpu.lock").read_text())) >= len(gpu)
