#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: venv.sh FOLDER WORDS PIP-ARGUMENT...
# Makes a virtual environment in FOLDER, unless it is there, and installs into it by constraints.txt.
# WORDS say what for. $PY is the Python to use, else python3.11, else python3. pip's output goes to FOLDER/pip.log.
set -eu

folder=$1 words=$2
shift 2

say() { printf '%s\n' "$*" >&2; }

new_enough() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PY:-python3.11 python3 python3.12 python3.13}; do
        if new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    if [ -n "${PY:-}" ]; then
        say "PY=$PY is not a Python 3.11 or newer."
    else
        say "Python 3.11 or newer is needed, and neither python3.11 nor python3 is one."
    fi
    say "On Debian or Ubuntu: apt-get install python3.11 python3.11-venv. Any other: make PY=/path/to/python3.11"
    return 1
}

make_venv() {
    python=$(find_python)
    rm -rf "$folder"
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "$python cannot make virtual environments: its modules venv and ensurepip are missing."
        say "On Debian or Ubuntu: apt-get install python$version-venv"
        return 1
    fi
    if ! output=$("$python" -m venv "$folder" 2>&1); then
        rm -rf "$folder"
        say "$python could not make a virtual environment in $folder:"
        say "$output"
        return 1
    fi
}

"$folder/bin/python" -c '' >/dev/null 2>&1 || make_venv

say "Installing $words into $folder (the first time takes a minute or two) …"
if ! "$folder/bin/python" -m pip install --disable-pip-version-check --no-input -c constraints.txt "$@" \
    >"$folder/pip.log" 2>&1; then
    say "pip could not install $words. The end of $folder/pip.log:"
    tail -n 15 "$folder/pip.log" >&2
    say "Words like “not found”, “conflict” or “connection” mostly mean: no package index could be reached."
    exit 1
fi
