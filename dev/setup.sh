#!/bin/sh
# Puts the locked environment into .venv. Called by `make setup`; may be interrupted and run again at any point.
# Usage: sh dev/setup.sh [PYTHON]     Errors are one sentence that says what to do.
set -eu
cd "$(dirname "$0")/.."
wanted=${1:-python3}
need_disk_mib=2048
need_memory_mib=1024

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 2
}

is_python_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The first of these that runs and is new enough. A shim of a version manager may exist and yet not run.
python=
for candidate in "$wanted" python3.13 python3.12 python3.11; do
    if is_python_311 "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$("$wanted" --version 2>&1) || found="no working $wanted"
    fail "Stoker needs Python 3.11 or newer and found only: $found. Install it, or name one: make setup PYTHON=/path/to/python3.11"
fi

"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    fail "this Python has no venv module. On Debian or Ubuntu: sudo apt-get install python3-venv"

# What is installed already need not fit again.
free_mib=$(df -Pk . | awk 'NR == 2 {print int($4 / 1024)}')
if [ ! -e .venv/bin/stoker ] && [ "$free_mib" -lt "$need_disk_mib" ]; then
    fail "the environment needs $need_disk_mib MiB of disk and $(pwd) has $free_mib MiB free. Free some, or clone elsewhere."
fi
if [ -r /proc/meminfo ]; then
    memory_mib=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
    [ "${memory_mib:-$need_memory_mib}" -ge "$need_memory_mib" ] ||
        fail "installing needs $need_memory_mib MiB of memory and $memory_mib MiB are available. Close something and try again."
fi

# An environment that was interrupted while it was made, or whose Python has gone, is made anew.
if ! is_python_311 .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    printf 'setup: making .venv with %s\n' "$("$python" --version)"
    "$python" -m venv --clear .venv
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
printf 'setup: installing the locked packages (about 650 MiB; a few minutes the first time)\n'
.venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
touch .venv/.installed   # last: without it the next run starts again from here
printf 'setup: done\n'
