"""The main road on cgroup v2: diff, apply, apply again, drift, why, rollback."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host.lab import kernel_writes
from tests.host.test_end_to_end import (  # noqa: F401
    CHANGE_KEYS,
    CHANGES,
    test_block_queue_goes_there_and_back,
    test_sysctl_goes_there_and_back,
)
from tests.vm.inside.lab import DISK, GuestLab

MIB = 2**20

BEFORE = {
    "cpu.weight": 300,
    "cpu.max": "30000 60000",
    "cpu.max.burst": 1000,
    "cpuset.cpus": "0-3",
    "cpuset.mems": "0-1",
    "memory.min": 1 * MIB,
    "memory.low": 2 * MIB,
    "memory.high": 512 * MIB,
    "memory.max": 1024 * MIB,
    "memory.swap.max": 256 * MIB,
    "io.max": f"{DISK} wbps=1048576 riops=77",
    "io.weight": "default 50",
    "pids.max": 77,
}


@pytest.fixture
def svc(lab: GuestLab) -> GuestLab:
    """A laboratory with a group svc, at values that are not the kernel's defaults."""
    lab.make("svc")
    for name, value in BEFORE.items():
        lab.write("svc", name, value)
    return lab


def wanted(lab: GuestLab) -> dict[str, Any]:
    """Groups of a profile over all five controllers: one that exists, one to be made with its parent."""
    disk = {"device": "vdc"}
    return {
        "svc": {
            "match": {"cgroup": lab.path("svc")},
            "cpu": {"weight": 700, "quota": 1.5, "period": "20ms", "burst": "50%", "cpus": "1-2", "mems": 0},
            "memory": {
                "min": "4MiB",
                "low": "8MiB",
                "high": "256MiB",
                "limit": "600MiB",
                "swap_max": "max",
                "oom_group": True,
            },
            "io": {"max": [{"device": disk, "write_bps": "200MiB", "write_iops": 4000}], "weight": 300},
            "pids": {"max": "max"},
        },
        "batch": {
            "match": {"cgroup": lab.path("batch/jobs")},
            "create": True,
            "cpu": {"idle": True, "quota": 0.5, "burst": "10ms", "cpus": 3},
            "memory": {"high": "64MiB", "limit": "80MiB", "swap_max": 0},
            "io": {"max": [{"device": disk, "read_bps": "50MiB"}]},
            "pids": {"max": 200},
        },
    }


EXPECTED = {
    "svc": {
        "cpu.weight": "700",
        "cpu.max": "30000 20000",
        "cpu.max.burst": "15000",
        "cpuset.cpus": "1-2",
        "cpuset.mems": "0",
        "memory.min": str(4 * MIB),
        "memory.low": str(8 * MIB),
        "memory.high": str(256 * MIB),
        "memory.max": str(600 * MIB),
        "memory.swap.max": "max",
        "memory.oom.group": "1",
        "io.max": f"{DISK} rbps=max wbps={200 * MIB} riops=77 wiops=4000",
        "io.weight": "default 300",
        "pids.max": "max",
    },
    "batch/jobs": {
        "cpu.idle": "1",
        "cpu.max": "50000 100000",
        "cpu.max.burst": "10000",
        "cpuset.cpus": "3",
        "memory.high": str(64 * MIB),
        "memory.max": str(80 * MIB),
        "memory.swap.max": "0",
        "io.max": f"{DISK} rbps={50 * MIB} wbps=max riops=max wiops=max",
        "pids.max": "200",
    },
}


def test_diff_apply_apply_rollback(svc: GuestLab) -> None:
    before = svc.snapshot()
    profile = svc.profile(groups=wanted(svc))

    difference = svc.run("diff", "--json", profile).expect(1).json
    assert difference["changed"] is True
    assert difference["unsupported"] == difference["pending"] == difference["takes_over"] == []
    assert all(set(change) >= CHANGE_KEYS for change in difference["changes"])
    assert svc.snapshot() == before
    svc.run("apply", "--dry-run", profile).expect(1)
    assert svc.snapshot() == before

    applied = svc.run("apply", "--json", profile).expect(0).json
    assert applied["transaction"]
    assert applied["errors"] == []
    assert applied["changes"] == difference["changes"]
    for group, files in EXPECTED.items():
        assert {name: svc.read(group, name) for name in files} == files
    after = svc.snapshot()

    svc.run("diff", profile).expect(0)
    again = svc.run("apply", "--json", profile).expect(0).json
    assert (again["changed"], again["changes"], again["transaction"]) == (False, [], None)
    svc.run("status").expect(0)
    assert svc.snapshot() == after

    undone = svc.run("rollback", "--json").expect(0).json
    assert undone["errors"] == []
    assert set(undone["removed"]) == {str(svc.group(name)) for name in ("batch", "batch/jobs")}
    assert svc.snapshot() == before
    assert svc.run("rollback").expect(0).out.strip() == "nothing to roll back"
    svc.run("diff", profile).expect(1)


def test_the_second_apply_writes_nothing(svc: GuestLab) -> None:
    """Counted by the kernel's own account of system calls."""
    profile = svc.profile(groups=wanted(svc))
    svc.run("apply", profile).expect(0)
    run, calls = svc.traced_here(["apply", profile], "-e", CHANGES)
    run.expect(0)
    assert any(str(svc.group("svc")) in call.text for call in calls)
    assert kernel_writes(calls) == []


@pytest.mark.parametrize(
    ("file", "knob", "by_hand"),
    [
        ("cpu.weight", "cpu.weight", "77"),
        ("cpu.max", "cpu.quota", "40000 20000"),
        ("cpuset.cpus", "cpu.cpus", "0"),
        ("memory.max", "memory.limit", str(300 * MIB)),
        ("io.max", "io.throttle.write_bps", f"{DISK} wbps=12345"),
        ("pids.max", "pids.max", "99"),
    ],
)
def test_a_value_changed_by_hand_is_named_and_mended(svc: GuestLab, file: str, knob: str, by_hand: str) -> None:
    before = svc.snapshot()
    profile = svc.profile(groups={"svc": wanted(svc)["svc"]})
    svc.run("apply", profile).expect(0)
    svc.write("svc", file, by_hand)

    [drift] = svc.run("status", "--json").expect(1).json["drift"]
    assert (drift["resource"], drift["knob"]) == (f"cgroup:{svc.path('svc')}", knob)
    assert drift["path"] == str(svc.file("svc", file))
    assert svc.path("svc") in svc.run("status").expect(1).out
    why = svc.run("why", svc.path("svc"), file).expect(0).out
    assert profile.name in why
    assert f"{svc.name}-test" in why

    svc.run("apply", profile).expect(0)
    assert svc.read("svc", file) == EXPECTED["svc"][file]
    svc.run("status").expect(0)
    svc.run("rollback", "--profile", f"{svc.name}-test").expect(0)
    assert svc.snapshot() == before
