"""A container's figures from cgroup version 1 (Documentation/admin-guide/cgroup-v1/)."""

from __future__ import annotations

from collections.abc import Mapping

from viewfs.kept import Folder, ancestors, cpu_numbers, pairs
from viewfs.sources_v2 import memory_levels
from viewfs.views.records import TICKS, Busy, Disk, DiskSum, GroupTimes, Memory, Swap, SwapLevel

_NS = 1e9  # in a second
#: "no limit": PAGE_COUNTER_MAX in bytes, rounded down to pages of up to 64 KiB.
_UNLIMITED = 2**63 - 2**16
#: Names of version 2 → those of version 1, which counts all groups below only in ``total_*``.
_STAT = {
    b"file": b"total_cache",
    b"anon": b"total_rss",
    b"anon_thp": b"total_rss_huge",
    b"shmem": b"total_shmem",
    b"file_mapped": b"total_mapped_file",
    b"file_dirty": b"total_dirty",
    b"file_writeback": b"total_writeback",
    b"swap": b"total_swap",
    b"swapcached": b"total_swapcached",
    b"inactive_anon": b"total_inactive_anon",
    b"active_anon": b"total_active_anon",
    b"inactive_file": b"total_inactive_file",
    b"active_file": b"total_active_file",
    b"unevictable": b"total_unevictable",
}
#: Of the files that count requests the first counts all, the others only those of their scheduler.
_IO_FILES = ("blkio.throttle.{}_recursive", "blkio.bfq.{}_recursive", "blkio.{}_recursive")
_IO_KINDS = ("io_serviced", "io_service_bytes", "io_merged", "io_service_time", "io_wait_time")
#: Device → kind of request → number.
_Table = dict[bytes, dict[bytes, int]]


class GroupV1:
    """Reads one group: per controller its own folder first, then those above it without the root.

    ``cgroups`` is controller → directory; a controller may be missing. ``kernel_view`` says that the kernel keeps a
    /proc/stat of the group's own. Every method raises Vanished.
    """

    def __init__(self, cgroups: dict[str, str], kernel_view: bool = False) -> None:
        self._chains: dict[str, list[Folder]] = {}
        self._memory: list[Folder] | None = None
        self._directories = cgroups
        self._kernel_view = kernel_view

    def _levels(self, controller: str) -> list[Folder]:
        chain = self._chains.get(controller)
        if chain is None:
            directory = self._directories.get(controller)
            chain = self._chains[controller] = [Folder(path) for path in ancestors(directory)] if directory else []
        return chain

    def _read(self, controller: str, name: str) -> bytes | None:
        levels = self._levels(controller)
        return levels[0].read(name) if levels else None

    def cpuset(self) -> tuple[frozenset[int] | None, str]:
        """The CPUs in force, and the text of the nearest non-empty ``cpuset.cpus``."""
        inforce = None
        for level in self._levels("cpuset"):
            wanted = (level.read("cpuset.cpus") or b"").decode().strip()
            effective = (level.read("cpuset.effective_cpus") or b"").decode().strip() or wanted
            if inforce is None and effective:
                inforce = cpu_numbers(effective)
            if wanted:
                return inforce, wanted
        return inforce, ""

    def quotas(self) -> list[tuple[int, int] | None]:
        """(quota, period) in µs of each level, None for no limit."""
        return [_quota(level) for level in self._levels("cpu")]

    def times(self) -> GroupTimes | None:
        """CPU time by CPU; in all where the kernel has a view of its own, which also knows nice time and tasks."""
        if self._kernel_view and (data := self._read("cpuacct", "cpuacct.proc_stat")):
            return _kernel_times(data)
        if data := self._read("cpuacct", "cpuacct.usage_all"):
            by_cpu = {}
            for line in data.splitlines()[1:]:
                cpu, user, system = map(int, line.split()[:3])
                by_cpu[cpu] = Busy(user / _NS, 0.0, system / _NS)
            return GroupTimes(by_cpu, Busy())
        usage = self._read("cpuacct", "cpuacct.usage_percpu")
        return None if usage is None else self._split(list(map(int, usage.split())))

    def usage(self) -> float:
        """CPU time in all, in seconds: to the nanosecond, while :meth:`times` are counted by ticks (cpuacct.c)."""
        return int(self._read("cpuacct", "cpuacct.usage") or 0) / _NS

    def _split(self, usage: list[int]) -> GroupTimes:
        """Without usage_all (before Linux 4.9): each CPU's time in the proportion of the whole group."""
        both = pairs(self._read("cpuacct", "cpuacct.stat") or b"")
        user, system = both.get(b"user", 0), both.get(b"system", 0)
        part = user / (user + system) if user + system else 1.0
        return GroupTimes(
            {cpu: Busy(ns / _NS * part, 0.0, ns / _NS * (1 - part)) for cpu, ns in enumerate(usage)}, Busy()
        )

    def memory(self) -> Memory | None:
        """Memory, None for the root or without the controller."""
        data = self._read("memory", "memory.stat")
        if data is None:
            return None
        folders = self._counting()
        stat = _stat(data)
        # version 1 tells slab from stacks and tables nowhere; together they are memory the group cannot give back
        kernel = folders[0].number("memory.kmem.usage_in_bytes") or 0
        stat[b"slab"] = stat[b"slab_unreclaimable"] = kernel
        limits = [(folder, _limit(folder, "memory.limit_in_bytes")) for folder in folders]
        return Memory(memory_levels(limits, "memory.usage_in_bytes", stat, _stat), stat, 1)

    def swap(self, stat: Mapping[bytes, int]) -> Swap | None:
        """Swap, None where it is not counted. ``stat`` is what :meth:`memory` found."""
        if self._read("memory", "memory.memsw.usage_in_bytes") is None:
            return None
        folders = self._counting()
        levels = [
            SwapLevel(_limit(folder, "memory.memsw.limit_in_bytes"), folder.number("memory.memsw.usage_in_bytes") or 0)
            for folder in folders
        ]
        return Swap(tuple(levels), stat.get(b"swap", 0), True, folders[0].number("memory.swappiness"))

    def _counting(self) -> list[Folder]:
        """The memory folders whose limits count for the group: up to one that does not count what is below it.

        The kernel lets nobody change that once there are groups below.
        """
        if self._memory is None:
            self._memory = levels = self._levels("memory")
            for number, folder in enumerate(levels[1:], 1):
                if folder.read("memory.use_hierarchy") == b"0\n":
                    self._memory = levels[:number]
                    break
        return self._memory

    def disks(self) -> dict[bytes, Disk] | None:
        """Requests by ``major:minor``, None without the controller."""
        tables = [self._io(what) for what in _IO_KINDS]
        if tables[0] is None or tables[1] is None:
            return None
        return _disks([table or {} for table in tables])

    def disks_of_cfq(self) -> dict[bytes, Disk] | None:
        """Requests as the CFQ scheduler (until Linux 4.20) counted them, None unless it counted everything."""
        tables = [self._read("blkio", f"blkio.{what}_recursive") for what in _IO_KINDS]
        return None if any(data is None for data in tables) else _disks([_by_device(data or b"") for data in tables])

    def _io(self, what: str) -> _Table | None:
        for name in _IO_FILES:
            if data := self._read("blkio", name.format(what)):
                return _by_device(data)
        return None

    def pressure(self, kind: str) -> bytes | None:
        """Pressure of ``cpu``, ``memory`` or ``io``: version 1 keeps none."""
        return None

    def load(self) -> bytes | None:
        """/proc/loadavg as the kernel makes it for the group (TencentOS: kernel/cgroup/cpuset.c)."""
        return self._read("cpuset", "cpuset.loadavg")

    def close(self) -> None:
        """Close the files."""
        for chain in self._chains.values():
            for folder in chain:
                folder.close()
        self._chains.clear()


def _limit(folder: Folder, name: str) -> int | None:
    limit = folder.number(name)
    return None if limit is None or limit < 0 or limit >= _UNLIMITED else limit


def _quota(folder: Folder) -> tuple[int, int] | None:
    quota = folder.number("cpu.cfs_quota_us")
    if quota is None or quota <= 0:
        return None
    period = folder.number("cpu.cfs_period_us")
    return (quota, period) if period else None


def _stat(data: bytes) -> dict[bytes, int]:
    raw = pairs(data)
    return {name: raw.get(old, 0) for name, old in _STAT.items()}


def _kernel_times(data: bytes) -> GroupTimes:
    """cpuacct.proc_stat in clock ticks (ANCK, kernel/sched/cpuacct.c). Its load averages are no whole numbers."""
    stat: dict[bytes, int] = {}
    for line in data.splitlines():
        name, _, value = line.rpartition(b" ")
        if value.isdigit():
            stat[name] = int(value)
    system = sum(stat.get(name, 0) for name in (b"system", b"irq", b"softirq"))
    total = Busy(stat.get(b"user", 0) / TICKS, stat.get(b"nice", 0) / TICKS, system / TICKS)
    return GroupTimes({}, total, stat.get(b"nr_running"), stat.get(b"nr_uninterruptible"))


def _by_device(data: bytes) -> _Table:
    devices: _Table = {}
    for line in data.splitlines():
        words = line.split()
        if len(words) == 3:
            devices.setdefault(words[0], {})[words[1]] = int(words[2])
    return devices


def _disks(tables: list[_Table]) -> dict[bytes, Disk]:
    """One record per disk from the tables of ``_IO_KINDS``; times are in ns there."""
    disks = {}
    for device in tables[0]:
        ios, sizes, merged, service, wait = (table.get(device, {}) for table in tables)
        read, write, discard = (
            DiskSum(
                ios.get(kind, 0),
                merged.get(kind, 0),
                sizes.get(kind, 0),
                (service.get(kind, 0) + wait.get(kind, 0)) // 10**6,
            )
            for kind in (b"Read", b"Write", b"Discard")
        )
        disks[device] = Disk(read, write, discard, service.get(b"Total", 0) // 10**6)
    return disks
