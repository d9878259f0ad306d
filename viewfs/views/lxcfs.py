"""The views as lxcfs renders them, mistakes included, for programs that rely on them (``compat: lxcfs``).

Version 1 as lxcfs 6.0.6 (src/proc_fuse.c, src/proc_cpuview.c), version 2 as 7.0.0. With ``cpu: cpuset`` as lxcfs
without ``--enable-cfs``, with ``min`` or ``quota`` as with it. docs/views.md lists what viewfs does
otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cotune.units import parse_cpulist
from viewfs.types import Policy
from viewfs.views.cpuinfo import Entry
from viewfs.views.diskstats import request_columns
from viewfs.views.meminfo import render, swap_figures
from viewfs.views.records import TICKS, Cpus, Disk, GroupTimes, HostMeminfo, HostStat, Memory, Swap
from viewfs.views.swaps import swap_line

_WRAP = 2**64
_NOTHING = 2**63 - 4096
_SWAPS_HEADER = b"Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"


def _smallest(limits: Sequence[int | None]) -> int:
    return min((limit for limit in limits if limit is not None), default=_NOTHING)


def meminfo(host: HostMeminfo, memory: Memory, swap: Swap | None) -> bytes:
    """/proc/meminfo: the container's own usage under the smallest limit on the way up, without clamps."""
    stat, v1 = memory.stat, memory.version == 1
    get = {name: value >> 10 for name, value in stat.items()}.get
    limit = _smallest([level.limit for level in memory.levels]) >> 10
    total = min(limit or host.values[b"MemTotal"], host.values[b"MemTotal"])
    free = (total - (memory.levels[0].usage >> 10)) % _WRAP
    slab = 0 if v1 else stat.get(b"slab_reclaimable", 0)
    reclaimable = (stat.get(b"active_file", 0) + stat.get(b"inactive_file", 0) + slab) >> 10
    anon = stat.get(b"active_anon", 0) + stat.get(b"inactive_anon", 0)
    files = stat.get(b"active_file", 0), stat.get(b"inactive_file", 0)
    figures = {
        b"MemTotal": total,
        b"MemFree": free,
        b"MemAvailable": (free + reclaimable) % _WRAP,
        b"Cached": get(b"file", 0),
        b"Active": (stat.get(b"active_anon", 0) + files[0]) >> 10,
        b"Inactive": (stat.get(b"inactive_anon", 0) + files[1]) >> 10,
        b"AnonPages": ((anon - stat.get(b"shmem", 0)) % _WRAP) >> 10,
        b"Mapped": get(b"file_mapped", 0) if v1 else 0,
        b"Dirty": get(b"file_dirty", 0) if v1 else 0,
        b"Writeback": get(b"file_writeback", 0) if v1 else 0,
        b"Slab": 0 if v1 else get(b"slab", 0),
        b"SReclaimable": 0 if v1 else get(b"slab_reclaimable", 0),
        b"SUnreclaim": 0 if v1 else get(b"slab_unreclaimable", 0),
        b"Zswap": get(b"zswap", 0),
        b"Zswapped": get(b"zswapped", 0),
    }
    figures.update(
        dict.fromkeys((b"Buffers", b"SwapCached", b"AnonHugePages", b"ShmemHugePages", b"ShmemPmdMapped"), 0)
    )
    for key, name in _SAME.items():
        figures[key] = get(name, 0)
    size, used = swap_size(swap, memory, total, host.values[b"SwapTotal"])
    return render(host, figures | swap_figures(size, (size - used) % _WRAP))


_SAME = {
    b"Active(anon)": b"active_anon",
    b"Inactive(anon)": b"inactive_anon",
    b"Active(file)": b"active_file",
    b"Inactive(file)": b"inactive_file",
    b"Unevictable": b"unevictable",
    b"Shmem": b"shmem",
}


def swap_size(swap: Swap | None, memory: Memory, memory_total: int, host_total: int) -> tuple[int, int]:
    """Size and use of swap in kB; 0 without accounting."""
    if swap is None:
        return 0, 0
    limit = _smallest([level.limit for level in swap.levels])
    if swap.combined:
        of_memory = _smallest([level.limit for level in memory.levels])
        beside = max(0, limit - of_memory) >> 10
        used = max(0, swap.levels[0].usage - memory.levels[0].usage) >> 10 if beside else 0
        total = beside + memory_total
    else:
        total, used = limit >> 10, swap.used >> 10
    total = min(total, host_total)
    return (used if swap.swappiness == 0 else total), used


def swaps(swap: Swap | None, memory: Memory, host: HostMeminfo) -> bytes:
    """/proc/swaps. The host's total is read with ``%8u``: what has more digits loses them."""
    host_total = int(str(host.values[b"SwapTotal"])[:8])
    limit = _smallest([level.limit for level in memory.levels]) >> 10
    total, used = swap_size(swap, memory, limit, host_total)
    return _SWAPS_HEADER + swap_line(total, used)


def view_size(cpus: Cpus, policy: Policy, version: int) -> int | None:
    """How many CPUs lxcfs shows; None without ``--enable-cfs``, 0 for no limit."""
    if policy.cpu == "cpuset":
        return None
    quota = cpus.own_quota if version == 1 else cpus.quota
    wanted = len(parse_cpulist(cpus.wanted))
    number = -(-quota[0] // quota[1]) if quota else 0
    if not number and wanted:
        return wanted
    number = min(number, len(cpus.online))
    return wanted if 0 < wanted < number else number


def online(cpus: Cpus, policy: Policy, version: int) -> bytes:
    """/sys/devices/system/cpu/online."""
    size = view_size(cpus, policy, version)
    if size is None:
        return cpus.wanted.encode() + b"\n"
    return b"0-%d\n" % (size - 1) if size > 1 else b"0\n"


def cpuinfo(entries: tuple[Entry, ...], cpus: Cpus, policy: Policy, version: int) -> bytes:
    """/proc/cpuinfo: the CPUs of the cpuset, numbered anew."""
    wanted = parse_cpulist(cpus.wanted) or set(cpus.online)
    kept = [entry.text for entry in entries if entry.number in wanted]
    kept = kept[: view_size(cpus, policy, version) or None]
    return b"".join(
        re.sub(rb"\Aprocessor(\s*): \d+", lambda m, new=new: b"processor%s: %d" % (m[1], new), text)  # type: ignore[misc]
        for new, text in enumerate(kept)
    )


def stat(rows: Mapping[int, Sequence[int]], names: Sequence[int], host: HostStat) -> bytes:
    """/proc/stat from the counters of some CPUs, shown as ``names``; all other lines are the host's."""
    total = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines = [b"cpu  %s\n" % _row(total)]
    lines += [b"cpu%d %s\n" % (name, _row(row)) for name, row in zip(names, rows.values(), strict=True)]
    return b"".join(lines) + b"".join(host.others.values())


def _row(values: Sequence[int]) -> bytes:
    return b" ".join(b"%d" % value for value in values)


def stat_v2(host: HostStat, cpus: Cpus, policy: Policy) -> bytes:
    """/proc/stat of version 2: the host's counters of the CPUs of the cpuset."""
    wanted = parse_cpulist(cpus.wanted) or set(cpus.online)
    rows = {cpu: row for cpu, row in host.cpus.items() if cpu in wanted}
    size = view_size(cpus, policy, 2)
    if size is not None:
        rows = dict(list(rows.items())[: size or None])
    return stat(rows, range(len(rows)) if size is not None else list(rows), host)


def usage_rows(host: HostStat, cpus: Cpus, times: GroupTimes) -> dict[int, tuple[int, ...]]:
    """The counters of version 1: the group's time, and the host's idle time plus what others used."""
    wanted = parse_cpulist(cpus.wanted) or set(cpus.online)
    rows: dict[int, tuple[int, ...]] = {}
    for cpu, row in host.cpus.items():
        if cpu not in wanted:
            continue
        used = times.by_cpu.get(cpu)
        user, system = (int(used.user * TICKS), int(used.system * TICKS)) if used else (0, 0)
        busy = sum(row) - row[3]
        idle = row[3] + (busy - user - system if busy >= user + system else 0)
        rows[cpu] = (user, 0, system, idle, 0, 0, 0, 0, 0, 0)
    return rows


class CpuView(NamedTuple):
    """What ``cpuview_proc_stat`` keeps of a cgroup: last counters and counters shown, (user, system, idle) by CPU."""

    usage: dict[int, tuple[int, int, int]]
    view: dict[int, tuple[int, int, int]]
    idle: int


def cpu_view(last: CpuView | None, rows: Mapping[int, Sequence[int]], cpus: Cpus, size: int, count: int) -> CpuView:
    """One step of the per-CPU view of version 1. ``count`` is the number of CPUs of the host, ``size`` of the view."""
    usage = {cpu: (row[0], row[2], row[3]) for cpu, row in rows.items()}
    first = next(iter(usage), None)
    zero = (0, 0, 0)
    if last is None or (first is not None and usage[first][0] < last.usage.get(first, zero)[0]):
        return CpuView(usage, dict.fromkeys(usage, zero), 0)
    gone = {
        cpu: [max(0, a - b) for a, b in zip(now, last.usage.get(cpu, zero), strict=True)] for cpu, now in usage.items()
    }
    _move_surplus(gone, size, sum(map(sum, gone.values())) // count * size)
    shown = list(gone)[:size]
    view = {cpu: tuple(a + b for a, b in zip(last.view.get(cpu, zero), gone[cpu], strict=True)) for cpu in shown}
    result = {cpu: (row[0], row[1], row[2]) for cpu, row in view.items()}
    idle = sum(row[2] for row in result.values())
    quota = cpus.own_quota
    if quota and quota[0] / quota[1] < size and shown:
        delta = int(sum(sum(gone[cpu]) for cpu in shown) * (1 - quota[0] / quota[1] / size))
        idle = max(0, idle - delta)
        most = max(shown, key=lambda cpu: gone[cpu][2])
        user, system, rest = result[most]
        result[most] = (user, system, max(0, rest - delta))
    return CpuView(usage, result, idle)


def _move_surplus(gone: dict[int, list[int]], size: int, threshold: int) -> None:
    """Move the time of CPUs beyond the view into idle time of those in it."""
    ranked = list(gone.values())
    for field in (0, 1):
        surplus = sum(row[field] for row in ranked[size:])
        for row in ranked[:size]:
            if row[0] + row[1] >= threshold:
                continue
            moved = min(surplus, row[2], threshold - row[0] - row[1])
            row[field] += moved
            row[2] -= moved
            surplus -= moved


def stat_view(view: CpuView, size: int, host: HostStat) -> bytes:
    """/proc/stat of version 1 with ``--enable-cfs``."""
    shown = list(view.view.values())[:size]
    user, system = sum(row[0] for row in shown), sum(row[1] for row in shown)
    lines = [b"cpu  %d 0 %d %d 0 0 0 0 0 0\n" % (user, system, view.idle)]
    lines += [b"cpu%d %d 0 %d %d 0 0 0 0 0 0\n" % (number, *row) for number, row in enumerate(shown)]
    return b"".join(lines) + b"".join(host.others.values())


def uptime(boottime: float, starttime: int, busy: float) -> bytes:
    """/proc/uptime; idle time is that of one CPU that was ``busy`` so many seconds."""
    age = boottime - starttime / TICKS
    return b"%.2f %.2f\n" % (age, age - busy if age >= busy else age)


def diskstats(host: bytes, disks: Mapping[bytes, Disk]) -> bytes:
    """/proc/diskstats with lxcfs's spaces; nothing is in flight, and there is no weighted time."""
    lines = []
    for line in host.splitlines():
        major, minor, name = line.split()[:3]
        disk = disks.get(b"%s:%s" % (major, minor), Disk())
        row = [*request_columns(disk.read), *request_columns(disk.write), 0, disk.busy_ms, 0]
        row += [*request_columns(disk.discard), 0, 0]
        if any(row):
            lines.append(b"%s       %s %s %s\n" % (major, minor, name, _row(row)))
    return b"".join(lines)
