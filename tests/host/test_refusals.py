"""The kernel refuses in the middle of an apply: everything written before is undone, and the message says why."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.host.lab import Lab, wait_for

pytestmark = pytest.mark.root

MIB = 2**20
two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")

#: written before the refused value, since cpu comes before memory and parents before children
BEFORE = {"cpu": {"shares": 4096, "quota": 0.5, "burst": "10ms"}, "pids": {"max": 99}}


def forced(lab: Lab) -> list[str]:
    """``--force`` where apply has it: it may refuse a limit below the usage before it writes anything."""
    return ["--force"] if "--force" in lab.run("apply", "--help").out else []


def test_a_limit_below_what_cannot_be_reclaimed(lab: Lab) -> None:
    """EBUSY: anonymous memory without swap stays where it is."""
    with open("/proc/swaps") as swaps:
        if len(swaps.readlines()) > 1:
            pytest.skip("needs a machine without swap")
    lab.make("svc")
    lab.write("svc", "cpu.shares", 300)
    lab.write("svc", "memory.limit_in_bytes", 256 * MIB)
    code = (
        "import os, sys\n"
        "sys.stdin.readline()\n"
        "held = bytearray(os.urandom(4096)) * (48 * 256)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lab.processes.append(holder)  # type: ignore[arg-type]
    assert holder.stdin
    assert holder.stdout
    (lab.dir("memory", "svc") / "cgroup.procs").write_text(str(holder.pid))
    holder.stdin.write("go\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    assert int(lab.read("svc", "memory.usage_in_bytes")) >= 48 * MIB
    before = lab.snapshot()

    wanted: dict[str, Any] = {**BEFORE, "memory": {"limit": "16MiB", "memsw": "512MiB", "swappiness": 3}}
    new = {"match": {"cgroup": lab.path("new")}, "create": True, **BEFORE}
    profile = lab.profile(groups={"svc": {"match": {"cgroup": lab.path("svc")}, **wanted}, "new": new})
    run = lab.run("apply", *forced(lab), profile).expect(4)
    assert str(lab.file("svc", "memory.limit_in_bytes")) in run.err
    assert str(16 * MIB) in run.err
    assert "EBUSY" in run.err
    assert "reclaim" in run.err
    assert lab.snapshot() == before
    assert holder.poll() is None
    lab.run("status").expect(0)
    lab.run("recover").expect(0)
    assert lab.snapshot() == before
    assert "EBUSY" in lab.run("apply", "--json", *forced(lab), profile).expect(4).json["errors"][0]["message"]

    holder.stdin.close()
    holder.wait()
    before = lab.snapshot()
    lab.run("apply", *forced(lab), profile).expect(0)
    lab.run("rollback").expect(0)
    assert lab.snapshot() == before


@two_cpus
def test_cpus_outside_the_parent(lab: Lab) -> None:
    """EACCES."""
    lab.make("svc")
    lab.write("svc", "cpuset.cpus", 0)
    lab.make("svc/inner")
    before = lab.snapshot()
    groups = {
        "svc": {"match": {"cgroup": lab.path("svc")}, **BEFORE},
        "inner": {"match": {"cgroup": lab.path("svc/inner")}, "cpu": {"shares": 77, "cpus": "0-1"}},
        "new": {"match": {"cgroup": lab.path("new/deep")}, "create": True, **BEFORE},
    }
    process = lab.spawn(group="svc")
    run = lab.run("apply", "--pid", f"new={process.pid}", lab.profile(groups=groups)).expect(4)
    assert str(lab.file("svc/inner", "cpuset.cpus")) in run.err
    assert "'0-1'" in run.err
    assert "EACCES" in run.err
    assert "parent" in run.err
    assert {path: value for path, value in lab.snapshot().items() if not path.endswith(("procs", "tasks"))} == {
        path: value for path, value in before.items() if not path.endswith(("procs", "tasks"))
    }
    assert lab.groups_of(process.pid)["cpu"] == lab.path("svc")


@two_cpus
def test_a_child_uses_more(lab: Lab) -> None:
    """EBUSY: the profile narrows a parent and does not name the child."""
    lab.make("svc/inner")
    before = lab.snapshot()
    svc = {"match": {"cgroup": lab.path("svc")}, "cpu": {"shares": 4096, "cpus": 0}}
    run = lab.run("apply", lab.profile(groups={"svc": svc})).expect(4)
    assert str(lab.file("svc", "cpuset.cpus")) in run.err
    assert "EBUSY" in run.err
    assert "child" in run.err
    assert lab.snapshot() == before


def test_a_quota_above_the_ancestor(lab: Lab) -> None:
    """EINVAL: the limited ancestor is not part of the profile."""
    lab.make("svc/inner")
    lab.write("svc", "cpu.cfs_quota_us", 20_000)
    before = lab.snapshot()
    inner = {"match": {"cgroup": lab.path("svc/inner")}, "cpu": {"shares": 4096, "quota": 0.5}}
    run = lab.run("apply", lab.profile(groups={"inner": inner})).expect(4)
    assert str(lab.file("svc/inner", "cpu.cfs_quota_us")) in run.err
    assert "'50000'" in run.err
    assert "EINVAL" in run.err
    assert "ancestor" in run.err
    assert lab.snapshot() == before


def test_a_read_only_cgroup(lab: Lab) -> None:
    """EROFS: one group is bind-mounted read-only over itself."""
    lab.make("svc")
    directory = lab.dir("memory", "svc")
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        before = lab.snapshot()
        svc = {"match": {"cgroup": lab.path("svc")}, **BEFORE, "memory": {"swappiness": 3}}
        run = lab.run("apply", lab.profile(groups={"svc": svc})).expect(4)
        assert str(directory / "memory.swappiness") in run.err
        assert "EROFS" in run.err
        assert lab.snapshot() == before
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_task_the_kernel_will_not_move(lab: Lab) -> None:
    """ENOSPC: a cpuset without CPUs takes no task; the moves made before are taken back."""
    lab.make("origin")
    lab.make("svc", ("cpu", "memory"))
    lab.dir("cpuset", "svc").mkdir()
    process = lab.spawn(group="origin")
    before = lab.snapshot(), lab.groups_of(process.pid)
    svc = {
        "match": {"cgroup": lab.path("svc")},
        "cpu": {"shares": 77, "mems": 0},
        "memory": {"swappiness": 3},
    }
    run = lab.run("apply", "--pid", f"svc={process.pid}", lab.profile(groups={"svc": svc})).expect(4)
    assert str(lab.dir("cpuset", "svc")) in run.err
    assert "ENOSPC" in run.err
    assert (lab.snapshot(), lab.groups_of(process.pid)) == before


def test_nothing_is_left_when_the_journal_cannot_be_written(lab: Lab) -> None:
    """A full disk: no kernel write, no trace of a transaction."""
    lab.make("svc")
    before = lab.snapshot()
    lab.state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "none", lab.state], check=True)
    try:
        (lab.state / "transactions").mkdir(mode=0o700)
        (lab.state / "lock").write_bytes(b"1\n")
        wait_for(lambda: _fill(lab), "the disk is full")
        profile = lab.profile(groups={"svc": {"match": {"cgroup": lab.path("svc")}, **BEFORE}})
        run = lab.run("apply", profile).expect(4)
        assert "nothing was changed" in run.err
        assert lab.snapshot() == before
        assert list((lab.state / "transactions").iterdir()) == []
        (lab.state / "more").unlink()
        lab.run("status").expect(0)
        lab.run("apply", profile).expect(0)
        lab.run("rollback").expect(0)
        assert lab.snapshot() == before
    finally:
        subprocess.run(["umount", lab.state], check=True)


def _fill(lab: Lab) -> bool:
    """Fill the file system to the last block."""
    try:
        with open(lab.state / "more", "ab", buffering=0) as file:
            file.write(b"x" * 4096)
    except OSError:
        return True
    return False
