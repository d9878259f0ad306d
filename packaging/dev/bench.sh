#!/bin/bash
# Every benchmark, whether or not the one before it reached its aims.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

failed=0
for module in bench.apply bench.views bench.fleet; do
    echo "== $module =="
    .venv/bin/python -m "$module" || failed=1
done
exit "$failed"
