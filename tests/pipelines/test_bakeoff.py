"""Test the pipeline: compare it with golden files, and check that it contains nothing that a cluster must not get.

`TUNEOFF_REWRITE_GOLDEN=1 pytest tests/pipelines/test_bakeoff.py` rewrites the golden files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneoff._version import __version__
from tuneoff.cluster.follow_run import task_titles
from tuneoff.cluster.step_images import image_of
from tuneoff.core.study import Study
from tuneoff.pipelines.bakeoff import checksum, portable
from tuneoff.pipelines.submit import compile_study
from yaml_readers import READERS

GOLDEN = Path(__file__).parent / "golden"

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
DIGEST = f"sha256:{'ab' * 32}"
CLUSTER = {
    "name": "cluster",
    "datasets": ["mnist", {"name": "mine", "path": "/results/data/mine.npz"}],
    "methods": ["random", "hyperband"],
    "budget": {"trials": 8},
    "resources": {"cpu": "4", "memory": "16Gi", "gpu": 2, "gpu_type": "nvidia.com/mig-1g.10gb", "retries": 4},
    "cluster": {
        "namespace": "bakeoffs",
        "service_account": "tuneoff-runner",
        "node_selector": {"example.org/pool": "batch"},
        "tolerations": [{"key": "batch", "value": "yes", "effect": "NoSchedule"}],
        "steps": {
            "tuner": {
                "node_selector": {"example.org/pool": "gpu"},
                "tolerations": [
                    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                    {"key": "spot", "operator": "Exists", "effect": "NoExecute", "seconds": 60},
                ],
                "timeout_seconds": 86400,
            },
            "reporter": {"tolerations": []},
        },
        "volume": {"claim": "tuneoff-results", "mount": "/results"},
        "env": {"AWS_ENDPOINT_URL": "http://s3.storage:9000"},
        "secrets": {
            "s3-keys": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"},
            "mlflow": {"MLFLOW_TRACKING_PASSWORD": "password"},
        },
        "images": {
            "prefix": "registry.example.org/team/tuneoff",
            "tag": "0.1.0-rc1",
            "digests": {"tuner-gpu": DIGEST},
            "pull_policy": "IfNotPresent",
            "pull_secrets": ["registry"],
        },
        "backoff": {"seconds": 10, "factor": 3, "longest_seconds": 600},
        "timeout_seconds": 7200,
        "deadline_seconds": 604800,
        "ttl_seconds": 86400,
        "run_as_non_root": True,
    },
}
STUDIES = {"minimal": MINIMAL, "large": LARGE, "s3": S3, "cluster": CLUSTER}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return each study's pipeline, as `tuneoff compile` writes it."""
    folder = tmp_path_factory.mktemp("compiled")
    return {name: compile_to(folder / f"{name}.yaml", sections) for name, sections in STUDIES.items()}


def compile_to(file: Path, sections: dict[str, Any]) -> str:
    compile_study(Study.model_validate(sections), file)
    return file.read_text()


def spec(text: str) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(yaml.safe_load_all(text)))
    return found


def tasks(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every task of the pipeline with the name of its component."""
    document = spec(text)
    graphs = [document["root"]["dag"], *(c["dag"] for c in document["components"].values() if "dag" in c)]
    for graph in graphs:
        for task in graph["tasks"].values():
            yield task["componentRef"]["name"], task


def executors(text: str) -> dict[str, dict[str, Any]]:
    return {name: e["container"] for name, e in spec(text)["deploymentSpec"]["executors"].items()}


def step_of(name: str) -> str:
    """Return data-prep for exec-data-prep-2 and comp-data-prep-2."""
    return re.sub(r"^(exec|comp)-(.*?)(-\d+)?$", r"\2", name)


def without_version(text: str) -> str:
    return re.sub(r"^sdkVersion: .*$", "sdkVersion: any", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", STUDIES)
def test_the_pipeline_equals_the_golden_file_except_for_the_sdks_version(compiled: dict[str, str], name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("TUNEOFF_REWRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(without_version(compiled[name]))
    assert without_version(compiled[name]) == file.read_text()


@pytest.mark.parametrize("name", STUDIES)
def test_the_pipeline_has_the_four_steps_and_nothing_else(compiled: dict[str, str], name: str) -> None:
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
def test_the_report_is_the_exit_task_so_it_runs_after_any_failure(compiled: dict[str, str], name: str) -> None:
    (exit_task,) = [t for component, t in tasks(compiled[name]) if t.get("triggerPolicy", {}).get("strategy")]
    assert step_of(exit_task["componentRef"]["name"]) == "report"
    assert exit_task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert exit_task["dependentTasks"] == ["exit-handler-1"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_evaluator_waits_for_the_tuner(compiled: dict[str, str], name: str) -> None:
    for component, task in tasks(compiled[name]):
        if step_of(component) == "evaluate":
            assert [step_of(f"comp-{t}") for t in task["dependentTasks"]] == ["tune"]


@pytest.mark.parametrize(("name", "cached"), [("minimal", {"mnist"}), ("large", set()), ("s3", set()), ("cluster", {"mnist"})])
def test_only_prepared_data_is_cached_and_only_if_the_study_says_so(
    compiled: dict[str, str], name: str, cached: set[str]
) -> None:
    """KFP's cache does not notice that a file or an object has changed, so a user's own data set is not cached."""
    found = [
        (step_of(component), task["inputs"]["parameters"]["dataset"]["runtimeValue"]["constant"])
        for component, task in tasks(compiled[name])
        if step_of(component) in ("data-prep", "tune", "evaluate", "report") and task["cachingOptions"].get("enableCache")
    ]
    assert found == [("data-prep", dataset) for dataset in cached]


def data_prep_inputs(text: str) -> list[dict[str, Any]]:
    return [task["inputs"]["parameters"] for component, task in tasks(text) if step_of(component) == "data-prep"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_cache_is_keyed_by_the_datas_checksum_and_the_version(compiled: dict[str, str], name: str) -> None:
    study = Study.model_validate(STUDIES[name])
    for dataset, given in zip(study.datasets, data_prep_inputs(compiled[name]), strict=True):
        assert given["version"]["runtimeValue"]["constant"] == __version__
        assert given["checksum"]["runtimeValue"]["constant"] == checksum(dataset)
    sums = [checksum(d) for d in study.datasets if d.path is None]
    assert all(re.fullmatch("[0-9a-f]{64}", s) for s in sums)
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize("name", STUDIES)
def test_only_one_step_creates_the_studys_mlflow_run_before_the_fan_out(compiled: dict[str, str], name: str) -> None:
    first, *others = [given["tracking"] for given in data_prep_inputs(compiled[name])]
    assert first == {"componentInputParameter": "pipelinechannel--tracking"}
    assert others == [{"runtimeValue": {"constant": ""}}] * len(others)


def test_a_single_step_may_have_its_own_resources(tmp_path: Path) -> None:
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
def test_only_the_steps_that_train_request_a_gpu(compiled: dict[str, str], name: str) -> None:
    found = executors(compiled[name])
    asked = {e: c["resources"]["accelerator"] for e, c in found.items() if "accelerator" in c.get("resources", {})}
    resources = Study.model_validate(STUDIES[name]).resources
    count, kind = str(resources.gpu), resources.gpu_type
    gpu = {"count": count, "resourceCount": count, "resourceType": kind, "type": kind}
    train = [e for e in found if step_of(e) in ("tune", "evaluate")]
    assert asked == (dict.fromkeys(train, gpu) if name in ("large", "cluster") else {})


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


@pytest.mark.parametrize("name", ["minimal", "large", "s3"])
def test_every_step_has_its_own_image_of_this_version(compiled: dict[str, str], name: str) -> None:
    train = "-gpu" if name == "large" else ""
    images = {step_of(e): c["image"] for e, c in executors(compiled[name]).items()}
    assert images == {
        "data-prep": f"tuneoff/data_prep:{__version__}",
        "tune": f"tuneoff/tuner{train}:{__version__}",
        "evaluate": f"tuneoff/evaluator{train}:{__version__}",
        "report": f"tuneoff/reporter:{__version__}",
    }


def test_an_image_is_named_by_its_digest_if_the_study_gives_one(compiled: dict[str, str]) -> None:
    images = {step_of(e): c["image"] for e, c in executors(compiled["cluster"]).items()}
    assert images["tune"] == f"registry.example.org/team/tuneoff/tuner-gpu@{DIGEST}"
    assert images["evaluate"] == "registry.example.org/team/tuneoff/evaluator-gpu:0.1.0-rc1"


def test_methods_run_in_their_environments_image_and_systems_are_evaluated_in_it() -> None:
    def images(*methods: str) -> list[str]:
        study = Study.model_validate({**MINIMAL, "budget": {"trials": 4, "seconds": 60}, "methods": list(methods)})
        return [image_of(study, step).split("/")[1].split(":")[0] for step in ("tuner", "evaluator")]

    assert images("random", "freeze-thaw") == ["tuner-neps", "evaluator"]
    assert images("random", "flaml") == ["tuner", "tuner"]
    assert images("random", "autokeras") == ["tuner-autokeras", "tuner-autokeras"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_pipeline_contains_no_path_of_this_machine(compiled: dict[str, str], name: str) -> None:
    for path in (str(Path.cwd()), str(Path.home()) + "/", str(Path(__file__).parents[2]), "/tmp", "file:"):
        assert path not in compiled[name].replace("mktemp -d", "")
    images = {c["image"] for c in executors(compiled[name]).values()}
    known = images | {"$program_path/ephemeral_component.py", "nvidia.com/gpu", "s3://bucket/data/mine.npz"}
    known |= {f"tuneoff/{label}:" for label in ("study", "dataset", "step")}
    if name == "cluster":
        known |= {"/results", "/results/data/mine.npz", "example.org/pool:", "http://s3.storage:9000", "nvidia.com/mig-1g.10gb"}
    slashed = set(re.findall(r"[^\s'\"{}\[\],]*/[^\s'\"{}\[\],]*", compiled[name]))
    assert slashed <= known, slashed - known


def test_the_pipeline_contains_neither_the_tracking_server_nor_the_artifacts_uri(compiled: dict[str, str]) -> None:
    """Both are parameters of the pipeline, because a user may have put secrets into them."""
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


def test_a_change_of_memory_or_cpus_leaves_prepared_data_in_kfps_cache() -> None:
    """The study's text is part of the cache key, so settings that no step reads are left out."""
    study = Study.model_validate(LARGE)
    resized = study.model_copy(update={"resources": study.resources.model_copy(update={"memory": "32Gi", "cpu": "8", "gpu": 2})})
    assert portable(study) == portable(resized)
    own = {"tuner": {"retries": 7, "memory": "1Gi"}}
    kept = portable(
        Study.model_validate({**MINIMAL, "resources": {"workers": 2, "retries": 3, "hang_seconds": 99, "steps": own}})
    )
    assert (kept.resources.workers, kept.resources.hang_seconds) == (2, 99)
    assert (kept.resources.of("tuner").retries, kept.resources.of("evaluator").retries) == (7, 3)


def test_names_are_valid_in_kfp(compiled: dict[str, str]) -> None:
    names = [spec(text)["pipelineInfo"]["name"] for text in compiled.values()]
    assert names == ["tuneoff-minimal", "tuneoff-large-study-v2", "tuneoff-s3", "tuneoff-cluster"]


def test_texts_that_look_like_numbers_are_strings_for_kfps_server(tmp_path: Path) -> None:
    """The server parses the file in Go: it reads 1e-05 without quotes as a number, and refuses it in a field of type string."""
    env = {"RATE": "1e-05", "MODE": "0o17", "SIGN": "-_1", "ANSWER": "yes"}
    cluster = {"env": env, "node_selector": {"pool": "1e5"}, "tolerations": [{"key": "on", "value": "0x1F"}]}
    text = compile_to(tmp_path / "odd.yaml", {**MINIMAL, "cluster": cluster})
    for name, reader in READERS.items():
        pipeline, platform = reader(text)
        for container in (e["container"] for e in pipeline["deploymentSpec"]["executors"].values()):
            assert {variable["name"]: variable["value"] for variable in container["env"]} == env, name
        for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            assert pod["nodeSelector"]["labels"] == {"pool": "1e5"}, name
            assert [(t["key"], t["value"]) for t in pod["tolerations"]] == [("on", "0x1F")], name


@pytest.mark.parametrize("name", STUDIES)
def test_every_yaml_reader_parses_a_golden_file_to_the_same_values(name: str) -> None:
    text = (GOLDEN / f"{name}.yaml").read_text()
    read = [reader(text) for reader in READERS.values()]
    assert all(documents == read[0] for documents in read)


# What the cluster section says


def pods(text: str) -> dict[str, dict[str, Any]]:
    """Return the Kubernetes settings of each executor's pod, by step."""
    _, platform = yaml.safe_load_all(text)
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {step_of(name): pod for name, pod in found.items()}


def whole_run(text: str) -> dict[str, Any]:
    _, platform = yaml.safe_load_all(text)
    found: dict[str, Any] = platform["platforms"]["kubernetes"].get("pipelineConfig", {})
    return found


def test_without_a_cluster_section_only_a_non_root_user_is_required(compiled: dict[str, str]) -> None:
    for name in ("minimal", "large", "s3"):
        assert all(set(pod) == {"securityContext", "podMetadata"} for pod in pods(compiled[name]).values())
        assert all(pod["securityContext"] == {"runAsNonRoot": True} for pod in pods(compiled[name]).values())
        assert whole_run(compiled[name]) == {}


def test_every_pod_gets_the_volume_the_secrets_and_the_pull_settings(compiled: dict[str, str]) -> None:
    for pod in pods(compiled["cluster"]).values():
        assert [(v["constant"], v["mountPath"]) for v in pod["pvcMount"]] == [("tuneoff-results", "/results")]
        given = {(s["secretName"], k["secretKey"]): k["envVar"] for s in pod["secretAsEnv"] for k in s["keyToEnv"]}
        assert given == {
            ("s3-keys", "id"): "AWS_ACCESS_KEY_ID",
            ("s3-keys", "secret"): "AWS_SECRET_ACCESS_KEY",
            ("mlflow", "password"): "MLFLOW_TRACKING_PASSWORD",
        }
        assert pod["imagePullPolicy"] == "IfNotPresent"
        assert [s["secretName"] for s in pod["imagePullSecret"]] == ["registry"]
    for container in executors(compiled["cluster"]).values():
        assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://s3.storage:9000"}]


@pytest.mark.parametrize("name", STUDIES)
def test_every_pod_is_labelled_with_its_study_step_and_data_set(compiled: dict[str, str], name: str) -> None:
    """The method is a loop's value, which KFP cannot use as a label. The step therefore adds the label to its own pod."""
    _, platform = yaml.safe_load_all(compiled[name])
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    labels = {executor: pod["podMetadata"]["labels"] for executor, pod in found.items()}
    study = Study.model_validate(STUDIES[name])
    assert {label["tuneoff/study"] for label in labels.values()} == {study.name}
    steps = {"data-prep": "data_prep", "tune": "tuner", "evaluate": "evaluator", "report": "reporter"}
    assert {executor: steps[step_of(executor)] for executor in labels} == {
        e: label["tuneoff/step"] for e, label in labels.items()
    }
    datasets = [label["tuneoff/dataset"] for e, label in sorted(labels.items()) if step_of(e) == "tune"]
    assert datasets == [dataset.name for dataset in study.datasets]
    value = r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)"
    assert all(re.fullmatch(value, text) for label in labels.values() for text in label.values())


@pytest.mark.parametrize("name", STUDIES)
def test_the_steps_of_a_cell_do_not_get_the_study_as_a_parameter(compiled: dict[str, str], name: str) -> None:
    """KFP copies a parameter into a dozen Argo nodes per cell, and Argo keeps at most 1 MiB of a workflow."""
    told = {step_of(component) for component, task in tasks(compiled[name]) if "study" in task["inputs"].get("parameters", {})}
    assert told == {"data-prep", "report"}


@pytest.mark.parametrize("name", STUDIES)
def test_tasks_have_the_titles_that_submit_shows(compiled: dict[str, str], name: str) -> None:
    document = spec(compiled[name])
    graphs = [document["root"]["dag"], *(c["dag"] for c in document["components"].values() if "dag" in c)]
    titles = {task: t["taskInfo"]["name"] for graph in graphs for task, t in graph["tasks"].items() if "for-loop" not in task}
    titles.pop("exit-handler-1")
    assert task_titles(Study.model_validate(STUDIES[name])) == titles


def test_a_single_step_may_have_its_own_nodes_and_time_limit(compiled: dict[str, str]) -> None:
    found = pods(compiled["cluster"])
    pools = {step: pod["nodeSelector"]["labels"]["example.org/pool"] for step, pod in found.items()}
    assert pools == {"data-prep": "batch", "tune": "gpu", "evaluate": "batch", "report": "batch"}
    tolerated = {step: [t["key"] for t in pod.get("tolerations", [])] for step, pod in found.items()}
    assert tolerated == {"data-prep": ["batch"], "tune": ["nvidia.com/gpu", "spot"], "evaluate": ["batch"], "report": []}
    assert found["tune"]["tolerations"][1] == {
        "key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60",
    }  # fmt: skip
    timeouts = {step: int(pod["activeDeadlineSeconds"]) for step, pod in found.items()}
    assert timeouts == {"data-prep": 7200, "tune": 86400, "evaluate": 7200, "report": 7200}


def test_retries_wait_longer_each_time_and_the_whole_run_has_a_deadline(compiled: dict[str, str]) -> None:
    policies = [t["retryPolicy"] for _, t in tasks(compiled["cluster"]) if "retryPolicy" in t]
    assert policies
    policy = {"maxRetryCount": 4, "backoffDuration": "10s", "backoffFactor": 3.0, "backoffMaxDuration": "600s"}
    assert all(p == policy for p in policies)
    assert whole_run(compiled["cluster"]) == {"activeDeadlineSeconds": 604800, "resourceTtlOnCompletion": 86400}


def test_the_cluster_section_is_not_passed_to_the_steps(compiled: dict[str, str]) -> None:
    study, moved = Study.model_validate(CLUSTER), Study.model_validate({**CLUSTER, "cluster": {}})
    assert study.science() == moved.science()
    assert portable(study) == portable(moved)
    default = spec(compiled["cluster"])["root"]["inputDefinitions"]["parameters"]["study_json"]["defaultValue"]
    assert "registry" not in default
