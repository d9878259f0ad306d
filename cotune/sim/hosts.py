"""The table of simulated hosts: kernel, CPUs, cgroup layout, disks, mounts, and what runs on them."""

from __future__ import annotations

from typing import NamedTuple


class Partition(NamedTuple):
    """A partition: name, ``MAJ:MIN``, number on its disk, size in 512-byte sectors."""

    name: str
    number: str
    ordinal: int
    sectors: int


class Disk(NamedTuple):
    """A whole disk. ``device`` is its directory below /sys/devices, ``serial_file`` relative to it.

    ``depth`` is the hardware queue depth, the upper bound of nr_requests without a scheduler. ``queued`` says whether
    the driver has a request queue (loop and zram as probed offer no scheduler worth switching).
    """

    name: str
    number: str
    device: str
    sectors: int
    rotational: bool
    depth: int
    write_cache: str
    scheduler: str
    partitions: tuple[Partition, ...] = ()
    serial_file: str = ""
    serial: str = ""
    wwid: str = ""
    read_ahead_kb: int = 128
    max_hw_sectors_kb: int = 1280


class Ext4(NamedTuple):
    """An ext4 superblock at boot: option numbers and words (see ext4.py), and features that options depend on."""

    numbers: tuple[tuple[str, int], ...]
    words: tuple[tuple[str, str], ...] = (("data", "ordered"), ("errors", "continue"))
    project_quota: bool = False


class MountSpec(NamedTuple):
    """One mounted file system; ``super_options`` serves all types but ext4, which computes its own."""

    point: str
    device: str
    source: str
    fstype: str
    options: tuple[str, ...] = ("rw", "relatime")
    super_options: tuple[str, ...] = ("rw",)
    ext4: Ext4 | None = None


class HierarchySpec(NamedTuple):
    """A cgroup tree: directory below /sys/fs/cgroup, key in /proc/PID/cgroup, controllers, symbolic links to it."""

    directory: str
    key: str
    links: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """Names of the controllers; the named hierarchy and the empty cgroup2 tree have one pseudo controller."""
        if self.key.startswith("name="):
            return ["core"]
        return ["core", *self.key.split(",")] if self.key else ["unified"]


class GroupSpec(NamedTuple):
    """A cgroup that exists at boot, in the hierarchies whose controller is listed, with some files written."""

    path: str
    controllers: tuple[str, ...]
    writes: tuple[tuple[str, str], ...] = ()
    usage: int = 0


class ProcessSpec(NamedTuple):
    """A process at boot; ``start`` is in seconds after boot, ``group`` a path used in every hierarchy that has it."""

    pid: int
    comm: str
    command: str
    group: str = "/"
    ppid: int = 1
    threads: int = 1
    start: int = 10
    kernel: bool = False


class HostSpec(NamedTuple):
    """One simulated host."""

    name: str
    release: str
    version: str
    command_line: str
    cpus: int
    #: CPUs of each NUMA node, as a list of ids.
    nodes: tuple[tuple[int, ...], ...]
    memory_kb: int
    hierarchies: tuple[HierarchySpec, ...]
    disks: tuple[Disk, ...]
    mounts: tuple[MountSpec, ...]
    groups: tuple[GroupSpec, ...]
    processes: tuple[ProcessSpec, ...]
    #: Pid of the program that uses the kernel: what /proc/self and the pid 0 mean.
    self_pid: int
    anck: bool
    #: The per-memcg dirty limits of the 2020 talk.
    seed: bool = False


_EXT4_COMMON = (
    ("commit", 5), ("barrier", 1), ("delalloc", 1), ("min_batch_time", 0), ("max_batch_time", 15000),
    ("journal_ioprio", 3), ("auto_da_alloc", 1), ("discard", 0), ("journal_checksum", 0), ("journal_async_commit", 0),
    ("stripe", 0), ("inode_readahead_blks", 32), ("init_itable", 10), ("block_validity", 1), ("grpid", 0),
    ("minixdf", 0), ("max_dir_size_kb", 0), ("resuid", 0), ("resgid", 0), ("acl", 1), ("user_xattr", 1), ("noload", 0),
    ("dax", 0), ("mbcache", 1), ("debug", 0), ("i_version", 0), ("data_err_abort", 0), ("prjquota", 0),
)  # fmt: skip
_EXT4_419 = (*_EXT4_COMMON, ("dioread_nolock", 0))
_EXT4_618 = (*_EXT4_COMMON, ("dioread_nolock", 1), ("warn_on_error", 0), ("prefetch_block_bitmaps", 1))

_SDA = Disk(
    "sda", "8:0", "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", 937703088,
    rotational=False, depth=32, write_cache="write back", scheduler="mq-deadline",
    partitions=(Partition("sda1", "8:1", 1, 937699328),), serial_file="device/serial", serial="S45PNA0M520318",
    wwid="naa.5002538e40a3c1f7",
)  # fmt: skip
_NVME = Disk(
    "nvme0n1", "259:0", "/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/nvme/nvme0/nvme0n1", 7501476528,
    rotational=False, depth=1023, write_cache="write through", scheduler="none", serial_file="device/serial",
    serial="PHLJ1346004H4P0DGN", wwid="eui.01000000010000005cd2e42f93d15251", max_hw_sectors_kb=128,
)  # fmt: skip
_VDA = Disk(
    "vda", "254:0", "/sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda", 536870912, rotational=True, depth=256,
    write_cache="write back", scheduler="mq-deadline", serial_file="serial", serial="vda-0001", read_ahead_kb=8192,
    max_hw_sectors_kb=2**31 - 1,
)  # fmt: skip


def _virtual(name: str, number: str, sectors: int) -> Disk:
    return Disk(
        name, number, f"/sys/devices/virtual/block/{name}", sectors, rotational=False, depth=128,
        write_cache="write through", scheduler="none",
    )  # fmt: skip


_SYSTEMD_OPTIONS = ("rw", "nosuid", "nodev", "noexec", "relatime")
_ANCK_HIERARCHIES = (
    HierarchySpec("pids", "pids"),
    HierarchySpec("blkio", "blkio"),
    HierarchySpec("memory", "memory"),
    HierarchySpec("cpuset", "cpuset"),
    HierarchySpec("cpu,cpuacct", "cpu,cpuacct", ("cpu", "cpuacct")),
    HierarchySpec("systemd", "name=systemd"),
)
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


def _cgroup_mounts(hierarchies: tuple[HierarchySpec, ...], options: tuple[str, ...]) -> tuple[MountSpec, ...]:
    return tuple(
        MountSpec(
            f"/sys/fs/cgroup/{h.directory}", f"0:{29 + i}", "cgroup" if h.key else "cgroup2",
            "cgroup" if h.key else "cgroup2", options, ("rw", *filter(None, h.key.split(","))),
        )
        for i, h in enumerate(reversed(hierarchies))
    )  # fmt: skip


_ANCK_MOUNTS = (
    MountSpec("/sys", "0:20", "sysfs", "sysfs", _SYSTEMD_OPTIONS),
    MountSpec("/proc", "0:4", "proc", "proc", _SYSTEMD_OPTIONS),
    MountSpec("/dev", "0:6", "devtmpfs", "devtmpfs", ("rw", "nosuid"), ("rw", "size=32863792k", "mode=755")),
    MountSpec("/run", "0:22", "tmpfs", "tmpfs", ("rw", "nosuid", "nodev"), ("rw", "mode=755")),
    MountSpec("/sys/fs/cgroup", "0:23", "tmpfs", "tmpfs", ("rw", "nosuid", "nodev", "noexec"), ("rw", "mode=755")),
    *_cgroup_mounts(_ANCK_HIERARCHIES, _SYSTEMD_OPTIONS),
    MountSpec("/", "8:1", "/dev/sda1", "ext4", ext4=Ext4(_EXT4_419)),
    MountSpec("/sys/kernel/debug", "0:7", "debugfs", "debugfs"),
    MountSpec("/data", "259:0", "/dev/nvme0n1", "ext4", ext4=Ext4(_EXT4_419, project_quota=True)),
)
_MAINLINE_MOUNTS = (
    MountSpec("/proc", "0:21", "proc", "proc"),
    MountSpec("/sys", "0:22", "sysfs", "sysfs"),
    MountSpec("/dev", "0:6", "devtmpfs", "devtmpfs", super_options=("rw", "size=12334492k", "mode=755")),
    MountSpec("/", "254:0", "/dev/vda", "ext4", ext4=Ext4(_EXT4_618)),
    MountSpec("/sys/fs/cgroup", "0:28", "tmpfs", "tmpfs", super_options=("rw", "mode=755")),
    *_cgroup_mounts(_MAINLINE_HIERARCHIES, ("rw", "relatime")),
)

_ALL = ("cpu", "memory", "blkio", "pids", "name=systemd")
_KUBE = (*_ALL, "cpuset")
_KUBE_SET = (("cpuset.cpus", "0-15"), ("cpuset.mems", "0-1"))
_MIB = 2**20
_ANCK_GROUPS = (
    GroupSpec("system.slice", _ALL),
    GroupSpec("system.slice/sshd.service", _ALL, usage=6 * _MIB),
    GroupSpec("system.slice/containerd.service", _ALL, usage=180 * _MIB),
    GroupSpec("system.slice/kubelet.service", _ALL, usage=150 * _MIB),
    GroupSpec("system.slice/nginx.service", _ALL, usage=96 * _MIB),
    GroupSpec("system.slice/redis.service", _ALL, usage=2048 * _MIB),
    GroupSpec("system.slice/batch.service", _ALL, usage=4096 * _MIB),
    GroupSpec("user.slice", _ALL),
    GroupSpec("kubepods", _KUBE, _KUBE_SET),
    GroupSpec("kubepods/besteffort", _KUBE, (*_KUBE_SET, ("cpu.shares", "2"))),
    GroupSpec("kubepods/besteffort/pod-a", _KUBE, (*_KUBE_SET, ("cpu.shares", "2"))),
    GroupSpec("kubepods/besteffort/pod-a/c1", _KUBE, (*_KUBE_SET, ("cpu.shares", "2")), usage=3072 * _MIB),
    GroupSpec("kubepods/burstable", _KUBE, (*_KUBE_SET, ("cpu.shares", "4096"))),
    GroupSpec(
        "kubepods/burstable/pod-b", _KUBE,
        (*_KUBE_SET, ("cpu.shares", "2048"), ("cpu.cfs_quota_us", "400000"), ("memory.limit_in_bytes", "8G")),
    ),
    GroupSpec(
        "kubepods/burstable/pod-b/c1", _KUBE,
        (*_KUBE_SET, ("cpu.shares", "2048"), ("cpu.cfs_quota_us", "400000"), ("memory.limit_in_bytes", "8G")),
        usage=1536 * _MIB,
    ),
)  # fmt: skip
_ANCK_PROCESSES = (
    ProcessSpec(1, "systemd", "/usr/lib/systemd/systemd --switched-root --system", ppid=0, start=0),
    ProcessSpec(2, "kthreadd", "", ppid=0, start=0, kernel=True),
    ProcessSpec(1042, "sshd", "/usr/sbin/sshd -D", "/system.slice/sshd.service"),
    ProcessSpec(1180, "containerd", "/usr/bin/containerd", "/system.slice/containerd.service", threads=3),
    ProcessSpec(1240, "kubelet", "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml",
                "/system.slice/kubelet.service", threads=4, start=14),
    ProcessSpec(2101, "nginx", "nginx: master process /usr/sbin/nginx", "/system.slice/nginx.service", start=20),
    ProcessSpec(2102, "nginx", "nginx: worker process", "/system.slice/nginx.service", ppid=2101, start=20),
    ProcessSpec(2103, "nginx", "nginx: worker process", "/system.slice/nginx.service", ppid=2101, start=20),
    ProcessSpec(2230, "redis-server", "/usr/bin/redis-server 127.0.0.1:6379", "/system.slice/redis.service",
                threads=5, start=21),
    ProcessSpec(3100, "java", "java -cp /opt/spark/jars/* org.apache.spark.deploy.worker.Worker spark://m:7077",
                "/system.slice/batch.service", threads=6, start=60),
    ProcessSpec(3150, "java", "java org.apache.spark.executor.CoarseGrainedExecutorBackend",
                "/system.slice/batch.service", ppid=3100, threads=8, start=95),
    ProcessSpec(4101, "python3", "python3 train.py", "/kubepods/besteffort/pod-a/c1", ppid=1180, threads=2, start=120),
    ProcessSpec(4201, "java", "java -Xmx4g -jar app.jar", "/kubepods/burstable/pod-b/c1", ppid=1180, threads=4,
                start=130),
    ProcessSpec(5000, "bash", "-bash", "/user.slice", ppid=1042, start=300),
    ProcessSpec(5001, "cotune", "/usr/bin/python3 -m cotune", "/user.slice", ppid=5000, start=301),
)  # fmt: skip


def _anck(name: str, seed: bool) -> HostSpec:
    return HostSpec(
        name=name,
        release="4.19.91-26.6.al7.x86_64",
        version="#1 SMP Tue Sep 6 10:36:24 UTC 2022",
        command_line="BOOT_IMAGE=/boot/vmlinuz-4.19.91-26.6.al7.x86_64 root=/dev/sda1 ro quiet cgwb_v1 psi_v1=1",
        cpus=16,
        nodes=(tuple(range(8)), tuple(range(8, 16))),
        memory_kb=64 * 2**20,
        hierarchies=_ANCK_HIERARCHIES,
        disks=(_SDA, _NVME),
        mounts=_ANCK_MOUNTS,
        groups=_ANCK_GROUPS,
        processes=_ANCK_PROCESSES,
        self_pid=5001,
        anck=True,
        seed=seed,
    )


HOSTS = {
    host.name: host
    for host in (
        _anck("anck-4.19", seed=False),
        _anck("anck-seed", seed=True),
        HostSpec(
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
                _virtual("zram0", "253:0", 8388608),
                *(_virtual(f"loop{i}", f"7:{i}", 0) for i in range(8)),
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
        ),
    )
}
KERNELS: tuple[str, ...] = tuple(HOSTS)
