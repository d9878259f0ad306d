"""What a simulated host is made of: kernel, CPUs, cgroup layout, disks, mounts, and what runs on it."""

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
    the driver has a request queue; zram works on bios and has neither a scheduler nor writeback throttling.
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
    queued: bool = True


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
    """A cgroup tree: directory below /sys/fs/cgroup (empty for that directory itself), key in /proc/PID/cgroup (empty
    for cgroup2), symbolic links to it, and the controllers of a cgroup2 tree in the kernel's order."""

    directory: str
    key: str
    links: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """cgroup version of this tree."""
        return 1 if self.key else 2

    @property
    def point(self) -> str:
        """Where it is mounted."""
        return f"/sys/fs/cgroup/{self.directory}".rstrip("/")

    @property
    def names(self) -> tuple[str, ...]:
        """Controllers in this tree; ``name=systemd`` for a named one."""
        return tuple(self.key.split(",")) if self.key else self.controllers

    @property
    def parts(self) -> list[str]:
        """Names of the file tables: that of the cgroup core and one per controller, those of v2 marked ``.v2``."""
        if self.key.startswith("name="):
            return ["core"]
        suffix = "" if self.key else ".v2"
        return [f"core{suffix}", *(f"{name}{suffix}" for name in self.names)]


class GroupSpec(NamedTuple):
    """A cgroup that exists at boot, in the hierarchies whose controller is listed, with some files written.

    ``path`` is empty for the root. Any controller of a cgroup2 tree stands for the whole tree, as does its empty key.
    """

    path: str
    controllers: tuple[str, ...]
    writes: tuple[tuple[str, str], ...] = ()
    #: Bytes charged to the group itself, and how many of them can be reclaimed (page cache).
    usage: int = 0
    cache: int = 0


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
    #: Who built it and with what, as /proc/version says.
    builder: str = "(builder@sim) (gcc)"
    #: CPUs that could be plugged in; 0 for no more than there are.
    possible_cpus: int = 0
    #: Words that switch optional files on, such as ``psi``, ``uclamp``, ``iolatency``, ``rt-group``, or name a vendor:
    #: ``tencentos``, ``rue``, ``bt`` (the TencentOS scheduler for offline groups), ``openeuler``.
    features: frozenset[str] = frozenset()
    #: ext4 file systems that /etc/fstab names and nobody has mounted yet.
    unmounted: tuple[MountSpec, ...] = ()
