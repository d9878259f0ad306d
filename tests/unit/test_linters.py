"""The linters run as tests, so that `make test` is the one thing to run before a commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# mypy refuses a folder without Python files, and a folder may still be empty.
TREES = [name for name in ("cotune", "viewfs", "tests", "bench", "ansible") if next((ROOT / name).rglob("*.py"), None)]


def lint(*command: str, trees: list[str] = TREES, folder: Path = ROOT) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command, *trees],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode:
        pytest.fail(f"{' '.join(command)} {' '.join(trees)}\n{run.stdout}", pytrace=False)


def test_ruff() -> None:
    lint("ruff", "check", "--no-cache", "--quiet")


@pytest.mark.slow
def test_mypy(tmp_path: Path) -> None:
    cache = ROOT / ".mypy_cache"
    writable = os.access(cache if cache.exists() else ROOT, os.W_OK)
    trees = [tree for tree in TREES if tree != "ansible"]
    lint("mypy", "--strict", "--no-error-summary", f"--cache-dir={cache if writable else tmp_path}", trees=trees)


@pytest.mark.slow
def test_mypy_on_the_collection(tmp_path: Path) -> None:
    # in a place of its own: its modules are ansible_collections.cotune.host…, and `ansible` is somebody else's package
    shutil.copytree(ROOT / "ansible/plugins", tmp_path / "ansible_collections/cotune/host/plugins")
    options = ("--explicit-package-bases", "--disable-error-code=import-untyped", "--allow-subclassing-any")
    lint("mypy", "--strict", "--no-error-summary", *options, trees=["ansible_collections"], folder=tmp_path)
