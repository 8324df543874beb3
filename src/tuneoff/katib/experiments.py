"""Write a study as Katib Experiments, one per algorithm, data set and seed, with the study's space, budget and objective.

Each trial runs Tuneoff's own training. Everything that Katib cannot express is refused. The rules are those of Katib 0.19: its
webhook (pkg/webhook/v1beta1/experiment/validator) and its suggestion services (pkg/suggestion/v1beta1). Both are stricter than
the schema of the custom resource, which accepts anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..cluster.kubernetes_yaml import dump
from ..core.cluster_settings import Cluster
from ..core.errors import StudyError
from ..core.metrics import CLASSIFICATION, names_of
from ..core.runtime.images import image_in
from ..core.space import Categorical, Float, Int
from ..core.study import COLLECTED, Cell, Dataset, MethodChoice, Resources, Study, Tracking
from ..methods.ray_tune import SHAPING
from ..methods.registry import REGISTRY, SHORT
from .trial import SAFE, STUDY, text_of

Kind = Literal["categorical", "int", "int with log", "int with step", "float", "float with log", "float with step"]
KINDS: tuple[Kind, ...] = (
    *("categorical", "int", "int with log", "int with step"),
    *("float", "float with log", "float with step"),
)
"""The kinds of parameters that Katib's algorithms treat differently."""

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 40
LONGEST_PBT_NAME = 26
"""Katib's pbt adds 37 characters to form a trial's name, which is also a label and a Job's name, limited to 63 characters."""
CONTAINER = "train"
METRICS = ("epoch", *names_of(CLASSIFICATION), "seconds")
"""Values that a trial prints after each epoch and that Katib stores."""
RESOURCE = "target-epochs"
"""The parameter with which hyperband sets a trial's epochs. It is unique: hyperparameter names cannot contain a hyphen."""
ETA = 3
CHECKPOINTS = "/var/lib/tuneoff/checkpoints"
POPULATION, LEAST_POPULATION = 8, 5
PBT_STEPS = 5
"""Number of parts of a full training. After each part, pbt changes values. ray-pbt uses the same number."""


@dataclass(frozen=True)
class Algorithm:
    """One of Katib's algorithms, and the parameters that its service cannot handle."""

    name: str
    engine: str  # the library that implements it
    short: str  # short name, used in an experiment's name
    cannot: Mapping[Kind, str] = field(default_factory=dict)  # kinds of parameters that it misinterprets, and how
    seeded: bool = True  # whether it accepts a random_state
    from_zero: bool = False  # whether it counts steps from 0 instead of from low


_SAMPLED_EVENLY = "samples it uniformly and ignores its distribution"
_NO_STEPS = "ignores steps"

ALGORITHMS: dict[str, Algorithm] = {
    a.name: a
    for a in (
        Algorithm(
            "random",
            "hyperopt",
            "random",
            from_zero=True,
        ),
        Algorithm("grid", "optuna", "grid"),
        Algorithm(
            "bayesianoptimization",
            "scikit-optimize",
            "bayes",
            {
                "int with log": _SAMPLED_EVENLY,
                "int with step": _NO_STEPS,
                "float": "searches every double on a logarithmic scale",
                "float with step": "ignores steps, and searches every double on a logarithmic scale",
            },
        ),
        Algorithm("tpe", "hyperopt", "tpe", from_zero=True),
        Algorithm("multivariate-tpe", "optuna", "mtpe"),
        Algorithm("cmaes", "goptuna", "cmaes", {"int with log": _SAMPLED_EVENLY, "float with log": _SAMPLED_EVENLY}),
        Algorithm(
            "sobol",
            "goptuna",
            "sobol",
            {
                "int": "never samples its highest value",
                "int with log": "never samples its highest value",
                "int with step": "never samples its highest value",
                "float with log": _SAMPLED_EVENLY,
            },
            seeded=False,
        ),
        Algorithm(
            "hyperband",
            "katib",
            "hb",
            {
                "int with log": _SAMPLED_EVENLY,
                "int with step": _NO_STEPS,
                "float with log": _SAMPLED_EVENLY,
                "float with step": _NO_STEPS,
            },
            seeded=False,
        ),
        Algorithm(
            "pbt",
            "katib",
            "pbt",
            {
                "int": "cannot parse the bounds of an int in its own output",
                "int with log": "cannot parse the bounds of an int in its own output",
                "int with step": "cannot parse the bounds of an int in its own output",
                "float": "needs a step for every double to sample its first values",
                "float with log": "needs a step for every double to sample its first values",
            },
            seeded=False,
        ),
    )
}
"""Katib's algorithms by name. The entries of `cannot` form a matrix algorithm × kind of parameter. A kind that an algorithm's
`cannot` does not list means the same in Katib as in the study."""


@dataclass(frozen=True)
class Place:
    """Where and in which image the trials run, in addition to the settings of the study's cluster section."""

    namespace: str
    image: str
    data: str  # pvc://CLAIM/FOLDER or s3://bucket/prefix, with one folder of prepared data per data set
    parallel: int = 1
    secret: str | None = None  # a Kubernetes secret, all keys of which become environment variables


def place_of(
    study: Study, namespace: str | None, image: str | None, data: str | None, parallel: int, secret: str | None
) -> Place:
    """Return where the trials run. Values that are None come from the study's cluster section and resources."""
    cluster = study.cluster
    own = image_in(cluster.images, "tuner", gpu=bool(study.resources.of("tuner").gpu))
    return Place(namespace or cluster.namespace or "kubeflow", image or own, data or _data_of(study), parallel, secret)


def _data_of(study: Study) -> str:
    """Return the default location of prepared data: `prepared` next to the record, on S3 or on the study's volume."""
    volume, artifacts = study.cluster.volume, study.artifacts
    if artifacts is not None and artifacts.startswith("s3://"):
        return f"{artifacts.rstrip('/')}/prepared"
    if volume is None:
        return "pvc://tuneoff/prepared"
    folder = artifacts.removeprefix(volume.mount) if artifacts is not None and volume.holds(artifacts) else f"/runs/{study.name}"
    return f"pvc://{volume.claim}{folder.rstrip('/')}/prepared"


@dataclass(frozen=True)
class Plan:
    """How an algorithm spends the study's budget."""

    trials: int
    parallel: int
    epochs: int  # of each trial
    settings: Mapping[str, str]  # settings of the algorithm
    resume: str = "Never"


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


# Which algorithms


def algorithms_of(study: Study, named: tuple[str, ...]) -> list[Algorithm]:
    """Return the named algorithms or, if none is named, the counterparts of the study's methods.

    Raises:
        StudyError: A method of the study has no counterpart in Katib.
    """
    if named:
        return [ALGORITHMS[name] for name in dict.fromkeys(named)]
    counterparts = {spec.name: ALGORITHMS[name] for spec in REGISTRY.values() for name in spec.katib}
    lacking = [m.label for m in study.methods if SHORT.get(m.name, m.name) not in counterparts]
    if lacking:
        raise StudyError(
            f"{', '.join(lacking)}: Katib has no counterpart of this method. Remove it from the study,"
            f" or choose Katib's algorithms with --algorithm ({', '.join(ALGORITHMS)})."
        )
    return list({a.name: a for m in study.methods for a in [counterparts[SHORT.get(m.name, m.name)]]}.values())


# What Katib cannot express


def kind_of(parameter: Categorical | Int | Float) -> Kind:
    """Return the parameter's kind for Katib. An int with a step of 1 counts as an int without a step."""
    if isinstance(parameter, Categorical):
        return "categorical"
    base: Literal["int", "float"] = "int" if isinstance(parameter, Int) else "float"
    if parameter.log:
        return f"{base} with log"  # type: ignore[return-value]
    stepped = parameter.step is not None and not (isinstance(parameter, Int) and parameter.step == 1)
    return f"{base} with step" if stepped else base  # type: ignore[return-value]


def refusals(study: Study, algorithm: Algorithm, parallel: int = 1) -> list[str]:
    """Return one sentence for each part of the study that Katib's algorithm cannot express; empty if it can express all."""
    sentences = [*_of_the_study(study), *_of_the_space(study, algorithm)]
    return sentences or [*_of_the_budget(study, algorithm, parallel)]


def _of_the_study(study: Study) -> Iterator[str]:
    space = study.space
    conditional = [name for name, p in space.items() if p.when]
    if conditional:
        yield f"Katib has no conditional parameters (when), but the study makes {', '.join(conditional)} conditional."
    for name, parameter in space.items():
        if not isinstance(parameter, Categorical):
            continue
        texts = [text_of(v) for v in parameter.values]
        odd = next((t for t in texts if not SAFE.fullmatch(t)), None)
        if odd is not None:
            yield f"{name}: the shell that starts a trial would change the value {odd!r}. Use only letters, digits and _.,:+@%/-."
        if len(set(texts)) < len(texts):
            yield f"{name}: Katib writes values as text, and two values of this parameter have the same text."
    budget = study.budget
    if budget.seconds is not None:
        yield "budget.seconds has no counterpart in Katib, which counts trials. Give only budget.trials or budget.epochs."


def _of_the_space(study: Study, algorithm: Algorithm) -> Iterator[str]:
    space = study.space
    if algorithm.name == "grid":
        unlisted = [name for name, p in space.items() if p.grid_size() is None]
        if unlisted:
            yield f"grid: Katib's grid refuses a double without a step. Give a step or grid_points for {', '.join(unlisted)}."
        return
    kinds = {name: kind_of(p) for name, p in space.items()}
    for kind in dict.fromkeys(kinds.values()):
        if kind in algorithm.cannot:
            named = ", ".join(name for name, k in kinds.items() if k == kind)
            yield f"{algorithm.name}: {named}: Katib's {algorithm.name} {algorithm.cannot[kind]} ({kind})."
    if algorithm.from_zero:
        for name, p in space.items():
            if isinstance(p, Int | Float) and kinds[name].endswith("step") and not _on_steps_from_zero(p):
                yield (
                    f"{algorithm.name}: {name}: Katib's {algorithm.name} counts steps from 0, so low and high must be"
                    f" multiples of step = {p.step:g}."
                )
    if algorithm.name == "cmaes" and sum(kind != "categorical" for kind in kinds.values()) < 2:
        yield "cmaes: Katib's cmaes needs at least two numeric parameters (int or float)."
    if algorithm.name == "pbt" and study.model == "paper-cnn":
        shaping = [name for name in space if name in SHAPING]
        if shaping:
            yield (
                f"pbt: {', '.join(shaping)}: Katib's pbt continues a trial's weights with changed values of all parameters,"
                " but this parameter sets the shapes of the weights. Remove it from the space."
            )


def _on_steps_from_zero(parameter: Int | Float) -> bool:
    assert parameter.step is not None
    ratios = (parameter.low / parameter.step, parameter.high / parameter.step)
    return all(abs(r - round(r)) < 1e-9 for r in ratios)


def _of_the_budget(study: Study, algorithm: Algorithm, parallel: int) -> Iterator[str]:
    plan = plan_of(study, algorithm, parallel)
    if algorithm.name == "grid" and plan.trials > study.space.grid_size():
        yield (
            f"grid: {plan.trials} trials are more than the {study.space.grid_size()} combinations of the space, which Katib's"
            f" grid refuses. Set budget.trials to {study.space.grid_size()}."
        )
    if algorithm.name == "hyperband":
        yield from _of_hyperbands_budget(study, plan)
    if algorithm.name == "pbt" and plan.parallel < LEAST_POPULATION:
        yield (
            f"pbt: Katib's pbt needs a population of at least {LEAST_POPULATION}, so two generations are {2 * LEAST_POPULATION}"
            f" trials. The budget allows {plan.trials} trials of {plan.epochs} epochs. Give a larger budget."
        )


def _of_hyperbands_budget(study: Study, plan: Plan) -> Iterator[str]:
    budget, wanted, paid = study.budget, _hyperband_epochs(study, plan.parallel), _epochs(study)
    if budget.epochs_per_trial < ETA:
        yield f"hyperband: epochs_per_trial = {budget.epochs_per_trial} leaves no lower rung. Set it to at least {ETA}."
    elif budget.trials is not None and plan.parallel > budget.trials:
        yield (
            f"hyperband: its first rung has {plan.parallel} trials, but budget.trials is {budget.trials}."
            f" Set budget.trials to at least {plan.parallel}."
        )
    elif wanted > paid:
        yield (
            f"hyperband: its {plan.trials} trials need {wanted} epochs, but the budget allows {paid}."
            " Give a larger budget, or a smaller epochs_per_trial."
        )


# The budget


def _epochs(study: Study) -> int:
    """Return the number of epochs that the budget allows, where an epoch trains one model (cross-validation trains several)."""
    budget = study.budget
    by_trials = None if budget.trials is None else budget.trials * study.full_epochs
    return int(min(n for n in (budget.epochs, by_trials) if n is not None)) // study.trainings


def plan_of(study: Study, algorithm: Algorithm, parallel: int = 1) -> Plan:
    """Return how the algorithm spends the budget.

    By default trials run one at a time, so that the algorithm knows each result before it proposes the next trial.
    """
    full = study.budget.epochs_per_trial
    if algorithm.name == "hyperband":
        rung = max(_first_rung(full), parallel)
        return Plan(rung + 1, rung, full, {"r_l": str(full), "eta": str(ETA), "resource_name": RESOURCE})
    if algorithm.name == "pbt":
        step = max(1, round(full / PBT_STEPS))
        trials = _epochs(study) // step
        population = min(POPULATION, trials // 2)
        settings = {"suggestion_trial_dir": CHECKPOINTS, "n_population": str(population), "truncation_threshold": "0.2"}
        return Plan(trials, population, step, settings, resume="FromVolume")
    trials = _epochs(study) // full
    return Plan(trials, min(parallel, trials), full, {})


def _first_rung(full: int) -> int:
    """Return the number of trials in hyperband's first rung. All of them must run at the same time."""
    return int(ETA ** int(math.log(full) / math.log(ETA)))


def _hyperband_epochs(study: Study, rung: int) -> int:
    """Return the epochs of the first rung plus those of the one promoted trial, which trains again from the start."""
    full = study.budget.epochs_per_trial
    least = full // _first_rung(full)
    return (rung + ETA) * least


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
            trialSpec=_job(study, algorithm, cell, seed, plan, place),
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


# The trials


def _job(study: Study, algorithm: Algorithm, cell: Cell, seed: int, plan: Plan, place: Place) -> dict[str, Any]:
    """Return the Job that trains one configuration. It has no name, because Katib names it."""
    folder, volumes, mounts = _data(place.data, study.cluster, cell.dataset)
    epochs = f"${{trialParameters.{RESOURCE}}}" if algorithm.name == "hyperband" else str(plan.epochs)
    arguments = ["--data", folder, "--epochs", epochs, "--seed", str(seed), "--trial", "${trialParameters.trial-name}"]
    if algorithm.name == "pbt":
        arguments += ["--checkpoint", CHECKPOINTS]
    arguments += [f"{name}=${{trialParameters.{name}}}" for name in study.space]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": place.image,
        "command": ["python", "-m", "tuneoff.components.tuner.one"],
        "args": arguments,
        "env": _environment(study.cluster, _as_told(study, cell, seed)),
        "resources": _resources(study.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}, *mounts],
    }
    if study.cluster.images.pull_policy:
        container["imagePullPolicy"] = study.cluster.images.pull_policy
    if place.secret:
        container["envFrom"] = [{"secretRef": {"name": place.secret}}]
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            **({"runAsNonRoot": True} if study.cluster.run_as_non_root else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}, *volumes],
        **_nodes(study.cluster),
    }
    template = {"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}, "spec": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": template}}


def _nodes(cluster: Cluster) -> dict[str, Any]:
    """Return the account, pull secrets, node selector and tolerations of a trial's pod: those of the tuner step, if set."""
    place = cluster.of("tuner")
    named = {"tolerationSeconds": "seconds", **{name: name for name in ("key", "operator", "value", "effect")}}
    tolerations = [
        {theirs: value for theirs, ours in named.items() if (value := getattr(taint, ours)) is not None}
        for taint in place.tolerations or ()
    ]
    wanted = {
        "serviceAccountName": cluster.service_account,
        "imagePullSecrets": [{"name": name} for name in cluster.images.pull_secrets],
        "nodeSelector": dict(place.node_selector or {}),
        "tolerations": tolerations,
    }
    return {name: value for name, value in wanted.items() if value}


def _environment(cluster: Cluster, told: Study) -> list[dict[str, Any]]:
    """Return a trial's environment variables: writable folders, the cluster section's variables and secrets, and the study."""
    texts = {"HOME": SCRATCH, "TMPDIR": SCRATCH, **cluster.env}
    texts[STUDY] = told.model_dump_json(exclude_none=True, exclude={"cluster"})
    secrets = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for secret, variables in cluster.secrets.items()
        for variable, key in variables.items()
    ]
    return [*({"name": name, "value": text} for name, text in texts.items()), *secrets]


def _as_told(study: Study, cell: Cell, seed: int) -> Study:
    """Return the study for a trial: only the settings for training, nothing about this machine."""
    here = {"datasets": [Dataset(name=cell.dataset)], "methods": [cell.method], "seeds": [seed]}
    return study.model_copy(update={**here, "resources": Resources(), "tracking": Tracking(), "artifacts": None})


PVC = re.compile(r"pvc://([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(/[A-Za-z0-9_./-]*)?")
S3 = re.compile(r"s3://[A-Za-z0-9._-]{1,255}(/[A-Za-z0-9_./-]*)?")
MOUNT, SCRATCH = "/data", "/tmp"


def _data(place: str, cluster: Cluster, dataset: str) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the folder of the prepared data set in a trial's pod, and the pod's volumes and mounts (all of them read-only)."""
    claim = PVC.fullmatch(place)
    if claim is None and not S3.fullmatch(place):
        raise StudyError(f"--data {place!r} is not valid. Give pvc://CLAIM/FOLDER or s3://bucket/prefix of the prepared data.")
    mounts = {} if cluster.volume is None else {cluster.volume.claim: cluster.volume.mount}
    if claim is not None:
        mounts.setdefault(claim[1], MOUNT)
    mount_paths = [SCRATCH, CHECKPOINTS, *mounts.values()]
    if cluster.volume is not None and mount_paths.count(cluster.volume.mount) > 1:
        raise StudyError(
            f"cluster.volume.mount {cluster.volume.mount!r} is a folder that trials use themselves. Mount the volume elsewhere."
        )
    folder = f"{place.rstrip('/')}/{dataset}"
    if claim is not None:
        folder = "/".join([mounts[claim[1]], *filter(None, (claim[3] or "").split("/")), dataset])
    names = dict(zip(mounts, ("data", "more"), strict=False))
    volumes = [{"name": names[c], "persistentVolumeClaim": {"claimName": c, "readOnly": True}} for c in mounts]
    return folder, volumes, [{"name": names[c], "mountPath": path, "readOnly": True} for c, path in mounts.items()]


def _resources(resources: Resources) -> dict[str, Any]:
    own = resources.of("tuner")
    wanted = {"cpu": own.cpu, "memory": own.memory, resources.gpu_type: str(own.gpu) if own.gpu else None}
    given = {name: value for name, value in wanted.items() if value}
    return {"requests": given, "limits": dict(given)} if given else {}
