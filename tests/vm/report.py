"""What the guest tells the host about its tests: a file of JSON lines, one per test, written as they end."""

from __future__ import annotations

import ast
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

INSIDE = "COTUNE_GUEST"
"""Environment variable of the pytest inside the guest: the file of results."""

FOLDER = Path(__file__).with_name("inside")


class Result(NamedTuple):
    """One test inside: the case it belongs to, its own id, passed, failed or skipped, what it said.

    ``seconds`` are those of its fixtures, too.
    """

    case: str
    id: str
    outcome: str
    text: str
    seconds: float


def cases() -> list[str]:
    """The test functions in ``inside``, as ``MODULE::FUNCTION``; those taken over from other modules included."""
    found = []
    for module in sorted(FOLDER.glob("test_*.py")):
        names: list[str] = []
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                names.append(node.name)
            elif isinstance(node, ast.ImportFrom):
                names += [alias.name for alias in node.names]
        found += [f"{module.stem}::{name}" for name in names if name.startswith("test_")]
    return found


def case_of(nodeid: str) -> str:
    """The case of a pytest node id (``tests/vm/inside/test_a.py::test_b[c]``)."""
    path, _, name = nodeid.partition("::")
    return f"{Path(path).stem}::{name.partition('[')[0]}"


def read_results(file: Path) -> list[Result]:
    """Everything told so far; a last line cut short is left out."""
    if not file.exists():
        return []
    lines = file.read_text(errors="replace").splitlines(keepends=True)
    return [Result(**json.loads(line)) for line in lines if line.endswith("\n")]


class Reporter:
    """The pytest plugin inside the guest."""

    def __init__(self, file: Path) -> None:
        """``file`` is opened anew for each line: the guest may end at any moment."""
        self.file = file
        self._spent: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell a test's end: its call, or whatever kept it from being called or failed afterwards."""
        self._spent[report.nodeid] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self._tell(report.nodeid, report.outcome, _text(report), self._spent[report.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tell a module that could not be imported."""
        if report.failed:
            self._tell(report.nodeid, "failed", _text(report), 0.0)

    def _tell(self, nodeid: str, outcome: str, text: str, seconds: float) -> None:
        result = Result(case_of(nodeid), nodeid, outcome, text, round(seconds, 2))
        with self.file.open("a") as out:
            out.write(json.dumps(result._asdict()) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Inside the guest this module is a plugin (``-p tests.vm.report``)."""
    config.pluginmanager.register(Reporter(Path(os.environ[INSIDE])))


def _text(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "\n".join([report.longreprtext, *(f"--- {title}\n{text}" for title, text in report.sections)]).strip()
