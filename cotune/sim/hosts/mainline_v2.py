"""Mainline with cgroup v2: a server with systemd, a hybrid host, and the machine a transcript was recorded on."""

from __future__ import annotations

from cotune.sim.hosts.parts import (
    EXT4_618,
    EXT4_COMMON,
    MIB,
    NVME,
    SDA,
    SYSTEMD_OPTIONS,
    cgroup_mounts,
    server_processes,
)
from cotune.sim.hosts.specs import Disk, Ext4, GroupSpec, HierarchySpec, HostSpec, MountSpec, Partition, ProcessSpec

_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
_UNIFIED = (HierarchySpec("", "", controllers=_CONTROLLERS),)
_TMPFS = ("rw", "nosuid", "nodev")


def _enable(*names: str) -> tuple[tuple[str, str], ...]:
    return (("cgroup.subtree_control", " ".join(f"+{name}" for name in names)),)


def _server_mounts(cgroups: tuple[MountSpec, ...]) -> tuple[MountSpec, ...]:
    return (
        MountSpec("/sys", "0:22", "sysfs", "sysfs", SYSTEMD_OPTIONS),
        MountSpec("/proc", "0:21", "proc", "proc", SYSTEMD_OPTIONS),
        MountSpec("/dev", "0:5", "udev", "devtmpfs", ("rw", "nosuid"), ("rw", "size=16384000k", "mode=755", "inode64")),
        MountSpec("/run", "0:24", "tmpfs", "tmpfs", _TMPFS, ("rw", "mode=755", "inode64")),
        MountSpec("/", "8:1", "/dev/sda1", "ext4", ext4=Ext4(EXT4_618)),
        *cgroups,
        MountSpec("/sys/kernel/debug", "0:7", "debugfs", "debugfs", SYSTEMD_OPTIONS),
        MountSpec("/data", "259:0", "/dev/nvme0n1", "ext4", ext4=Ext4(EXT4_618)),
    )


def _cgroup2_mount(point: str, *options: str) -> MountSpec:
    return MountSpec(point, "0:27", "cgroup2", "cgroup2", SYSTEMD_OPTIONS, ("rw", *options))


# --- cgroup v2 only -------------------------------------------------------------------------------------------------

_TREE = ("",)
_SERVICE = ("cpu", "io", "memory", "pids")
_POD = (*_SERVICE, "cpuset", "hugetlb")
_BESTEFFORT, _BURSTABLE = "kubepods.slice/kubepods-besteffort.slice", "kubepods.slice/kubepods-burstable.slice"
_POD_A, _POD_B = f"{_BESTEFFORT}/kubepods-besteffort-poda.slice", f"{_BURSTABLE}/kubepods-burstable-podb.slice"
_A1, _B1 = f"{_POD_A}/cri-containerd-a1.scope", f"{_POD_B}/cri-containerd-b1.scope"
_CPU_4, _MEMORY_8G = ("cpu.max", "400000 100000"), ("memory.max", "8G")
_SERVER_GROUPS = (
    GroupSpec("", _TREE, _enable(*_POD)),
    GroupSpec("init.scope", _TREE, usage=24 * MIB, cache=8 * MIB),
    GroupSpec("system.slice", _TREE, _enable(*_SERVICE)),
    GroupSpec("system.slice/ssh.service", _TREE, usage=12 * MIB, cache=6 * MIB),
    GroupSpec("system.slice/containerd.service", _TREE, usage=240 * MIB, cache=120 * MIB),
    GroupSpec("system.slice/kubelet.service", _TREE, usage=180 * MIB, cache=60 * MIB),
    GroupSpec("system.slice/nginx.service", _TREE, usage=160 * MIB, cache=64 * MIB),
    GroupSpec("system.slice/redis.service", _TREE, usage=2048 * MIB),
    GroupSpec("system.slice/batch.service", _TREE, usage=5120 * MIB, cache=1024 * MIB),
    GroupSpec("user.slice", _TREE, _enable("cpu", "memory", "pids")),
    GroupSpec("user.slice/user-0.slice", _TREE, _enable("memory", "pids")),
    GroupSpec("user.slice/user-0.slice/session-1.scope", _TREE, usage=40 * MIB, cache=20 * MIB),
    GroupSpec("kubepods.slice", _TREE, (*_enable(*_POD), ("cpu.weight", "313"))),
    GroupSpec(_BESTEFFORT, _TREE, (*_enable(*_POD), ("cpu.weight", "1"))),
    GroupSpec(_POD_A, _TREE, (*_enable(*_POD), ("cpu.weight", "1"))),
    GroupSpec(_A1, _TREE, (("cpu.weight", "1"),), 3072 * MIB, 2048 * MIB),
    GroupSpec(_BURSTABLE, _TREE, (*_enable(*_POD), ("cpu.weight", "157"))),
    GroupSpec(_POD_B, _TREE, (*_enable(*_POD), ("cpu.weight", "79"), _CPU_4, _MEMORY_8G)),
    GroupSpec(_B1, _TREE, (("cpu.weight", "79"), _CPU_4, _MEMORY_8G), 1536 * MIB, 256 * MIB),
)
_SESSION = "/user.slice/user-0.slice/session-1.scope"
_SERVER_PROCESSES = server_processes("/init.scope", "ssh.service", f"/{_A1}", f"/{_B1}", _SESSION)
_SERVER = HostSpec(
    name="mainline-v2",
    release="6.12.41",
    version="#1 SMP PREEMPT_DYNAMIC Fri Aug 1 12:00:00 UTC 2025",
    command_line="BOOT_IMAGE=/boot/vmlinuz-6.12.41 root=/dev/sda1 ro quiet",
    cpus=8,
    nodes=((0, 1, 2, 3), (4, 5, 6, 7)),
    memory_kb=32 * 2**20,
    hierarchies=_UNIFIED,
    disks=(SDA, NVME),
    mounts=_server_mounts((_cgroup2_mount("/sys/fs/cgroup", "nsdelegate", "memory_recursiveprot"),)),
    groups=_SERVER_GROUPS,
    processes=_SERVER_PROCESSES,
    self_pid=5001,
    anck=False,
    features=frozenset({"psi", "uclamp", "cpuset-exclusive", "iolatency"}),
)

# --- hybrid: io on v2 for its writeback throttling, everything else on v1 -------------------------------------------

_HYBRID_HIERARCHIES = (
    HierarchySpec("unified", "", controllers=("io",)),
    HierarchySpec("pids", "pids"),
    HierarchySpec("memory", "memory"),
    HierarchySpec("cpuset", "cpuset"),
    HierarchySpec("cpu,cpuacct", "cpu,cpuacct", ("cpu", "cpuacct")),
    HierarchySpec("systemd", "name=systemd"),
)
_V1 = ("cpu", "memory", "pids", "name=systemd", "io")
_HYBRID_MIB = {"system.slice/nginx.service": 160, "system.slice/redis.service": 2048,
               "system.slice/batch.service": 5120}  # fmt: skip
_HYBRID = HostSpec(
    name="hybrid",
    release="6.1.140",
    version="#1 SMP PREEMPT_DYNAMIC Mon May 26 12:00:00 UTC 2025",
    command_line="BOOT_IMAGE=/boot/vmlinuz-6.1.140 root=/dev/sda1 ro systemd.unified_cgroup_hierarchy=0 "
    "cgroup_no_v1=io,blkio",
    cpus=8,
    nodes=((0, 1, 2, 3), (4, 5, 6, 7)),
    memory_kb=32 * 2**20,
    hierarchies=_HYBRID_HIERARCHIES,
    disks=(SDA, NVME),
    mounts=_server_mounts(
        (
            MountSpec("/sys/fs/cgroup", "0:25", "tmpfs", "tmpfs", SYSTEMD_OPTIONS, ("rw", "mode=755", "inode64")),
            *cgroup_mounts(_HYBRID_HIERARCHIES, SYSTEMD_OPTIONS),
        )
    ),
    groups=(
        GroupSpec("", ("io",), _enable("io")),
        GroupSpec("system.slice", _V1, _enable("io")),
        *(GroupSpec(path, _V1, usage=size * MIB) for path, size in _HYBRID_MIB.items()),
        GroupSpec("user.slice", _V1),
    ),
    processes=(
        ProcessSpec(1, "systemd", "/usr/lib/systemd/systemd --switched-root --system", ppid=0, start=0),
        ProcessSpec(2, "kthreadd", "", ppid=0, start=0, kernel=True),
        *(process for process in _SERVER_PROCESSES if process.group.removeprefix("/") in _HYBRID_MIB),
        ProcessSpec(5000, "bash", "-bash", "/user.slice", start=300),
        ProcessSpec(5001, "cotune", "/usr/bin/python3 -m cotune", "/user.slice", ppid=5000, start=301),
    ),
    self_pid=5001,
    anck=False,
    features=frozenset({"psi"}),
)

# --- the recorded machine -------------------------------------------------------------------------------------------


def _guest_disk(name: str, number: str, partitions: tuple[Partition, ...] = ()) -> Disk:
    return Disk(
        name, number, f"/sys/devices/pci0000:00/0000:00:0{name[4]}.0/nvme/{name[:5]}/{name}", 393216, rotational=False,
        depth=1023, write_cache="write back", scheduler="none", partitions=partitions, max_hw_sectors_kb=512,
    )  # fmt: skip


#: Blocks of 1 KiB: the default of dioread_nolock is off.
_GUEST_EXT4 = (*EXT4_COMMON, ("dioread_nolock", 0), ("warn_on_error", 0), ("prefetch_block_bitmaps", 1))
_RAMFS = ("rw", "size=298740k", "nr_inodes=74685", "inode64")
_GUEST = HostSpec(
    name="guest-6.1",
    release="6.1.0-56-cloud-amd64",
    version="#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)",
    builder="(debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, "
    "GNU ld (GNU Binutils for Debian) 2.40)",
    command_line="console=ttyS0 psi=1",
    cpus=2,
    possible_cpus=4,
    nodes=((0, 1),),
    memory_kb=597480,
    hierarchies=_UNIFIED,
    disks=(
        _guest_disk(
            "nvme2n1",
            "259:0",
            (Partition("nvme2n1p1", "259:1", 1, 131072), Partition("nvme2n1p2", "259:2", 2, 100000)),
        ),
        _guest_disk("nvme0n1", "259:3"),
        _guest_disk("nvme1n1", "259:4"),
    ),
    mounts=(
        MountSpec("/", "0:2", "rootfs", "rootfs", ("rw",), _RAMFS),
        MountSpec("/proc", "0:20", "proc", "proc"),
        MountSpec("/sys", "0:21", "sys", "sysfs"),
        MountSpec(
            "/dev", "0:5", "dev", "devtmpfs", super_options=(*_RAMFS[:3], "mode=755", "inode64"),
        ),
        MountSpec("/sys/kernel/debug", "0:7", "d", "debugfs"),
        MountSpec("/run", "0:22", "t", "tmpfs", super_options=("rw", "inode64")),
        MountSpec("/sys/fs/cgroup", "0:23", "none", "cgroup2"),
    ),
    unmounted=(
        MountSpec("/mnt", "259:3", "/dev/nvme0n1", "ext4", ext4=Ext4(_GUEST_EXT4)),
        MountSpec("/quota", "259:4", "/dev/nvme1n1", "ext4", ext4=Ext4(_GUEST_EXT4, project_quota=True)),
    ),
    groups=(),
    processes=(
        ProcessSpec(1, "init", "/init", ppid=0, start=0),
        ProcessSpec(2, "kthreadd", "", ppid=0, start=0, kernel=True),
    ),
    self_pid=1,
    anck=False,
    features=frozenset({"psi", "recorded"}),
)  # fmt: skip

MAINLINE_V2_HOSTS = (_SERVER, _HYBRID, _GUEST)
