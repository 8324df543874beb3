#!/bin/sh
# The Secrets that the manifests refer to, with values made up now, for a place that brings its own PostgreSQL and S3:
#   manifests/secrets.sh | kubectl create --filename -   prints them; kubectl changes none that is there already
#   manifests/secrets.sh podman                          makes them secrets of podman, for manifests/podman
# PGUSER, PGPASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are taken from the environment where they are set. Nothing is
# written to a file, and no value stands on a command line. docs/cluster.md has the commands for a managed database and bucket.
set -eu

random() { # $1 bytes in hexadecimal
    od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'
}

encoded() {
    printf %s "$1" | base64 | tr -d '\n'
}

# namespace, name, then pairs of key and value
printed() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n' "$2" "$1"
    shift 2
    while [ $# -gt 0 ]; do
        printf '  %s: %s\n' "$1" "$(encoded "$2")"
        shift 2
    done
}

# The same for podman, which until 4.3 reads variables from JSON alone, not from a Secret that it has played.
kept() {
    [ "$1" = tuneoff ] || return 0
    name=$2
    shift 2
    {
        separator='{'
        while [ $# -gt 0 ]; do
            printf '%s"%s": "%s"' "$separator" "$1" "$(encoded "$2")"
            separator=', '
            shift 2
        done
        printf '}'
    } | podman secret create "$name" - >/dev/null
}

case ${1:-} in
    '') secret=printed ;;
    podman) secret=kept ;;
    *) echo "manifests/secrets.sh, or manifests/secrets.sh podman" >&2; exit 2 ;;
esac

key=${AWS_ACCESS_KEY_ID:-tuneoff-$(random 6)}
value=${AWS_SECRET_ACCESS_KEY:-$(random 24)}

$secret tuneoff mlflow-postgres username "${PGUSER:-mlflow}" password "${PGPASSWORD:-$(random 24)}"
$secret tuneoff mlflow-s3 AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$value"
$secret kubeflow tuneoff-s3 AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$value"
