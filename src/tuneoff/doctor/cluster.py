"""Check whether a cluster has what a study needs, with KFP's client and, if it can be reached, Kubernetes' API."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from typing import Any

from ..cluster.image_check import NodeImages, image_findings
from ..cluster.kfp_server import KfpServer, Login
from ..cluster.kubernetes_api import configuration_of
from ..cluster.preconditions import NO_TTL, store_on_cluster
from ..cluster.upload_datasets import look_at_inputs
from ..cluster.user_modules import module_findings
from ..cluster.workflow_size import too_large
from ..core.cluster_settings import StepPlace, Toleration
from ..core.errors import StudyError
from ..core.finding import Finding, State
from ..core.store.open import open_store
from ..core.store.protocol import Store
from ..core.store.study_store import held_study, refuse_another
from ..core.study import Step, Study

WRITTEN_FOR = (2, 17)
"""The KFP whose SDK compiles the pipeline."""
PATIENCE_SECONDS = 10
ACCOUNT_OF_ONE = "pipeline-runner"
"""Default service account of pods in a single-user KFP."""
ACCOUNT_OF_MANY = "default-editor"
"""Default service account of pods in a multi-user KFP."""
TASK_RESULTS = "workflowtaskresults.argoproj.io"
"""Resource that Argo's container in each pod writes."""
_NAMED_ACCOUNT = (
    "remove cluster.service_account, or name an account that KFP's own pods use; the account `tuneoff` of manifests/runs"
    " is only for submitting"
)
_DEFAULT_ACCOUNT = "give it the rights that KFP's manifests give it, or name another account in cluster.service_account"
STEPS: tuple[Step, ...] = ("data_prep", "tuner", "evaluator", "reporter")


def examine(study: Study, login: Login, kube_context: str | None = None) -> Iterator[Finding]:
    """Check everything that the study needs, without changing anything. Yield each finding as soon as it is known.

    Args:
        study: The study to be submitted.
        login: Address of KFP and the credentials for it.
        kube_context: Context of the kubeconfig; None for the current context.
    """
    namespace, account = yield from _kfp(login)
    store, finding = _store(study)
    yield finding
    if (excess := too_large(study)) is not None:
        yield Finding("size", State.FAILING, excess.rstrip("."))
    if study.cluster.ttl_seconds is not None:
        yield Finding("pods", State.WARNING, NO_TTL, "remove it, or change ttlStrategy in Argo's workflow-controller-configmap")
    if not study.tracking.uri:
        yield Finding(
            "MLflow",
            State.WARNING,
            "the study names no MLflow server, so trials are only in the record",
            "set tracking.uri, then run `tuneoff sync`",
        )
    yield from module_findings(study)
    yield from look_at_inputs(study, store)
    try:
        core = _core_api(kube_context)
    except StudyError as error:
        unseen = "namespace, service account, secrets, volume, quota and nodes were not checked"
        yield Finding("Kubernetes", State.WARNING, f"{error}: {unseen}")
        yield from image_findings(study, None)
        return
    place = study.cluster.namespace or login.namespace or namespace
    yield from _Kubernetes(core, study, place, study.cluster.service_account or account).look()


def _kfp(login: Login) -> Generator[Finding, None, tuple[str, str | None]]:
    """Check whether KFP answers, its version, and the rights of this login.

    Returns:
        The default namespace and the default service account of the pods of runs. The account is None if KFP does not answer.
    """
    try:
        server = KfpServer(login)
    except StudyError as error:
        yield Finding("KFP", State.FAILING, str(error).rstrip("."))
        return "kubeflow", None
    account = ACCOUNT_OF_MANY if server.many_users else ACCOUNT_OF_ONE
    yield Finding("KFP", State.OK, f"{server.host} answers")
    yield _version(server.version)
    if server.many_users and server.namespace is None:
        remedy = "give --namespace, or set cluster.namespace"
        yield Finding("KFP namespace", State.FAILING, "this KFP has several users, so a run needs a namespace", remedy)
        return "kubeflow", account
    try:
        server.look_for_runs()
    except StudyError as error:
        yield Finding("KFP rights", State.FAILING, str(error).rstrip("."))
    else:
        yield Finding("KFP rights", State.OK, "runs may be listed" + (f" in {server.namespace}" if server.namespace else ""))
    return server.namespace or "kubeflow", account


def _version(said: str | None) -> Finding:
    numbers = re.match(r"v?(\d+)\.(\d+)", said or "")
    if said is None or not numbers:
        remedy = "make sure that it is 2.17 or newer"
        return Finding("KFP version", State.WARNING, "the server does not report its version", remedy)
    if (int(numbers[1]), int(numbers[2])) < WRITTEN_FOR:
        older = f"KFP {said} is older than 2.17, the version that the pipeline is compiled for"
        return Finding(
            "KFP version",
            State.WARNING,
            older,
            "upgrade KFP; otherwise set cluster.run_as_non_root: false, and check that the pods get their GPUs",
        )
    return Finding("KFP version", State.OK, said)


def _core_api(context: str | None) -> Any:
    """Return a client of Kubernetes' core API. Raise StudyError if neither a kubeconfig nor a pod's account exists."""
    from kubernetes import client

    return client.CoreV1Api(client.ApiClient(configuration_of(context)))


def _store(study: Study) -> tuple[Store | None, Finding]:
    """Return the study's store, or None if this machine cannot read it, and a finding about the store."""
    place = store_on_cluster(study)
    if not place.startswith("s3://"):
        return None, Finding("record", State.OK, f"at {place}, on the cluster's volume: cannot be checked from this machine")
    try:
        store = open_store(place)
        held = held_study(store)
    except (StudyError, OSError) as error:
        return None, Finding("record", State.WARNING, f"{place} was not checked: {str(error).rstrip('.')}")
    if held is not None:
        try:
            refuse_another(store, held, study)
        except StudyError as error:
            return store, Finding("record", State.FAILING, str(error).rstrip("."))
    began = "which holds this study already" if held is not None else "which holds no study yet"
    return store, Finding("record", State.OK, f"at {place}, {began}")


class _Kubernetes:
    """Compare what the study needs with what a namespace and the nodes have."""

    def __init__(self, core: Any, study: Study, namespace: str, account: str | None) -> None:
        self._core = core
        self._study = study
        self._namespace = namespace
        self._account = account

    def look(self) -> Iterator[Finding]:
        try:
            self._core.get_api_resources(_request_timeout=PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001 - after any error of the client, the rest cannot be checked
            yield Finding("Kubernetes", State.WARNING, f"its API does not answer ({_brief(error)}), so nothing there was checked")
            yield from image_findings(self._study, None)
            return
        yield from self._named("namespace", self._ask("namespace", self._core.read_namespace, self._namespace), self._namespace)
        yield from self._service_account()
        yield from self._secrets()
        yield from self._volume()
        yield from self._quota()
        yield from self._limit_ranges()
        nodes = self._ask("nodes", self._core.list_node)
        yield from self._nodes(nodes)
        yield from image_findings(self._study, None if nodes is None or isinstance(nodes, Finding) else self._images_of(nodes))

    def _ask(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of an API call.

        Returns:
            The call's result, None if the object does not exist, or a Finding if access is forbidden or no server answers.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*arguments, _request_timeout=PATIENCE_SECONDS)
        except ApiException as error:
            if error.status == 404:
                return None
            why = "this account has no right to read it" if error.status in (401, 403) else f"HTTP status {error.status}"
            return Finding(what, State.WARNING, f"not checked: {why}", "ask a user who has the right, or check with kubectl")
        except (HTTPError, OSError) as error:
            return Finding(what, State.WARNING, f"not checked: no answer ({_brief(error)})", "try again")

    def _named(self, what: str, found: Any, name: str) -> Iterator[Finding]:
        if isinstance(found, Finding):
            yield found
        elif found is None:
            where = "" if what == "namespace" else f" in namespace {self._namespace}"
            yield Finding(what, State.FAILING, f"there is no {what} {name!r}{where}", "create it, or name another in the study")
        else:
            yield Finding(what, State.OK, name)

    def _service_account(self) -> Iterator[Finding]:
        """Check the pods' service account: its token must be mounted, and Argo's steps need rights to report results."""
        what, account = "service account", self._account
        if account is None:
            said = "not checked: KFP did not say which account its pods use"
            yield Finding(what, State.WARNING, said, "check again when KFP answers")
            return
        named = self._study.cluster.service_account is not None
        found = self._ask(what, self._core.read_namespaced_service_account, account, self._namespace)
        if found is None and named:
            yield from self._named(what, found, account)
            return
        if found is None:
            said = f"there is no service account {account!r} in namespace {self._namespace}, the default of KFP's pods"
            yield Finding(
                what, State.WARNING, said, "if KFP is configured with another account, name it in cluster.service_account"
            )
            return
        if isinstance(found, Finding):
            yield found
        lacking = self._rights_lacking(account)
        faults = []
        if not isinstance(found, Finding) and found.automount_service_account_token is False:
            faults.append("its token is not mounted (automountServiceAccountToken: false)")
        if isinstance(lacking, Finding):
            yield lacking
        elif lacking:
            faults.append(f"it may not {' and '.join(lacking)} {TASK_RESULTS}")
        if faults:
            said = f"KFP's pods cannot run under {account!r}: {', and '.join(faults)}"
            yield Finding(what, State.FAILING, said, _NAMED_ACCOUNT if named else _DEFAULT_ACCOUNT)
        elif not isinstance(found, Finding) and not isinstance(lacking, Finding):
            yield Finding(what, State.OK, account)

    def _rights_lacking(self, account: str) -> list[str] | Finding:
        """Return the rights on Argo's task results that the account lacks, or a warning if this caller may not ask."""
        from kubernetes import client

        resource, _, group = TASK_RESULTS.partition(".")
        user = f"system:serviceaccount:{self._namespace}:{account}"
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self._namespace}", "system:authenticated"]
        ask = client.AuthorizationV1Api(self._core.api_client).create_namespaced_local_subject_access_review
        lacking = []
        for verb in ("create", "patch"):
            asked = client.V1ResourceAttributes(namespace=self._namespace, verb=verb, group=group, resource=resource)
            spec = client.V1SubjectAccessReviewSpec(user=user, groups=groups, resource_attributes=asked)
            answer = self._ask("service account", ask, self._namespace, client.V1LocalSubjectAccessReview(metadata={}, spec=spec))
            if answer is None or isinstance(answer, Finding):
                said = f"not checked: whether {account!r} may create and patch {TASK_RESULTS}, which KFP's pods need"
                command = f"kubectl -n {self._namespace} auth can-i create {TASK_RESULTS} --as {user}"
                return Finding("service account", State.WARNING, said, f"ask a user who has the right to run: {command}")
            if not answer.status.allowed:
                lacking.append(verb)
        return lacking

    def _secrets(self) -> Iterator[Finding]:
        cluster = self._study.cluster
        wanted = {**{name: set[str]() for name in cluster.images.pull_secrets}}
        for name, variables in cluster.secrets.items():
            wanted[name] = wanted.get(name, set()) | set(variables.values())
        for name, keys in wanted.items():
            found = self._ask("secret", self._core.read_namespaced_secret, name, self._namespace)
            lacking = sorted(keys - set(found.data or {})) if found is not None and not isinstance(found, Finding) else []
            if isinstance(found, Finding):
                yield found
            elif found is None:
                make = f"kubectl -n {self._namespace} create secret generic {name}" + "".join(
                    f" --from-literal={k}=…" for k in sorted(keys)
                )
                yield Finding("secret", State.FAILING, f"there is no secret {name!r} in namespace {self._namespace}", make)
            elif lacking:
                yield Finding("secret", State.FAILING, f"{name!r} has no key {', '.join(lacking)}", "add it, or name another key")
            else:
                yield Finding("secret", State.OK, name)

    def _volume(self) -> Iterator[Finding]:
        volume = self._study.cluster.volume
        if volume is None:
            return
        read = self._core.read_namespaced_persistent_volume_claim
        found = self._ask("volume", read, volume.claim, self._namespace)
        if isinstance(found, Finding):
            yield found
        elif found is None:
            said = f"there is no claim {volume.claim!r} in namespace {self._namespace}"
            yield Finding("volume", State.FAILING, said, "create it, or name another in cluster.volume.claim")
        elif "ReadWriteMany" not in (found.spec.access_modes or []):
            modes = ", ".join(found.spec.access_modes or ["no mode"])
            said = f"{volume.claim} is {modes}, so steps on different nodes cannot mount it at the same time"
            yield Finding("volume", State.WARNING, said, "use a ReadWriteMany claim, or a node_selector for a single node")
        elif found.status.phase != "Bound":
            said = f"{volume.claim} is {found.status.phase}, not Bound"
            yield Finding(
                "volume", State.WARNING, said, "its storage class may bind it when the first pod starts; if not, check its events"
            )
        else:
            yield Finding("volume", State.OK, f"{volume.claim} is bound, ReadWriteMany")

    def _needs(self, step: Step) -> dict[str, Decimal]:
        """Return the resources that one pod of the step requests."""
        from kubernetes.utils import parse_quantity

        own = self._study.resources.of(step)
        asked = {"cpu": own.cpu, "memory": own.memory, self._study.resources.gpu_type: str(own.gpu) if own.gpu else None}
        return {name: parse_quantity(value) for name, value in asked.items() if value}

    def _quota(self) -> Iterator[Finding]:
        from kubernetes.utils import parse_quantity

        found = self._ask("quota", self._core.list_namespaced_resource_quota, self._namespace)
        if isinstance(found, Finding):
            yield found
            return
        faults: list[Finding] = []
        for quota in found.items if found else []:
            hard, used = quota.status.hard or {}, quota.status.used or {}
            for key, limit in hard.items():
                name = key.removeprefix("requests.").removeprefix("limits.")
                for step in STEPS:
                    need = (self._needs(step) | {"pods": Decimal(1)}).get(name)
                    if need is None and name in ("cpu", "memory"):
                        said = f"{quota.metadata.name} limits {key}, so every pod must request {name}, and {step} does not"
                        faults.append(Finding("quota", State.FAILING, said, f"set resources.{name}"))
                        break
                    left = parse_quantity(limit) - parse_quantity(used.get(key, "0"))
                    if need is not None and need > parse_quantity(limit):
                        said = f"{step} requests {_amount(need)} {name}, but {quota.metadata.name} allows {limit} {key} in total"
                        faults.append(
                            Finding("quota", State.FAILING, said, "request less in resources, or ask for a larger quota")
                        )
                        break
                    if need is not None and need > left:
                        said = f"{step} requests {_amount(need)} {name}, but only {_amount(left)} of {limit} {key} are free"
                        faults.append(Finding("quota", State.WARNING, said, "its pods will wait until other pods have ended"))
                        break
        yield from faults or [Finding("quota", State.OK, "no quota prevents the study")]

    def _limit_ranges(self) -> Iterator[Finding]:
        """Check whether the requests of each step are within the namespace's limits for a container and for a pod."""
        from kubernetes.utils import parse_quantity

        found = self._ask("limit range", self._core.list_namespaced_limit_range, self._namespace)
        if isinstance(found, Finding):
            yield found
            return
        faults: list[Finding] = []
        bounds = [(item.metadata.name, b) for item in (found.items if found else []) for b in item.spec.limits or []]
        for step, (name, bound) in ((s, b) for s in STEPS for b in bounds if b[1].type in ("Container", "Pod")):
            for resource, need in self._needs(step).items():
                most, least = (bound.max or {}).get(resource), (bound.min or {}).get(resource)
                asked = f"{step} requests {_amount(need)} {resource}, but {name} allows a {bound.type.lower()}"
                if most is not None and need > parse_quantity(most):
                    faults.append(Finding("limit range", State.FAILING, f"{asked} at most {most}", "request less in resources"))
                elif least is not None and bound.type == "Container" and need < parse_quantity(least):
                    faults.append(
                        Finding("limit range", State.FAILING, f"{asked} no less than {least}", "request more in resources")
                    )
        yield from faults or [Finding("limit range", State.OK, "no limit range prevents the study")]

    def _nodes(self, found: Any) -> Iterator[Finding]:
        if isinstance(found, Finding) or found is None:
            yield found or Finding("nodes", State.FAILING, "the cluster has no nodes")
            return
        kind = self._study.resources.gpu_type
        if any(kind in self._needs(step) for step in STEPS):
            having = sum(kind in (node.status.allocatable or {}) for node in found.items)
            if not having:
                devices = sorted(
                    {n for node in found.items for n in node.status.allocatable or {} if "/" in n and "hugepages" not in n}
                )
                said = f"no node has {kind}" + (f"; the nodes have {', '.join(devices)}" if devices else "")
                yield Finding("GPU", State.FAILING, said, "install the device plugin, or set another resources.gpu_type")
            else:
                yield Finding("GPU", State.OK, f"{kind} on {having} of {len(found.items)} nodes")
        for step in STEPS:
            yield self._room(step, found.items)

    def _room(self, step: Step, nodes: list[Any]) -> Finding:
        """Check whether at least one node could run a pod of the step if the node were empty."""
        place = self._study.cluster.of(step)
        fitting = [n for n in nodes if not n.spec.unschedulable and _selected(n, place)]
        if not fitting:
            labels = ", ".join(f"{k}={v}" for k, v in (place.node_selector or {}).items())
            return Finding(
                "nodes",
                State.FAILING,
                f"no schedulable node has {labels or 'any label'}",
                f"change the node_selector of {step}",
            )
        tolerated = [n for n in fitting if not _untolerated(n, place)]
        if not tolerated:
            taints = ", ".join(sorted({t for n in fitting for t in _untolerated(n, place)}))
            said = f"every node for {step} has taints that it does not tolerate: {taints}"
            return Finding("nodes", State.FAILING, said, "add tolerations to cluster.tolerations, or to cluster.steps")
        needs, roomy = self._needs(step), [n for n in nodes if self._takes(n, step)]
        if not roomy:
            asked = ", ".join(f"{_amount(v)} {k}" for k, v in needs.items())
            return Finding("nodes", State.FAILING, f"no node for {step} has {asked}, even if empty", "request less in resources")
        return Finding("nodes", State.OK, f"{step} fits on {len(roomy)} of {len(nodes)}")

    def _takes(self, node: Any, step: Step) -> bool:
        """Return whether the node could run a pod of the step if the node were empty."""
        place = self._study.cluster.of(step)
        return (
            not node.spec.unschedulable
            and _selected(node, place)
            and not _untolerated(node, place)
            and _holds(node, self._needs(step))
        )

    def _images_of(self, nodes: Any) -> dict[Step, dict[int, NodeImages]]:
        """Return for each step the images of the nodes that could run its pods, keyed by node number."""
        images = [NodeImages.of(node) for node in nodes.items]
        return {step: {i: images[i] for i, node in enumerate(nodes.items) if self._takes(node, step)} for step in STEPS}


def _selected(node: Any, place: StepPlace) -> bool:
    labels = node.metadata.labels or {}
    return all(labels.get(k) == v for k, v in (place.node_selector or {}).items())


def _untolerated(node: Any, place: StepPlace) -> list[str]:
    hard = [t for t in node.spec.taints or [] if t.effect in ("NoSchedule", "NoExecute")]
    return [f"{t.key}:{t.effect}" for t in hard if not any(_tolerates(own, t) for own in place.tolerations or [])]


def _tolerates(own: Toleration, taint: Any) -> bool:
    if own.effect not in (None, taint.effect) or own.key not in (None, taint.key):
        return False
    return own.operator == "Exists" or (own.value or "") == (taint.value or "")


def _holds(node: Any, needs: dict[str, Decimal]) -> bool:
    from kubernetes.utils import parse_quantity

    there = node.status.allocatable or {}
    return all(name in there and parse_quantity(there[name]) >= need for name, need in needs.items())


def _amount(value: Decimal) -> str:
    """Format a quantity as users write it, such as 0.5 or 16Gi."""
    for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
        if value >= size and value % size == 0:
            return f"{value / size:f}{unit}"
    return f"{value.normalize():f}"


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
