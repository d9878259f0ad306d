#!/bin/bash
# The long tests only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

status=0
.venv/bin/pytest -m soak "$@" || status=$?
if [ "$status" -eq 5 ]; then
    echo "soak: no test is marked soak yet" >&2
fi
exit "$status"
