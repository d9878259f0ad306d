#!/bin/bash
# Every benchmark: bench/apply.py, bench/fleet.py and bench/*/run.py.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

found=0
for file in bench/[a]pply.py bench/[f]leet.py bench/*/run.py; do
    module=${file%.py}
    found=1
    echo "== ${module//\//.} =="
    .venv/bin/python -m "${module//\//.}"
done
if [ "$found" -eq 0 ]; then
    echo "bench: there is no benchmark in bench/ yet" >&2
    exit 1
fi
