"""The pipeline: compared whole with golden files, and checked for what a cluster must not be told.

`TUNEOFF_REWRITE_GOLDEN=1 pytest tests/pipelines/test_bakeoff.py` writes the golden files anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.compiler import Compiler

from tuneoff.components.core.image import image
from tuneoff.components.core.study import Study
from tuneoff.pipelines.bakeoff import bakeoff, portable

GOLDEN = Path(__file__).parent / "golden"
IMAGES = {image("data_prep"), image("tuner"), image("evaluator"), image("reporter")}

MINIMAL = {"name": "minimal", "datasets": ["mnist"], "methods": ["random"], "budget": {"trials": 4}}
LARGE = {
    "name": "large_study.v2",
    "datasets": ["mnist", {"name": "cifar10", "subset": {"train": 1000}, "image_size": 16}],
    "methods": [
        {"name": "grid", "label": "shuffled", "settings": {"order": "shuffled"}},
        "random",
        "bayes",
        {"name": "hyperband", "settings": {"factor": 2}},
    ],
    "budget": {"epochs": 1200},
    "seeds": [0, 1, 2],
    "resources": {"cpu": "4", "memory": "16Gi", "gpu": 1, "gpu_type": "nvidia.com/gpu", "retries": 3, "cache": False},
}
S3 = {
    "name": "s3",
    "datasets": ["s3://bucket/data/mine.npz"],
    "methods": ["bayes"],
    "budget": {"seconds": 600},
    "resources": {"cpu": "500m", "retries": 0},
    "tracking": {"uri": "https://mlflow.example.org", "experiment": "mine"},
    "artifacts": "s3://elsewhere/runs",
}
STUDIES = {"minimal": MINIMAL, "large": LARGE, "s3": S3}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each study's pipeline, as KFP writes it."""
    folder = tmp_path_factory.mktemp("compiled")
    return {name: compile_to(folder / f"{name}.yaml", sections) for name, sections in STUDIES.items()}


def compile_to(file: Path, sections: dict[str, Any]) -> str:
    Compiler().compile(bakeoff(Study.model_validate(sections)), str(file))
    return file.read_text()


def spec(text: str) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(yaml.safe_load_all(text)))
    return found


def tasks(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task of the pipeline with the name of its component."""
    document = spec(text)
    graphs = [document["root"]["dag"], *(c["dag"] for c in document["components"].values() if "dag" in c)]
    for graph in graphs:
        for task in graph["tasks"].values():
            yield task["componentRef"]["name"], task


def executors(text: str) -> dict[str, dict[str, Any]]:
    return {name: e["container"] for name, e in spec(text)["deploymentSpec"]["executors"].items()}


def step_of(name: str) -> str:
    """exec-data-prep-2 and comp-data-prep-2 as data-prep."""
    return re.sub(r"^(exec|comp)-(.*?)(-\d+)?$", r"\2", name)


def without_version(text: str) -> str:
    return re.sub(r"^sdkVersion: .*$", "sdkVersion: any", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", STUDIES)
def test_the_pipeline_is_the_golden_one_but_for_the_sdks_version(compiled: dict[str, str], name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("TUNEOFF_REWRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(without_version(compiled[name]))
    assert without_version(compiled[name]) == file.read_text()


@pytest.mark.parametrize("name", STUDIES)
def test_it_has_the_four_steps_and_nothing_else(compiled: dict[str, str], name: str) -> None:
    counts: dict[str, int] = {}
    for step in map(step_of, executors(compiled[name])):
        counts[step] = counts.get(step, 0) + 1
    datasets = len(STUDIES[name]["datasets"])  # type: ignore[arg-type]
    assert counts == {"data-prep": datasets, "tune": datasets, "evaluate": datasets, "report": 1}


@pytest.mark.parametrize("name", STUDIES)
def test_a_loop_over_the_methods_follows_each_data_set(compiled: dict[str, str], name: str) -> None:
    study = Study.model_validate(STUDIES[name])
    loops = [task["parameterIterator"]["items"]["raw"] for _, task in tasks(compiled[name]) if "parameterIterator" in task]
    assert [yaml.safe_load(loop) for loop in loops] == [[m.label for m in study.methods]] * len(study.datasets)


@pytest.mark.parametrize("name", STUDIES)
def test_the_report_is_the_exit_task_so_that_it_runs_whatever_fails(compiled: dict[str, str], name: str) -> None:
    (exit_task,) = [t for component, t in tasks(compiled[name]) if t.get("triggerPolicy", {}).get("strategy")]
    assert step_of(exit_task["componentRef"]["name"]) == "report"
    assert exit_task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert exit_task["dependentTasks"] == ["exit-handler-1"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_evaluator_waits_for_the_tuner(compiled: dict[str, str], name: str) -> None:
    for component, task in tasks(compiled[name]):
        if step_of(component) == "evaluate":
            assert [step_of(f"comp-{t}") for t in task["dependentTasks"]] == ["tune"]


@pytest.mark.parametrize(("name", "cached"), [("minimal", {"data-prep"}), ("large", set()), ("s3", set())])
def test_prepared_data_is_cached_as_the_study_says_and_nothing_else_ever_is(
    compiled: dict[str, str], name: str, cached: set[str]
) -> None:
    """KFP's cache does not see that an object on S3 has changed, so that a user's own data set is not cached either."""
    found = {
        step_of(component)
        for component, task in tasks(compiled[name])
        if step_of(component) in ("data-prep", "tune", "evaluate", "report") and task["cachingOptions"].get("enableCache")
    }
    assert found == cached


def test_a_single_step_may_have_resources_of_its_own(tmp_path: Path) -> None:
    steps = {"data_prep": {"cpu": "500m", "retries": 0}, "evaluator": {"gpu": 0}, "reporter": {"memory": "2Gi"}}
    resources = {"cpu": "4", "memory": "16Gi", "gpu": 2, "retries": 3, "steps": steps}
    text = compile_to(tmp_path / "own.yaml", {**MINIMAL, "resources": resources})
    found = {step_of(e): c["resources"] for e, c in executors(text).items()}
    assert [found[s]["resourceCpuLimit"] for s in ("data-prep", "tune", "evaluate", "report")] == ["500m", "4", "4", "4"]
    assert [found[s]["resourceMemoryLimit"] for s in ("tune", "report")] == ["16Gi", "2Gi"]
    assert {s for s, asked in found.items() if "accelerator" in asked} == {"tune"}
    retried = {step_of(c) for c, t in tasks(text) if "retryPolicy" in t}
    assert retried >= {"tune", "evaluate", "report"}
    assert "data-prep" not in retried


@pytest.mark.parametrize("name", STUDIES)
def test_only_the_steps_that_train_ask_for_a_gpu(compiled: dict[str, str], name: str) -> None:
    found = executors(compiled[name])
    asked = {e: c["resources"]["accelerator"] for e, c in found.items() if "accelerator" in c.get("resources", {})}
    gpu = {"count": "1", "resourceCount": "1", "resourceType": "nvidia.com/gpu", "type": "nvidia.com/gpu"}
    train = [e for e in found if step_of(e) in ("tune", "evaluate")]
    assert asked == (dict.fromkeys(train, gpu) if name == "large" else {})


def test_every_step_has_the_cpu_memory_and_retries_of_the_study(compiled: dict[str, str]) -> None:
    for container in executors(compiled["large"]).values():
        asked = {k: v for k, v in container["resources"].items() if k.startswith("resource")}
        assert asked == {
            "resourceCpuLimit": "4",
            "resourceCpuRequest": "4",
            "resourceMemoryLimit": "16Gi",
            "resourceMemoryRequest": "16Gi",
        }
    retries = {step_of(c): t["retryPolicy"]["maxRetryCount"] for c, t in tasks(compiled["large"]) if "retryPolicy" in t}
    assert retries == {"data-prep": 3, "tune": 3, "evaluate": 3, "report": 3}
    assert not any("retryPolicy" in t for _, t in tasks(compiled["s3"]))
    assert executors(compiled["s3"])["exec-tune"]["resources"] == {
        "cpuLimit": 0.5, "cpuRequest": 0.5, "resourceCpuLimit": "500m", "resourceCpuRequest": "500m",
    }  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_nothing_is_installed_at_run_time(compiled: dict[str, str], name: str) -> None:
    assert not re.search(r"pip3? install|ensurepip|--index-url|packages_to_install", compiled[name])
    assert {c["image"] for c in executors(compiled[name]).values()} == IMAGES


@pytest.mark.parametrize("name", STUDIES)
def test_it_names_no_place_of_this_machine(compiled: dict[str, str], name: str) -> None:
    for path in (str(Path.cwd()), str(Path.home()) + "/", str(Path(__file__).parents[2]), "/tmp", "file:"):
        assert path not in compiled[name].replace("mktemp -d", "")
    known = {*IMAGES, "$program_path/ephemeral_component.py", "nvidia.com/gpu", "s3://bucket/data/mine.npz"}
    slashed = set(re.findall(r"[^\s'\"{}\[\],]*/[^\s'\"{}\[\],]*", compiled[name]))
    assert slashed <= known, slashed - known


def test_it_holds_neither_the_tracking_server_nor_the_place_of_the_artifacts(compiled: dict[str, str]) -> None:
    """Both, and whatever secret a user put into them, are the pipeline's parameters."""
    assert "mlflow.example.org" not in compiled["s3"]
    assert "s3://elsewhere" not in compiled["s3"]
    assert '"experiment":"mine"' in compiled["s3"]
    parameters = spec(compiled["s3"])["root"]["inputDefinitions"]["parameters"]
    assert set(parameters) == {"store", "tracking", "study_json"}
    assert "defaultValue" not in parameters["store"]
    assert parameters["tracking"]["defaultValue"] == ""


@pytest.mark.parametrize("name", STUDIES)
def test_the_steps_get_the_study_itself(compiled: dict[str, str], name: str) -> None:
    study = Study.model_validate(STUDIES[name])
    default = spec(compiled[name])["root"]["inputDefinitions"]["parameters"]["study_json"]["defaultValue"]
    assert Study.model_validate_json(default) == portable(study)
    assert portable(study).science() == study.science()


def test_names_are_those_that_kfp_takes(compiled: dict[str, str]) -> None:
    names = [spec(text)["pipelineInfo"]["name"] for text in compiled.values()]
    assert names == ["tuneoff-minimal", "tuneoff-large-study-v2", "tuneoff-s3"]
