"""Test the Kubernetes manifests, rendered by kubectl's kustomize: they are valid, consistent, and grant few rights."""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tuneoff._version import __version__
from tuneoff.study_file.check import check_file
from yaml_readers import READERS

ROOT = Path(__file__).parents[1]
MANIFESTS = ROOT / "manifests"
PROGRAMS = Path(sys.executable).parent
OVERLAYS = ("overlays/kind", "overlays/minikube", "overlays/gpu-cluster")
PODMAN = "podman"
RELEASES = ("1.33", "1.34", "1.36")
"""KFP's developers tested KFP 2.17 on Kubernetes 1.33 and 1.36. The kind overlay starts 1.34."""

Resource = dict[str, Any]


@functools.cache
def rendered(folder: str) -> list[Resource]:
    """Return the resources that `kubectl apply --kustomize` would send."""
    command = [PROGRAMS / "kubectl", "kustomize", MANIFESTS / folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return list(yaml.safe_load_all(done.stdout))


def name(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def of_kind(folder: str, *kinds: str) -> list[Resource]:
    return [r for r in rendered(folder) if r["kind"] in kinds]


def one(folder: str, kind: str, called: str) -> Resource:
    (found,) = [r for r in of_kind(folder, kind) if r["metadata"]["name"] == called]
    return found


def pods(folder: str) -> dict[str, Resource]:
    """Return the pod templates by the name of their Deployment."""
    return {r["metadata"]["name"]: r["spec"]["template"] for r in of_kind(folder, "Deployment")}


def containers(folder: str) -> dict[str, Resource]:
    return {
        f"{deployment}/{container['name']}": container
        for deployment, pod in pods(folder).items()
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    }


def amount(quantity: str | int) -> Decimal:
    """Return a quantity of Kubernetes (500m, 2Gi) as a number."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|Ti|)", str(quantity)).groups()  # type: ignore[union-attr]
    return Decimal(number) * {"m": Decimal("0.001"), "": Decimal(1)}.get(unit, Decimal(1024) ** ("KMGT".find(unit[:1]) + 1))


# Valid


@pytest.mark.parametrize("folder", [*OVERLAYS, PODMAN, "base", "postgres", "s3", "runs"])
def test_every_resource_follows_kubernetes_schemas(folder: str) -> None:
    assert rendered(folder)
    for resource in rendered(folder):
        for release in RELEASES:
            kubernetes_validate.validate(resource, release, strict=True)


@pytest.mark.parametrize("folder", [*OVERLAYS, PODMAN, "base", "postgres", "s3", "runs"])
def test_every_yaml_reader_parses_a_manifest_to_the_same_values(folder: str) -> None:
    """kubectl parses some texts as numbers or booleans that PyYAML parses as strings: 1e-05, 0o17, y."""
    for file in (MANIFESTS / folder).glob("*.yaml"):
        read = [reader(file.read_text()) for reader in READERS.values()]
        assert all(documents == read[0] for documents in read), file


def test_the_schemas_would_find_a_mistake() -> None:
    wrong = {**one("base", "Deployment", "mlflow"), "spec": {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


@pytest.mark.parametrize("folder", OVERLAYS)
def test_names_are_unique_and_references_exist(folder: str) -> None:
    named = [(name(r), r["metadata"].get("namespace")) for r in rendered(folder)]
    assert len(named) == len(set(named))
    there = {n for n, _ in named}
    for deployment, pod in pods(folder).items():
        spec = pod["spec"]
        wanted = [f"ServiceAccount/{spec['serviceAccountName']}"] if "serviceAccountName" in spec else []
        wanted += [f"PersistentVolumeClaim/{v['persistentVolumeClaim']['claimName']}" for v in claims(spec)]
        wanted += [f"ConfigMap/{e['configMapRef']['name']}" for c in spec["containers"] for e in c.get("envFrom", [])]
        assert set(wanted) <= there, deployment
        mounted = {m["name"] for c in spec["containers"] for m in c["volumeMounts"]}
        assert mounted == {v["name"] for v in spec["volumes"]}, deployment
    for service in of_kind(folder, "Service"):
        (pod,) = [p for p in pods(folder).values() if selects(service["spec"]["selector"], p["metadata"]["labels"])]
        ports = {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


def claims(spec: Resource) -> Iterator[Resource]:
    return (volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume)


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


# Safe


@pytest.mark.parametrize("folder", [*OVERLAYS, PODMAN])
def test_every_container_is_restricted_and_limited(folder: str) -> None:
    assert containers(folder)
    for called, container in containers(folder).items():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, called
        assert context["readOnlyRootFilesystem"] is True, called
        assert context["capabilities"] == {"drop": ["ALL"]}, called
        assert not context.get("privileged"), called
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][bound]), called
        assert not any("hostPort" in port for port in container.get("ports", [])), called
    for called, pod in pods(folder).items():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, called
        assert context["runAsUser"] > 0, called
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, called
        assert pod["spec"]["automountServiceAccountToken"] is False, f"{called}: nothing here calls Kubernetes"
        assert not any("hostPath" in volume for volume in pod["spec"]["volumes"]), called
        assert bool(pod["spec"].get("hostNetwork")) == (folder == PODMAN), called


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_namespace_refuses_pods_that_are_not_restricted(folder: str) -> None:
    labels = one(folder, "Namespace", "tuneoff")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("folder", [*OVERLAYS, PODMAN])
def test_every_image_is_pinned_by_a_specific_tag(folder: str) -> None:
    for called, container in containers(folder).items():
        image = re.fullmatch(r"([a-z0-9.-]+\.[a-z]+/[a-z0-9._/-]+):([\w.-]+)(@sha256:[0-9a-f]{64})?", container["image"])
        assert image, f"{called}: {container['image']}"
        assert re.search(r"\d+\.\d+", image[2]), f"{called}: {container['image']}"


@pytest.mark.parametrize("folder", [*OVERLAYS, PODMAN])
def test_secrets_are_only_referenced_and_never_written(folder: str) -> None:
    assert of_kind(folder, "Secret") == []
    for called, container in containers(folder).items():
        for variable in container.get("env", []):
            if re.search("PASSWORD|SECRET|KEY|_USER|PGUSER", variable["name"]):
                assert set(variable["valueFrom"]) == {"secretKeyRef"}, called
    for config in of_kind(folder, "ConfigMap"):
        for key, value in config["data"].items():
            assert not re.search("PASSWORD|SECRET|TOKEN", key), key
            assert not re.search(r"://[^/]*@", value), key


@pytest.mark.parametrize("folder", OVERLAYS)
def test_secrets_sh_creates_every_referenced_secret(folder: str) -> None:
    made = {s["metadata"]["name"]: set(s["data"]) for s in secrets()}
    for called, container in containers(folder).items():
        for reference in (v["valueFrom"]["secretKeyRef"] for v in container.get("env", []) if "valueFrom" in v):
            assert reference["key"] in made[reference["name"]], called


@pytest.mark.parametrize("folder", OVERLAYS)
def test_roles_list_their_rights_explicitly(folder: str) -> None:
    roles = of_kind(folder, "Role", "ClusterRole")
    assert roles
    for role in roles:
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]], name(role)
            assert not {"escalate", "bind", "impersonate", "delete", "patch", "update"} & set(rule["verbs"]), name(role)
            if "secrets" in rule["resources"]:
                assert rule["resourceNames"] == ["tuneoff-s3"], name(role)
                assert rule["verbs"] == ["get"], name(role)
            if role["kind"] == "ClusterRole":
                assert set(rule["verbs"]) <= {"get", "list"}, name(role)
    accounts = {name(a) for a in of_kind(folder, "ServiceAccount")}
    for binding in of_kind(folder, "RoleBinding", "ClusterRoleBinding"):
        assert f"{binding['roleRef']['kind']}/{binding['roleRef']['name']}" in {name(r) for r in roles}
        assert {f"ServiceAccount/{s['name']}" for s in binding["subjects"]} <= accounts


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_quota_has_room_for_all_pods_and_their_claims(folder: str) -> None:
    hard = one(folder, "ResourceQuota", "tuneoff")["spec"]["hard"]
    (limits,) = one(folder, "LimitRange", "tuneoff")["spec"]["limits"]
    for resource in ("cpu", "memory"):
        for bound in ("requests", "limits"):
            amounts = [amount(c["resources"][bound][resource]) for c in containers(folder).values()]
            assert sum(amounts) <= amount(hard[f"{bound}.{resource}"])
        assert all(
            amount(c["resources"]["limits"][resource]) <= amount(limits["max"][resource]) for c in containers(folder).values()
        )
    own = [c for c in of_kind(folder, "PersistentVolumeClaim") if c["metadata"]["namespace"] == "tuneoff"]
    assert len(own) <= int(hard["persistentvolumeclaims"])
    assert sum(amount(c["spec"]["resources"]["requests"]["storage"]) for c in own) <= amount(hard["requests.storage"])


# Who may talk to whom


KUBEFLOW = ("kubeflow", {"any": "step"})
ELSEWHERE = ("default", {"any": "pod"})


def pod_of(folder: str, called: str) -> tuple[str, dict[str, str]]:
    return "tuneoff", pods(folder)[called]["metadata"]["labels"]


def may_talk(folder: str, source: tuple[str, dict[str, str]], target: tuple[str, dict[str, str]], port: int) -> bool:
    """Apply the rules of NetworkPolicies: both ends must allow a connection. An end that no policy selects allows all."""
    return _lets(folder, source, target, port, "egress", "to") and _lets(folder, target, source, port, "ingress", "from")


def _lets(
    folder: str, here: tuple[str, dict[str, str]], there: tuple[str, dict[str, str]], port: int, way: str, ends: str
) -> bool:
    selecting = [
        policy["spec"]
        for policy in of_kind(folder, "NetworkPolicy")
        if policy["metadata"]["namespace"] == here[0]
        and way.capitalize() in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"].get("matchLabels", {}), here[1])
    ]
    return not selecting or any(
        any(p["port"] == port for p in rule["ports"]) and any(_is(end, here[0], there) for end in rule[ends])
        for spec in selecting
        for rule in spec.get(way, [])
    )


def _is(end: Resource, namespace: str, pod: tuple[str, dict[str, str]]) -> bool:
    if "ipBlock" in end:
        return False
    wanted = end["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] if "namespaceSelector" in end else namespace
    return wanted == pod[0] and selects(end.get("podSelector", {}).get("matchLabels", {}), pod[1])


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_service_accepts_only_the_clients_that_need_it(folder: str) -> None:
    allowed = {("kubeflow", "mlflow"), ("kubeflow", "s3"), ("mlflow", "postgres"), ("mlflow", "s3")}
    everyone = {"kubeflow": KUBEFLOW, "elsewhere": ELSEWHERE, **{called: pod_of(folder, called) for called in pods(folder)}}
    for service in of_kind(folder, "Service"):
        called = service["metadata"]["name"]
        for port in (5000, 5432, 8333, 8888, 9333):
            served = port in {p["port"] for p in service["spec"]["ports"]}
            for source, pod in everyone.items():
                expected = served and (source, called) in allowed
                assert may_talk(folder, pod, everyone[called], port) == expected, f"{source} to {called}:{port}"


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_pod_may_reach_dns_and_nothing_else_outside(folder: str) -> None:
    dns = ("kube-system", {"k8s-app": "kube-dns"})
    for called in pods(folder):
        assert may_talk(folder, pod_of(folder, called), dns, 53)
        assert not may_talk(folder, pod_of(folder, called), ELSEWHERE, 443)


def test_mlflow_may_reach_external_databases_and_s3_but_not_the_metadata_service() -> None:
    (rule,) = one("overlays/gpu-cluster", "NetworkPolicy", "mlflow")["spec"]["egress"]
    assert rule["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]
    assert [p["port"] for p in rule["ports"]] == [5432, 443]


# Of one piece


def config(folder: str) -> dict[str, str]:
    (found,) = of_kind(folder, "ConfigMap")
    return dict(found["data"])


@pytest.mark.parametrize("folder", OVERLAYS)
def test_mlflow_accepts_all_names_of_its_service(folder: str) -> None:
    service = one(folder, "Service", "mlflow")
    (port,) = [p["port"] for p in service["spec"]["ports"]]
    called, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    names = [called, f"{called}.{namespace}", f"{called}.{namespace}.svc", f"{called}.{namespace}.svc.cluster.local", "localhost"]
    hosts = config(folder)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {f"{n}:{port}" for n in names} <= set(hosts)
    assert not any("*" in host for host in hosts)


@pytest.mark.parametrize("folder", [*OVERLAYS, PODMAN])
def test_the_database_is_migrated_before_the_server_starts_and_the_server_proxies_artifacts(folder: str) -> None:
    spec = pods(folder)["mlflow"]["spec"]
    (migration,), (server,) = spec["initContainers"], spec["containers"]
    assert migration["command"][-1] == 'exec mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"'
    assert migration["image"] == server["image"]
    assert migration["envFrom"] == server["envFrom"]
    assert one(folder, "Deployment", "mlflow")["spec"]["strategy"] == {"type": "Recreate"}
    settings = config(folder)
    assert settings["MLFLOW_ARTIFACTS_DESTINATION"].startswith("s3://")
    assert "MLFLOW_DEFAULT_ARTIFACT_ROOT" not in settings
    assert not any("artifact" in argument for argument in server["args"])


def test_versions_are_those_of_the_locks() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    (mlflow,) = re.findall(r"^mlflow==(\S+)", lock, re.MULTILINE)
    assert containers("overlays/kind")["mlflow/mlflow"]["image"].endswith(f"/mlflow:v{mlflow}-full")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (kfp,) = [r.removeprefix("kfp==") for r in extras["pipeline"] if r.startswith("kfp==")]
    assert f"KFP=${{KFP:-{kfp}}}" in (MANIFESTS / "cluster.sh").read_text()


def test_the_study_for_kind_is_the_quickstart_and_matches_the_manifests() -> None:
    study, faults = check_file(MANIFESTS / "overlays" / "kind" / "study.yaml")
    quickstart, _ = check_file(ROOT / "studies" / "quickstart.yaml")
    assert study is not None
    assert faults == []
    assert quickstart is not None
    assert study.science() == quickstart.science()
    dumped = study.model_dump()
    made = {s["metadata"]["name"]: s for s in secrets() if s["metadata"]["namespace"] == "kubeflow"}
    for secret, variables in dumped["cluster"]["secrets"].items():
        assert set(variables.values()) <= set(made[secret]["data"])
    assert study.tracking.uri is not None
    assert study.tracking.uri.removeprefix("http://") in config("overlays/kind")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    buckets = {v["name"]: v.get("value") for v in containers("overlays/kind")["s3/s3"]["env"]}["S3_BUCKET"]
    assert str(study.artifacts).split("/")[2] in str(buckets).split(",")
    assert dumped["cluster"]["env"]["AWS_ENDPOINT_URL"] == "http://s3.tuneoff:8333"


def page() -> str:
    return (ROOT / "docs" / "cluster.md").read_text()


def test_everything_that_the_docs_about_clusters_name_exists() -> None:
    for path in re.findall(r"(?<!pipelines/)manifests/[a-z0-9./-]*[a-z0-9]", page()):
        assert (ROOT / path).exists(), path
    for secret in secrets():
        keys = "".join(f" --from-file={key}" for key in secret["data"])
        command = (
            f"kubectl --namespace {secret['metadata']['namespace']} create secret generic {secret['metadata']['name']}{keys}"
        )
        assert command in page()
    for deployment, container in re.findall(r"logs deployment/(\w+) --container (\w+)", page()):
        assert f"{deployment}/{container}" in containers("overlays/kind")


def test_the_study_in_the_docs_about_clusters_is_valid(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", page(), re.DOTALL)
    (tmp_path / "mine.yaml").write_text(block)
    study, faults = check_file(tmp_path / "mine.yaml")
    assert study is not None
    assert faults == []


# For podman


def test_podman_gets_only_supported_resources_in_the_order_of_need() -> None:
    assert [name(r) for r in of_kind(PODMAN, "Deployment")] == ["Deployment/postgres", "Deployment/s3", "Deployment/mlflow"]
    assert {r["kind"] for r in rendered(PODMAN)} == {"Deployment", "ConfigMap"}
    for called, container in containers(PODMAN).items():
        assert not {"livenessProbe", "readinessProbe", "startupProbe"} & set(container), called
        assert "$(" not in str(container), f"{called}: podman does not know $(…)"
        assert "ports" not in container, f"{called}: podman refuses them on the machine's own network"


def test_no_two_pods_of_podman_share_a_volume() -> None:
    """podman 4.3 uses the name of an emptyDir as the name of a volume that all pods share."""
    volumes = [volume["name"] for pod in pods(PODMAN).values() for volume in pod["spec"]["volumes"] if "emptyDir" in volume]
    assert len(volumes) == len(set(volumes))
    mounted = [mount["mountPath"] for container in containers(PODMAN).values() for mount in container["volumeMounts"]]
    assert not any(path.startswith("/var/run") for path in mounted), "a link, which podman 4.3 follows on the machine"


def test_pods_of_podman_listen_only_on_loopback() -> None:
    arguments = {called: " ".join(container.get("args", [])) for called, container in containers(PODMAN).items()}
    assert "--host=127.0.0.1" in arguments["mlflow/mlflow"]
    assert "listen_addresses=127.0.0.1" in arguments["postgres/postgres"]
    assert "-ip.bind=127.0.0.1" in arguments["s3/s3"]
    assert "0.0.0.0" not in str(arguments)


def test_podman_runs_the_same_containers_as_kubernetes() -> None:
    for called, container in containers(PODMAN).items():
        other = containers("overlays/kind")[called]
        for field in ("image", "command", "resources", "securityContext", "volumeMounts"):
            assert container.get(field) == other.get(field), f"{called}: {field}"


# The scripts


def scripts() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.sh"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_shellcheck_finds_nothing_in_any_script() -> None:
    assert {"manifests/cluster.sh", "manifests/secrets.sh"} <= set(scripts())
    done = subprocess.run([PROGRAMS / "shellcheck", *scripts()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def secrets(**environment: str) -> list[Resource]:
    """Return the Secrets that secrets.sh prints with these variables set."""
    variables = {"PATH": os.environ["PATH"], **environment}
    done = subprocess.run([MANIFESTS / "secrets.sh"], env=variables, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def values(found: list[Resource]) -> dict[str, str]:
    return {f"{s['metadata']['name']}/{k}": base64.b64decode(v).decode() for s in found for k, v in s["data"].items()}


def test_generated_secrets_are_new_and_valid() -> None:
    first, second = secrets(), secrets()
    for secret in first:
        kubernetes_validate.validate(secret, RELEASES[-1], strict=True)
    for key, value in values(first).items():
        if key != "mlflow-postgres/username":
            assert value != values(second)[key]
            assert re.fullmatch(r"(tuneoff-[0-9a-f]{12}|[0-9a-f]{48})", value)
    assert values(first)["mlflow-s3/AWS_SECRET_ACCESS_KEY"] == values(first)["tuneoff-s3/AWS_SECRET_ACCESS_KEY"]


def test_given_secrets_are_used_unchanged() -> None:
    odd = 'it\'s 100% "odd": $HOME\\n'
    found = values(secrets(PGPASSWORD=odd, AWS_ACCESS_KEY_ID="mine", AWS_SECRET_ACCESS_KEY=odd))
    assert found["mlflow-postgres/password"] == odd
    assert found["mlflow-s3/AWS_ACCESS_KEY_ID"] == found["tuneoff-s3/AWS_ACCESS_KEY_ID"] == "mine"
    assert found["tuneoff-s3/AWS_SECRET_ACCESS_KEY"] == odd


def test_podman_gets_the_same_secrets_as_json_on_its_standard_input(tmp_path: Path) -> None:
    (tmp_path / "podman").write_text('#!/bin/sh\necho "$*" >> "$KEPT/calls"\ncat > "$KEPT/$3"\n')
    (tmp_path / "podman").chmod(stat.S_IRWXU)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEPT": str(tmp_path), "PGPASSWORD": '"odd"'}
    done = subprocess.run([MANIFESTS / "secrets.sh", "podman"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
    assert (tmp_path / "calls").read_text().splitlines() == ["secret create mlflow-postgres -", "secret create mlflow-s3 -"]
    for secret in secrets():
        if secret["metadata"]["namespace"] == "tuneoff":
            assert set(json.loads((tmp_path / secret["metadata"]["name"]).read_text())) == set(secret["data"])
    kept = json.loads((tmp_path / "mlflow-postgres").read_text())
    assert base64.b64decode(kept["password"]).decode() == '"odd"'


FAKE = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
    "docker info") exit "$NO_DOCKER" ;;
    *"create --filename -"*) cat >> "$CALLS" ;;
    *"get kubeconfig"*|*"get secret mlflow-postgres"*) exit "$ABSENT" ;;
    *"get secret tuneoff-s3"*) printf c2VjcmV0 ;;
    *port-forward*) exec sleep 60 ;;
esac
"""


def called(verb: str, folder: Path, absent: bool = True, docker: bool = True, **environment: str) -> tuple[int, list[str], str]:
    """Run cluster.sh with programs that only record their calls. Return the exit code, the calls, and the messages."""
    programs = folder / "programs"
    programs.mkdir()
    for program in ("kind", "kubectl", "docker", "podman", "git", "python"):
        (programs / program).write_text(FAKE)
        (programs / program).chmod(stat.S_IRWXU)
    calls = folder / "calls"
    calls.touch()
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "ABSENT": str(int(absent)),
        "NO_DOCKER": str(int(not docker)),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT / "src"),
        **environment,
    }
    done = subprocess.run(
        [MANIFESTS / "cluster.sh", verb], env=variables, capture_output=True, text=True, check=False, timeout=800
    )
    return done.returncode, calls.read_text().splitlines(), done.stderr


def test_a_cluster_is_created_in_order(tmp_path: Path) -> None:
    code, calls, said = called("up", tmp_path)
    assert code == 0, said
    steps = [
        "kind create cluster --name tuneoff --config manifests/overlays/kind/cluster.yaml",
        "kind load docker-image --name tuneoff tuneoff/data_prep:",
        "cluster-scoped-resources?ref=2.17.0",
        "wait --for condition=established",
        "env/platform-agnostic?ref=2.17.0",
        "apply --filename manifests/base/namespace.yaml",
        "create --filename -",
        "kind: Secret",
        "apply --kustomize manifests/overlays/kind",
        "--namespace tuneoff wait deployment --all",
        "--namespace kubeflow wait deployment --all",
    ]
    found = [next(n for n, call in enumerate(calls) if step in call) for step in steps]
    assert found == sorted(found)
    assert all("--context kind-tuneoff" in call for call in calls if call.startswith("kubectl")), "no other cluster is touched"
    assert "Secret" not in said


def test_images_of_podman_get_the_names_that_pods_use(tmp_path: Path) -> None:
    """podman names an image without a registry localhost/…, but a pod takes it from docker.io/…"""
    code, calls, said = called("up", tmp_path, docker=False)
    assert code == 0, said
    names = [f"tuneoff/{image}:{__version__}" for image in ("data_prep", "tuner", "evaluator", "reporter")]
    assert [call for call in calls if call.startswith("podman tag")] == [f"podman tag localhost/{n} docker.io/{n}" for n in names]
    (save,) = [call for call in calls if call.startswith("podman save")]
    assert save.endswith(" ".join(f"docker.io/{n}" for n in names))
    assert any(call.startswith("kind load image-archive") for call in calls)


def test_an_existing_cluster_keeps_its_secrets(tmp_path: Path) -> None:
    code, calls, said = called("up", tmp_path, absent=False)
    assert code == 0, said
    assert not any("create" in call for call in calls)
    assert any("apply --kustomize manifests/overlays/kind" in call for call in calls)


@pytest.mark.parametrize("verb", ["up", "test", "down"])
def test_a_dry_run_prints_the_commands_and_runs_none(verb: str, tmp_path: Path) -> None:
    code, calls, said = called(verb, tmp_path, DRY_RUN="1")
    assert code == 0, said
    assert calls == []
    printed = [line for line in said.splitlines() if line.startswith("+ ")]
    assert printed
    expected = {
        "up": "kind create cluster",
        "test": "tests/support/arrived.py s3://tuneoff/quickstart",
        "down": "kind delete cluster",
    }
    assert any(expected[verb] in line for line in printed)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    shell = {p: next(Path(d) / p for d in ("/bin", "/usr/bin") if (Path(d) / p).exists()) for p in ("bash", "dirname")}
    for program, place in shell.items():
        (tmp_path / program).symlink_to(place)
    done = subprocess.run(
        [MANIFESTS / "cluster.sh", "down"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "kind is not installed. Install it and try again.\n")


def test_the_kind_cluster_has_a_validated_release() -> None:
    cluster = yaml.safe_load((MANIFESTS / "overlays" / "kind" / "cluster.yaml").read_text())
    (node,) = cluster["nodes"]
    image = re.fullmatch(r"kindest/node:v(\d+\.\d+)\.\d+@sha256:[0-9a-f]{64}", node["image"])
    assert image
    assert image[1] in RELEASES
