"""A study as Katib Experiments, one per algorithm, data set and seed: the same space, budget and objective, our own training.

What Katib cannot express is refused. The rules are those of Katib 0.19: its webhook (pkg/webhook/v1beta1/experiment/validator)
and its suggestion services (pkg/suggestion/v1beta1), which take less than the custom resource's schema, which takes anything.
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
"""What a parameter can be, as far as Katib's algorithms make a difference."""

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 40
LONGEST_PBT_NAME = 26
"""Katib's pbt adds 37 characters to make a trial's name, which is also a label and a Job's name, of 63 at most."""
CONTAINER = "train"
METRICS = ("epoch", *names_of(CLASSIFICATION), "seconds")
"""What a trial prints of each epoch, and Katib keeps."""
RESOURCE = "target-epochs"
"""The parameter by which hyperband sets a trial's epochs; no hyperparameter of ours can have a hyphen in its name."""
ETA = 3
CHECKPOINTS = "/var/lib/tuneoff/checkpoints"
POPULATION, LEAST_POPULATION = 8, 5
PBT_STEPS = 5
"""Parts of a full training between which pbt changes values; ray-pbt has the same."""


@dataclass(frozen=True)
class Algorithm:
    """One of Katib's algorithms: which of our methods it stands for, and what its service makes of parameters."""

    name: str
    engine: str  # the library behind it
    short: str  # within an experiment's name
    cannot: Mapping[Kind, str] = field(default_factory=dict)  # kinds of parameters that it takes for something else, and for what
    seeded: bool = True  # takes a random_state
    from_zero: bool = False  # counts steps from 0, not from low


_SAMPLED_EVENLY = "draws it evenly, whatever its distribution"
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
                "int": "never draws its highest value",
                "int with log": "never draws its highest value",
                "int with step": "never draws its highest value",
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
                "int": "cannot read the bounds of an int again that it has written itself",
                "int with log": "cannot read the bounds of an int again that it has written itself",
                "int with step": "cannot read the bounds of an int again that it has written itself",
                "float": "needs the step of every double for its first draws",
                "float with log": "needs the step of every double for its first draws",
            },
            seeded=False,
        ),
    )
}
"""Katib's algorithms by name. `cannot` is the matrix of algorithm × parameter: what is not in it, is the same thing in Katib."""


@dataclass(frozen=True)
class Place:
    """Where the trials run, and on what, beside what the study's cluster section says."""

    namespace: str
    image: str
    data: str  # pvc://CLAIM/FOLDER or s3://bucket/prefix, which holds a folder of prepared data per data set
    parallel: int = 1
    secret: str | None = None  # a Kubernetes secret whose keys become environment variables, all of them


def place_of(
    study: Study, namespace: str | None, image: str | None, data: str | None, parallel: int, secret: str | None
) -> Place:
    """The place that the study's cluster section and resources say, where the command gives no other."""
    cluster = study.cluster
    own = image_in(cluster.images, "tuner", gpu=bool(study.resources.of("tuner").gpu))
    return Place(namespace or cluster.namespace or "kubeflow", image or own, data or _data_of(study), parallel, secret)


def _data_of(study: Study) -> str:
    """Where prepared data lies unless told otherwise: `prepared` beside the record, on S3 or on the study's volume."""
    volume, artifacts = study.cluster.volume, study.artifacts
    if artifacts is not None and artifacts.startswith("s3://"):
        return f"{artifacts.rstrip('/')}/prepared"
    if volume is None:
        return "pvc://tuneoff/prepared"
    beside = artifacts.removeprefix(volume.mount) if artifacts is not None and volume.holds(artifacts) else f"/runs/{study.name}"
    return f"pvc://{volume.claim}{beside.rstrip('/')}/prepared"


@dataclass(frozen=True)
class Plan:
    """How an algorithm spends the study's budget."""

    trials: int
    parallel: int
    epochs: int  # of each trial
    settings: Mapping[str, str]  # of the algorithm
    resume: str = "Never"


@dataclass(frozen=True)
class Planned:
    """One experiment, and which search of which cell it stands for."""

    cell: Cell
    algorithm: Algorithm
    seed: int
    plan: Plan
    name: str
    manifest: Mapping[str, Any]

    def yaml(self) -> str:
        """Return the manifest as a file for `kubectl apply`. Feasible spaces are quoted, since Katib takes strings only."""
        return dump([self.manifest], quoted=["feasibleSpace"], sort_keys=False, width=120)


# Which algorithms


def algorithms_of(study: Study, named: tuple[str, ...]) -> list[Algorithm]:
    """Those that are named, or else the counterparts of the study's methods; a StudyError names each method that has none."""
    if named:
        return [ALGORITHMS[name] for name in dict.fromkeys(named)]
    counterparts = {spec.name: ALGORITHMS[name] for spec in REGISTRY.values() for name in spec.katib}
    lacking = [m.label for m in study.methods if SHORT.get(m.name, m.name) not in counterparts]
    if lacking:
        raise StudyError(
            f"{', '.join(lacking)}: Katib has no counterpart of this method; leave it out,"
            f" or choose what Katib runs with --algorithm ({', '.join(ALGORITHMS)})."
        )
    return list({a.name: a for m in study.methods for a in [counterparts[SHORT.get(m.name, m.name)]]}.values())


# What Katib cannot express


def kind_of(parameter: Categorical | Int | Float) -> Kind:
    """What the parameter is for Katib; a step of 1 of an int is none."""
    if isinstance(parameter, Categorical):
        return "categorical"
    base: Literal["int", "float"] = "int" if isinstance(parameter, Int) else "float"
    if parameter.log:
        return f"{base} with log"  # type: ignore[return-value]
    stepped = parameter.step is not None and not (isinstance(parameter, Int) and parameter.step == 1)
    return f"{base} with step" if stepped else base  # type: ignore[return-value]


def refusals(study: Study, algorithm: Algorithm, parallel: int = 1) -> list[str]:
    """Sentences that say what of the study Katib's algorithm cannot express; empty where it can do all of it."""
    said = [*_of_the_study(study), *_of_the_space(study, algorithm)]
    return said or [*_of_the_budget(study, algorithm, parallel)]


def _of_the_study(study: Study) -> Iterator[str]:
    space = study.space
    conditional = [name for name, p in space.items() if p.when]
    if conditional:
        yield f"Katib knows no conditional parameters (when), and {', '.join(conditional)} would need them."
    for name, parameter in space.items():
        if not isinstance(parameter, Categorical):
            continue
        texts = [text_of(v) for v in parameter.values]
        odd = next((t for t in texts if not SAFE.fullmatch(t)), None)
        if odd is not None:
            yield f"{name}: the value {odd!r} would not pass the shell before a trial: letters, digits and _.,:+@%/- do."
        if len(set(texts)) < len(texts):
            yield f"{name}: Katib knows texts alone, and two of its values are the same as text."
    budget = study.budget
    if budget.seconds is not None:
        yield "budget.seconds has no counterpart in Katib, which counts trials: give budget.trials or budget.epochs alone."


def _of_the_space(study: Study, algorithm: Algorithm) -> Iterator[str]:
    space = study.space
    if algorithm.name == "grid":
        unlisted = [name for name, p in space.items() if p.grid_size() is None]
        if unlisted:
            yield f"grid: {', '.join(unlisted)} would need a step or grid_points: Katib's grid refuses a double without its step."
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
                    f"{algorithm.name}: {name}: Katib's {algorithm.name} counts steps from 0, so that low and high"
                    f" must be multiples of step = {p.step:g}."
                )
    if algorithm.name == "cmaes" and sum(kind != "categorical" for kind in kinds.values()) < 2:
        yield "cmaes: Katib's cmaes needs two numeric parameters (int or float) at least."
    if algorithm.name == "pbt" and study.model == "paper-cnn":
        shaping = [name for name in space if name in SHAPING]
        if shaping:
            yield (
                f"pbt: {', '.join(shaping)}: Katib's pbt goes on with a trial's weights under changed values of all parameters,"
                " and this one decides their shapes: leave it out of the space."
            )


def _on_steps_from_zero(parameter: Int | Float) -> bool:
    assert parameter.step is not None
    ratios = (parameter.low / parameter.step, parameter.high / parameter.step)
    return all(abs(r - round(r)) < 1e-9 for r in ratios)


def _of_the_budget(study: Study, algorithm: Algorithm, parallel: int) -> Iterator[str]:
    plan = plan_of(study, algorithm, parallel)
    if algorithm.name == "grid" and plan.trials > study.space.grid_size():
        yield (
            f"grid: {plan.trials} trials are more than the {study.space.grid_size()} combinations, which Katib's grid refuses:"
            f" give budget.trials = {study.space.grid_size()}."
        )
    if algorithm.name == "hyperband":
        yield from _of_hyperbands_budget(study, plan)
    if algorithm.name == "pbt" and plan.parallel < LEAST_POPULATION:
        yield (
            f"pbt: Katib's pbt wants a population of {LEAST_POPULATION} at least, and the budget pays for {plan.trials} trials"
            f" of {plan.epochs} epochs: two generations are {2 * LEAST_POPULATION}."
        )


def _of_hyperbands_budget(study: Study, plan: Plan) -> Iterator[str]:
    budget, wanted, paid = study.budget, _hyperband_epochs(study, plan.parallel), _epochs(study)
    if budget.epochs_per_trial < ETA:
        yield f"hyperband: epochs_per_trial = {budget.epochs_per_trial} leaves no rung below it: give at least {ETA}."
    elif budget.trials is not None and plan.parallel > budget.trials:
        yield f"hyperband: its first rung has {plan.parallel} trials, and budget.trials is {budget.trials}."
    elif wanted > paid:
        yield f"hyperband: its {plan.trials} trials want {wanted} epochs, and the budget pays for {paid}."


# The budget


def _epochs(study: Study) -> int:
    """Epochs that the budget pays for, of one model each."""
    budget = study.budget
    by_trials = None if budget.trials is None else budget.trials * study.full_epochs
    return int(min(n for n in (budget.epochs, by_trials) if n is not None)) // study.trainings


def plan_of(study: Study, algorithm: Algorithm, parallel: int = 1) -> Plan:
    """How the algorithm spends the budget: by default one trial after the other, so that it hears of each before the next."""
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
    """The trials of hyperband's first rung, which are also how many must run side by side."""
    return int(ETA ** int(math.log(full) / math.log(ETA)))


def _hyperband_epochs(study: Study, rung: int) -> int:
    """Epochs of a first rung and of the one trial after it, the survivor, which begins anew."""
    full = study.budget.epochs_per_trial
    least = full // _first_rung(full)
    return (rung + ETA) * least


# Experiments


def experiments(study: Study, algorithms: list[Algorithm], place: Place) -> list[Planned]:
    """An experiment for each algorithm, data set and seed; without a random_state, for the first seed alone.

    StudyError with a sentence for all that Katib cannot express.
    """
    said = [sentence for a in algorithms for sentence in refusals(study, a, place.parallel)]
    if said:
        raise StudyError("\n".join(dict.fromkeys(said)))
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
            raise StudyError(f"the name {one.name!r} is not taken by Katib: let the study's name begin with a letter.")
        if len(one.name) > most:
            raise StudyError(
                f"the name {one.name!r} has {len(one.name)} characters, and Katib takes {most} for {one.algorithm.name}:"
                " give the study or the data set a shorter name."
            )
    names = [one.name for one in planned]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise StudyError(f"two experiments would be called {doubled!r}: let the names of data sets differ by more than . and _.")


def _planned(study: Study, algorithm: Algorithm, dataset: Dataset, seed: int, place: Place) -> Planned:
    label = COLLECTED + algorithm.name
    cell = Cell(dataset=dataset.name, method=MethodChoice(name=label, label=label))
    name = re.sub(r"[._]", "-", f"{study.name}-{dataset.name}-{algorithm.short}-{seed}")
    plan = plan_of(study, algorithm, place.parallel)
    settings = {**plan.settings, **({"random_state": str(seed)} if algorithm.seeded else {})}
    plan = Plan(plan.trials, plan.parallel, plan.epochs, settings, plan.resume)
    return Planned(cell, algorithm, seed, plan, name, _manifest(study, algorithm, cell, seed, plan, name, place))


def _manifest(study: Study, algorithm: Algorithm, cell: Cell, seed: int, plan: Plan, name: str, place: Place) -> dict[str, Any]:
    """The Experiment, through the models of kubeflow-katib-api, which know every field."""
    try:
        from kubeflow_katib_api import models
    except ImportError:
        raise StudyError("tuneoff katib needs kubeflow-katib-api: pip install 'tuneoff[katib]'.") from None
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
            retain=True,  # the pods' logs hold the curves, which Katib's trials do not
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
    found: dict[str, Any] = experiment.to_dict()
    return found


def _parameters(study: Study, algorithm: Algorithm) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, type and feasible space of each parameter. A grid takes the levels that our grid takes, as a list."""
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
    """The Job that trains one configuration. It has no name: Katib names it."""
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
    """As whom a trial's pod runs and on which nodes: those of the tuner step. What the study leaves out is left out."""
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
    """A trial's variables: the cluster section's and its secrets', places to write, and the study."""
    texts = {"HOME": SCRATCH, "TMPDIR": SCRATCH, **cluster.env}
    texts[STUDY] = told.model_dump_json(exclude_none=True, exclude={"cluster"})
    secrets = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for secret, variables in cluster.secrets.items()
        for variable, key in variables.items()
    ]
    return [*({"name": name, "value": text} for name, text in texts.items()), *secrets]


def _as_told(study: Study, cell: Cell, seed: int) -> Study:
    """What a trial is told of the study: how it trains, and nothing of the machine that this runs on."""
    here = {"datasets": [Dataset(name=cell.dataset)], "methods": [cell.method], "seeds": [seed]}
    return study.model_copy(update={**here, "resources": Resources(), "tracking": Tracking(), "artifacts": None})


PVC = re.compile(r"pvc://([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)(/[A-Za-z0-9_./-]*)?")
S3 = re.compile(r"s3://[A-Za-z0-9._-]{1,255}(/[A-Za-z0-9_./-]*)?")
MOUNT, SCRATCH = "/data", "/tmp"


def _data(place: str, cluster: Cluster, dataset: str) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Where a trial finds the prepared data set, and all volumes and mounts that it gets. It writes to none of them."""
    claim = PVC.fullmatch(place)
    if claim is None and not S3.fullmatch(place):
        raise StudyError(f"--data {place!r} is not taken: give pvc://CLAIM/FOLDER or s3://bucket/prefix, for the prepared data.")
    mounts = {} if cluster.volume is None else {cluster.volume.claim: cluster.volume.mount}
    if claim is not None:
        mounts.setdefault(claim[1], MOUNT)
    taken = [SCRATCH, CHECKPOINTS, *mounts.values()]
    if cluster.volume is not None and taken.count(cluster.volume.mount) > 1:
        raise StudyError(
            f"cluster.volume.mount {cluster.volume.mount!r} is a place of the trials' own: mount the volume elsewhere."
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
