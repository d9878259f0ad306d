"""Where the lxcfs-compatible views get their figures: see :mod:`viewfs.views.lxcfs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from viewfs.views import lxcfs

if TYPE_CHECKING:
    from viewfs.sources import Sources
    from viewfs.types import Container

_CPU = "sys/devices/system/cpu"


def _version(container: Container) -> int:
    return 2 if container.version == 2 else 1


def _cpuinfo(sources: Sources, container: Container) -> bytes:
    if container.policy.cpu == "host":
        return b"".join(entry.text for entry in sources.host.cpuinfo())
    return lxcfs.cpuinfo(sources.host.cpuinfo(), sources.cpus(), container.policy, _version(container))


def _online(sources: Sources, container: Container) -> bytes:
    cpus = sources.cpus()
    # without a cpuset or a quota there is nothing lxcfs could show
    if container.policy.cpu == "host" or not (cpus.wanted or cpus.quota):
        return sources.host.text(f"{_CPU}/online")
    return lxcfs.online(cpus, container.policy, _version(container))


def _stat(sources: Sources, container: Container) -> bytes:
    cpus, host, policy = sources.cpus(), sources.host.stat(), container.policy
    if policy.cpu == "host":
        return sources.host.text("proc/stat")
    if container.version == 2:
        return lxcfs.stat_v2(host, cpus, policy)
    times = sources.group.times()
    if times is None:
        return sources.host.text("proc/stat")
    rows = lxcfs.usage_rows(host, cpus, times)
    size = lxcfs.view_size(cpus, policy, 1)
    if size is None:
        return lxcfs.stat(rows, list(rows), host)
    count = len(host.cpus)
    size = size if 0 < size <= count else count
    view = sources.counters.lxcfs = lxcfs.cpu_view(sources.counters.lxcfs, rows, cpus, size, count)
    return lxcfs.stat_view(view, size, host)


def _meminfo(sources: Sources, container: Container) -> bytes:
    memory = sources.group.memory()
    if memory is None:
        return sources.host.text("proc/meminfo")
    swap = sources.swap(memory) if container.policy.swap else None
    return lxcfs.meminfo(sources.host.meminfo(), memory, swap)


def _swaps(sources: Sources, container: Container) -> bytes:
    memory = sources.group.memory()
    if memory is None:
        return sources.host.text("proc/swaps")
    swap = sources.swap(memory) if container.policy.swap else None
    return lxcfs.swaps(swap, memory, sources.host.meminfo())


def _uptime(sources: Sources, container: Container) -> bytes:
    return lxcfs.uptime(sources.host.boottime(), container.starttime, sources.group.usage())


def _diskstats(sources: Sources, _container: Container) -> bytes:
    host, disks = sources.host.text("proc/diskstats"), sources.group.disks_of_cfq()
    return host if disks is None else lxcfs.diskstats(host, disks)


def _host(path: str) -> Callable[[Sources, Container], bytes]:
    def render(sources: Sources, _container: Container) -> bytes:
        return sources.host.text(path)

    return render


#: Path below the tree → what lxcfs shows there, where that differs.
LXCFS: dict[str, Callable[[Sources, Container], bytes]] = {
    "proc/cpuinfo": _cpuinfo,
    "proc/stat": _stat,
    "proc/meminfo": _meminfo,
    "proc/swaps": _swaps,
    "proc/uptime": _uptime,
    "proc/diskstats": _diskstats,
    "proc/pressure/io": _host("proc/pressure/io"),
    **{f"{_CPU}/{name}": _host(f"{_CPU}/{name}") for name in ("offline", "possible", "present")},
    f"{_CPU}/online": _online,
}
