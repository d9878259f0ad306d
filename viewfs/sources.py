"""What the views of one container are made of: its cgroups, its first process and the host, as plain records."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from viewfs.hostfiles import Host
from viewfs.kept import Folder, Vanished
from viewfs.sources_mixed import GroupMixed
from viewfs.sources_v1 import GroupV1
from viewfs.sources_v2 import GroupV2
from viewfs.types import Container
from viewfs.views.cpus import visible
from viewfs.views.cputime import Clock, advance
from viewfs.views.lxcfs import CpuView
from viewfs.views.records import TICKS, Cpus, Disk, GroupTimes, HostStat, Load, Memory, Swap
from viewfs.views.stat import Tasks
from viewfs.views.uptime import age, boot_offset

__all__ = ["Group", "Host", "Sources", "Vanished"]

#: A look at the counters this soon after the last one (seconds) sees the same ones: a clock tick is longer.
_SAME_LOOK = 0.002
_MOST_COUNTERS = 4096


class Group(Protocol):
    """The cgroups of a container, of either version. Every method raises Vanished when they are gone."""

    def cpuset(self) -> tuple[frozenset[int] | None, str]: ...
    def quotas(self) -> list[tuple[int, int] | None]: ...
    def times(self) -> GroupTimes | None: ...
    def usage(self) -> float: ...
    def memory(self) -> Memory | None: ...
    def swap(self, stat: Mapping[bytes, int]) -> Swap | None: ...
    def disks(self) -> dict[bytes, Disk] | None: ...
    def disks_of_cfq(self) -> dict[bytes, Disk] | None: ...
    def pressure(self, kind: str) -> bytes | None: ...
    def load(self) -> bytes | None: ...
    def close(self) -> None: ...


class Counters:
    """What counters that are shown go on from: the clock, when it was looked at, and the per-CPU view of lxcfs."""

    def __init__(self) -> None:
        self.clock: Clock | None = None
        self.looked = 0.0
        self.lxcfs: CpuView | None = None


class Sources:
    """The figures of one container. Not for several threads at once.

    ``host`` is shared between containers; ``load`` is what answers for load averages, such as
    ``viewfs.loadavg.Sampler.get``. Reading raises Vanished once the container's cgroup or first process is gone, after
    which only :meth:`close` is of use.
    """

    def __init__(
        self,
        container: Container,
        host: Host | None = None,
        load: Callable[[Container], tuple[float, float, float, int, int, int]] | None = None,
    ) -> None:
        self.container = container
        self.host = host or Host()
        self.group = _group(container, self.host)
        self.counters = _counters(container, self.host)
        self._own_host = host is None
        self._load = load
        self._init: Folder | None = None
        self._offset, self._offset_until = 0, 0.0

    def cpus(self) -> Cpus:
        """What limits the CPUs."""
        inforce, wanted = self.group.cpuset()
        quotas = self.group.quotas()
        limits = [quota for quota in quotas if quota is not None]
        tightest = min(limits, key=lambda quota: quota[0] / quota[1], default=None)
        own = quotas[0] if quotas else None
        return Cpus(self.host.online(), self.host.present(), inforce, wanted, tightest, own)

    def clock(self, cpus: Cpus) -> Clock | None:
        """CPU times of the CPUs in view, None where the kernel does not count them by group. Never goes back."""
        counters, looked = self.counters, time.monotonic()
        if counters.clock is not None and looked - counters.looked < _SAME_LOOK:
            return counters.clock
        times = self.group.times()
        if times is None:
            return None
        shown = visible(cpus, self.container.policy)
        weights = {} if times.by_cpu else _busy(self.host.stat())
        counters.clock = advance(counters.clock, self.uptime(), shown, times, weights)
        counters.looked = looked
        return counters.clock

    def tasks(self, clock: Clock | None) -> Tasks:
        """Runnable and blocked tasks, as the kernel or the load sampler counts them."""
        if clock is not None and clock.times.running is not None:
            return Tasks(clock.times.running, clock.times.blocked)
        load = self.load() if self.container.policy.loadavg else None
        return Tasks(None if load is None else load.running)

    def uptime(self) -> float:
        """Uptime of the container in seconds, by its policy."""
        container = self.container
        now = self.host.boottime()
        # without a process it has not begun
        start = container.starttime if container.init_pid else round(now * TICKS)
        return age(now, start, container.policy.uptime, self.boot_offset())

    def boot_offset(self) -> int:
        """Boot time offset of the container's time namespace in seconds."""
        if not self.container.init_pid:
            return 0
        now = time.monotonic()
        if now >= self._offset_until:
            if self._init is None:
                self._init = Folder(f"{self.host.root}/proc/{self.container.init_pid}", marker="stat")
            self._offset = boot_offset(self._init.read("timens_offsets") or b"")
            self._offset_until = now + self.host.fresh
        return self._offset

    def swap(self, memory: Memory | None) -> Swap | None:
        """Swap, None where it is not counted by group."""
        return self.group.swap({} if memory is None else memory.stat)

    def load(self) -> Load | None:
        """Load averages, None without a sampler."""
        return None if self._load is None else Load(*self._load(self.container))

    def close(self) -> None:
        """Close all files but those of a shared host."""
        self.group.close()
        if self._init is not None:
            self._init.close()
            self._init = None
        if self._own_host:
            self.host.close()


def _counters(container: Container, host: Host) -> Counters:
    """The counters of a container, which outlive its sources: they must not go back when those are made anew."""
    place = container.cgroups.get("cpuacct") or next(iter(container.cgroups.values()), "")
    key = (place, container.init_pid, container.starttime, container.policy)
    # the longest unused go first
    counters = host.counters[key] = host.counters.pop(key, None) or Counters()
    if len(host.counters) > _MOST_COUNTERS:
        del host.counters[next(iter(host.counters))]
    return counters


def _group(container: Container, host: Host) -> Group:
    if container.version == 2:
        return GroupV2(next(iter(container.cgroups.values())))
    if container.version == 0:
        return GroupMixed(container.cgroups, host.kernel_view())
    return GroupV1(container.cgroups, host.kernel_view())


def _busy(host: HostStat) -> dict[int, float]:
    """Ticks each CPU of the host was busy: user, nice, system, irq, softirq."""
    return {cpu: float(sum(row[:3]) + sum(row[5:7])) for cpu, row in host.cpus.items()}
