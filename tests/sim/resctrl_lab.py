"""A simulated host with resctrl for tests of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cotune.apply import Result
from cotune.errors import CotuneError, PlanRefused
from cotune.host.facts import Host
from cotune.journal import Journal
from cotune.kernel.port import Kernel
from cotune.ledger import Ledger
from cotune.model import Plan
from cotune.planning import Options, make_plan
from cotune.rollback import Selection, rollback
from cotune.sim.kernel import SimKernel
from cotune.state import given_state
from cotune.undo import UndoResult
from tests.sim.lab import run, write_profile

POINT = "/sys/fs/resctrl"


class Lab:
    """A simulated host with resctrl, and profiles to apply to it."""

    def __init__(self, folder: Path, kernel: Kernel) -> None:
        self.folder, self.kernel = folder, kernel
        self.journal = Journal(given_state(folder / "state"))

    def plan(self, body: str, options: Options | None = None, name: str = "p") -> Plan:
        ledger = Ledger(self.journal.load(), Host(self.kernel).boot_id)
        return make_plan(write_profile(self.folder, name, body), Host(self.kernel), ledger, options or Options())

    def apply(self, body: str, options: Options | None = None, name: str = "p") -> Result:
        return run(self.kernel, self.journal, write_profile(self.folder, name, body), options)

    def rollback(self) -> UndoResult:
        return rollback(Host(self.kernel), self.journal, Selection(), lambda: "later")[1]

    def refusal(self, body: str) -> str:
        with pytest.raises(CotuneError) as caught:
            self.plan(body)
        assert isinstance(caught.value, PlanRefused)
        return caught.value.message

    def values(self, body: str) -> dict[str, object]:
        """Row of schemata → the value planned for the class c."""
        plan = self.plan(f"host: {{resctrl: {{classes: {{c: {body}}}}}}}\n")
        assert not plan.unsupported
        return {str(entry.target.row): entry.new for entry in plan.entries}

    def unsupported(self, body: str) -> list[tuple[str, str]]:
        return [(item.knob, item.reason) for item in self.plan(body).unsupported]

    def snapshot(self) -> dict[str, str]:
        """Every file of resctrl but the kernel's last words."""
        found: dict[str, str] = {"mounts": str(self.kernel.mounts())}
        todo = [POINT]
        while todo:
            path = todo.pop()
            below = self.kernel.subdirs(path)
            todo += [f"{path}/{name}" for name in below]
            names = [name for name in self.kernel.listdir(path) if name not in (*below, "last_cmd_status")]
            found.update((f"{path}/{name}", self.kernel.read(f"{path}/{name}")) for name in names)
        return found


def simulated(lab: Lab) -> SimKernel:
    """The simulated kernel itself, where a test starts processes or meddles."""
    assert isinstance(lab.kernel, SimKernel)
    return lab.kernel


def threads(kernel: Kernel, name: str) -> set[int]:
    return {int(word) for word in kernel.read(f"{POINT}/{name}/tasks").split()}
