"""Views as plain files on a tmpfs: right at once, rewritten in place, gone with the container."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import Runc, Views, inside
from tests.host.lab import Lab
from tests.views.lab import mounted, soon
from viewfs.attach import attach, attached
from viewfs.hook import run_hook
from viewfs.static import GRACE, STATIC, StaticFiles, rewrite, tighten
from viewfs.types import Policy
from viewfs.views.records import Cpus
from viewfs.wire import WIRED, wire

ONLINE = "/sys/devices/system/cpu/online"
root = pytest.mark.root


@pytest.fixture
def static(tmp_path: Path) -> Iterator[StaticFiles]:
    with contextlib.closing(StaticFiles(tmp_path / "state", lambda group: Policy())) as made:
        yield made
    if mounted(made.root):
        subprocess.run(["umount", "--lazy", made.root], check=True)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with contextlib.closing(Lab(tmp_path, tmp_path / "compiled")) as made:
        yield made


@pytest.mark.parametrize(
    ("limits", "cpuset", "quota"),
    [
        ({}, frozenset({0, 1, 2}), (150, 100)),
        ({"cpus": "1-5"}, frozenset({1, 2}), (150, 100)),
        ({"quota": 200_000}, frozenset({0, 1, 2}), (150, 100)),
        ({"quota": 100_000}, frozenset({0, 1, 2}), (100_000, 100_000)),
        ({"quota": 100, "period": 50}, frozenset({0, 1, 2}), (150, 100)),
        ({"quota": 60, "period": 50, "cpus": ""}, frozenset({0, 1, 2}), (60, 50)),
        ({"quota": -1}, frozenset({0, 1, 2}), (150, 100)),
    ],
)
def test_limits_to_come(limits: dict[str, Any], cpuset: frozenset[int], quota: tuple[int, int]) -> None:
    above = Cpus((0, 1, 2, 3), (0, 1, 2, 3), frozenset({0, 1, 2}), "0-2", (150, 100))
    assert tighten(above, limits) == above._replace(cpuset=cpuset, quota=quota)
    free = above._replace(cpuset=None, quota=None)
    assert tighten(free, {"cpus": "3", "quota": 5, "period": 10}) == free._replace(cpuset=frozenset({3}), quota=(5, 10))


def test_rewriting_keeps_the_inode(tmp_path: Path) -> None:
    file = tmp_path / "online"
    assert rewrite(file, b"0-3\n")
    inode = file.stat().st_ino
    assert file.stat().st_mode & 0o777 == 0o444
    assert not rewrite(file, b"0-3\n")
    assert rewrite(file, b"0\n")
    assert (file.read_bytes(), file.stat().st_ino) == (b"0\n", inode)


@root
def test_the_files_follow_the_limits(static: StaticFiles, lab: Lab) -> None:
    group = lab.make("limited")
    quota = lab.dir("cpu", "limited") / "cpu.cfs_quota_us"
    directory = static.of_group(group)
    cpus = os.sysconf("SC_NPROCESSORS_ONLN")
    online = directory / ONLINE[1:]
    inode = online.stat().st_ino
    assert online.read_bytes() == Path(ONLINE).read_bytes()
    assert [path for path in STATIC if (directory / path[1:]).exists()] == list(STATIC)
    quota.write_text("50000")
    static.refresh()
    assert online.read_bytes() == Path(ONLINE).read_bytes(), "a change is written when it was seen twice"
    static.refresh()
    assert online.read_text() == "0\n"
    assert online.stat().st_ino == inode
    assert (directory / "proc/cpuinfo").read_text().count("processor\t") == 1
    quota.write_text("-1")
    static.refresh()
    static.refresh()
    assert (directory / "proc/cpuinfo").read_text().count("processor\t") == cpus


@root
def test_files_of_a_group_that_never_comes_are_removed(static: StaticFiles) -> None:
    directory = static.of_group("/cotune-test-never/container", {"quota": 100_000})
    assert (directory / ONLINE[1:]).read_text() == "0\n"
    static.refresh()
    assert directory.is_dir()
    record = directory / "container.json"
    assert json.loads(record.read_text()) == ["cotune-test-never/container", 0, 0]
    old = record.stat().st_mtime - GRACE - 1
    os.utime(record, (old, old))
    static.refresh()
    assert not directory.exists()


@root
def test_attached_to_a_container_with_a_quota(static: StaticFiles, views: Views, runc: Runc) -> None:
    config = runc.config()
    config["linux"]["resources"]["cpu"] = {"quota": 100_000, "period": 100_000}
    runc.configure(config)
    target = runc.start()
    result = attach(target, str(views.point), static=static)
    assert set(STATIC) <= set(result.files) == set(attached(target))
    assert inside(target, "cat", "/proc/meminfo") == "caller /proc/meminfo\n"
    assert inside(target, "cat", ONLINE) == "0\n"
    assert inside(target, "cat", "/proc/cpuinfo").count("processor\t") == 1
    with pytest.raises(subprocess.CalledProcessError):
        inside(target, "sh", "-c", f"echo 7 > {ONLINE}")
    runc("update", "--cpu-quota", "-1", runc.id)
    static.refresh()
    static.refresh()
    assert inside(target, "cat", ONLINE) == Path(ONLINE).read_text()
    runc.stop()
    # its process may stay a zombie for a moment
    assert soon(lambda: nothing_left(static))


def nothing_left(static: StaticFiles) -> bool:
    static.refresh()
    return not list(static.root.iterdir())


@root
def test_wired_files_are_right_from_the_first_read(static: StaticFiles, views: Views, runc: Runc) -> None:
    for path in WIRED:
        views.add(f"cgroup{runc.cgroup}", "group")
        (views.point / f"cgroup{runc.cgroup}{path}").touch()
    config = runc.config()
    config["linux"]["resources"]["cpu"] = {"quota": 100_000, "period": 100_000}
    config["process"]["args"] = ["sh", "-c", f"cat {ONLINE} > /dev/shm/first; exec sleep 600"]
    runc.configure(wire(config, str(views.point), static=static))
    runc.start()
    assert runc("exec", runc.id, "cat", "/dev/shm/first") == "0\n"
    static.refresh()
    static.refresh()
    assert runc("exec", runc.id, "cat", ONLINE) == "0\n"
    assert runc("exec", runc.id, "cat", "/proc/meminfo") == "group /proc/meminfo\n"


@root
def test_the_hook_makes_them(static: StaticFiles, views: Views, lab: Lab, tmp_path: Path) -> None:
    group = lab.make("hooked")
    (lab.dir("cpu", "hooked") / "cpu.cfs_quota_us").write_text("50000")
    views.add(f"cgroup/{group.strip('/')}", "group")
    bundle = tmp_path / "bundle"
    for path in (*STATIC, "/proc/meminfo"):
        file = bundle / "rootfs" / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (bundle / "config.json").write_text(json.dumps({"root": {"path": "rootfs"}, "linux": {"cgroupsPath": group}}))
    done = run_hook(json.dumps({"bundle": str(bundle)}), str(views.point), static)
    try:
        assert set(done) == {*STATIC, "/proc/meminfo"}
        assert (bundle / "rootfs" / ONLINE[1:]).read_text() == "0\n"
        assert (bundle / "rootfs/proc/meminfo").read_text() == "group /proc/meminfo\n"
    finally:
        for path in done:
            subprocess.run(["umount", "--lazy", bundle / "rootfs" / path[1:]], check=True)
