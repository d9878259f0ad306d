"""Saving and loading a host, names of kernels, and the file system around the kernel files."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cotune.errors import UsageError
from cotune.kernel.port import Quota
from cotune.sim.kernel import KERNELS, SimKernel

Attempt = Callable[..., str]
CPU, MEM, GROUPS = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
#: Those of them that a host has are written.
CGROUP_WRITES = (
    ("cpu/online/cpu.shares", "4096"),
    ("online/cpu.weight", "200"),
    ("online/memory.oom.group", "1"),
    ("online/cpuset.cpus", "0-1"),
    ("online/cpuset.cpus.partition", "isolated"),
    ("online/io.max", "{} rbps=9"),
    ("unified/online/io.max", "{} rbps=9"),
    ("unified/online/cgroup.max.depth", "3"),
    ("blkio/blkio.throttle.read_bps_device", "{} 9"),
)
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def everything(sim: SimKernel, path: str = "/") -> dict[str, str]:
    """All readable files of a host, symbolic links not followed."""
    found = {}
    directories = set(sim.subdirs(path))
    base = path.rstrip("/")
    for name in sim.listdir(path):
        child = f"{base}/{name}"
        if sim.realpath(child) != child:
            continue
        if name in directories:
            found.update(everything(sim, child))
        else:
            try:
                found[child] = sim.read(child)
            except OSError as error:
                found[child] = str(error)
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_loaded_host_is_the_same_host(kernel: str, tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    sim = SimKernel.load(kernel, path)
    disk, point = ("vda", "/") if kernel == "mainline-v1" else ("nvme0n1", "/data")
    device = sim.read(f"/sys/block/{disk}/dev").strip()
    for tree in ("cpu", "unified", "."):
        if sim.exists(f"{GROUPS}/{tree}/cgroup.procs"):
            sim.mkdir(f"{GROUPS}/{tree}/online")
    written = [(file, text.format(device)) for file, text in CGROUP_WRITES if sim.exists(f"{GROUPS}/{file}")]
    assert len(written) > 1
    for file, text in written:
        sim.write(f"{GROUPS}/{file}", text)
    sim.spawn(7000, "stress", {"cpu": "/online"}, threads=2)
    sim.set_usage(MEM if sim.exists(MEM) else f"{GROUPS}/online", 12345678)
    sim.write(f"/sys/block/{disk}/queue/scheduler", "bfq")
    sim.write(f"/sys/block/{disk}/queue/iosched/slice_idle", "0")
    sim.write("/proc/sys/vm/dirty_bytes", "65536")
    sim.remount(point, ["commit=30", "lazytime", "noatime"])
    sim.put("/run/batch.pid", "7000\n")
    sim.save(path)
    again = SimKernel.load(kernel, path)
    assert everything(again) == everything(sim)
    assert again.mounts() == sim.mounts()
    again.kill(7000)
    assert 7000 not in again.pids()
    assert 7000 in sim.pids()


def test_mounts_quotas_and_offline_cpus_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    sim = SimKernel.load("guest-6.1", path)
    sim.mount("ext4", "/dev/nvme1n1", "/quota", ["prjquota", "commit=9"])
    sim.set_quota("/quota", 7, Quota(hard=4096))
    sim.remount("/sys/fs/cgroup", ["nsdelegate"])
    sim.write("/sys/devices/system/cpu/cpu1/online", "0")
    sim.save(path)
    again = SimKernel.load("guest-6.1", path)
    assert again.mounts() == sim.mounts()
    assert again.quota("/quota", 7) == Quota(hard=4096)
    assert again.read("/sys/fs/cgroup/cpuset.cpus.effective") == "0\n"
    again.unmount("/quota")
    again.save(path)
    assert "/quota" not in [mount.point for mount in SimKernel.load("guest-6.1", path).mounts()]


def test_the_file_is_private_and_replaced_whole(anck: SimKernel, tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    anck.save(path)
    first = path.stat().st_ino
    anck.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_ino != first
    assert [p.name for p in tmp_path.iterdir()] == ["sim.json"]


def test_boot_id_is_fixed_per_saved_host(tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    sim = SimKernel("anck-4.19")
    sim.save(path)
    assert SimKernel.load("anck-4.19", path).read(BOOT_ID) == sim.read(BOOT_ID)
    assert SimKernel("anck-4.19").read(BOOT_ID) != sim.read(BOOT_ID)
    assert len(sim.read(BOOT_ID)) == 37


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": 1}', "\0\0", '{"format": 1, "kernel": "anck-4.19"}']
)
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        SimKernel.load("anck-4.19", path)
    assert f"delete {path}" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", 0), ("kernel", "mainline-v1"), ("numbers", {}), ("groups", {}), ("tasks", [{}]), ("mounts", []),
     ("queues", {"sda": {"nr_requests": "x"}}), ("schedulers", 3)],
)  # fmt: skip
def test_every_part_is_checked(anck: SimKernel, tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "sim.json"
    anck.save(path)
    data = json.loads(path.read_text())
    data[key] = value
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as caught:
        SimKernel.load("anck-4.19", path)
    assert str(path) in caught.value.hint


def test_unknown_kernel() -> None:
    with pytest.raises(UsageError) as caught:
        SimKernel("anck-4.91")
    assert "did you mean anck-4.19?" in caught.value.hint
    with pytest.raises(UsageError):
        SimKernel.load("linux", "/nonexistent")


# --- the file system around the kernel files ------------------------------------------------------------------------


def test_comounted_controllers(anck: SimKernel) -> None:
    assert anck.realpath("/sys/fs/cgroup/cpuacct/system.slice") == "/sys/fs/cgroup/cpu,cpuacct/system.slice"
    anck.mkdir("/sys/fs/cgroup/cpuacct/a")
    assert anck.exists("/sys/fs/cgroup/cpu/a/cpu.shares")
    assert anck.exists("/sys/fs/cgroup/cpu,cpuacct/a/cpuacct.usage")
    assert anck.subdirs("/sys/fs/cgroup") == ["blkio", "cpu,cpuacct", "cpuset", "memory", "pids", "systemd"]


def test_errnos_of_paths(anck: SimKernel, attempt: Attempt) -> None:
    cases = {
        (anck.read, CPU): "EISDIR",
        (anck.read, "/proc/sys"): "EISDIR",
        (anck.read, f"{CPU}/nothing/cpu.shares"): "ENOENT",
        (anck.read, f"{CPU}/cpu.shares/x"): "ENOTDIR",
        (anck.read, "relative"): "ENOENT",
        (anck.listdir, f"{CPU}/cpu.shares"): "ENOTDIR",
        (anck.listdir, f"{CPU}/nothing"): "ENOENT",
        (anck.mkdir, f"{CPU}/system.slice"): "EEXIST",
        (anck.mkdir, f"{CPU}/cpu.shares"): "EEXIST",
        (anck.mkdir, f"{CPU}/a/b"): "ENOENT",
        (anck.mkdir, f"{CPU}/a\nb"): "EINVAL",
        (anck.mkdir, "/proc/a"): "ENOENT",
        (anck.mkdir, "/sys/a"): "EPERM",
        (anck.mkdir, "/"): "EEXIST",
        (anck.rmdir, CPU): "EBUSY",
        (anck.rmdir, f"{CPU}/system.slice"): "EBUSY",
        (anck.rmdir, f"{CPU}/system.slice/nginx.service"): "EBUSY",
        (anck.rmdir, f"{CPU}/cpu.shares"): "ENOTDIR",
        (anck.rmdir, f"{CPU}/nothing"): "ENOENT",
        (anck.rmdir, "/proc/sys"): "EPERM",
        (anck.read, f"{MEM}/memory.force_empty"): "EINVAL",
    }
    assert {call: attempt(*call) for call in cases} == cases
    assert attempt(anck.write, CPU, "1") == "EISDIR"
    assert attempt(anck.write, "/proc/version", "1") == "EIO"
    assert attempt(anck.write, "/sys/block/sda/dev", "1") == "EACCES"
    assert attempt(anck.write, f"{CPU}/cpu.stat", "1") == "EINVAL"
    assert attempt(anck.write, f"{CPU}/cpu.stat", "") == "OK"


def test_plain_files(anck: SimKernel, attempt: Attempt) -> None:
    anck.put("/run/containerd/io/config.json", "{}")
    assert anck.read("/run/containerd/io/config.json") == "{}"
    assert anck.listdir("/run/containerd") == ["io"]
    assert attempt(anck.rmdir, "/run/containerd") == "ENOTEMPTY"
    anck.write("/run/containerd/io/config.json", "[")
    assert anck.read("/run/containerd/io/config.json") == "[}"
    anck.mkdir("/sys/fs/cgroup/net_cls")
    assert "net_cls" in anck.subdirs("/sys/fs/cgroup")
    anck.rmdir("/sys/fs/cgroup/net_cls")
    assert attempt(anck.put, "/proc/x", "") == "ENOENT"
    assert attempt(anck.put, "/sys/x", "") == "EPERM"


def test_moving_processes(anck: SimKernel, attempt: Attempt) -> None:
    procs, tasks = f"{CPU}/kubepods/cgroup.procs", f"{CPU}/kubepods/tasks"
    anck.write(procs, "2232")
    assert anck.read(procs) == "2230\n", "a thread id moves its whole process"
    assert anck.read(tasks).split() == ["2230", "2231", "2232", "2233", "2234"]
    anck.write(f"{CPU}/user.slice/tasks", "2233")
    assert anck.read(tasks).split() == ["2230", "2231", "2232", "2234"]
    assert "cpu,cpuacct:/kubepods\n" in anck.read("/proc/2230/cgroup")
    assert "cpu,cpuacct:/user.slice\n" in anck.read("/proc/2230/task/2233/cgroup")
    assert "memory:/system.slice/redis.service\n" in anck.read("/proc/2230/cgroup")
    for text, result in (("999999", "ESRCH"), ("x", "EINVAL"), ("-1", "EINVAL"), ("2", "EINVAL"), ("0", "OK")):
        assert attempt(anck.write, procs, text) == result, text
    assert "cpu,cpuacct:/kubepods\n" in anck.read("/proc/self/cgroup")


def test_process_files(anck: SimKernel) -> None:
    fields = anck.read("/proc/3150/stat").rsplit(")", 1)[1].split()
    assert len(fields) == 50
    assert (fields[1], fields[17], fields[19]) == ("3100", "8", "9500")
    assert anck.read("/proc/2101/comm") == "nginx\n"
    assert "Threads:\t5\n" in anck.read("/proc/2230/status")
    assert anck.read("/proc/2230/cgroup").splitlines()[-1] == "1:name=systemd:/system.slice/redis.service"
    anck.kill(2230)
    assert not anck.exists("/proc/2230")


def test_hybrid_hierarchy(mainline: SimKernel, attempt: Attempt) -> None:
    assert mainline.read("/proc/self/cgroup").splitlines()[-1] == "0::/"
    assert mainline.read("/sys/fs/cgroup/unified/cgroup.controllers") == ""
    assert attempt(mainline.write, "/sys/fs/cgroup/unified/cgroup.subtree_control", "+cpu") == "ENOENT"


def test_topology(anck: SimKernel, mainline: SimKernel) -> None:
    assert anck.read("/sys/devices/system/cpu/online") == "0-15\n"
    assert anck.read("/sys/devices/system/node/node1/cpulist") == "8-15\n"
    assert mainline.read("/sys/devices/system/cpu/online") == "0-1\n"
    assert mainline.read("/sys/devices/system/node/online") == "0\n"
    assert anck.read("/proc/meminfo").startswith("MemTotal:       67108864 kB\n")
    assert "cgwb_v1" in anck.read("/proc/cmdline").split()
