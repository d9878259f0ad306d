"""The kernel refuses in the middle of an apply: everything written before is undone, and the message says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.inside.lab import GuestLab

MIB = 2**20
HELD = 48 * MIB

#: written before the refused value, since cpu comes before memory and parents before children
FIRST = {"cpu": {"weight": 700, "quota": 0.5, "burst": "10ms"}}

HOLDER = f"""
import sys
sys.stdin.readline()
held = bytearray(b"x") * {HELD}
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(lab: GuestLab) -> Iterator[subprocess.Popen[str]]:
    """A process in group svc with memory that cannot be reclaimed, since there is no swap."""
    assert len(Path("/proc/swaps").read_text().splitlines()) == 1
    lab.make("svc")
    command = [sys.executable, "-S", "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        lab.write("svc", "cgroup.procs", process.pid)
        print("go", file=process.stdin, flush=True)
        assert process.stdout.readline() == "held\n"
        assert int(lab.read("svc", "memory.current")) >= HELD
        yield process
        process.kill()


def test_a_limit_below_the_usage_kills_nobody(lab: GuestLab, holder: subprocess.Popen[str]) -> None:
    """A write to memory.max below the usage would kill: memory.high comes first, and then it is given up."""
    before = lab.snapshot()
    svc = {"match": {"cgroup": lab.path("svc")}, **FIRST, "memory": {"limit": "16MiB"}}
    run = lab.run("apply", "--force", lab.profile(groups={"svc": svc}))
    run.expect(4)
    assert str(lab.file("svc", "memory.max")) in run.err
    assert holder.poll() is None
    assert lab.snapshot() == before
    assert "oom_kill 0" in lab.read("svc", "memory.events").splitlines()
    lab.run("status").expect(0)
    assert lab.run("rollback").expect(0).out.strip() == "nothing to roll back"


def test_allowed_to_kill(lab: GuestLab, holder: subprocess.Popen[str]) -> None:
    before = lab.snapshot()
    svc = {"match": {"cgroup": lab.path("svc")}, **FIRST, "memory": {"limit": "16MiB"}}
    lab.run("apply", "--force", "--allow-oom", lab.profile(groups={"svc": svc})).expect(0)
    assert holder.wait(30) == -9
    assert lab.read("svc", "memory.max") == str(16 * MIB)
    lab.run("rollback").expect(0)
    procs = str(lab.file("svc", "cgroup.procs"))
    threads = str(lab.file("svc", "cgroup.threads"))
    assert lab.snapshot() == before | {procs: b"", threads: b""}


def test_a_limit_above_the_usage_passes(lab: GuestLab, holder: subprocess.Popen[str]) -> None:
    before = lab.snapshot()
    svc = {"match": {"cgroup": lab.path("svc")}, **FIRST, "memory": {"limit": "128MiB", "high": "100MiB"}}
    lab.run("apply", lab.profile(groups={"svc": svc})).expect(0)
    assert (lab.read("svc", "memory.max"), lab.read("svc", "memory.high")) == (str(128 * MIB), str(100 * MIB))
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before
    assert holder.poll() is None


def refused_partition(lab: GuestLab, group: str, cpu: dict[str, Any]) -> None:
    """A partition the kernel does not make; all of the profile is undone."""
    before = lab.snapshot()
    other = {"match": {"cgroup": lab.path("other")}, "create": True, **FIRST, "pids": {"max": 5}}
    wanted = {"match": {"cgroup": lab.path(group)}, "cpu": cpu}
    run = lab.run("apply", lab.profile(groups={"other": other, "part": wanted})).expect(4)
    assert "cpuset.cpus.partition" in run.err
    assert lab.snapshot() == before


def test_a_partition_below_a_member(lab: GuestLab) -> None:
    lab.make("svc")
    refused_partition(lab, "svc", {"cpus": 3, "partition": "root"})


def test_a_partition_that_takes_every_cpu_of_a_parent_with_tasks(lab: GuestLab) -> None:
    lab.make("svc")
    refused_partition(lab, "", {"cpus": "0-3", "partition": "root"})


def test_a_group_with_tasks_cannot_hand_on_its_controllers(lab: GuestLab) -> None:
    """EBUSY in cgroup.subtree_control, known before any write."""
    lab.make("svc")
    process = lab.spawn(group="svc")
    before = lab.snapshot()
    inner = {"match": {"cgroup": lab.path("svc/inner")}, "create": True, "memory": {"limit": "64MiB"}}
    run = lab.run("apply", lab.profile(groups={"inner": inner})).expect(2)
    assert lab.path("svc") in run.err
    assert "memory" in run.err
    assert lab.snapshot() == before
    assert lab.group_of(process.pid) == lab.path("svc")
