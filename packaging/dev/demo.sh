#!/bin/bash
# The main job on a simulated host, then a look at this one. Neither part changes this host.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
profile=profiles/mainline-v1.yaml

.venv/bin/cotune demo

printf '\n== This host: cotune diff %s (reads only, root is not needed) ==\n' "$profile"
status=0
.venv/bin/cotune diff "$profile" || status=$?
case $status in
0) echo "Exit 0: this host already is what the profile asks for." ;;
1) echo "Exit 1: this host differs from the profile as listed; nothing was changed." ;;
*)
    echo "demo: cotune diff failed with exit $status" >&2
    exit "$status"
    ;;
esac
