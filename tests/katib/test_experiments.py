"""Test writing a study as Katib Experiments: golden files, which algorithm accepts which parameters, and a trial's arguments.

`TUNEOFF_REWRITE_GOLDEN=1 pytest tests/katib/test_experiments.py` rewrites the golden files.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kubeflow_katib_api import models
from pydantic import ValidationError

from tuneoff.cli.main import cli
from tuneoff.core.errors import StudyError
from tuneoff.core.space import Categorical
from tuneoff.core.study import Study
from tuneoff.katib import trial as entry
from tuneoff.katib.collect import ENGINES
from tuneoff.katib.experiments import (
    ALGORITHMS,
    KINDS,
    METRICS,
    RESOURCE,
    Kind,
    Place,
    Planned,
    algorithms_of,
    experiments,
    kind_of,
    place_of,
    plan_of,
    refusals,
)
from tuneoff.methods.registry import REGISTRY, SHORT
from yaml_readers import READERS, go

GOLDEN = Path(__file__).parent / "golden"
PLACE = Place("team", "registry.example/tuneoff/tuner:0.1.0", "pvc://data/prepared")

CHOICE = {"type": "categorical", "values": ["relu", "tanh", "elu"]}
PARAMETERS: dict[Kind, dict[str, Any]] = {
    "categorical": {"type": "categorical", "values": [16, 32, 0.5, True]},
    "int": {"type": "int", "low": 2, "high": 9, "grid_points": 3},
    "int with log": {"type": "int", "low": 1, "high": 64, "log": True, "grid_points": 3},
    "int with step": {"type": "int", "low": 4, "high": 12, "step": 2},
    "float": {"type": "float", "low": 0.0, "high": 0.4, "grid_points": 5},
    "float with log": {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "grid_points": 3},
    "float with step": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
}
NUMBER = {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25}


def study(**changes: Any) -> Study:
    """Return a small study of a user's model. `changes` replace its sections."""
    sections: dict[str, Any] = {
        "name": "small",
        "datasets": ["mnist"],
        "methods": ["random"],
        "model": "mine:model",
        "space": {"a": PARAMETERS["float with step"], "b": NUMBER, "c": CHOICE},
        "budget": {"trials": 40, "epochs_per_trial": 9},
    }
    return Study.model_validate({**sections, **changes})


def planned(plan: Study, *names: str, place: Place = PLACE) -> list[Planned]:
    return experiments(plan, algorithms_of(plan, names), place)


def job(one: Planned) -> Mapping[str, Any]:
    found: Mapping[str, Any] = one.manifest["spec"]["trialTemplate"]["trialSpec"]
    return found


def container(one: Planned) -> Mapping[str, Any]:
    (found,) = job(one)["spec"]["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]


# The matrix

CAN: dict[str, str] = {
    #                       categorical, int, int log, int step, float, float log, float step
    "random": "+++++++",
    "grid": "+++++++",
    "bayesianoptimization": "++---+-",
    "tpe": "+++++++",
    "multivariate-tpe": "+++++++",
    "cmaes": "++-++-+",
    "sobol": "+---+-+",
    "hyperband": "++--+--",
    "pbt": "+-----+",
}
"""Kinds of parameters that Katib's services search correctly, tried with version 0.19. Minus: refused or misinterpreted."""


def test_the_matrix_covers_every_algorithm_and_every_kind_of_parameter() -> None:
    assert set(CAN) == set(ALGORITHMS)
    assert {len(marks) for marks in CAN.values()} == {len(KINDS)}
    assert {kind_of(study(space={"a": p}).space["a"]) for p in PARAMETERS.values()} == set(KINDS)


@pytest.mark.parametrize("name", CAN)
@pytest.mark.parametrize("kind", KINDS)
def test_each_algorithm_accepts_the_parameters_that_its_service_searches_correctly(name: str, kind: Kind) -> None:
    others = {"b": CHOICE if name in ("bayesianoptimization", "hyperband") else NUMBER, "c": CHOICE, "d": CHOICE}
    if name == "cmaes":
        others["d"] = NUMBER
    plan = study(space={"a": PARAMETERS[kind], **others}, budget={"trials": 25 if name == "grid" else 40, "epochs_per_trial": 9})
    said = refusals(plan, ALGORITHMS[name])
    if CAN[name][KINDS.index(kind)] == "+":
        assert said == []
    else:
        (sentence,) = said
        assert sentence.startswith(f"{name}: a: Katib's {name} ")
        assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("tpe", {"space": {"a": NUMBER, "b": {**NUMBER, "when": {"a": [0.5]}}}}, "no conditional parameters"),
        ("grid", {"space": {"a": {"type": "float", "low": 0.0, "high": 1.0}}}, "Give a step or grid_points for a."),
        ("grid", {"space": {"a": CHOICE}}, "40 trials are more than the 3 combinations"),
        ("cmaes", {"space": {"a": CHOICE, "b": NUMBER}}, "two numeric parameters"),
        ("tpe", {"space": {"a": {"type": "float", "low": 0.05, "high": 0.4, "step": 0.1}}}, "counts steps from 0"),
        ("random", {"space": {"a": {"type": "int", "low": 1, "high": 9, "step": 4}}}, "counts steps from 0"),
        ("random", {"space": {"a": {"type": "categorical", "values": ["a b", "c"]}}}, "would change the value 'a b'"),
        ("random", {"space": {"a": {"type": "categorical", "values": ["", "c"]}}}, "would change the value ''"),
        ("random", {"space": {"a": {"type": "categorical", "values": ["$(HOME)", "c"]}}}, "would change the value '$(HOME)'"),
        ("random", {"space": {"a": {"type": "categorical", "values": ["1", 1]}}}, "have the same text"),
        ("random", {"budget": {"seconds": 60}}, "budget.seconds has no counterpart"),
        ("random", {"budget": {"trials": 5, "seconds": 60}}, "budget.seconds has no counterpart"),
        ("hyperband", {"space": {"a": CHOICE}, "budget": {"trials": 40, "epochs_per_trial": 2}}, "leaves no lower rung"),
        ("hyperband", {"space": {"a": CHOICE}, "budget": {"trials": 8, "epochs_per_trial": 9}}, "its first rung has 9 trials"),
        ("hyperband", {"space": {"a": CHOICE}, "budget": {"epochs": 11, "epochs_per_trial": 9}}, "need 12 epochs"),
        ("pbt", {"budget": {"trials": 1, "epochs_per_trial": 9}}, "a population of at least 5"),
        ("pbt", {"model": "paper-cnn", "space": {"filters1": CHOICE, "b": NUMBER}}, "filters1"),
    ],
)
def test_a_study_that_katib_cannot_express_is_refused_in_one_sentence(name: str, changes: dict[str, Any], sentence: str) -> None:
    (said,) = refusals(study(**changes), ALGORITHMS[name])
    assert sentence in said
    with pytest.raises(StudyError, match=re.escape(said)):
        planned(study(**changes), name)


@pytest.mark.parametrize(
    ("changes", "name", "sentence"),
    [
        ({"name": "a-study-with-a-name-that-is-long"}, "random", "Katib allows 40"),
        ({"name": "twenty-characters-it"}, "pbt", "Katib allows 26 for pbt"),
        ({"name": "1st"}, "random", "begins with a letter"),
        (
            {"datasets": [{"name": "a.b", "path": "s3://b/x.npz"}, {"name": "a_b", "path": "s3://b/y.npz"}]},
            "random",
            "Two experiments",
        ),
    ],
)
def test_a_name_that_katib_refuses_is_refused(changes: dict[str, Any], name: str, sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        planned(study(**changes), name)


def test_all_refusals_are_reported_together() -> None:
    plan = study(space={"a": PARAMETERS["int with log"], "b": PARAMETERS["float"]})
    with pytest.raises(StudyError) as refused:
        planned(plan, "bayesianoptimization", "pbt", "random")
    assert len(str(refused.value).splitlines()) == 4


# Which algorithms


def test_each_counterpart_is_a_method_that_there_is_and_stands_for_one_algorithm() -> None:
    named = {spec.name: spec.katib for spec in REGISTRY.values() if spec.katib}
    assert all(len(algorithms) == 1 and algorithms[0] in ALGORITHMS for algorithms in named.values())
    assert set(SHORT.values()) <= set(named), "the paper's four methods have counterparts"


def test_each_method_of_the_study_becomes_its_counterpart_once() -> None:
    plan = study(methods=["random", "hyperopt-random", "bayes", "optuna-cmaes"])
    assert [a.name for a in algorithms_of(plan, ())] == ["random", "bayesianoptimization", "cmaes"]


def test_a_method_without_a_counterpart_is_refused_and_algorithms_can_be_named_instead() -> None:
    plan = study(methods=["random", "ax"])
    with pytest.raises(StudyError, match=r"^ax: Katib has no counterpart"):
        algorithms_of(plan, ())
    assert [a.name for a in algorithms_of(plan, ("sobol", "tpe", "sobol"))] == ["sobol", "tpe"]


# The experiments


def test_there_is_one_experiment_per_data_set_algorithm_and_seed() -> None:
    plan = study(datasets=["mnist", "fashion_mnist"], seeds=[3, 4], budget={"trials": 20, "epochs_per_trial": 9})
    found = planned(plan, "random", "sobol")
    assert [one.name for one in found] == [
        *("small-mnist-random-3", "small-mnist-random-4", "small-mnist-sobol-3"),
        *("small-fashion-mnist-random-3", "small-fashion-mnist-random-4", "small-fashion-mnist-sobol-3"),
    ]
    states = [one.plan.settings.get("random_state") for one in found[:3]]
    assert states == ["3", "4", None]
    assert {one.cell.method.label for one in found} == {"katib-random", "katib-sobol"}


def test_the_budget_becomes_trials_that_run_one_at_a_time() -> None:
    plans = [plan_of(study(budget=b), ALGORITHMS["tpe"]) for b in ({"trials": 7}, {"epochs": 95}, {"trials": 7, "epochs": 60})]
    assert [(p.trials, p.parallel, p.epochs) for p in plans] == [(7, 1, 10), (9, 1, 10), (6, 1, 10)]
    folds = study(budget={"epochs": 90, "epochs_per_trial": 10}, split={"folds": 3})
    assert plan_of(folds, ALGORITHMS["tpe"]).trials == 3
    assert plan_of(study(budget={"trials": 7}), ALGORITHMS["tpe"], parallel=4).parallel == 4
    assert plan_of(study(budget={"trials": 2}), ALGORITHMS["tpe"], parallel=4).parallel == 2, (
        "the webhook allows at most as many parallel trials as trials"
    )


def test_hyperband_runs_its_first_rung_in_parallel_and_one_promoted_trial() -> None:
    """With more than one promoted trial, Katib 0.19 waits forever: its controller expects as many suggestions as requested."""
    plan = plan_of(study(), ALGORITHMS["hyperband"])
    assert (plan.trials, plan.parallel) == (10, 9)
    assert plan.settings == {"r_l": "9", "eta": "3", "resource_name": RESOURCE}
    (one,) = planned(study(space={"a": CHOICE}), "hyperband")
    assert one.manifest["spec"]["parameters"][-1] == {
        "name": RESOURCE,
        "parameterType": "int",
        "feasibleSpace": {"min": "1", "max": "9"},
    }
    arguments = container(one)["args"]
    assert arguments[arguments.index("--epochs") + 1] == f"${{trialParameters.{RESOURCE}}}"


def test_pbt_trains_in_parts_and_keeps_weights_on_the_suggestions_volume() -> None:
    (one,) = planned(study(budget={"trials": 4, "epochs_per_trial": 10}), "pbt")
    assert (one.plan.trials, one.plan.parallel, one.plan.epochs) == (20, 8, 2)
    assert one.plan.settings["n_population"] == "8"
    assert one.manifest["spec"]["resumePolicy"] == "FromVolume"
    arguments = container(one)["args"]
    assert arguments[arguments.index("--checkpoint") + 1] == one.plan.settings["suggestion_trial_dir"]


def test_a_grid_lists_the_studys_own_levels_as_texts() -> None:
    plan = study(space={"a": PARAMETERS["float"], "b": PARAMETERS["int with log"]}, budget={"trials": 15})
    (one,) = planned(plan, "grid")
    assert one.manifest["spec"]["parameters"] == [
        {"name": "a", "parameterType": "categorical", "feasibleSpace": {"list": ["0.0", "0.1", "0.2", "0.3", "0.4"]}},
        {"name": "b", "parameterType": "categorical", "feasibleSpace": {"list": ["1", "8", "64"]}},
    ]


@pytest.mark.parametrize(
    ("goal", "kind", "strategy"),
    [
        ({}, "maximize", "max"),
        ({"metric": "val_loss"}, "minimize", "min"),
        ({"metric": "val_accuracy", "epoch": "last"}, "maximize", "latest"),
    ],
)
def test_the_experiment_has_the_studys_objective(goal: dict[str, Any], kind: str, strategy: str) -> None:
    (one,) = planned(study(objective=goal), "random")
    objective = one.manifest["spec"]["objective"]
    assert objective["type"] == kind
    assert objective["objectiveMetricName"] == goal.get("metric", "val_accuracy")
    assert {s["name"]: s["value"] for s in objective["metricStrategies"]}[objective["objectiveMetricName"]] == strategy
    assert sorted([objective["objectiveMetricName"], *objective["additionalMetricNames"]]) == sorted(METRICS)


# As Katib's webhook and Kubernetes see them


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_experiment_follows_the_webhooks_rules(name: str) -> None:
    """Check the rules of pkg/webhook/v1beta1/experiment/validator/validator.go that depend only on the manifest."""
    space = {"a": PARAMETERS["categorical"], "b": CHOICE} | ({"a": NUMBER, "b": NUMBER} if name == "cmaes" else {})
    (one,) = planned(study(space=space, budget={"trials": 12, "epochs_per_trial": 9}), name)
    spec = one.manifest["spec"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", one.manifest["metadata"]["name"])
    assert len(one.manifest["metadata"]["name"]) <= 40
    assert 0 < spec["parallelTrialCount"] <= spec["maxTrialCount"]
    assert 0 <= spec["maxFailedTrialCount"] <= spec["maxTrialCount"]
    for parameter in spec["parameters"]:
        fields = set(parameter["feasibleSpace"])
        assert fields <= ({"list"} if parameter["parameterType"] == "categorical" else {"min", "max", "step", "distribution"})
    template = spec["trialTemplate"]
    assert template["primaryContainerName"] == container(one)["name"]
    assert not {"name", "namespace"} & set(job(one).get("metadata", {}))
    text = json.dumps(job(one))
    known = {p["name"] for p in spec["parameters"]}
    for parameter in template["trialParameters"]:
        assert f"${{trialParameters.{parameter['name']}}}" in text
        assert parameter["reference"] in known or parameter["reference"] == "${trialSpec.Name}"
        text = text.replace(f"${{trialParameters.{parameter['name']}}}", "test-value")
    assert "${trialParameters" not in text


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_models_of_katibs_api_parse_the_experiment_without_loss(name: str) -> None:
    """The custom resource's schema accepts any field (x-kubernetes-preserve-unknown-fields). These models check the fields."""
    space = {"a": PARAMETERS["categorical"], "b": CHOICE} | ({"a": NUMBER, "b": NUMBER} if name == "cmaes" else {})
    (one,) = planned(study(space=space, budget={"trials": 12, "epochs_per_trial": 9}), name)
    read = models.V1beta1Experiment.from_dict(yaml.safe_load(one.yaml()))
    assert read is not None
    assert read.to_dict() == one.manifest


def test_the_job_is_valid_in_kubernetes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (one,) = planned(
        study(resources={"cpu": "4", "memory": "8Gi", "gpu": 1}), "random", place=Place("n", "i", "s3://b/p", secret="s3")
    )
    kubernetes_validate.validate({**job(one), "metadata": {"name": "named-by-katib"}}, "1.31", strict=True)
    assert container(one)["resources"]["limits"] == {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert container(one)["envFrom"] == [{"secretRef": {"name": "s3"}}]
    (full,) = planned(study(**ON_CLUSTER), "random", place=Place("n", "i", "pvc://elsewhere/x"))
    kubernetes_validate.validate({**job(full), "metadata": {"name": "named-by-katib"}}, "1.31", strict=True)


CLUSTER: dict[str, Any] = {
    "namespace": "team",
    "service_account": "trainer",
    "node_selector": {"pool": "small"},
    "steps": {"tuner": {"node_selector": {"pool": "gpus"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}},
    "volume": {"claim": "results", "mount": "/results"},
    "env": {"AWS_ENDPOINT_URL": "http://s3.storage:9000"},
    "secrets": {"s3-keys": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}},
    "images": {
        "prefix": "registry.example/team",
        "digests": {"tuner-gpu": "sha256:" + "1" * 64},
        "pull_policy": "Always",
        "pull_secrets": ["registry"],
    },
}
"""A cluster section with every setting that a trial uses."""
ON_CLUSTER: dict[str, Any] = {"cluster": CLUSTER, "resources": {"gpu": 1}}


def as_the_study_says(plan: Study) -> Place:
    return place_of(plan, namespace=None, image=None, data=None, parallel=1, secret=None)


def test_a_trial_gets_the_cluster_settings_of_the_tuner_step() -> None:
    plan = study(**ON_CLUSTER)
    place = as_the_study_says(plan)
    (one,) = planned(plan, "random", place=place)
    pod = job(one)["spec"]["template"]["spec"]
    assert one.manifest["metadata"]["namespace"] == "team"
    assert container(one)["image"] == "registry.example/team/tuner-gpu@sha256:" + "1" * 64
    assert container(one)["imagePullPolicy"] == "Always"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["serviceAccountName"] == "trainer"
    assert pod["nodeSelector"] == {"pool": "gpus"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    told = {e["name"]: e.get("value", e.get("valueFrom")) for e in container(one)["env"]}
    assert told["AWS_ENDPOINT_URL"] == "http://s3.storage:9000"
    assert told["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "s3-keys", "key": "secret"}}
    assert "s3-keys" not in told[entry.STUDY], "a trial is told how to train, and nothing of the cluster"
    (volume,) = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert volume["persistentVolumeClaim"] == {"claimName": "results", "readOnly": True}
    assert container(one)["volumeMounts"][-1] == {"name": volume["name"], "mountPath": "/results", "readOnly": True}
    arguments = container(one)["args"]
    assert arguments[arguments.index("--data") + 1] == "/results/runs/small/prepared/mnist"


def test_data_on_another_volume_is_mounted_next_to_the_studys_volume() -> None:
    (one,) = planned(study(**ON_CLUSTER), "random", place=Place("n", "i", "pvc://elsewhere/x"))
    mounts = {m["name"]: m["mountPath"] for m in container(one)["volumeMounts"]}
    claims = {
        mounts[v["name"]]: v["persistentVolumeClaim"]["claimName"]
        for v in job(one)["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claims == {"/results": "results", "/data": "elsewhere"}
    arguments = container(one)["args"]
    assert arguments[arguments.index("--data") + 1] == "/data/x/mnist"


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, "pvc://tuneoff/prepared"),
        ({"artifacts": "runs/here"}, "pvc://tuneoff/prepared"),
        ({"artifacts": "s3://bucket/mine/"}, "s3://bucket/mine/prepared"),
        ({"cluster": {"volume": {"claim": "results"}}}, "pvc://results/runs/small/prepared"),
        ({"cluster": {"volume": {"claim": "results"}}, "artifacts": "/tuneoff/mine"}, "pvc://results/mine/prepared"),
        ({"cluster": {"volume": {"claim": "results"}}, "artifacts": "s3://bucket/mine"}, "s3://bucket/mine/prepared"),
    ],
)
def test_prepared_data_is_next_to_the_record_by_default(changes: dict[str, Any], data: str) -> None:
    assert as_the_study_says(study(**changes)).data == data


def test_options_of_the_command_override_the_cluster_section() -> None:
    place = place_of(study(**ON_CLUSTER), "other", "image:1", "s3://b/p", 2, "s3")
    assert place == Place("other", "image:1", "s3://b/p", 2, "s3")


@pytest.mark.parametrize("mount", ["/tmp", "/var/lib/tuneoff/checkpoints", "/data"])
def test_a_volume_mounted_at_a_folder_of_the_trials_is_refused(mount: str) -> None:
    plan = study(cluster={"volume": {"claim": "results", "mount": mount}})
    with pytest.raises(StudyError, match=f"cluster.volume.mount '{mount}' is a folder that trials use themselves"):
        planned(plan, "random", place=Place("n", "i", "pvc://elsewhere/x"))


def test_a_trials_pod_meets_the_restricted_security_standard() -> None:
    (one,) = planned(study(), "random")
    pod = job(one)["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container(one)["securityContext"]["readOnlyRootFilesystem"] is True
    assert container(one)["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert job(one)["spec"]["backoffLimit"] == 0, "a trial that fails is an outcome, and not tried again unseen"


def as_katib_starts_it(one: Planned, texts: Mapping[str, str]) -> list[str]:
    """Return the arguments of a trial's process, after the template, the pod's command and Katib's shell are applied."""
    text = json.dumps(job(one))
    for name, value in {**texts, "trial-name": f"{one.name}-abcd1234"}.items():
        text = text.replace(f"${{trialParameters.{name}}}", value)
    pod = json.loads(text)["spec"]["template"]["spec"]["containers"][0]
    line = " ".join([*pod["command"], *pod["args"], "1>/var/log/katib/metrics.log 2>&1", "&&", "echo completed"])
    words = shlex.split(line)
    return words[: words.index("1>/var/log/katib/metrics.log")]


def test_every_value_reaches_a_trial_unchanged() -> None:
    odd = ["relu", True, False, 0.5, 1, -3, 1e-05, "a.b-c_d", "x:y", "50%", "a,b", "+1", "a@b/c"]
    plan = study(space={"a": {"type": "categorical", "values": odd}, "b": PARAMETERS["float with log"]})
    (one,) = planned(plan, "random")
    parameter = plan.space["a"]
    assert isinstance(parameter, Categorical)
    for value in odd:
        words = as_katib_starts_it(one, {"a": entry.text_of(value), "b": "0.0123"})
        assert words[:3] == ["python", "-m", "tuneoff.components.tuner.one"]
        given = entry._parser().parse_args(words[3:])
        assert (given.data, given.epochs, given.seed, given.trial) == ("/data/prepared/mnist", 9, 0, f"{one.name}-abcd1234")
        config = entry.config_of(plan.space, dict(entry._pair(text) for text in given.values))
        assert config == {"a": value, "b": 0.0123}
        assert type(config["a"]) is type(value)


def test_a_trial_gets_the_study_but_nothing_about_this_machine(tmp_path: Path) -> None:
    plan = study(
        datasets=[{"name": "mine", "path": str(tmp_path / "mine.npz")}],
        artifacts=str(tmp_path / "store"),
        tracking={"uri": "http://localhost:5000"},
        training={"batch_size": 64},
    )
    (one,) = planned(plan, "random")
    assert str(tmp_path) not in one.yaml()
    assert "localhost" not in one.yaml()
    (text,) = [e["value"] for e in container(one)["env"] if e["name"] == entry.STUDY]
    told = Study.model_validate_json(text)
    assert (told.training, told.space, told.model, told.objective) == (plan.training, plan.space, plan.model, plan.objective)


@pytest.mark.parametrize(
    "data", ["/data", "pvc://", "pvc://Claim/x", "http://host/x", "s3://", "s3://bucket/a b", "pvc://c/$(X)"]
)
def test_data_that_no_trial_could_read_is_refused(data: str) -> None:
    with pytest.raises(StudyError, match="--data"):
        planned(study(), "random", place=Place("n", "i", data))


# Golden files

STUDIES: dict[str, tuple[dict[str, Any], tuple[str, ...], Place]] = {
    "random": ({"name": "paper", "datasets": ["mnist"], "methods": ["random"], "budget": {"epochs": 300}}, (), PLACE),
    "grid": ({"name": "paper", "datasets": ["mnist"], "methods": ["grid"], "budget": {"epochs": 300}}, (), PLACE),
    "bayesianoptimization": (
        {
            "name": "logs",
            "datasets": ["cifar10"],
            "methods": ["bayes"],
            "space": {"learning_rate": PARAMETERS["float with log"], "layers": PARAMETERS["int"], "act": CHOICE},
            "model": "mine:model",
            "objective": {"metric": "val_loss", "epoch": "last"},
            "budget": {"trials": 50},
            "resources": {"cpu": "4", "memory": "8Gi", "gpu": 1},
        },
        (),
        Place("team", "registry.example/tuneoff/tuner-gpu@sha256:" + "0" * 64, "s3://bucket/prepared", secret="s3-credentials"),
    ),
    "hyperband": ({"name": "paper", "datasets": ["mnist"], "methods": ["hyperband"], "budget": {"epochs": 300}}, (), PLACE),
    "cluster": (
        {"name": "paper", "datasets": ["mnist"], "methods": ["hyperopt-tpe"], "budget": {"epochs": 300}, **ON_CLUSTER},
        (),
        as_the_study_says(study(**ON_CLUSTER)),
    ),
    "pbt": (
        {
            "name": "paper",
            "datasets": ["mnist"],
            "methods": ["random"],
            "space": {
                "dropout": PARAMETERS["float with step"],
                "activation": {"type": "categorical", "values": ["relu", "sigmoid"]},
            },
            "budget": {"epochs": 300},
        },
        ("pbt",),
        PLACE,
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_experiment_equals_the_golden_file(name: str) -> None:
    sections, named, place = STUDIES[name]
    plan = Study.model_validate(sections)
    (one,) = planned(plan, *named, place=place)
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("TUNEOFF_REWRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(one.yaml())
    assert one.yaml() == file.read_text()


# As kubectl and Katib read the file


def misplaced_types(manifest: Mapping[str, Any]) -> list[str]:
    """Return the fields whose type differs from Katib's Go structs (for the Job: from Kubernetes' schema).

    The models of kubeflow-katib-api are generated from these structs. They accept no number as a string, nor the reverse.
    """
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    problems = []
    try:
        read = models.V1beta1Experiment.from_dict(dict(manifest))
        assert read is not None
        assert read.to_dict() == manifest
    except ValidationError as error:
        problems += [".".join(map(str, e["loc"])) for e in error.errors()]
    job = {**manifest["spec"]["trialTemplate"]["trialSpec"], "metadata": {"name": "named-by-katib"}}
    try:
        kubernetes_validate.validate(job, "1.31", strict=True)
    except kubernetes_validate.ValidationError as error:
        problems.append(".".join(map(str, error.path)))
    return problems


ODD_TEXTS = ["1e-05", "0o17", "-1", "yes", "1_000", ".5", "on", "2024-01-01", "0x1F"]
"""Texts that a YAML reader may parse as numbers, booleans or dates, and that the shell before a trial does not change."""
ODD_SECTIONS: dict[str, Any] = {
    "space": {
        "rate": {"type": "float", "low": 1e-05, "high": 0.1, "log": True},
        "y": {"type": "categorical", "values": ODD_TEXTS},
        "steps": {"type": "int", "low": 1, "high": 9},
    },
    "resources": {"cpu": "1", "memory": "1000000000"},
    "cluster": {
        "node_selector": {"pool": "1e5"},
        "tolerations": [{"key": "on", "operator": "Equal", "value": "0o17"}],
        "env": {f"ODD_{n}": text for n, text in enumerate(ODD_TEXTS)},
    },
}


def test_the_models_of_katibs_api_distinguish_numbers_from_strings() -> None:
    """Otherwise the tests of types below would prove nothing."""
    for name in ("min", "max", "step", "distribution"):
        with pytest.raises(ValidationError):
            models.V1beta1FeasibleSpace.from_dict({name: 1e-05})
    for sections in ({"name": 1}, {"parameterType": True}, {"feasibleSpace": {"list": ["a", 1]}}):
        with pytest.raises(ValidationError):
            models.V1beta1ParameterSpec.from_dict(sections)
    for sections in (
        {"parallelTrialCount": "1"},
        {"maxTrialCount": 1.5},
        {"maxFailedTrialCount": "1"},
        {"objective": {"goal": "1"}},
    ):
        with pytest.raises(ValidationError):
            models.V1beta1ExperimentSpec.from_dict(sections)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", STUDIES)
def test_every_reader_finds_katibs_types_in_a_golden_file(name: str, reader: str) -> None:
    (manifest,) = READERS[reader]((GOLDEN / f"{name}.yaml").read_text())
    assert misplaced_types(manifest) == []
    assert [manifest] == READERS["YAML 1.1"]((GOLDEN / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", STUDIES)
def test_kubectl_finds_katibs_types_in_a_golden_file(name: str) -> None:
    text = (GOLDEN / f"{name}.yaml").read_text()
    assert [go(text)] == READERS["YAML 1.1"](text)


def scalars_of_spaces(node: yaml.Node, inside: bool = False) -> Iterator[yaml.ScalarNode]:
    """Yield the scalar nodes of all feasible spaces below a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from scalars_of_spaces(value, inside or key.value == "feasibleSpace")
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from scalars_of_spaces(item, inside)
    elif isinstance(node, yaml.ScalarNode) and inside:
        yield node


@pytest.mark.parametrize("name", STUDIES)
def test_every_value_of_a_feasible_space_is_quoted(name: str) -> None:
    scalars = list(scalars_of_spaces(yaml.compose((GOLDEN / f"{name}.yaml").read_text())))
    assert scalars
    assert [scalar.value for scalar in scalars if scalar.style not in ("'", '"')] == []


@pytest.mark.parametrize("reader", READERS)
def test_texts_that_look_like_numbers_are_strings_everywhere_in_a_study(reader: str) -> None:
    (one,) = planned(study(**ODD_SECTIONS), "random", place=as_the_study_says(study(**ODD_SECTIONS)))
    (manifest,) = READERS[reader](one.yaml())
    assert misplaced_types(manifest) == []
    assert manifest == one.manifest


def test_kubectl_reads_a_bound_of_1e_05_as_a_string() -> None:
    """Katib refuses a number: cannot unmarshal number into Go struct field FeasibleSpace.min of type string."""
    (one,) = planned(study(**ODD_SECTIONS), "random", place=as_the_study_says(study(**ODD_SECTIONS)))
    manifest = go(one.yaml())
    assert manifest["spec"]["parameters"][0]["feasibleSpace"]["min"] == "1e-05"
    assert manifest == one.manifest


MAGNITUDES = st.floats(1e-320, 1e300) | st.integers(0, 10**15).map(float)
BOUNDS = st.lists(MAGNITUDES | MAGNITUDES.map(lambda x: -x), min_size=2, max_size=2, unique=True).map(sorted)


@settings(deadline=None, max_examples=100)
@given(BOUNDS)
@example([1e-05, 0.1])
@example([-1e-320, 1e300])
@example([-1e16, 1e22])
def test_any_float_bound_is_parsed_as_a_string_of_the_same_number(bounds: list[float]) -> None:
    low, high = bounds
    (one,) = planned(study(space={"a": {"type": "float", "low": low, "high": high}}), "random")
    written = one.yaml()
    for name, reader in READERS.items():
        (manifest,) = reader(written)
        assert models.V1beta1Experiment.from_dict(manifest) is not None, name
        space = manifest["spec"]["parameters"][0]["feasibleSpace"]
        assert (float(space["min"]), float(space["max"])) == (low, high), name


# The page


def table(page: str, head: str) -> list[list[str]]:
    """Return the rows of the page's table with this header."""
    lines = page[page.index(head) :].splitlines()
    rows = [line for line in lines[: lines.index("")] if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


PAGE = (Path(__file__).parents[2] / "docs" / "katib.md").read_text()


def test_the_page_names_the_counterparts_that_there_are() -> None:
    rows = table(PAGE, "| Katib | stands for")
    assert [row[0].strip("`") for row in rows] == list(ALGORITHMS)
    for row, algorithm in zip(rows, ALGORITHMS.values(), strict=True):
        counterparts = {spec.name for spec in REGISTRY.values() if algorithm.name in spec.katib}
        assert {SHORT.get(name, name) for name in re.findall(r"`([^`]+)`", row[1])} == counterparts
        engine, _, version = row[2].partition(" ")
        assert engine == algorithm.engine
        assert version == ENGINES.get(engine, "")
        assert row[3] == ("yes" if algorithm.seeded else "no")


def test_the_docs_show_the_matrix() -> None:
    rows = {name: row[1:] for row in table(PAGE, "| | categorical") for name in re.findall(r"`([^`]+)`", row[0])}
    assert set(rows) == set(CAN)
    for name, marks in CAN.items():
        assert "".join("-" if cell == "no" else "+" for cell in rows[name]) == marks, name


# The command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a study the current folder."""
    monkeypatch.chdir(tmp_path)
    sections = {"name": "small", "datasets": ["mnist"], "methods": ["random", "hyperband"], "budget": {"epochs": 120}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(sections))
    return tmp_path


def tuneoff(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["katib", "small.yaml", *arguments])


def test_the_command_writes_one_file_per_experiment_and_prints_its_path(folder: Path) -> None:
    said = tuneoff("--namespace", "team", "--data", "s3://bucket/prepared")
    assert said.exit_code == 0
    files = ["runs/small/katib/small-mnist-random-0.yaml", "runs/small/katib/small-mnist-hb-0.yaml"]
    assert said.stdout.splitlines() == files
    assert "Note: Katib 0.19 ends hyperband after the first rung" in said.stderr
    for file in files:
        manifest = yaml.safe_load(Path(file).read_text())
        assert (manifest["kind"], manifest["metadata"]["namespace"]) == ("Experiment", "team")


def test_a_dry_run_writes_nothing_and_shows_what_katib_would_collect(folder: Path) -> None:
    said = tuneoff("--dry-run", "--algorithm", "tpe")
    assert said.exit_code == 0
    assert "small-mnist-tpe-0: tpe, 12 trials of 10 epochs, 1 at a time" in said.stdout
    assert "2026-11-25T01:00:34.347Z  val_accuracy = 0.805555582" in said.stdout
    assert "val_accuracy: min 0.805556, max 1, latest 1" in said.stdout
    assert [p.name for p in folder.iterdir()] == ["small.yaml"]


def test_results_are_not_collected_without_the_clusters_volume(folder: Path) -> None:
    file = folder / "small.yaml"
    on_volume = {"artifacts": "/on-no-machine/small", "cluster": {"volume": {"claim": "c", "mount": "/on-no-machine"}}}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **on_volume}))
    said = tuneoff("--collect", "--from", str(folder))
    assert isinstance(said.exception, StudyError)
    assert "on the cluster's volume, which is not mounted here. Collect in a pod that mounts it" in str(said.exception)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--algorithm", "darts"), "--algorithm 'darts' is not an algorithm of Katib: choose random, grid"),
        (("--algorithm", "pbt"), "pbt: dropout"),
        (("--from", "x"), "--from is only for --collect"),
        (("--collect", "--from", "nowhere"), "--from 'nowhere' is not a folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    said = tuneoff(*arguments)
    assert isinstance(said.exception, StudyError)
    assert sentence in str(said.exception)
    assert [p.name for p in folder.iterdir()] == ["small.yaml"]
