"""Controller ``memory`` of cgroup v2 (mm/memcontrol.c), observed on 6.1.

Limits are kept in pages. Usage is set from outside (SimKernel.set_usage): bytes charged to the group itself, and how
many of them can be reclaimed. A limit below it reclaims; what is left over kills processes under ``memory.max``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cotune.sim.files import (
    PAGE,
    PAGES_UNLIMITED,
    CgroupFile,
    Controller,
    Where,
    number_file,
    parse_pages,
    parse_s32,
    refuse,
    report_file,
)
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group
from cotune.sim.memory import CACHE, PEAK, USAGE, usage
from cotune.sim.release import since

MIN, LOW, HIGH, MAX = "memory.min", "memory.low", "memory.high", "memory.max"
SWAP_MAX, SWAP_HIGH, ZSWAP_MAX = "memory.swap.max", "memory.swap.high", "memory.zswap.max"
OOM_GROUP, ZSWAP_WRITEBACK = "memory.oom.group", "memory.zswap.writeback"
_EVENTS = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
_STAT = ("anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc",
         "shmem", "file_mapped", "file_dirty", "file_writeback", "swapcached", "anon_thp", "file_thp", "shmem_thp",
         "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
         "slab_unreclaimable", "slab", "workingset_refault_anon", "workingset_refault_file",
         "workingset_activate_anon", "workingset_activate_file", "workingset_restore_anon",
         "workingset_restore_file", "workingset_nodereclaim", "pgscan", "pgsteal", "pgfault",
         "pgmajfault")  # fmt: skip


def memory_v2(spec: HostSpec) -> Controller:
    """The memory controller of a host."""
    files = [
        report_file("memory.current", lambda group: f"{usage(group)}\n", Where.CHILD),
        CgroupFile("memory.peak", lambda group: f"{group.numbers[PEAK]}\n", _reset_peak(spec), Where.CHILD),
        *(_limit_file(name) for name in (MIN, LOW, SWAP_MAX, SWAP_HIGH)),
        _limit_file(HIGH, _enforce_high),
        _limit_file(MAX, _enforce_max),
        number_file(OOM_GROUP, 0, 1, parse=parse_s32, where=Where.CHILD),
        CgroupFile("memory.reclaim", None, _write_reclaim),
        report_file("memory.events", lambda group: _show_events(group, lambda g: list(g.walk())), Where.CHILD),
        report_file("memory.events.local", lambda group: _show_events(group, lambda g: [g]), Where.CHILD),
        report_file("memory.stat", _show_stat),
        report_file("memory.numa_stat", _show_numa),
        report_file("memory.swap.current", "0\n", Where.CHILD),
        report_file("memory.swap.events", "high 0\nmax 0\nfail 0\n", Where.CHILD),
    ]
    if "zswap" in spec.features:
        files += [
            report_file("memory.zswap.current", "0\n", Where.CHILD),
            _limit_file(ZSWAP_MAX),
            number_file(ZSWAP_WRITEBACK, 0, 1, parse=parse_s32, where=Where.CHILD),
        ]

    def created(group: Group) -> None:
        group.numbers.update(dict.fromkeys((HIGH, MAX, SWAP_MAX, SWAP_HIGH, ZSWAP_MAX), PAGES_UNLIMITED))
        group.numbers.update(dict.fromkeys((MIN, LOW, OOM_GROUP, USAGE, CACHE, PEAK, *map(_event, _EVENTS)), 0))
        group.numbers[ZSWAP_WRITEBACK] = 1

    return Controller("memory", tuple(files), created)


def _reset_peak(spec: HostSpec) -> Callable[[Group, str], None] | None:
    """Since 6.12 any write resets the peak for the descriptor it came through, which nobody else reads."""
    return (lambda _group, _text: None) if since(spec, 6, 12) else None


# --- limits ---------------------------------------------------------------------------------------------------------


def _limit_file(name: str, enforce: Callable[[Group, int], None] = lambda _group, _limit: None) -> CgroupFile:
    """Bytes in whole pages, rounded down, or ``max``. ``enforce`` gets the new limit in bytes."""

    def show(group: Group) -> str:
        pages = group.numbers[name]
        return "max\n" if pages == PAGES_UNLIMITED else f"{pages * PAGE}\n"

    def write(group: Group, text: str) -> None:
        group.numbers[name] = parse_pages(text, "max")
        enforce(group, group.numbers[name] * PAGE)

    return CgroupFile(name, show, write, Where.CHILD)


def reclaim(group: Group, size: int) -> int:
    """Free up to ``size`` bytes of the subtree's reclaimable memory; returns how many were freed."""
    left = max(size, 0)
    for member in group.walk():
        freed = min(left, member.numbers[CACHE])
        member.numbers[CACHE] -= freed
        member.numbers[USAGE] -= freed
        left -= freed
    return max(size, 0) - left


def _write_reclaim(group: Group, text: str) -> None:
    """EAGAIN when less could be freed than was asked for; the root always has enough."""
    size = parse_pages(text, "") * PAGE
    if reclaim(group, size) < size and group.parent is not None:
        refuse(errno.EAGAIN)


def _enforce_high(group: Group, limit: int) -> None:
    """memory_high_write: reclaim what can be, and leave the rest."""
    reclaim(group, usage(group) - limit)


def _enforce_max(group: Group, limit: int) -> None:
    """memory_max_write: reclaim, then kill inside the write until the usage fits or nobody is left to kill."""
    reclaim(group, usage(group) - limit)
    while usage(group) > limit:
        _count(group, "oom")
        if not _kill_largest(group):
            return


def _kill_largest(group: Group) -> bool:
    """mem_cgroup_out_of_memory: one process of the group that uses most, or all of its oom.group."""
    candidates = [member for member in group.walk() if member.tasks()]
    if not candidates:
        return False
    victim = max(candidates, key=lambda member: member.numbers[USAGE])
    unit = _oom_group(victim, group)
    if unit is not None:
        _count(unit, "oom_group_kill")
        for member in unit.walk():
            while _kill_one(member):
                pass
        return True
    return _kill_one(victim)


def _oom_group(victim: Group, domain: Group) -> Group | None:
    """mem_cgroup_get_oom_group: the highest group with memory.oom.group=1 from the victim up to where the limit is."""
    found = None
    for group in (victim, *victim.ancestors()):
        if group.numbers[OOM_GROUP]:
            found = group
        if group is domain:
            break
    return found


def _kill_one(group: Group) -> bool:
    """End one process; the group's usage counts as spread evenly over its processes."""
    processes = sorted({task.tgid for task in group.tasks()})
    if not processes:
        return False
    share = group.numbers[USAGE] // len(processes)
    group.machine.exit(processes[0])
    group.numbers[USAGE] = group.numbers[USAGE] - share if len(processes) > 1 else 0
    group.numbers[CACHE] = min(group.numbers[CACHE], group.numbers[USAGE])
    _count(group, "oom_kill")
    return True


# --- reports --------------------------------------------------------------------------------------------------------


def _event(name: str) -> str:
    return f"memory.events:{name}"


def _count(group: Group, name: str) -> None:
    group.numbers[_event(name)] += 1


def _show_events(group: Group, members: Callable[[Group], list[Group]]) -> str:
    totals = {name: sum(member.numbers[_event(name)] for member in members(group)) for name in _EVENTS}
    return "".join(f"{name} {count}\n" for name, count in totals.items())


def _show_stat(group: Group) -> str:
    """Reclaimable memory counts as page cache, all other as anonymous."""
    cache = sum(member.numbers[CACHE] for member in group.walk())
    anon = usage(group) - cache
    values = {"anon": anon, "active_anon": anon, "file": cache, "inactive_file": cache}
    return "".join(f"{name} {values.get(name, 0)}\n" for name in _STAT)


def _show_numa(group: Group) -> str:
    def rows() -> Iterator[str]:
        cache = sum(member.numbers[CACHE] for member in group.walk())
        for name, size in (("anon", usage(group) - cache), ("file", cache), ("kernel_stack", 0), ("pagetables", 0)):
            nodes = " ".join(f"N{i}={size if i == 0 else 0}" for i in range(len(group.machine.spec.nodes)))
            yield f"{name} {nodes}\n"

    return "".join(rows())
