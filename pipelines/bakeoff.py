"""The one pipeline: data preparation per data set, a tuner and an evaluator per method × data set, a report at the end."""

from typing import Any

from kfp import dsl

from ..components.core.study import Resources, Step, Study
from ..components.data_prep.component import data_prep
from ..components.evaluator.component import evaluate
from ..components.reporter.component import report
from ..components.tuner.component import tune


def bakeoff(study: Study) -> Any:
    """The study's KFP pipeline. Its parameters: where the results go (`store`), the MLflow server (`tracking`), the study."""
    plan = portable(study).model_dump_json()
    resources = study.resources

    @dsl.pipeline(name=f"tuneoff-{study.name}".replace(".", "-").replace("_", "-"), description=f"Tuneoff study {study.name}")
    def pipeline(store: str, tracking: str = "", study_json: str = plan) -> None:
        final = report(study=study_json, store=store, tracking=tracking)
        _set(final, resources, "reporter", "report")
        with dsl.ExitHandler(final, name="bake-off"):
            for dataset in study.datasets:
                prepared = data_prep(study=study_json, dataset=dataset.name, store=store)
                _set(prepared, resources, "data_prep", f"prepare {dataset.name}")
                prepared.set_caching_options(resources.cache and dataset.path is None)
                with dsl.ParallelFor([m.label for m in study.methods], name=f"methods on {dataset.name}") as method:
                    cell = {"study": study_json, "dataset": dataset.name, "method": method, "store": store, "tracking": tracking}
                    tuned = tune(**cell, prepared=prepared.outputs["prepared"])
                    _set(tuned, resources, "tuner", f"tune on {dataset.name}")
                    evaluated = evaluate(**cell, prepared=prepared.outputs["prepared"]).after(tuned)
                    _set(evaluated, resources, "evaluator", f"evaluate on {dataset.name}")

    return pipeline


def portable(study: Study) -> Study:
    """The study without what belongs to the place where it runs: those are the pipeline's parameters."""
    tracking = study.tracking.model_copy(update={"uri": None})
    return study.model_copy(update={"artifacts": None, "tracking": tracking})


def _set(task: Any, resources: Resources, step: Step, title: str) -> None:
    """Requests and limits, GPUs, retries and caching of one task."""
    own = resources.of(step)
    task.set_display_name(title)
    task.set_caching_options(False)
    if own.retries:
        task.set_retry(own.retries, backoff_duration="2s", backoff_factor=2.0)
    if own.cpu:
        task.set_cpu_request(own.cpu).set_cpu_limit(own.cpu)
    if own.memory:
        task.set_memory_request(own.memory).set_memory_limit(own.memory)
    if own.gpu:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(own.gpu)
