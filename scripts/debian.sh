#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: debian.sh WHAT:PACKAGE...
# Installs those of Debian's packages whose WHAT (a command, or a pattern of a path) is missing.
# Nothing is started by it: the tests run servers of their own.
set -eu

missing=
for pair in "$@"; do
    what=${pair%%:*}
    # shellcheck disable=SC2086
    command -v "$what" >/dev/null 2>&1 || ls $what >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "Needed, and missing here:$missing. As root on Debian or Ubuntu: apt-get install$missing" >&2
    exit 1
fi
echo "Installing$missing …" >&2
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
