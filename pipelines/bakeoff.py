"""Define the KFP pipeline: prepare each data set, run a tuner and an evaluator per method × data set, and write a report."""

import hashlib
import json
from typing import Any

from kfp import dsl, kubernetes

from tuneoff._version import __version__
from tuneoff.cluster.step_images import image_of
from tuneoff.components.data_prep.component import data_prep
from tuneoff.components.evaluator.component import evaluate
from tuneoff.components.reporter.component import report
from tuneoff.components.tuner.component import tune
from tuneoff.core.cluster_settings import Cluster, StepPlace
from tuneoff.core.runtime.pod import pod_label
from tuneoff.core.study import Dataset, Resources, Step, StepResources, Study
from tuneoff.data.registry import BUILTINS


def bakeoff(study: Study) -> Any:
    """Return the study's KFP pipeline. Its parameters are the store for the results, the MLflow server, and the study in JSON."""
    plan = portable(study).model_dump_json(exclude={"cluster"})

    @dsl.pipeline(name=pipeline_name(study), description=f"Tuneoff study {study.name}", pipeline_config=_whole_run(study.cluster))
    def pipeline(store: str, tracking: str = "", study_json: str = plan) -> None:
        final = report(study=study_json, store=store, tracking=tracking)
        _set(final, study, "reporter", "report")
        with dsl.ExitHandler(final, name="bake-off"):
            for number, dataset in enumerate(study.datasets):
                prepared = data_prep(
                    study=study_json,
                    dataset=dataset.name,
                    store=store,
                    tracking=tracking if number == 0 else "",  # one step makes the study's MLflow run, before the others need it
                    version=__version__,
                    checksum=checksum(dataset),
                )
                _set(prepared, study, "data_prep", f"prepare {dataset.name}", dataset)
                prepared.set_caching_options(study.resources.cache and bool(checksum(dataset)))
                with dsl.ParallelFor([m.label for m in study.methods], name=f"methods on {dataset.name}") as method:
                    cell = {"dataset": dataset.name, "method": method, "store": store, "tracking": tracking}
                    tuned = tune(**cell, prepared=prepared.outputs["prepared"])  # the study lies next to the prepared data
                    _set(tuned, study, "tuner", f"tune on {dataset.name}", dataset)
                    evaluated = evaluate(**cell, prepared=prepared.outputs["prepared"]).after(tuned)
                    _set(evaluated, study, "evaluator", f"evaluate on {dataset.name}", dataset)

    return pipeline


def pipeline_name(study: Study) -> str:
    """Return the pipeline's name. KFP allows lower-case letters, digits and hyphens."""
    return f"tuneoff-{study.name}".replace(".", "-").replace("_", "-")


def portable(study: Study) -> Study:
    """Return the study without settings of the place where it runs, which the pipeline or its parameters contain instead.

    The study's text is part of KFP's cache key. Without these settings, changed memory or CPUs do not prepare the data again.
    """
    tracking = study.tracking.model_copy(update={"uri": None})
    steps = {step: StepResources(retries=own.retries) for step, own in study.resources.steps.items() if own.retries is not None}
    resources = study.resources.model_copy(
        update={"cpu": None, "memory": None, "gpu": 0, "gpu_type": Resources().gpu_type, "steps": steps}
    )
    return study.model_copy(update={"artifacts": None, "tracking": tracking, "cluster": Cluster(), "resources": resources})


def checksum(dataset: Dataset) -> str:
    """Return a checksum of a built-in data set for KFP's cache key. It is empty for a file, whose changes KFP does not notice."""
    if dataset.path is not None or dataset.name not in BUILTINS:
        return ""
    return hashlib.sha256(json.dumps(dict(BUILTINS[dataset.name].sums), sort_keys=True).encode()).hexdigest()


def _whole_run(cluster: Cluster) -> dsl.PipelineConfig | None:
    if cluster.ttl_seconds is None and cluster.deadline_seconds is None:
        return None
    return dsl.PipelineConfig(ttl_seconds_after_finished=cluster.ttl_seconds, active_deadline_seconds=cluster.deadline_seconds)


def _set(task: Any, study: Study, step: Step, title: str, dataset: Dataset | None = None) -> None:
    """Set the image, requests and limits, GPUs, retries, caching, labels and nodes of one task.

    KFP 2.17 uses these retries only for lost pods. A step that failed is retried inside its pod instead (core/runtime/pod.py).
    """
    resources, backoff = study.resources, study.cluster.backoff
    own = resources.of(step)
    task.set_display_name(title)
    task.set_caching_options(False)
    task.set_container_image(image_of(study, step))
    if own.retries:
        task.set_retry(own.retries, f"{backoff.seconds}s", backoff.factor, f"{backoff.longest_seconds}s")
    if own.cpu:
        task.set_cpu_request(own.cpu).set_cpu_limit(own.cpu)
    if own.memory:
        task.set_memory_request(own.memory).set_memory_limit(own.memory)
    if own.gpu:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(own.gpu)
    labels = {"study": study.name, "step": step, "dataset": dataset.name if dataset else ""}
    for name, value in labels.items():  # the step itself adds the label of the method, which is known only when it runs
        if value:
            kubernetes.add_pod_label(task, f"tuneoff/{name}", pod_label(value))
    _mount(task, study.cluster)
    _place(task, study.cluster.of(step))


def _mount(task: Any, cluster: Cluster) -> None:
    """Set what every pod has: the volume, variables, secrets, the policy for pulling its image, and a user other than root."""
    if cluster.volume is not None:
        kubernetes.mount_pvc(task, cluster.volume.claim, cluster.volume.mount)
    for name, value in cluster.env.items():
        task.set_env_variable(name, value)
    for secret, variables in cluster.secrets.items():
        for variable, key in variables.items():
            kubernetes.use_secret_as_env(task, secret, {key: variable})
    if cluster.images.pull_policy is not None:
        kubernetes.set_image_pull_policy(task, cluster.images.pull_policy)
    if cluster.images.pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.images.pull_secrets)
    if cluster.run_as_non_root:
        kubernetes.set_security_context(task, run_as_non_root=True)


def _place(task: Any, place: StepPlace) -> None:
    """Set the nodes on which the pod may run, and its time limit."""
    for label, value in (place.node_selector or {}).items():
        kubernetes.add_node_selector(task, label, value)
    for taint in place.tolerations or ():
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect, taint.seconds)
    if place.timeout_seconds is not None:
        kubernetes.set_timeout(task, place.timeout_seconds)
