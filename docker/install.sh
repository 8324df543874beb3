#!/bin/sh
# Install packages while an image is built. The script itself does not stay in the image.
#   install.sh NAME LOCK      install the packages of packages/NAME.txt into /opt/tuneoff, in the releases of LOCK
#   install.sh tuneoff        install Tuneoff itself
# The build tools and the downloads stay in /cache, which later builds use again and no image contains.
# Every file is checked against the lock's checksums. DEVICE=gpu installs TensorFlow and CUDA of gpu.lock, not tensorflow-cpu.
# TORCH=torch==VERSION+cpu installs that build without a checksum, wherever uv finds it, and skips the packages for CUDA.
set -eu

here=$(dirname "$0")
root=$here/..
CUDA='^(torch|triton|nvidia-.*|cuda-.*)$'

# The settings for the package index come from the build machine, and must not stay in the image.
if [ -f /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi
if [ -f /run/secrets/index ]; then
    set -a
    # shellcheck disable=SC1091 # the file exists only during the build
    . /run/secrets/index
    set +a
fi
if ls "$here"/wheels/*.whl >/dev/null 2>&1; then
    export UV_FIND_LINKS="$here/wheels" PIP_FIND_LINKS="$here/wheels"
fi
export UV_CACHE_DIR=/cache UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
lock=$scratch/lock

# Print the lines of the lock $2 for the packages that the list $1 names; a name that the lock does not have is an error.
# A lock holds several releases of a package if not all Pythons take the same; uv chooses by the marker of each.
taken() {
    awk -v skip="${TORCH:+$CUDA}" '
        NR == FNR { wanted[$1]; next }
        /^[a-z0-9]/ { split($1, parts, "=="); name = parts[1]; keep = name in wanted; locked[name] }
        keep && !(skip && name ~ skip) { print }
        END { for (name in wanted) if (!(name in locked)) { print name " is not in the lock" > "/dev/stderr"; failed = 1 } exit failed }
    ' "$1" "$2"
}

install() {
    "$tools/bin/uv" pip install --python "$1" --no-deps --require-hashes --requirement "$lock"
}

# uv and hatchling, in a separate environment.
tools=/cache/tools-$(cat "$root/requirements-uv.lock" "$here/packages/build.txt" | sha256sum | cut -c 1-16)
if [ ! -x "$tools/bin/uv" ]; then
    new=$(mktemp -d /cache/new.XXXXXX)
    python3 -m venv "$new"
    "$new/bin/python" -m pip install --no-cache-dir --no-compile --require-hashes --requirement "$root/requirements-uv.lock"
    taken "$here/packages/build.txt" "$root/requirements.lock" > "$lock"
    "$new/bin/uv" pip install --python "$new" --no-deps --require-hashes --requirement "$lock"
    mv -T "$new" "$tools" || [ -x "$tools/bin/uv" ]
fi

case $1 in
tuneoff)
    (cd "$root" && "$tools/bin/python" -m hatchling build --target wheel --directory "$scratch")
    "$tools/bin/uv" pip install --python /opt/tuneoff --no-deps --offline "$scratch"/*.whl
    ;;
*)
    names=$here/packages/$1.txt
    if [ -n "${TORCH:-}" ] && grep -qx torch "$names"; then
        "$tools/bin/uv" pip install --python /opt/tuneoff --no-deps "$TORCH"
    fi
    if [ "${DEVICE:-cpu}" = gpu ] && grep -qx tensorflow-cpu "$names"; then
        grep -vxE 'tensorflow(-cpu)?' "$names" > "$scratch/names"
        taken "$scratch/names" "$root/$2" > "$lock"
        cat "$here/gpu.lock" >> "$lock"
    else
        taken "$names" "$root/$2" > "$lock"
    fi
    install /opt/tuneoff
    ;;
esac
