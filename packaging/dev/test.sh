#!/bin/bash
# All tests, linters included. Nothing is printed after pytest's closing line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ "$(id -u)" -ne 0 ]; then
    echo "Not root: tests that need root are skipped, and the summary gives each with its reason. To run them: make test as root."
fi
packaging/dev/guest.sh
# in the order of collection: the guests come first, and what comes last is short
exec .venv/bin/pytest -n 2 --dist loadgroup --no-loadscope-reorder
