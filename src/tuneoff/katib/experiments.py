"""Write a study as Katib Experiments, one per algorithm, data set and seed, with the study's space, budget and objective.

Each trial runs Tuneoff's own training. Everything that Katib cannot express is refused. The rules are those of Katib 0.19: its
webhook (pkg/webhook/v1beta1/experiment/validator) and its suggestion services (pkg/suggestion/v1beta1). Both are stricter than
the schema of the custom resource, which accepts anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..cluster.kubernetes_yaml import dump
from ..core.errors import StudyError
from ..core.metrics import CLASSIFICATION, names_of
from ..core.space import Categorical, Int
from ..core.study import COLLECTED, Cell, Dataset, MethodChoice, Study
from .algorithms import Algorithm
from .budget import RESOURCE, Plan, plan_of
from .job import CONTAINER, Place, job_of
from .refusals import refusals
from .trial import text_of

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 40
LONGEST_PBT_NAME = 26
"""Katib's pbt adds 37 characters to form a trial's name, which is also a label and a Job's name, limited to 63 characters."""
METRICS = ("epoch", *names_of(CLASSIFICATION), "seconds")
"""Values that a trial prints after each epoch and that Katib stores."""


@dataclass(frozen=True)
class Planned:
    """One experiment, with the cell and the seed of the search that it runs."""

    cell: Cell
    algorithm: Algorithm
    seed: int
    plan: Plan
    name: str
    manifest: Mapping[str, Any]

    def yaml(self) -> str:
        """Return the manifest as a file for `kubectl apply`. Feasible spaces are quoted, because Katib accepts only strings."""
        return dump([self.manifest], quoted=["feasibleSpace"], sort_keys=False, width=120)


# Experiments


def experiments(study: Study, algorithms: list[Algorithm], place: Place) -> list[Planned]:
    """Return an experiment for each algorithm, data set and seed. An algorithm without a random_state gets only the first seed.

    Raises:
        StudyError: Katib cannot express the study. The message has one sentence per problem.
    """
    sentences = [sentence for a in algorithms for sentence in refusals(study, a, place.parallel)]
    if sentences:
        raise StudyError("\n".join(dict.fromkeys(sentences)))
    planned = [
        _planned(study, algorithm, dataset, seed, place)
        for dataset in study.datasets
        for algorithm in algorithms
        for seed in (study.seeds if algorithm.seeded else study.seeds[:1])
    ]
    _check_names(planned)
    return planned


def _check_names(planned: list[Planned]) -> None:
    for one in planned:
        most = LONGEST_PBT_NAME if one.algorithm.name == "pbt" else LONGEST_NAME
        if not NAME.fullmatch(one.name):
            raise StudyError(f"Katib refuses the experiment name {one.name!r}. Give the study a name that begins with a letter.")
        if len(one.name) > most:
            raise StudyError(
                f"The experiment name {one.name!r} has {len(one.name)} characters, but Katib allows {most} for"
                f" {one.algorithm.name}. Give the study or the data set a shorter name."
            )
    names = [one.name for one in planned]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise StudyError(
            f"Two experiments would have the name {doubled!r}. Give the data sets names that differ in more than . and _."
        )


def _planned(study: Study, algorithm: Algorithm, dataset: Dataset, seed: int, place: Place) -> Planned:
    label = COLLECTED + algorithm.name
    cell = Cell(dataset=dataset.name, method=MethodChoice(name=label, label=label))
    name = re.sub(r"[._]", "-", f"{study.name}-{dataset.name}-{algorithm.short}-{seed}")
    plan = plan_of(study, algorithm, place.parallel)
    settings = {**plan.settings, **({"random_state": str(seed)} if algorithm.seeded else {})}
    plan = Plan(plan.trials, plan.parallel, plan.epochs, settings, plan.resume)
    return Planned(cell, algorithm, seed, plan, name, _manifest(study, algorithm, cell, seed, plan, name, place))


def _manifest(study: Study, algorithm: Algorithm, cell: Cell, seed: int, plan: Plan, name: str, place: Place) -> dict[str, Any]:
    """Return the Experiment, built with the models of kubeflow-katib-api, which check every field."""
    try:
        from kubeflow_katib_api import models
    except ImportError:
        raise StudyError("tuneoff katib needs the package kubeflow-katib-api. Run: pip install 'tuneoff[katib]'") from None
    goal = study.objective
    best = "max" if goal.sign < 0 else "min"
    strategies = dict.fromkeys(METRICS, "latest") | {goal.metric: best if goal.epoch == "best" else "latest"}
    labels = {"app.kubernetes.io/managed-by": "tuneoff", "tuneoff/study": study.name, "tuneoff/dataset": cell.dataset}
    names = [*study.space, *([RESOURCE] if algorithm.name == "hyperband" else [])]
    spec = models.V1beta1ExperimentSpec(
        maxTrialCount=plan.trials,
        parallelTrialCount=plan.parallel,
        maxFailedTrialCount=plan.trials,
        resumePolicy=plan.resume,
        objective=models.V1beta1ObjectiveSpec(
            type="maximize" if goal.sign < 0 else "minimize",
            objectiveMetricName=goal.metric,
            additionalMetricNames=[m for m in METRICS if m != goal.metric],
            metricStrategies=[models.V1beta1MetricStrategy(name=m, value=s) for m, s in strategies.items()],
        ),
        algorithm=models.V1beta1AlgorithmSpec(
            algorithmName=algorithm.name,
            algorithmSettings=[models.V1beta1AlgorithmSetting(name=n, value=v) for n, v in plan.settings.items()],
        ),
        metricsCollectorSpec=models.V1beta1MetricsCollectorSpec(collector=models.V1beta1CollectorSpec(kind="StdOut")),
        parameters=[
            models.V1beta1ParameterSpec(name=n, parameterType=t, feasibleSpace=models.V1beta1FeasibleSpace(**s))
            for n, t, s in _parameters(study, algorithm)
        ],
        trialTemplate=models.V1beta1TrialTemplate(
            retain=True,  # only the pods' logs contain the learning curves, Katib's trials do not
            primaryContainerName=CONTAINER,
            trialParameters=[
                models.V1beta1TrialParameterSpec(name=n, reference=r, description=d)
                for n, r, d in [
                    *((n, n, "hyperparameter") for n in names),
                    ("trial-name", "${trialSpec.Name}", "its name"),
                ]
            ],
            trialSpec=job_of(study, algorithm, cell, seed, plan, place),
        ),
    )
    metadata = models.IoK8sApimachineryPkgApisMetaV1ObjectMeta(name=name, namespace=place.namespace, labels=labels)
    experiment = models.V1beta1Experiment(apiVersion="kubeflow.org/v1beta1", kind="Experiment", metadata=metadata, spec=spec)
    manifest: dict[str, Any] = experiment.to_dict()
    return manifest


def _parameters(study: Study, algorithm: Algorithm) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, type and feasible space of each parameter. For a grid, list the levels that our own grid search uses."""
    for name, parameter in study.space.items():
        levels = parameter.levels() if algorithm.name == "grid" or isinstance(parameter, Categorical) else None
        if isinstance(parameter, Categorical) or levels is not None:
            yield name, "categorical", {"list": [text_of(v) for v in levels or []]}
            continue
        bounds = {"min": text_of(parameter.low), "max": text_of(parameter.high)}
        step = {} if parameter.step is None else {"step": text_of(parameter.step)}
        yield (
            name,
            "int" if isinstance(parameter, Int) else "double",
            {**bounds, **step, "distribution": "logUniform" if parameter.log else "uniform"},
        )
    if algorithm.name == "hyperband":
        yield RESOURCE, "int", {"min": "1", "max": str(study.budget.epochs_per_trial)}
