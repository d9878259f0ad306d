"""What the views are rendered from: plain records that :mod:`viewfs.sources` gathers.

Memory is in bytes and time in seconds unless a field says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

#: Clock ticks per second of /proc (USER_HZ).
TICKS = os.sysconf("SC_CLK_TCK")


class MemoryLevel(NamedTuple):
    """A cgroup on the way up whose limit counts: limit (None: no limit), usage, and what of it could be reclaimed."""

    limit: int | None
    usage: int
    reclaimable: int


class Memory(NamedTuple):
    """The memory of a group: itself first, then its ancestors that have limits.

    ``stat`` is memory.stat of the group and everything below it, by the names of cgroup version 2 (admin-guide
    cgroup-v2.rst), also on version 1. ``version`` is the version it came from.
    """

    levels: tuple[MemoryLevel, ...]
    stat: Mapping[bytes, int]
    version: int = 2


class SwapLevel(NamedTuple):
    """Limit (None: no limit) and usage of swap, or of memory and swap together, of a group on the way up."""

    limit: int | None
    usage: int


class Swap(NamedTuple):
    """The swap of a group.

    ``levels`` count memory and swap together when ``combined`` (version 1, memory.memsw.*), else swap alone;
    ``used`` is the group's swap in use; ``swappiness`` its own setting, None where groups have none.
    """

    levels: tuple[SwapLevel, ...]
    used: int
    combined: bool
    swappiness: int | None


class Cpus(NamedTuple):
    """What limits the CPUs of a group.

    ``online`` and ``present`` are the host's; ``cpuset`` is what is in force (None: no cpuset controller) and
    ``wanted`` what was written to the nearest non-empty cpuset file. ``quota`` is the smallest CFS quota on the way up
    as (quota, period) in µs, ``own_quota`` the group's own.
    """

    online: tuple[int, ...]
    present: tuple[int, ...]
    cpuset: frozenset[int] | None = None
    wanted: str = ""
    quota: tuple[int, int] | None = None
    own_quota: tuple[int, int] | None = None


class Busy(NamedTuple):
    """CPU time used, in seconds."""

    user: float = 0.0
    nice: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.user + self.nice + self.system


class GroupTimes(NamedTuple):
    """CPU time a group has used since it was made: by CPU where the kernel says so, else (empty) only in all.

    ``running`` and ``blocked`` are tasks, None where the kernel does not count them by group.
    """

    by_cpu: Mapping[int, Busy]
    total: Busy
    running: int | None = None
    blocked: int | None = None


class HostStat(NamedTuple):
    """/proc/stat of the host: its CPU lines in clock ticks, and all other lines by their first word."""

    cpus: Mapping[int, tuple[int, ...]]
    others: Mapping[bytes, bytes]


class HostMeminfo(NamedTuple):
    """/proc/meminfo of the host: its lines in order with their keys, and the values (kB but for counts)."""

    lines: tuple[tuple[bytes, bytes], ...]
    values: Mapping[bytes, int]


class DiskSum(NamedTuple):
    """Requests of one kind to one disk: finished, merged, bytes, and milliseconds they took."""

    ios: int = 0
    merged: int = 0
    size: int = 0
    ms: int = 0


class Disk(NamedTuple):
    """What a group did to one disk. ``busy_ms`` is how long the disk served it (0 where not known)."""

    read: DiskSum = DiskSum()
    write: DiskSum = DiskSum()
    discard: DiskSum = DiskSum()
    busy_ms: int = 0


class Load(NamedTuple):
    """Load averages of a container: over 1, 5 and 15 minutes, runnable threads, all threads, newest pid."""

    one: float
    five: float
    fifteen: float
    running: int
    total: int
    last_pid: int
