#!/bin/sh
# base.sh NAME: create a base image with Python from this machine's Debian release, if no registry can be reached. Needs root.
set -eu
# shellcheck disable=SC1091 # a file of the system
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$release" "$folder/root" >"$folder/log" || {
    tail -5 "$folder/log" >&2
    exit 1
}
# Remove package lists, manuals and caches, as the official images do.
rm -rf "$folder"/root/var/lib/apt/lists/* "$folder"/root/var/cache/apt/*.bin "$folder"/root/var/cache/apt/archives/*.deb \
    "$folder"/root/usr/share/doc/* "$folder"/root/usr/share/man/* "$folder"/root/var/log/*
tar --create --directory "$folder/root" . | podman import --change 'CMD ["python3"]' - "$1"
