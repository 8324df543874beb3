#!/bin/sh
# Create the Secrets that the manifests refer to, with random values, for a cluster that runs its own PostgreSQL and S3:
#   manifests/secrets.sh | kubectl create --filename -   print them; kubectl does not change Secrets that exist already
#   manifests/secrets.sh podman                          create them as secrets of podman, for manifests/podman
# PGUSER, PGPASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are used instead, if set. Nothing is written to a file, and no
# value is part of a command line. docs/cluster.md has the commands for a managed database and bucket.
set -eu

random() { # print $1 random bytes in hexadecimal
    od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'
}

encoded() {
    printf %s "$1" | base64 | tr -d '\n'
}

# Print a Secret. Arguments: namespace, name, then pairs of key and value.
printed() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n' "$2" "$1"
    shift 2
    while [ $# -gt 0 ]; do
        printf '  %s: %s\n' "$1" "$(encoded "$2")"
        shift 2
    done
}

# The same for podman. Up to version 4.3 it reads variables only from JSON, not from a Secret that it has played.
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
    *) echo "Usage: manifests/secrets.sh [podman]" >&2; exit 2 ;;
esac

key=${AWS_ACCESS_KEY_ID:-tuneoff-$(random 6)}
value=${AWS_SECRET_ACCESS_KEY:-$(random 24)}

$secret tuneoff mlflow-postgres username "${PGUSER:-mlflow}" password "${PGPASSWORD:-$(random 24)}"
$secret tuneoff mlflow-s3 AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$value"
$secret kubeflow tuneoff-s3 AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$value"
