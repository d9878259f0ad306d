"""The collection installed for a test, its modules run as Ansible runs them on a host, and simulated hosts as files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COTUNE = BIN / "cotune"
#: Everything here starts Python several times: far above what that takes on a busy machine.
PATIENCE = 300.0


def copy_collection(folder: Path) -> Path:
    """The collection where Ansible looks for one below ``folder``; returns its root."""
    target = folder / "ansible_collections" / "cotune" / "host"
    shutil.copytree(ROOT / "ansible", target, ignore=shutil.ignore_patterns("__pycache__", ".ansible"))
    return target


class Answer(NamedTuple):
    """What a module printed."""

    code: int
    result: dict[str, Any]

    def ok(self) -> dict[str, Any]:
        """The result of a module that succeeded."""
        assert self.code == 0, self.result
        return self.result

    def failed(self, outcome: str | None = None) -> dict[str, Any]:
        """The result of a module that failed, with this outcome."""
        assert self.code != 0 and self.result["failed"], self.result
        assert outcome is None or self.result["outcome"] == outcome, self.result
        return self.result


class Modules:
    """Runs modules of the collection below ``collections``, each with ``common`` arguments."""

    def __init__(self, collections: Path, prefix: tuple[str, ...] = (), **common: Any) -> None:
        """``prefix`` starts each command."""
        self.collections = collections
        self.prefix = prefix
        self.common = {"executable": str(COTUNE), **common}

    def run(self, name: str, check_mode: bool = False, diff_mode: bool = False, **arguments: Any) -> Answer:
        """Run one with these arguments; one that is None is left out."""
        given = {key: value for key, value in {**self.common, **arguments}.items() if value is not None}
        parameters = {"_ansible_check_mode": check_mode, "_ansible_diff": diff_mode, **given}
        file = self.collections / "ansible_collections/cotune/host/plugins/modules" / f"{name}.py"
        done = subprocess.run(
            [*self.prefix, sys.executable, str(file)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": parameters}),
            env={**os.environ, "PYTHONPATH": str(self.collections), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.stdout, done.stderr
        return Answer(done.returncode, json.loads(done.stdout))


def cotune(*words: object) -> tuple[int, str]:
    """Exit code and output of the command line."""
    done = subprocess.run([COTUNE, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout


@contextmanager
def simulated(folder: Path, kernel: str, fault: str = "") -> Iterator[Path]:
    """A simulated host as files, at a new directory in ``folder``."""
    point = folder / "host"
    point.mkdir(parents=True)
    command = [str(COTUNE), "--state-dir", str(folder / "sim"), "sim", "mount", str(point), "--kernel", kernel]
    process = subprocess.Popen([*command, *(["--fault", fault] if fault else [])])
    try:
        deadline = time.monotonic() + PATIENCE
        while not (point / "proc/cmdline").exists():
            assert process.poll() is None and time.monotonic() < deadline, "the simulated host does not come up"
            time.sleep(0.05)
        yield point
    finally:
        process.terminate()
        process.wait(PATIENCE)
