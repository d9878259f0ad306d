"""The main road on the running kernel: diff, apply, apply again, drift, rollback."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.conftest import Loop
from tests.host.lab import CONTROLLERS, Call, Lab, exclusive, kernel_writes, put

pytestmark = pytest.mark.root

CHANGES = "trace=open,openat,openat2,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,mount,umount2"
CHANGE_KEYS = {"resource", "knob", "path", "current", "desired", "action", "origin"}
LEASE = Path("/proc/sys/fs/lease-break-time")


def prepare(lab: Lab, root_disk: str) -> None:
    """A group that exists already, with values that are not the kernel's defaults."""
    lab.make("svc")
    for name, value in {
        "cpu.shares": 300,
        "cpu.cfs_period_us": 60_000,
        "cpu.cfs_quota_us": 30_000,
        "cpu.cfs_burst_us": 1_000,
        "cpuset.cpus": 0,
        "memory.limit_in_bytes": 256 * 2**20,
        "memory.memsw.limit_in_bytes": 512 * 2**20,
        "memory.soft_limit_in_bytes": 128 * 2**20,
        "memory.swappiness": 33,
        "blkio.throttle.write_bps_device": f"{root_disk} 1048576",
        "pids.max": 77,
    }.items():
        lab.write("svc", name, value)


def wanted(lab: Lab, root_disk: str, loop: Loop) -> dict[str, Any]:
    """Groups of a profile over all five controllers: one that exists, one to be made with its parent."""
    both = [
        {"device": {"majmin": root_disk}, "write_bps": "200MiB", "write_iops": 4000, "read_iops": 5000},
        {"device": {"device": loop.name}, "read_bps": "50MiB", "write_iops": 300},
    ]
    return {
        "svc": {
            "match": {"cgroup": lab.path("svc")},
            "cpu": {"shares": 4096, "quota": 1.5, "period": "20ms", "burst": "50%", "cpus": "all"},
            "memory": {
                "limit": "1GiB",
                "memsw": "1GiB",
                "soft_limit": "512MiB",
                "swappiness": 0,
                "oom_kill_disable": True,
            },
            "io": {"throttle": both},
            "pids": {"max": "max"},
        },
        "batch": {
            "match": {"cgroup": lab.path("batch/jobs")},
            "create": True,
            "cpu": {"idle": True, "quota": 0.5, "burst": "10ms", "cpus": 0},
            "memory": {"limit": "64MiB", "memsw": "80MiB", "soft_limit": 12345678, "swappiness": 100},
            "io": {"throttle": both},
            "pids": {"max": 200},
        },
    }


EXPECTED = {
    "svc": {
        "cpu.shares": "4096",
        "cpu.cfs_quota_us": "30000",
        "cpu.cfs_period_us": "20000",
        "cpu.cfs_burst_us": "15000",
        "memory.limit_in_bytes": str(2**30),
        "memory.memsw.limit_in_bytes": str(2**30),
        "memory.soft_limit_in_bytes": str(2**29),
        "memory.swappiness": "0",
        "pids.max": "max",
    },
    "batch/jobs": {
        "cpu.idle": "1",
        "cpu.cfs_quota_us": "50000",
        "cpu.cfs_burst_us": "10000",
        "cpuset.cpus": "0",
        "memory.limit_in_bytes": str(64 * 2**20),
        "memory.memsw.limit_in_bytes": str(80 * 2**20),
        "memory.soft_limit_in_bytes": str(12345678 // 4096 * 4096),
        "memory.swappiness": "100",
        "pids.max": "200",
    },
}


def check_values(lab: Lab, root_disk: str, loop: Loop) -> None:
    """The kernel reads what the profile wants."""
    for group, files in EXPECTED.items():
        assert {name: lab.read(group, name) for name in files} == files
        assert sorted(lab.read(group, "blkio.throttle.write_iops_device").splitlines()) == sorted(
            [f"{root_disk} 4000", f"{loop.number} 300"]
        )
        assert lab.read(group, "blkio.throttle.read_bps_device") == f"{loop.number} {50 * 2**20}"
        assert lab.read(group, "blkio.throttle.write_bps_device") == f"{root_disk} {200 * 2**20}"
    assert "oom_kill_disable 1" in lab.read("svc", "memory.oom_control")
    assert lab.read("svc", "cpuset.cpus") == Path("/sys/devices/system/cpu/online").read_text().strip()
    assert lab.read("batch/jobs", "cpuset.mems") == lab.read("svc", "cpuset.mems")


def test_diff_apply_apply_rollback(lab: Lab, root_disk: str, loop: Loop) -> None:
    prepare(lab, root_disk)
    before = lab.snapshot()
    profile = lab.profile(groups=wanted(lab, root_disk, loop))

    difference = lab.run("diff", "--json", profile).expect(1)
    assert difference.json["schema"] == "cotune.diff/v1"
    assert difference.json["changed"] is True
    assert difference.json["unsupported"] == difference.json["pending"] == difference.json["takes_over"] == []
    assert all(set(change) - {"row"} == CHANGE_KEYS for change in difference.json["changes"])
    assert {change["action"] for change in difference.json["changes"]} == {"create", "set"}
    assert len({change["knob"] for change in difference.json["changes"]} - {"cgroup"}) >= 9
    assert lab.snapshot() == before
    assert not list(lab.state.rglob("*.jsonl"))
    assert lab.run("apply", "--dry-run", profile).expect(1).out.splitlines()[0].startswith("cgroup:")
    assert lab.snapshot() == before

    applied = lab.run("apply", "--json", profile).expect(0).json
    assert applied["schema"] == "cotune.apply/v1"
    assert applied["transaction"]
    assert applied["errors"] == []
    assert applied["changes"] == difference.json["changes"]
    check_values(lab, root_disk, loop)
    after = lab.snapshot()

    same = lab.run("diff", "--json", profile).expect(0).json
    assert (same["changed"], same["changes"]) == (False, [])
    again = lab.run("apply", "--json", profile).expect(0).json
    assert (again["changed"], again["changes"], again["transaction"]) == (False, [], None)
    assert lab.snapshot() == after
    assert lab.run("status").expect(0)

    undone = lab.run("rollback", "--json").expect(0).json
    assert undone["schema"] == "cotune.rollback/v1"
    assert undone["errors"] == []
    assert [one["transaction"] for one in undone["transactions"]] == [applied["transaction"]]
    assert set(undone["removed"]) == {
        str(lab.dir(controller, group)) for controller in CONTROLLERS for group in ("batch", "batch/jobs")
    }
    assert lab.snapshot() == before
    assert lab.run("rollback").expect(0).out.strip() == "nothing to roll back"
    assert lab.run("diff", profile).expect(1)


def test_only_the_first_apply_writes(lab: Lab, root_disk: str, loop: Loop) -> None:
    """Counted by the kernel's own account of system calls, not by ours."""
    prepare(lab, root_disk)
    profile = lab.profile(groups=wanted(lab, root_disk, loop))

    def trace(*arguments: object) -> list[Call]:
        run, calls = lab.traced(arguments, "-e", CHANGES)
        run.expect(1 if arguments[0] == "diff" else 0)
        assert any(call.text.startswith("AT_FDCWD") for call in calls)
        return calls

    assert kernel_writes(trace("diff", profile)) == []
    first = kernel_writes(trace("apply", profile))
    assert str(lab.file("svc", "cpu.shares")) in first
    assert str(lab.dir("pids", "batch/jobs")) in first
    assert all(path.startswith(tuple(str(lab.dir(controller)) for controller in CONTROLLERS)) for path in first)
    assert len([path for path in first if not Path(path).is_dir()]) >= 20

    again = trace("apply", profile)
    assert kernel_writes(again) == []
    stray = [
        call
        for call in again
        if (call.name in ("mkdir", "mkdirat", "rmdir", "rename") or re.search(r"O_WRONLY|O_RDWR|O_CREAT", call.text))
        and str(lab.state) not in call.text
        and "/dev/null" not in call.text
        and "= -1" not in call.text
    ]
    assert stray == []
    assert kernel_writes(trace("status")) == []
    undone = kernel_writes(trace("rollback"))
    assert str(lab.file("svc", "cpu.shares")) in undone
    assert str(lab.dir("pids", "batch/jobs")) in undone


def test_a_value_changed_by_hand_is_named(lab: Lab) -> None:
    lab.make("svc")
    profile = lab.profile(groups={"svc": {"match": {"cgroup": lab.path("svc")}, "cpu": {"shares": 4096}}})
    lab.run("apply", profile).expect(0)
    lab.write("svc", "cpu.shares", 77)

    status = lab.run("status", "--json").expect(1).json
    assert status["schema"] == "cotune.status/v1"
    assert status["interrupted"] == []
    [drift] = status["drift"]
    assert (drift["resource"], drift["knob"]) == (f"cgroup:{lab.path('svc')}", "cpu.shares")
    assert (drift["current"], drift["desired"], drift["path"]) == (77, 4096, str(lab.file("svc", "cpu.shares")))
    text = lab.run("status").expect(1).out
    assert lab.path("svc") in text
    assert "77" in text

    lab.run("apply", profile).expect(0)
    assert lab.read("svc", "cpu.shares") == "4096"
    lab.run("status").expect(0)


@pytest.mark.skipif(importlib.util.find_spec("cotune.cli.why") is None, reason="needs the verb why")
def test_why_tells_value_and_owner(lab: Lab) -> None:
    lab.make("svc")
    profile = lab.profile(groups={"svc": {"match": {"cgroup": lab.path("svc")}, "cpu": {"shares": 4096}}})
    lab.run("apply", profile).expect(0)
    lab.write("svc", "cpu.shares", 77)
    text = lab.run("why", lab.path("svc"), "cpu.shares").out
    assert "77" in text
    assert profile.name in text
    assert f"{lab.name}-test" in text


@contextlib.contextmanager
def kept(path: Path) -> Iterator[str]:
    """Put a sysctl back at the end."""
    value = path.read_text()
    try:
        yield value.strip()
    finally:
        put(path, value)


def test_sysctl_goes_there_and_back(lab: Lab) -> None:
    if not os.access(LEASE, os.W_OK):
        pytest.skip(f"needs {LEASE}")
    with exclusive("sysctl"), kept(LEASE) as old:
        wanted = int(old) + 7
        profile = lab.profile(host={"sysctl": {"fs.lease-break-time": wanted}})
        change = lab.run("diff", "--json", profile).expect(1).json["changes"][0]
        assert (change["resource"], change["knob"], change["path"]) == ("sysctl", "fs.lease-break-time", str(LEASE))
        lab.run("apply", profile).expect(0)
        assert LEASE.read_text().strip() == str(wanted)
        assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
        lab.run("rollback").expect(0)
        assert LEASE.read_text().strip() == old


def test_block_queue_goes_there_and_back(lab: Lab, loop: Loop) -> None:
    """Changing the scheduler resets the depth: both must come back."""
    queue = Path(f"/sys/block/{loop.name}/queue")
    if not {"mq-deadline", "kyber"} <= set(re.findall(r"[\w-]+", (queue / "scheduler").read_text())):
        pytest.skip("needs the schedulers mq-deadline and kyber")
    put(queue / "nr_requests", 100)
    put(queue / "read_ahead_kb", 512)

    def read() -> list[str]:
        return [(queue / name).read_text() for name in ("scheduler", "nr_requests", "read_ahead_kb")]

    before = read()
    item = {"match": {"device": loop.name}, "scheduler": "mq-deadline", "nr_requests": 64, "read_ahead_kb": 130}
    profile = lab.profile(host={"block": [item]})
    lab.run("diff", profile).expect(1)
    lab.run("apply", profile).expect(0)
    assert "[mq-deadline]" in read()[0]
    assert read()[1:] == ["64\n", "128\n"]
    assert lab.run("apply", "--json", profile).expect(0).json["transaction"] is None
    lab.run("rollback").expect(0)
    assert read() == before
    # the depth is not named, but goes with the scheduler
    other = lab.profile("other", host={"block": [{"match": {"device": loop.name}, "scheduler": "kyber"}]})
    lab.run("apply", other).expect(0)
    assert "[kyber]" in read()[0]
    lab.run("rollback").expect(0)
    assert read() == before
