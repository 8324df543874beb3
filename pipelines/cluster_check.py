"""What a cluster lacks for a study, in plain sentences: KFP by its own client, the rest by Kubernetes' where it can be asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from typing import Any

from ..components.core.cluster import StepPlace, Toleration
from ..components.core.errors import StudyError
from ..components.core.study import Step, Study
from .doctor import Finding, State
from .kfp_server import KfpServer, Login
from .submit import store_on_cluster

WRITTEN_FOR = (2, 17)
"""The KFP whose SDK compiles the pipeline."""
PATIENCE_SECONDS = 10
STEPS: tuple[Step, ...] = ("data_prep", "tuner", "evaluator", "reporter")


def examine(study: Study, login: Login, kube_context: str | None = None) -> Iterator[Finding]:
    """Look at everything that the study needs. Findings come as they are made; nothing is changed."""
    namespace = yield from _kfp(login)
    yield Finding("record", State.OK, f"at {store_on_cluster(study)}")
    if not study.tracking.uri:
        yield Finding(
            "MLflow",
            State.WARNING,
            "the study names no server: trials are on record alone",
            "give tracking.uri, then `tuneoff sync`",
        )
    try:
        core = _core_api(kube_context)
    except StudyError as error:
        yield Finding("Kubernetes", State.WARNING, f"{error}: namespace, secrets, volume, quota and nodes were not looked at")
        return
    yield from _Kubernetes(core, study, study.cluster.namespace or login.namespace or namespace).look()


def _kfp(login: Login) -> Generator[Finding, None, str]:
    """Whether KFP answers, and as which version; returns the namespace where it runs pods unless told otherwise."""
    try:
        server = KfpServer(login)
    except StudyError as error:
        yield Finding("KFP", State.FAILING, str(error).rstrip("."))
        return "kubeflow"
    yield Finding("KFP", State.OK, f"{server.host} answers")
    yield _version(server.version)
    if server.many_users and server.namespace is None:
        yield Finding("KFP namespace", State.FAILING, "this KFP has many users", "give --namespace, or cluster.namespace")
        return "kubeflow"
    try:
        server.look_for_runs()
    except StudyError as error:
        yield Finding("KFP rights", State.FAILING, str(error).rstrip("."))
    else:
        yield Finding("KFP rights", State.OK, "runs may be listed" + (f" in {server.namespace}" if server.namespace else ""))
    return server.namespace or "kubeflow"


def _version(said: str | None) -> Finding:
    found = re.match(r"v?(\d+)\.(\d+)", said or "")
    if said is None or not found:
        return Finding("KFP version", State.WARNING, "the server does not say its version", "it must be 2.17 or newer")
    if (int(found[1]), int(found[2])) < WRITTEN_FOR:
        older = f"KFP {said} is older than 2.17, which the pipeline is compiled for"
        return Finding(
            "KFP version",
            State.WARNING,
            older,
            "upgrade it; else say cluster.run_as_non_root: false, and see that GPUs are given",
        )
    return Finding("KFP version", State.OK, said)


def _core_api(context: str | None) -> Any:
    """Kubernetes' core API, by the kubeconfig or, in a pod, by its service account; StudyError where there is neither."""
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = 0
    try:
        config.load_kube_config(context=context, client_configuration=configuration)
    except (config.ConfigException, OSError, TypeError) as error:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            why = f"no context {context!r} in the kubeconfig ({error})" if context else "no kubeconfig, and this is no pod"
            raise StudyError(why) from error
    return client.CoreV1Api(client.ApiClient(configuration))


class _Kubernetes:
    """The study's needs, compared with what a namespace and the nodes have."""

    def __init__(self, core: Any, study: Study, namespace: str) -> None:
        self._core = core
        self._study = study
        self._namespace = namespace

    def look(self) -> Iterator[Finding]:
        try:
            self._core.get_api_resources(_request_timeout=PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever its client raises, the rest cannot be looked at
            yield Finding("Kubernetes", State.WARNING, f"its API does not answer ({_brief(error)}): nothing more was looked at")
            return
        yield from self._named("namespace", self._ask("namespace", self._core.read_namespace, self._namespace), self._namespace)
        account = self._study.cluster.service_account
        if account:
            read = self._core.read_namespaced_service_account
            yield from self._named("service account", self._ask("service account", read, account, self._namespace), account)
        yield from self._secrets()
        yield from self._volume()
        yield from self._quota()
        yield from self._nodes()

    def _ask(self, what: str, call: Callable[..., Any], *arguments: str) -> Any:
        """What the call returns; a Finding where it may not be asked or nobody answers, None where there is no such thing."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*arguments, _request_timeout=PATIENCE_SECONDS)
        except ApiException as error:
            if error.status == 404:
                return None
            why = "this account may not look" if error.status in (401, 403) else f"answer {error.status}"
            return Finding(what, State.WARNING, f"not looked at: {why}", "ask somebody who may, or look with kubectl")
        except (HTTPError, OSError) as error:
            return Finding(what, State.WARNING, f"not looked at: no answer ({_brief(error)})", "try again")

    def _named(self, what: str, found: Any, name: str) -> Iterator[Finding]:
        if isinstance(found, Finding):
            yield found
        elif found is None:
            where = "" if what == "namespace" else f" in namespace {self._namespace}"
            yield Finding(what, State.FAILING, f"there is no {what} {name!r}{where}", "make it, or name another in the study")
        else:
            yield Finding(what, State.OK, name)

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
            yield Finding("volume", State.FAILING, said, "make it, or name another in cluster.volume.claim")
        elif "ReadWriteMany" not in (found.spec.access_modes or []):
            modes = ", ".join(found.spec.access_modes or ["no mode"])
            said = f"{volume.claim} is {modes}: steps on two nodes cannot mount it at the same time"
            yield Finding("volume", State.WARNING, said, "a claim that is ReadWriteMany, or a node_selector for one node")
        elif found.status.phase != "Bound":
            said = f"{volume.claim} is {found.status.phase}, not Bound"
            yield Finding(
                "volume", State.WARNING, said, "a storage class may bind it with the first pod; else look at its events"
            )
        else:
            yield Finding("volume", State.OK, f"{volume.claim} is bound, ReadWriteMany")

    def _needs(self, step: Step) -> dict[str, Decimal]:
        """What one pod of the step asks for."""
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
                        said = f"{quota.metadata.name} limits {key}, so that every pod must say its own, and {step} does not"
                        faults.append(Finding("quota", State.FAILING, said, f"set resources.{name}"))
                        break
                    left = parse_quantity(limit) - parse_quantity(used.get(key, "0"))
                    if need is not None and need > parse_quantity(limit):
                        said = f"{step} asks for {_amount(need)} {name}, and {quota.metadata.name} allows {limit} {key} in all"
                        faults.append(Finding("quota", State.FAILING, said, "ask for less, or for a larger quota"))
                        break
                    if need is not None and need > left:
                        said = f"{step} asks for {_amount(need)} {name}, and {_amount(left)} of {limit} {key} are left"
                        faults.append(Finding("quota", State.WARNING, said, "its pods wait until others have ended"))
                        break
        yield from faults or [Finding("quota", State.OK, "none is in the way")]

    def _nodes(self) -> Iterator[Finding]:
        found = self._ask("nodes", self._core.list_node)
        if isinstance(found, Finding) or found is None:
            yield found or Finding("nodes", State.FAILING, "there are none")
            return
        kind = self._study.resources.gpu_type
        if any(kind in self._needs(step) for step in STEPS):
            having = sum(kind in (node.status.allocatable or {}) for node in found.items)
            if not having:
                known = sorted(
                    {n for node in found.items for n in node.status.allocatable or {} if "/" in n and "hugepages" not in n}
                )
                said = f"no node has {kind}" + (f"; there is {', '.join(known)}" if known else "")
                yield Finding("GPU", State.FAILING, said, "install the device plugin, or name another resources.gpu_type")
            else:
                yield Finding("GPU", State.OK, f"{kind} on {having} of {len(found.items)} nodes")
        for step in STEPS:
            yield self._room(step, found.items)

    def _room(self, step: Step, nodes: list[Any]) -> Finding:
        """Whether some node could take a pod of the step, were it empty."""
        place = self._study.cluster.of(step)
        fitting = [n for n in nodes if not n.spec.unschedulable and _selected(n, place)]
        if not fitting:
            labels = ", ".join(f"{k}={v}" for k, v in (place.node_selector or {}).items())
            return Finding(
                "nodes", State.FAILING, f"no node that takes pods has {labels or 'any label'}", f"{step}: node_selector"
            )
        tolerated = [n for n in fitting if not _untolerated(n, place)]
        if not tolerated:
            taints = ", ".join(sorted({t for n in fitting for t in _untolerated(n, place)}))
            said = f"every node for {step} has taints that it does not tolerate: {taints}"
            return Finding("nodes", State.FAILING, said, "add them to cluster.tolerations, or to cluster.steps")
        needs = self._needs(step)
        roomy = [n for n in tolerated if _holds(n, needs)]
        if not roomy:
            asked = ", ".join(f"{_amount(v)} {k}" for k, v in needs.items())
            return Finding("nodes", State.FAILING, f"no node for {step} has {asked}, even empty", "ask for less in resources")
        return Finding("nodes", State.OK, f"{step} fits on {len(roomy)} of {len(nodes)}")


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
    """As people write it: 0.5, 16Gi."""
    for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
        if value >= size and value % size == 0:
            return f"{value / size:f}{unit}"
    return f"{value.normalize():f}"


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
