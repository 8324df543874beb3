#!/bin/sh
# Prints the Secrets that ../manifests refer to, with values made up now, for a place that brings its own PostgreSQL and S3:
#   manifests/secrets.sh | kubectl create --filename -      fails where they are there already, and changes nothing
#   manifests/secrets.sh | podman kube play -
# PGUSER, PGPASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are taken from the environment where they are set. Nothing is
# written to a disk, and no value stands on a command line. docs/cluster.md has the commands for a managed database and bucket.
set -eu

random() { # $1 bytes in hexadecimal
    od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'
}

encoded() {
    printf %s "$1" | base64 | tr -d '\n'
}

secret() { # namespace, name, then pairs of key and value
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n' "$2" "$1"
    shift 2
    while [ $# -gt 0 ]; do
        printf '  %s: %s\n' "$1" "$(encoded "$2")"
        shift 2
    done
}

key=${AWS_ACCESS_KEY_ID:-tuneoff-$(random 6)}
value=${AWS_SECRET_ACCESS_KEY:-$(random 24)}

secret tuneoff mlflow-postgres username "${PGUSER:-mlflow}" password "${PGPASSWORD:-$(random 24)}"
secret tuneoff mlflow-s3 AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$value"
secret kubeflow tuneoff-s3 AWS_ACCESS_KEY_ID "$key" AWS_SECRET_ACCESS_KEY "$value"
