"""The OCI configuration with views in it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cotune.errors import UsageError
from viewfs.wire import WIRED, cgroup_path, wire

CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/proc/meminfo", "type": "bind", "source": "/var/lib/lxcfs/proc/meminfo", "options": ["rbind"]},
    ],
    "linux": {"cgroupsPath": "/pods/web", "namespaces": [{"type": "pid"}, {"type": "mount"}]},
}


def test_mounts_come_after_those_there_and_replace_their_like() -> None:
    before = copy.deepcopy(CONFIG)
    wired = wire(CONFIG, "/mnt")
    assert before == CONFIG
    assert wired["mounts"][0] == CONFIG["mounts"][0]
    assert [entry["destination"] for entry in wired["mounts"][1:]] == list(WIRED)
    assert {entry["source"] for entry in wired["mounts"][1:]} == {f"/mnt/cgroup/pods/web{path}" for path in WIRED}
    assert all("ro" in entry["options"] for entry in wired["mounts"][1:])
    assert wire(wired, "/mnt") == wired
    assert "timeOffsets" not in wired["linux"]


def test_a_time_namespace_whose_clocks_start_at_zero() -> None:
    wired = wire(CONFIG, "/mnt", timens=True, clock=lambda number: {1: 1000.9, 7: 2000.2}[number])
    assert wired["linux"]["namespaces"] == [{"type": "pid"}, {"type": "mount"}, {"type": "time"}]
    assert wired["linux"]["timeOffsets"] == {
        "monotonic": {"secs": -1000, "nanosecs": 0},
        "boottime": {"secs": -2000, "nanosecs": 0},
    }


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/pods/web", "/pods/web"),
        ("pods//./web/", "/pods/web"),
        ("system.slice:docker:4f0a", "/system.slice/docker-4f0a.scope"),
        (":cri:4f0a", "/system.slice/cri-4f0a.scope"),
        (
            "kubepods-burstable-pod1.slice:cri:x",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-x.scope",
        ),
        ("-.slice::x", "/x.scope"),
        ("a.slice::b.slice", "/a.slice/b.slice"),
    ],
)
def test_cgroup_paths(given: str, path: str) -> None:
    assert cgroup_path(given) == path


def test_refusals() -> None:
    for config, message in (
        ({}, "no ociVersion"),
        ({"ociVersion": "1.0.2"}, "no linux.cgroupsPath"),
        ({"ociVersion": "1.0.2", "linux": {"cgroupsPath": "/a/../../b"}}, "no path below the root"),
        ({"ociVersion": "1.0.2", "linux": {"cgroupsPath": "/"}}, "no path below the root"),
    ):
        with pytest.raises(UsageError, match=message):
            wire(config, "/mnt")
    assert wire({"ociVersion": "1.0.2"}, "/mnt", cgroup="/x")["linux"]["cgroupsPath"] == "/x"
