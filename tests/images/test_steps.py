"""Test each step in a container of its image, as the image's user, with a read-only root, on real pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from containers import ASKED, UID, image, inspected, real_images, run, workplace

from tuneoff.core.runtime.images import image_name
from tuneoff.katib.experiments import algorithms_of, experiments, place_of
from tuneoff.katib.trial import read_epochs
from tuneoff.methods.registry import REGISTRY, find
from tuneoff.study_file.check import read_study

ENVIRONMENTS = sorted({spec.environment for spec in REGISTRY.values()})
TUNERS = [image_name("tuner", e) for e in ENVIRONMENTS]
IMAGES = ["data_prep", "reporter", "evaluator", *TUNERS]
SEARCHED = {"main": "random", "torch": "optuna-gp", "vizier": "vizier-eagle", "neps": "priorband", "autokeras": "autokeras"}
"""For each environment, the method that the tests use."""

pytestmark = [pytest.mark.timeout(3600), pytest.mark.skipif(not ASKED, reason="takes minutes: make image-test")]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_a_job_that_runs_as_a_user_without_rights(name: str) -> None:
    found = inspected(name)
    assert found["Config"]["User"] == f"{UID}:{UID}"
    assert not found["Config"].get("Healthcheck")
    assert not found["Config"].get("Entrypoint")
    labels = found["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.title"] == f"tuneoff/{name}"


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_contains_no_settings_of_the_package_index(name: str) -> None:
    text = json.dumps([inspected(name)["Config"], inspected(name)["History"]])
    for word in ("INDEX_URL", "SSL_CERT_FILE", "PROXY", "/run/secrets/index"):
        assert word not in text
    left = run(name, "sh", "-c", "ls /run/secrets /cache /source 2>/dev/null | grep -v : || true")
    assert left.stdout.split() == []


@pytest.mark.parametrize("name", IMAGES)
def test_a_container_can_write_only_to_tmp(name: str) -> None:
    tried = run(
        name, "sh", "-c", "id -u; for d in / /opt /opt/tuneoff /usr /etc $HOME; do touch $d/x 2>/dev/null && echo $d; done; true"
    )
    assert tried.stdout.split() == [str(UID), "/tmp"]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_no_build_tools(name: str) -> None:
    found = run(name, "sh", "-c", "for t in gcc cc g++ make cmake ld uv git hatch; do command -v $t; done; true")
    assert found.stdout == ""


@pytest.mark.parametrize("name", IMAGES)
def test_installed_packages_are_byte_compiled(name: str) -> None:
    count = (
        "import pathlib, sysconfig; p = pathlib.Path(sysconfig.get_path('purelib'));"
        "print(len(list(p.rglob('*.py'))), len(list(p.rglob('__pycache__/*.pyc'))))"
    )
    sources, compiled = map(int, run(name, "python3", "-c", count).stdout.split())
    assert compiled > 0.98 * sources  # a few are templates, or for another Python


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_method_of_an_environment_is_installed_in_its_image(environment: str) -> None:
    call = (
        "from tuneoff.methods.registry import REGISTRY;"
        f"print([s.name for s in REGISTRY.values() if s.environment == {environment!r} and not s.installed])"
    )
    assert run(image_name("tuner", environment), "python3", "-c", call).stdout.strip() == "[]"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that the containers share, with some pictures of Fashion-MNIST."""
    image("data_prep")
    folder = workplace(tmp_path / "place")
    real_images(folder / "fashion.npz")
    return folder


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_pipelines_steps_run_one_after_another_in_containers(place: Path, environment: str) -> None:
    method = SEARCHED[environment]
    system = find(method).kind == "system"
    study = {
        "name": "contained",
        "datasets": [{"name": "fashion", "path": "fashion.npz", "image_size": 14}],
        "methods": [method],
        "budget": {"seconds": 120, "epochs_per_trial": 2} if system else {"trials": 2, "epochs_per_trial": 2},
        "split": {"validation": 0.25},
        "evaluation": {"seeds": 1},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    tuner = image_name("tuner", environment)
    images = {"data_prep": "data_prep", "tuner": tuner, "evaluator": tuner if system else "evaluator", "reporter": "reporter"}
    of = {"data_prep": ["--dataset", "fashion"], "reporter": []}
    for step, name in images.items():
        cell = of.get(step, ["--dataset", "fashion", "--method", method])
        run(name, "tuneoff", "step", step, "/work/study.yaml", *cell, "--out", "/work/out", place=place)
    evaluation = json.loads((place / "out" / "evaluations" / "fashion" / method / "evaluation.json").read_text())
    assert 0 < evaluation["retrainings"][0]["test_accuracy"] <= 1, "two epochs may leave it at chance"
    assert method in (place / "out" / "report" / "report.html").read_text(encoding="utf-8")
    assert {p.stat().st_uid for p in (place / "out").rglob("*")} == {UID}


def test_a_trial_of_katib_trains_in_the_tuners_container(place: Path) -> None:
    """Use the command, arguments and variables of the experiment's trial template, with values inserted as Katib does."""
    study = {
        "name": "trial",
        "datasets": [{"name": "fashion", "path": "fashion.npz", "image_size": 14}],
        "methods": ["random"],
        "budget": {"trials": 2, "epochs_per_trial": 2},
        "cluster": {"volume": {"claim": "results", "mount": "/work"}},
    }
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    run("data_prep", "tuneoff", "step", "data_prep", "/work/study.yaml", "--dataset", "fashion", "--out", "/work", place=place)
    plan = read_study(str(place / "study.yaml"))
    where = place_of(plan, None, None, "pvc://results/prepared", 1, None)
    (one,) = experiments(plan, algorithms_of(plan, ()), where)
    spec = one.manifest["spec"]
    (container,) = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    values = {p["name"]: p["feasibleSpace"].get("list", [p["feasibleSpace"].get("min")])[0] for p in spec["parameters"]}
    values["trial-name"] = f"{one.name}-abcd1234"
    arguments = [re.sub(r"\$\{trialParameters\.([^}]+)\}", lambda m: values[m[1]], text) for text in container["args"]]
    variables = {e["name"]: e["value"] for e in container["env"]}
    done = run("tuner", *container["command"], *arguments, place=place, env=variables)
    assert [epoch.number for epoch in read_epochs(done.stdout.splitlines())] == [1, 2]
