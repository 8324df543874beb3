#!/bin/sh
# Runs in the build of an image, and is not part of it.
#   install.sh uv             installs uv and hatchling into /opt/installer
#   install.sh NAME LOCK      installs the packages of packages/NAME.txt in the releases of LOCK into /opt/tuneoff
#   install.sh wheel          installs Tuneoff itself
# Every file is compared with the lock's sums. DEVICE=gpu takes TensorFlow and CUDA from gpu.lock in place of tensorflow-cpu.
# TORCH=torch==VERSION+cpu takes that build, uncompared, wherever uv finds it, and leaves out what only the CUDA build needs.
set -eu

here=$(dirname "$0")
CUDA='^(torch|triton|nvidia-.*|cuda-.*)$'

# How the package index is reached is the build machine's business: nothing of it stays behind.
if [ -f /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca
fi
if [ -f /run/secrets/index ]; then
    set -a
    . /run/secrets/index
    set +a
fi
if ls /wheels/*.whl >/dev/null 2>&1; then
    export UV_FIND_LINKS=/wheels PIP_FIND_LINKS=/wheels
fi
export UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

lock=$(mktemp)
trap 'rm -f "$lock"' EXIT

# The lines of the lock $2 for the packages that the list $1 names; a name that the lock does not have is an error.
taken() {
    awk -v skip="${TORCH:+$CUDA}" '
        NR == FNR { wanted[$1]; next }
        /^[a-z0-9]/ { split($1, parts, "=="); name = parts[1]; keep = name in wanted; delete wanted[name] }
        keep && !(skip && name ~ skip) { print }
        END { for (name in wanted) { print name " is not in the lock" > "/dev/stderr"; failed = 1 } exit failed }
    ' "$1" "$2"
}

install() {
    /opt/installer/bin/uv pip install --python "$1" --no-deps --require-hashes --requirement "$lock"
}

case $1 in
uv)
    python3 -m venv /opt/installer
    /opt/installer/bin/python -m pip install --no-cache-dir --no-compile --require-hashes --requirement "$here/requirements-uv.lock"
    taken "$here/packages/build.txt" "$here/requirements.lock" > "$lock"
    install /opt/installer
    ;;
wheel)
    /opt/installer/bin/uv pip install --python /opt/tuneoff --no-deps --offline /wheel/*.whl
    ;;
*)
    if [ -n "${TORCH:-}" ] && grep -qx torch "$here/packages/$1.txt"; then
        /opt/installer/bin/uv pip install --python /opt/tuneoff --no-deps "$TORCH"
    fi
    if [ "${DEVICE:-cpu}" = gpu ]; then
        grep -vx tensorflow-cpu "$here/packages/$1.txt" > "$lock.names"
        taken "$lock.names" "$here/$2" > "$lock"
        rm "$lock.names"
        ! grep -qx tensorflow-cpu "$here/packages/$1.txt" || cat "$here/gpu.lock" >> "$lock"
    else
        taken "$here/packages/$1.txt" "$here/$2" > "$lock"
    fi
    install /opt/tuneoff
    ;;
esac
