"""The table of views: what each file below a tree shows, and from what."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from viewfs.views import cpuinfo, cpus, diskstats, loadavg, meminfo, pressure, stat, swaps, uptime
from viewfs.views.compat import LXCFS
from viewfs.views.records import TICKS

if TYPE_CHECKING:
    from viewfs.sources import Sources
    from viewfs.types import Container

__all__ = ["VIEWS", "View", "cpu_directories", "find_view"]

CPU = "sys/devices/system/cpu"
_ONE = re.compile(rf"{CPU}/cpu(\d+)/online")
Render = Callable[["Sources", "Container"], bytes]


class View(NamedTuple):
    """A file of the container's: its name, how to render it, for how long (ms) it stays right, and whether it changes
    only with configuration.

    ``ttl_ms`` is None for what is right until the clock ticks (1/100 s). `ps` subtracts the start times of processes
    from the uptime, and its own is later than an uptime from before: procps 4.0.2 makes a huge age of that.
    ``render`` raises Vanished for a container that is gone, and FileNotFoundError where the host, too, has no such
    file (an old kernel, or pressure that is switched off).
    """

    name: str
    render: Render
    ttl_ms: int | None
    static: bool


def _cpuinfo(sources: Sources, container: Container) -> bytes:
    return cpuinfo.render(sources.host.cpuinfo(), cpus.visible(sources.cpus(), container.policy))


def _stat(sources: Sources, container: Container) -> bytes:
    limits, host, offset = sources.cpus(), sources.host.stat(), sources.boot_offset()
    clock = sources.clock(limits)
    tasks = sources.tasks(clock)
    if clock is None:
        return stat.render_host(host, cpus.visible(limits, container.policy), offset, tasks)
    return stat.render(clock, host, offset, tasks)


def _meminfo(sources: Sources, container: Container) -> bytes:
    memory = sources.group.memory()
    host = sources.host.meminfo()
    figures = {} if memory is None else meminfo.memory_figures(host.values, memory)
    if not container.policy.swap:
        figures.update(meminfo.swap_figures(0, 0))
    elif memory is not None and host.values[b"SwapTotal"] and (swap := sources.swap(memory)) is not None:
        figures.update(meminfo.swap_figures(*swaps.swap_size(swap, host.values, figures[b"MemTotal"])))
    return meminfo.render(host, figures)


def _swaps(sources: Sources, container: Container) -> bytes:
    if not container.policy.swap:
        return swaps.HEADER
    memory = sources.group.memory()
    swap = sources.swap(memory)
    if memory is None or swap is None:
        return sources.host.text("proc/swaps")
    host = sources.host.meminfo().values
    return swaps.render(*swaps.swap_size(swap, host, meminfo.memory_size(host, memory)))


def _uptime(sources: Sources, container: Container) -> bytes:
    limits = sources.cpus()
    clock = sources.clock(limits)
    if clock is not None:
        return uptime.render(max(sources.uptime(), clock.at), clock.total.idle)
    # nothing counts times by group: the CPUs in view have been idle as long as the host's were, at most all the time
    age, shown = sources.uptime(), cpus.visible(limits, container.policy)
    ticks = sum(row[3] for cpu, row in sources.host.stat().cpus.items() if cpu in shown)
    return uptime.render(age, min(age * len(shown), ticks / TICKS))


def _loadavg(sources: Sources, container: Container) -> bytes:
    if not container.policy.loadavg:
        return sources.host.text("proc/loadavg")
    if (kernels := sources.group.load()) is not None:
        return kernels
    load = sources.load()
    return sources.host.text("proc/loadavg") if load is None else loadavg.render(load)


def _diskstats(sources: Sources, _container: Container) -> bytes:
    return diskstats.render(sources.host.text("proc/diskstats"), sources.group.disks() or {})


def _pressure(kind: str) -> Render:
    def render(sources: Sources, _container: Container) -> bytes:
        return pressure.render(sources.group.pressure(kind), sources.host.text(f"proc/pressure/{kind}"))

    return render


def _online(sources: Sources, container: Container) -> bytes:
    return cpus.render_online(sources.cpus(), container.policy)


def _offline(sources: Sources, container: Container) -> bytes:
    return cpus.render_offline(sources.cpus(), container.policy, sources.host.text(f"{CPU}/offline"))


def _all(name: str) -> Render:
    def render(sources: Sources, container: Container) -> bytes:
        return cpus.render_all(sources.cpus(), container.policy, sources.host.text(f"{CPU}/{name}"))

    return render


def _one(path: str, number: int) -> Render:
    def render(sources: Sources, container: Container) -> bytes:
        if container.policy.compat == "lxcfs":
            return sources.host.text(path)
        return cpus.render_one(sources.cpus(), container.policy, number)

    return render


def _or_lxcfs(path: str, render: Render) -> Render:
    """``render``, or what lxcfs shows at ``path`` for containers that want it."""
    lxcfs = LXCFS.get(path)
    if lxcfs is None:
        return render

    def chosen(sources: Sources, container: Container) -> bytes:
        return (lxcfs if container.policy.compat == "lxcfs" else render)(sources, container)

    return chosen


def _table() -> dict[str, View]:
    rows: list[tuple[str, Render, int | None, bool]] = [
        ("proc/cpuinfo", _cpuinfo, 1000, True),
        ("proc/stat", _stat, 50, False),
        ("proc/meminfo", _meminfo, 50, False),
        ("proc/loadavg", _loadavg, 50, False),
        ("proc/uptime", _uptime, None, False),
        ("proc/diskstats", _diskstats, 50, False),
        ("proc/swaps", _swaps, 50, False),
        *((f"proc/pressure/{kind}", _pressure(kind), 50, False) for kind in ("cpu", "memory", "io")),
        (f"{CPU}/online", _online, 1000, True),
        (f"{CPU}/offline", _offline, 1000, True),
        *((f"{CPU}/{name}", _all(name), 1000, True) for name in ("possible", "present")),
    ]
    return {
        path: View(path.rpartition("/")[2], _or_lxcfs(path, render), ttl_ms, static)
        for path, render, ttl_ms, static in rows
    }


#: Path below the tree → view. The host has each file at the same path below /.
VIEWS: dict[str, View] = _table()


@cache
def find_view(path: str) -> View | None:
    """The view at ``path``, also for ``sys/devices/system/cpu/cpuN/online``; None where the host's file is shown.

    The kernel has no ``online`` for CPUs that cannot be unplugged (cpu0 on x86): the caller looks whether the host has
    the file.
    """
    if (match := _ONE.fullmatch(path)) is None:
        return VIEWS.get(path)
    return View("online", _one(path, int(match[1])), 1000, True)


def cpu_directories(sources: Sources, container: Container) -> tuple[int, ...]:
    """The N of the cpuN directories to list. Raises Vanished."""
    if container.policy.compat == "lxcfs":
        return sources.host.present()
    return cpus.directories(sources.cpus(), container.policy)
