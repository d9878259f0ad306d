"""The linters run as tests, so that `make test` is the one thing to run before a commit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# mypy refuses a folder without Python files, and a folder may still be empty.
TREES = [name for name in ("cotune", "viewfs", "tests", "bench") if next((ROOT / name).rglob("*.py"), None)]


def lint(*command: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command, *TREES], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if run.returncode:
        pytest.fail(f"{' '.join(command)} {' '.join(TREES)}\n{run.stdout}", pytrace=False)


def test_ruff() -> None:
    lint("ruff", "check", "--no-cache", "--quiet")


@pytest.mark.slow
def test_mypy(tmp_path: Path) -> None:
    cache = ROOT / ".mypy_cache"
    writable = os.access(cache if cache.exists() else ROOT, os.W_OK)
    lint("mypy", "--strict", "--no-error-summary", f"--cache-dir={cache if writable else tmp_path}")
