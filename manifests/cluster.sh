#!/bin/bash
# Manage a cluster on this machine: `up` creates it, `test` runs a study on it and checks the results, `down` deletes it.
# With DRY_RUN=1, the commands are only printed. Needs kind, kubectl (1.27 or later), git, and docker or podman.
set -euo pipefail
cd "$(dirname "$0")/.."

CLUSTER=${CLUSTER:-tuneoff}
KFP=${KFP:-2.17.0}
PYTHON=${PYTHON:-.venv/bin/python}
STUDY=${STUDY:-manifests/overlays/kind/study.yaml}
DRY_RUN=${DRY_RUN:-}

IMAGES=(data_prep tuner evaluator reporter)
KFP_MANIFESTS=github.com/kubeflow/pipelines/manifests/kustomize
PATIENCE=15m # most of this time is for pulling KFP's images

say() { printf '%s\n' "$*" >&2; }

run() {
    say "+ $*"
    [ -n "$DRY_RUN" ] || "$@"
}

k() { run kubectl --context "kind-$CLUSTER" "$@"; }

there() { # whether a command finds something; in a dry run nothing exists
    [ -z "$DRY_RUN" ] && "$@" >/dev/null 2>&1
}

need() {
    for program in "$@"; do
        [ -n "$DRY_RUN" ] || command -v "$program" >/dev/null || { say "$program is not installed. Install it and try again."; exit 2; }
    done
}

engine() { if [ -z "$DRY_RUN" ] && ! docker info >/dev/null 2>&1; then echo podman; else echo docker; fi; }

load_images() {
    local version names=() archive
    version=$("$PYTHON" -c 'import tuneoff; print(tuneoff.__version__)')
    for image in "${IMAGES[@]}"; do names+=("tuneoff/$image:$version"); done
    if [ "$(engine)" = docker ]; then
        run kind load docker-image --name "$CLUSTER" "${names[@]}"
    else # podman names them localhost/…, but a pod takes a name without a registry from docker.io
        for name in "${names[@]}"; do run podman tag "localhost/$name" "docker.io/$name"; done
        names=("${names[@]/#/docker.io/}")
        archive=$(mktemp --suffix .tar)
        run podman save --multi-image-archive --output "$archive" "${names[@]}"
        run kind load image-archive --name "$CLUSTER" "$archive"
        rm -f "$archive"
    fi
}

up() {
    need kind kubectl git "$(engine)"
    there kind get kubeconfig --name "$CLUSTER" ||
        run kind create cluster --name "$CLUSTER" --config manifests/overlays/kind/cluster.yaml --wait 5m
    load_images
    k apply --kustomize "$KFP_MANIFESTS/cluster-scoped-resources?ref=$KFP"
    k wait --for condition=established --timeout 60s crd/applications.app.k8s.io
    k apply --kustomize "$KFP_MANIFESTS/env/platform-agnostic?ref=$KFP"
    k apply --filename manifests/base/namespace.yaml
    if ! there kubectl --context "kind-$CLUSTER" --namespace tuneoff get secret mlflow-postgres; then
        say "+ manifests/secrets.sh |"
        [ -n "$DRY_RUN" ] || manifests/secrets.sh | kubectl --context "kind-$CLUSTER" create --filename -
    fi
    k apply --kustomize manifests/overlays/kind
    k --namespace tuneoff wait deployment --all --for condition=Available --timeout "$PATIENCE"
    k --namespace kubeflow wait deployment --all --for condition=Available --timeout "$PATIENCE"
    say "The cluster is ready. To run a study on it: make cluster-test"
}

FORWARDS=()

forward() { # namespace, service, local port, port of the service
    say "+ kubectl port-forward --namespace $1 service/$2 $3:$4 &"
    [ -z "$DRY_RUN" ] || return 0
    ( # a forward ends together with its pod, so start a new one
        trap 'kill "$child" 2>/dev/null; exit' TERM
        while true; do
            kubectl --context "kind-$CLUSTER" port-forward --namespace "$1" "service/$2" "$3:$4" >/dev/null 2>&1 &
            child=$!
            wait "$child" || true
            sleep 1
        done
    ) &
    FORWARDS+=($!)
    for _ in $(seq 50); do
        ! (exec 3<>"/dev/tcp/127.0.0.1/$3") 2>/dev/null || return 0
        sleep 0.2
    done
    say "service/$2 in namespace $1 cannot be reached. To see why: kubectl --namespace $1 get pods"
    exit 1
}

secret() { # name, key
    if [ -n "$DRY_RUN" ]; then echo dry-run; return; fi
    kubectl --context "kind-$CLUSTER" --namespace kubeflow get secret "$1" --output "jsonpath={.data.$2}" | base64 --decode
}

test_cluster() {
    need kubectl
    trap '[ ${#FORWARDS[@]} -eq 0 ] || kill "${FORWARDS[@]}" 2>/dev/null || true' EXIT
    forward kubeflow ml-pipeline 8888 8888
    forward tuneoff mlflow 5000 5000
    forward tuneoff s3 8333 8333
    AWS_ACCESS_KEY_ID=$(secret tuneoff-s3 AWS_ACCESS_KEY_ID)
    AWS_SECRET_ACCESS_KEY=$(secret tuneoff-s3 AWS_SECRET_ACCESS_KEY)
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    export AWS_ENDPOINT_URL=http://localhost:8333 AWS_DEFAULT_REGION=us-east-1
    run "$PYTHON" -m tuneoff submit "$STUDY" --host http://localhost:8888 --check --kube-context "kind-$CLUSTER"
    run "$PYTHON" -m tuneoff submit "$STUDY" --host http://localhost:8888 --wait --kube-context "kind-$CLUSTER"
    run "$PYTHON" tests/support/arrived.py "$(artifacts)" --tracking-uri http://localhost:5000
}

artifacts() { sed -n 's/^artifacts: *//p' "$STUDY"; }

down() {
    need kind
    run kind delete cluster --name "$CLUSTER"
}

case ${1:-} in
    up) up ;;
    test) test_cluster ;;
    down) down ;;
    *) say "Usage: manifests/cluster.sh up|test|down"; exit 2 ;;
esac
