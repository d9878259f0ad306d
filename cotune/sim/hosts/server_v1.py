"""A server with systemd and Kubernetes whose controllers are on cgroup v1: what the hosts of several vendors share."""

from __future__ import annotations

from cotune.sim.hosts.parts import (
    EXT4_419,
    EXT4_618,
    MIB,
    NVME,
    SDA,
    SYSTEMD_OPTIONS,
    cgroup_mounts,
    server_processes,
)
from cotune.sim.hosts.specs import Disk, Ext4, GroupSpec, HierarchySpec, HostSpec, MountSpec, Partition

_HIERARCHIES = (
    HierarchySpec("pids", "pids"),
    HierarchySpec("blkio", "blkio"),
    HierarchySpec("memory", "memory"),
    HierarchySpec("cpuset", "cpuset"),
    HierarchySpec("cpu,cpuacct", "cpu,cpuacct", ("cpu", "cpuacct")),
    HierarchySpec("systemd", "name=systemd"),
)
_SYSTEM_MOUNTS = (
    MountSpec("/sys", "0:20", "sysfs", "sysfs", SYSTEMD_OPTIONS),
    MountSpec("/proc", "0:4", "proc", "proc", SYSTEMD_OPTIONS),
    MountSpec("/dev", "0:6", "devtmpfs", "devtmpfs", ("rw", "nosuid"), ("rw", "size=32863792k", "mode=755")),
    MountSpec("/run", "0:22", "tmpfs", "tmpfs", ("rw", "nosuid", "nodev"), ("rw", "mode=755")),
    MountSpec("/sys/fs/cgroup", "0:23", "tmpfs", "tmpfs", ("rw", "nosuid", "nodev", "noexec"), ("rw", "mode=755")),
    *cgroup_mounts(_HIERARCHIES, SYSTEMD_OPTIONS),
    MountSpec("/sys/kernel/debug", "0:7", "debugfs", "debugfs"),
)

_ALL = ("cpu", "memory", "blkio", "pids", "name=systemd")
_KUBE = (*_ALL, "cpuset")
_KUBE_SET = (("cpuset.cpus", "0-15"), ("cpuset.mems", "0-1"))
_GROUPS = (
    GroupSpec("system.slice", _ALL),
    GroupSpec("system.slice/sshd.service", _ALL, usage=6 * MIB),
    GroupSpec("system.slice/containerd.service", _ALL, usage=180 * MIB),
    GroupSpec("system.slice/kubelet.service", _ALL, usage=150 * MIB),
    GroupSpec("system.slice/nginx.service", _ALL, usage=96 * MIB),
    GroupSpec("system.slice/redis.service", _ALL, usage=2048 * MIB),
    GroupSpec("system.slice/batch.service", _ALL, usage=4096 * MIB),
    GroupSpec("user.slice", _ALL),
    GroupSpec("kubepods", _KUBE, _KUBE_SET),
    GroupSpec("kubepods/besteffort", _KUBE, (*_KUBE_SET, ("cpu.shares", "2"))),
    GroupSpec("kubepods/besteffort/pod-a", _KUBE, (*_KUBE_SET, ("cpu.shares", "2"))),
    GroupSpec("kubepods/besteffort/pod-a/c1", _KUBE, (*_KUBE_SET, ("cpu.shares", "2")), usage=3072 * MIB),
    GroupSpec("kubepods/burstable", _KUBE, (*_KUBE_SET, ("cpu.shares", "4096"))),
    GroupSpec(
        "kubepods/burstable/pod-b", _KUBE,
        (*_KUBE_SET, ("cpu.shares", "2048"), ("cpu.cfs_quota_us", "400000"), ("memory.limit_in_bytes", "8G")),
    ),
    GroupSpec(
        "kubepods/burstable/pod-b/c1", _KUBE,
        (*_KUBE_SET, ("cpu.shares", "2048"), ("cpu.cfs_quota_us", "400000"), ("memory.limit_in_bytes", "8G")),
        usage=1536 * MIB,
    ),
)  # fmt: skip
_PROCESSES = server_processes(
    "/", "sshd.service", "/kubepods/besteffort/pod-a/c1", "/kubepods/burstable/pod-b/c1", "/user.slice"
)


_SDB = Disk(
    "sdb", "8:16", "/sys/devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sdb", 7814037168,
    rotational=True, depth=32, write_cache="write back", scheduler="mq-deadline",
    partitions=(Partition("sdb1", "8:17", 1, 7814033408),), serial_file="device/serial", serial="ZC1A8VQX",
    wwid="naa.5000c500b2c9d1e4",
)  # fmt: skip


def server_v1(
    name: str, release: str, version: str, *, boot_words: str = "", anck: bool = False, seed: bool = False,
    features: frozenset[str] = frozenset(), backup_disk: bool = True, modern_ext4: bool = True,
) -> HostSpec:  # fmt: skip
    """One such host. ``backup_disk`` adds a disk whose ext4 partition /etc/fstab names and nobody has mounted;
    ``modern_ext4`` stands for the option defaults of 5.6 and later."""
    options = EXT4_618 if modern_ext4 else EXT4_419
    root = MountSpec("/", "8:1", "/dev/sda1", "ext4", ext4=Ext4(options))
    data = MountSpec("/data", "259:0", "/dev/nvme0n1", "ext4", ext4=Ext4(options, project_quota=True))
    backup = MountSpec("/backup", "8:17", "/dev/sdb1", "ext4", ext4=Ext4(options))
    return HostSpec(
        name=name,
        release=release,
        version=version,
        command_line=f"BOOT_IMAGE=/boot/vmlinuz-{release} root=/dev/sda1 ro quiet {boot_words}".rstrip(),
        cpus=16,
        nodes=(tuple(range(8)), tuple(range(8, 16))),
        memory_kb=64 * 2**20,
        hierarchies=_HIERARCHIES,
        disks=(SDA, _SDB, NVME) if backup_disk else (SDA, NVME),
        mounts=(*_SYSTEM_MOUNTS, root, data),
        groups=_GROUPS,
        processes=_PROCESSES,
        self_pid=5001,
        anck=anck,
        seed=seed,
        features=features,
        unmounted=(backup,) if backup_disk else (),
    )
