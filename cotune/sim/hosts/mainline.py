"""Mainline kernels."""

from __future__ import annotations

from cotune.sim.hosts.parts import EXT4_618, cgroup_mounts, virtual_disk
from cotune.sim.hosts.specs import Disk, Ext4, GroupSpec, HierarchySpec, HostSpec, MountSpec, ProcessSpec

_VDA = Disk(
    "vda", "254:0", "/sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda", 536870912, rotational=True, depth=256,
    write_cache="write back", scheduler="mq-deadline", serial_file="serial", serial="vda-0001", read_ahead_kb=8192,
    max_hw_sectors_kb=2**31 - 1,
)  # fmt: skip
_MAINLINE_HIERARCHIES = (
    HierarchySpec("unified", ""),
    HierarchySpec("systemd", "name=systemd"),
    HierarchySpec("pids", "pids"),
    HierarchySpec("blkio", "blkio"),
    HierarchySpec("memory", "memory"),
    HierarchySpec("cpuset", "cpuset"),
    HierarchySpec("cpuacct", "cpuacct"),
    HierarchySpec("cpu", "cpu"),
)
_MAINLINE_MOUNTS = (
    MountSpec("/proc", "0:21", "proc", "proc"),
    MountSpec("/sys", "0:22", "sysfs", "sysfs"),
    MountSpec("/dev", "0:6", "devtmpfs", "devtmpfs", super_options=("rw", "size=12334492k", "mode=755")),
    MountSpec("/", "254:0", "/dev/vda", "ext4", ext4=Ext4(EXT4_618)),
    MountSpec("/sys/fs/cgroup", "0:28", "tmpfs", "tmpfs", super_options=("rw", "mode=755")),
    *cgroup_mounts(_MAINLINE_HIERARCHIES, ("rw", "relatime")),
)

_MAINLINE_V1 = HostSpec(
    name="mainline-v1",
    release="6.18.44",
    version="#1 SMP PREEMPT_DYNAMIC Thu Jan 1 00:00:00 UTC 1970",
    command_line="console=ttyS0 quiet panic=1 psi=1",
    cpus=2,
    nodes=((0, 1),),
    memory_kb=64 * 2**20,
    hierarchies=_MAINLINE_HIERARCHIES,
    disks=(
        _VDA,
        virtual_disk("zram0", "253:0", 8388608),
        *(virtual_disk(f"loop{i}", f"7:{i}", 0) for i in range(8)),
    ),
    mounts=_MAINLINE_MOUNTS,
    # The probed host had a cpuset that overlaps every other one: exclusive flags are refused because of it.
    groups=(GroupSpec("other", ("cpuset",), (("cpuset.cpus", "0-1"), ("cpuset.mems", "0"))),),
    processes=(
        ProcessSpec(1, "init", "/sbin/init", ppid=0, start=0),
        ProcessSpec(2, "kthreadd", "", ppid=0, start=0, kernel=True),
        ProcessSpec(310, "nginx", "nginx: master process /usr/sbin/nginx"),
        ProcessSpec(320, "redis-server", "/usr/bin/redis-server 127.0.0.1:6379", threads=4),
        ProcessSpec(330, "java", "java -jar /opt/spark/executor.jar", threads=4, start=30),
        ProcessSpec(400, "cotune", "/usr/bin/python3 -m cotune", start=60),
    ),
    self_pid=400,
    anck=False,
    features=frozenset({"psi", "psi-unprivileged", "rt-group"}),
)

MAINLINE_HOSTS = (_MAINLINE_V1,)
