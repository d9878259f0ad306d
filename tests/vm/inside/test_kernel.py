"""What the guest is, so that no other test passes for want of it."""

from __future__ import annotations

import os
from pathlib import Path

from cotune.kernel.mountinfo import parse_mountinfo
from tests.vm.inside.lab import CONTROLLERS, ROOT, GuestLab


def test_cgroup_v2_and_nothing_else() -> None:
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    assert [mount.point for mount in mounts if mount.fstype == "cgroup2"] == [str(ROOT)]
    assert not [mount.point for mount in mounts if mount.fstype == "cgroup"]
    assert set(CONTROLLERS) <= set((ROOT / "cgroup.subtree_control").read_text().split())


def test_the_machine() -> None:
    assert tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 1)
    assert os.cpu_count() == 4
    assert Path("/sys/devices/system/node/online").read_text().strip() == "0-1"
    assert Path("/sys/block/vdc/queue/write_cache").read_text().strip() == "write back"
    assert {"[none]", "mq-deadline", "bfq"} <= set(Path("/sys/block/vdc/queue/scheduler").read_text().split())
    assert (ROOT / "io.cost.qos").exists()


def test_the_command_in_a_process_of_its_own(lab: GuestLab) -> None:
    facts = lab.run_apart("facts", "--json").expect(0).json
    assert os.uname().release in str(facts)
