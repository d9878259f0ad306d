"""Cgroup layouts, group patterns and devices, on directory trees that look like hosts (``--root``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cotune.host.cgroups import CgroupLayout, Hierarchy, find_groups, matches, read_layout, specificity
from cotune.host.devices import NoSuchDevice, find_disks
from cotune.kernel.mountinfo import parse_mountinfo
from cotune.kernel.real import RealKernel
from cotune.resolve.host import sysctl_path

V1_SEPARATE = """\
30 1 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 1 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""
V1_COMOUNTED = """\
30 1 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 1 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
V2 = "30 1 0:30 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = V1_SEPARATE + "40 1 0:40 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"

Make = Callable[[str, list[str]], RealKernel]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A root with the given mountinfo and directories."""

    def build(mountinfo: str, directories: list[str]) -> RealKernel:
        (tmp_path / "proc/1").mkdir(parents=True)
        (tmp_path / "proc/1/mountinfo").write_text(mountinfo)
        for directory in directories:
            (tmp_path / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return RealKernel(str(tmp_path))

    return build


def test_separate_controllers(make: Make) -> None:
    layout = read_layout(make(V1_SEPARATE, []))
    assert layout.mode == "v1"
    assert layout.controllers["cpu"] == Hierarchy(1, "/sys/fs/cgroup/cpu")
    assert len(layout.hierarchies()) == 2


def test_comounted_controllers_share_a_hierarchy(make: Make) -> None:
    layout = read_layout(make(V1_COMOUNTED, []))
    assert layout.controllers["cpu"] == layout.controllers["cpuacct"]
    assert layout.hierarchies() == [Hierarchy(1, "/sys/fs/cgroup/cpu,cpuacct")]
    assert layout.named["systemd"].point == "/sys/fs/cgroup/systemd"


def test_version_2(make: Make, tmp_path: Path) -> None:
    kernel = make(V2, ["/sys/fs/cgroup"])
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    layout = read_layout(kernel)
    assert layout.mode == "v2"
    assert set(layout.controllers) == {"cpuset", "cpu", "io", "memory", "pids"}


def test_hybrid_takes_from_version_2_what_version_1_lacks(make: Make, tmp_path: Path) -> None:
    kernel = make(HYBRID, ["/sys/fs/cgroup/unified"])
    (tmp_path / "sys/fs/cgroup/unified/cgroup.controllers").write_text("cpu pids\n")
    layout = read_layout(kernel)
    assert layout.mode == "hybrid"
    assert layout.controllers["cpu"].version == 1
    assert layout.controllers["pids"] == Hierarchy(2, "/sys/fs/cgroup/unified")


def test_no_cgroups(make: Make) -> None:
    assert read_layout(make("garbage\n", [])) == CgroupLayout({}, {}, None)


def test_mount_points_with_blanks() -> None:
    (mount,) = parse_mountinfo(
        "36 35 98:0 /a /mnt\\040x rw,noatime master:1 - ext3 /dev/ro\\011ot rw,errors=continue\n"
    )
    assert mount.point == "/mnt x"
    assert mount.source == "/dev/ro\tot"
    assert mount.super_options == ("rw", "errors=continue")


TREE = ["/cpu/online", "/cpu/kubepods/besteffort/pod-a/c1", "/cpu/kubepods/burstable/pod-b", "/cpu/a.b", "/memory/only"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("online", ["online"]),
        ("/online/", ["online"]),
        ("nothing", []),
        ("kubepods/*", ["kubepods/besteffort", "kubepods/burstable"]),
        ("kubepods/**/pod-*", ["kubepods/besteffort/pod-a", "kubepods/burstable/pod-b"]),
        ("kube*/b[eu]*", ["kubepods/besteffort", "kubepods/burstable"]),
        ("**/c1", ["kubepods/besteffort/pod-a/c1"]),
        (
            "kubepods/besteffort/**",
            ["kubepods/besteffort", "kubepods/besteffort/pod-a", "kubepods/besteffort/pod-a/c1"],
        ),
        ("a?b", ["a.b"]),
        ("only", ["only"]),
        ("ONLINE", []),
    ],
)
def test_patterns(make: Make, pattern: str, found: list[str]) -> None:
    kernel = make(V1_SEPARATE, [f"/sys/fs/cgroup{path}" for path in TREE])
    hierarchies = [Hierarchy(1, "/sys/fs/cgroup/cpu"), Hierarchy(1, "/sys/fs/cgroup/memory")]
    assert find_groups(kernel, hierarchies, pattern) == found
    everything = find_groups(kernel, hierarchies, "**")
    assert [path for path in everything if matches(path, pattern)] == found


def test_the_most_specific_pattern_wins() -> None:
    order = ["**", "kubepods/**/pod-*", "kubepods/*/pod-*", "kubepods/besteffort/pod-*", "a"]
    assert sorted(order, key=specificity) == order


def test_patterns_do_not_follow_links_out_of_the_tree(make: Make, tmp_path: Path) -> None:
    kernel = make(V1_SEPARATE, ["/sys/fs/cgroup/cpu/a", "/elsewhere/secret"])
    os.symlink(tmp_path / "elsewhere", tmp_path / "sys/fs/cgroup/cpu/link")
    hierarchies = [Hierarchy(1, "/sys/fs/cgroup/cpu")]
    assert find_groups(kernel, hierarchies, "**") == ["a"]
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        kernel.write("/sys/fs/cgroup/cpu/link/secret", "1")


@pytest.fixture
def disks(make: Make, tmp_path: Path) -> RealKernel:
    """sda with a partition mounted at /, nvme0n1 mounted at /data, dm-0 without a serial."""
    mounts = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 1 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n"
    mounts += "22 1 0:44 / /tmp rw - tmpfs tmpfs rw\n"
    kernel = make(mounts, ["/sys/block", "/sys/dev/block", "/sys/class/block"])
    for path, device in (("sda", "8:0"), ("sda/sda1", "8:1"), ("nvme0n1", "259:0"), ("dm-0", "253:0")):
        base = tmp_path / "sys/devices/virtual" / path
        base.mkdir(parents=True)
        (base / "dev").write_text(device + "\n")
        name = path.rpartition("/")[2]
        os.symlink(f"../../devices/virtual/{path}", tmp_path / f"sys/dev/block/{device}")
        os.symlink(f"../../devices/virtual/{path}", tmp_path / f"sys/class/block/{name}")
        if "/" in path:
            (base / "partition").write_text("1\n")
        else:
            os.symlink(f"../devices/virtual/{path}", tmp_path / f"sys/block/{name}")
    (tmp_path / "sys/devices/virtual/nvme0n1/serial").write_text("S4YNNF0N\n")
    return kernel


@pytest.mark.parametrize(
    ("match", "names"),
    [
        ({"mountpoint": "/"}, ["sda"]),
        ({"mountpoint": "/data/"}, ["nvme0n1"]),
        ({"device": "sda"}, ["sda"]),
        ({"device": "/dev/sda1"}, ["sda"]),
        ({"device": "*"}, ["dm-0", "nvme0n1", "sda"]),
        ({"device": "nvme*n1"}, ["nvme0n1"]),
        ({"serial": "S4YNNF0N"}, ["nvme0n1"]),
        ({"majmin": "8:1"}, ["sda"]),
        ({"majmin": "253:0"}, ["dm-0"]),
    ],
)
def test_disks(disks: RealKernel, match: dict[str, str], names: list[str]) -> None:
    found = find_disks(disks, match)
    assert [disk.name for disk in found] == names
    assert all(disks.exists(f"{disk.sysfs}/dev") for disk in found)


@pytest.mark.parametrize(
    "match",
    [{"mountpoint": "/nothing"}, {"mountpoint": "/tmp"}, {"device": "sdz"}, {"serial": "x"}, {"majmin": "9:9"},
     {"device": "../../etc"}],
)  # fmt: skip
def test_no_such_disk_says_what_there_is(disks: RealKernel, match: dict[str, str]) -> None:
    with pytest.raises(NoSuchDevice) as caught:
        find_disks(disks, match)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vm.swappiness", "/proc/sys/vm/swappiness"),
        ("vm/swappiness", "/proc/sys/vm/swappiness"),
        ("net.ipv4.conf.eth0/100.rp_filter", "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"),
    ],
)
def test_sysctl_paths(name: str, path: str) -> None:
    assert sysctl_path(name) == path


def test_a_write_never_creates_or_follows(make: Make, tmp_path: Path) -> None:
    kernel = make("", ["/sys/fs/cgroup/cpu"])
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("untouched")
    os.symlink(outside, tmp_path / "sys/fs/cgroup/cpu/cpu.shares")
    with pytest.raises(OSError, match="symbolic links"):
        kernel.write("/sys/fs/cgroup/cpu/cpu.shares", "2")
    with pytest.raises(FileNotFoundError):
        kernel.write("/sys/fs/cgroup/cpu/no.such.file", "2")
    with pytest.raises(OSError, match=r"\.\."):
        kernel.write("/sys/fs/cgroup/../../../../etc/passwd", "2")
    assert outside.read_text() == "untouched"
    assert not (tmp_path / "sys/fs/cgroup/cpu/no.such.file").exists()
    assert kernel.realpath("/sys/fs/cgroup/../../../../../etc") == "/etc"


def test_a_directory_made_anew_is_noticed(make: Make, tmp_path: Path) -> None:
    kernel = make("", ["/sys/fs/cgroup/cpu/g"])
    path = tmp_path / "sys/fs/cgroup/cpu/g"
    (path / "file").write_text("old")
    assert kernel.read("/sys/fs/cgroup/cpu/g/file") == "old"
    (path / "file").unlink()
    path.rmdir()
    path.mkdir()
    (path / "file").write_text("new")
    assert kernel.read("/sys/fs/cgroup/cpu/g/file") == "new"
    assert kernel.exists("/sys/fs/cgroup/cpu/g/file")
    assert not kernel.exists("/sys/fs/cgroup/cpu/gone/file")
