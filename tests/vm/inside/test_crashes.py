"""Killed before every kernel file it opens for writing, and every group it makes: all old or all new, never mixed."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from cotune.cli.app import run
from tests.vm.inside.lab import GuestLab


def killed_at(lab: GuestLab, number: int, arguments: list[str]) -> bool:
    """Run cotune in a copy of this process that ends before its n-th change; false when it came to its end."""
    child = os.fork()
    if child == 0:
        changes = itertools.count(1)

        def watch(event: str, details: tuple[object, ...]) -> None:
            opens = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
            if (opens or event in ("os.mkdir", "os.rename", "os.rmdir")) and next(changes) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        os.dup2(os.open(lab.directory / "child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        sys.addaudithook(watch)
        os._exit(run(["--state-dir", str(lab.state), *arguments]))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, (lab.directory / "child.log").read_text()
    return False


def test_all_old_or_all_new(lab: GuestLab) -> None:
    lab.make("svc")
    lab.write("svc", "cpu.max", "30000 60000")
    svc = {"cpu": {"weight": 300, "quota": "10ms", "burst": "5ms", "cpus": 1}, "memory": {"limit": "1GiB"}}
    batch = {"cpu": {"idle": True}, "memory": {"limit": "64MiB", "high": "32MiB"}}
    profile = lab.profile(
        groups={
            "svc": {"match": {"cgroup": lab.path("svc")}, **svc},
            "batch": {"match": {"cgroup": lab.path("batch")}, "create": True, **batch},
        }
    )
    old = lab.snapshot()
    lab.run("apply", profile).expect(0)
    new = lab.snapshot()
    lab.run("rollback").expect(0)

    seen = []
    for number in itertools.count(1):
        lab.state = Path(lab.directory, f"state{number}")
        if not killed_at(lab, number, ["apply", str(profile)]):
            break
        lab.run("recover").expect(0)
        now = lab.snapshot()
        assert now in (old, new), f"killed before change {number}"
        seen.append(now == new)
        if now == new:
            lab.run("rollback").expect(0)
        assert lab.snapshot() == old
    assert len(seen) >= 10
    assert lab.snapshot() == new
