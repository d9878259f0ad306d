"""Controller ``memory`` of cgroup v1: limits, usage, swappiness and the files every kernel has (mm/memcontrol*.c).

Sizes are kept in pages, as the kernel does. Simulated usage is set from outside (SimKernel.set_usage), counts for all
ancestors, and can never be reclaimed: a limit below it is EBUSY.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from cotune.sim.files import (
    PAGE,
    PAGES_UNLIMITED,
    CgroupFile,
    Controller,
    number_file,
    parse_pages,
    parse_s64,
    parse_u64,
    refuse,
    report_file,
)
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group
from cotune.sim.release import since

LIMIT, MEMSW, SOFT = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"
KMEM, KMEM_TCP = "memory.kmem.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"
SWAPPINESS, OOM_KILL_DISABLE, MOVE = "memory.swappiness", "memory.oom_control", "memory.move_charge_at_immigrate"
HIERARCHY = "memory.use_hierarchy"
#: Not files: bytes charged to the group itself, those of them that can be reclaimed (v2), the highest total so far.
USAGE, CACHE, PEAK = "usage", "cache", "peak"
_VM_SWAPPINESS = "/proc/sys/vm/swappiness"
_STAT = ("cache", "rss", "rss_huge", "shmem", "mapped_file", "dirty", "writeback", "swap", "pgpgin", "pgpgout",
         "pgfault", "pgmajfault", "inactive_anon", "active_anon", "inactive_file", "active_file",
         "unevictable")  # fmt: skip


def memory(spec: HostSpec) -> Controller:
    """The memory controller of a host."""
    files = [
        CgroupFile(LIMIT, _show_pages(LIMIT), _write_limit),
        CgroupFile(MEMSW, _show_pages(MEMSW), _write_memsw),
        CgroupFile(SOFT, _show_pages(SOFT), _write_pages(SOFT, at_root=True)),
        CgroupFile(KMEM, _show_pages(KMEM), _ignore_kmem if since(spec, 5, 16) else _write_pages(KMEM)),
        CgroupFile(KMEM_TCP, _show_pages(KMEM_TCP), _write_pages(KMEM_TCP)),
        CgroupFile(SWAPPINESS, lambda group: f"{_swappiness(group)}\n", _write_swappiness),
        CgroupFile(OOM_KILL_DISABLE, _show_oom_control, _write_oom_control),
        CgroupFile(HIERARCHY, lambda group: f"{group.numbers[HIERARCHY]}\n", _write_hierarchy),
        number_file(MOVE, 0, 0 if since(spec, 6, 18) else 3),
        CgroupFile("memory.force_empty", None, _force_empty),
        CgroupFile("memory.pressure_level", None, None, fixed_mode=0o444 if since(spec, 6, 0) else 0),
        CgroupFile("cgroup.event_control", None, _refuse_event),
        report_file("memory.usage_in_bytes", lambda group: f"{usage(group)}\n"),
        report_file("memory.memsw.usage_in_bytes", lambda group: f"{usage(group)}\n"),
        report_file("memory.kmem.usage_in_bytes", "0\n"),
        report_file("memory.kmem.tcp.usage_in_bytes", "0\n"),
        report_file("memory.stat", _show_stat),
        report_file("memory.numa_stat", _show_numa),
    ]
    for counter in ("memory.", "memory.memsw.", "memory.kmem.", "memory.kmem.tcp."):
        files.append(CgroupFile(f"{counter}failcnt", lambda _group: "0\n", lambda _group, _text: None))
        peak = _show_peak if counter in ("memory.", "memory.memsw.") else lambda _group: "0\n"
        files.append(CgroupFile(f"{counter}max_usage_in_bytes", peak, _reset_peak))

    def created(group: Group) -> None:
        group.numbers.update(dict.fromkeys((LIMIT, MEMSW, SOFT, KMEM, KMEM_TCP), PAGES_UNLIMITED))
        group.numbers.update({USAGE: 0, PEAK: 0, MOVE: 0, HIERARCHY: 1, OOM_KILL_DISABLE: 0})
        if group.parent is not None:
            # mem_cgroup_css_alloc: these three are copied from the parent, once.
            group.numbers[SWAPPINESS] = _swappiness(group.parent)
            for name in (OOM_KILL_DISABLE, HIERARCHY):
                group.numbers[name] = group.parent.numbers[name]

    return Controller("memory", tuple(files), created)


def usage(group: Group) -> int:
    """Bytes charged to a group and everything below it."""
    return sum(g.numbers[USAGE] for g in group.walk())


def set_usage(group: Group, size: int, reclaimable: int = 0) -> None:
    """Charge ``size`` bytes to the group itself and raise the peaks on the way up."""
    group.numbers.update({USAGE: size, CACHE: reclaimable})
    for counted in (group, *group.ancestors()):
        counted.numbers[PEAK] = max(counted.numbers[PEAK], usage(counted))


def _show_pages(name: str) -> Callable[[Group], str]:
    return lambda group: f"{group.numbers[name] * PAGE}\n"


def _check_usage(group: Group, pages: int) -> None:
    """page_counter_set_max: EBUSY while more is in use than the new limit."""
    if usage(group) > pages * PAGE:
        refuse(errno.EBUSY)


def _write_limit(group: Group, text: str) -> None:
    """mem_cgroup_resize_max: EINVAL at the root and above memsw, EBUSY below usage."""
    pages = parse_pages(text, "-1")
    if group.parent is None or pages > group.numbers[MEMSW]:
        refuse(errno.EINVAL)
    _check_usage(group, pages)
    group.numbers[LIMIT] = pages


def _write_memsw(group: Group, text: str) -> None:
    pages = parse_pages(text, "-1")
    if group.parent is None or pages < group.numbers[LIMIT]:
        refuse(errno.EINVAL)
    _check_usage(group, pages)
    group.numbers[MEMSW] = pages


def _write_pages(name: str, at_root: bool = False) -> Callable[[Group, str], None]:
    """A limit without a usage check: the soft limit (also at the root), and those of kernel memory."""

    def write(group: Group, text: str) -> None:
        pages = parse_pages(text, "-1")
        if group.parent is None and not at_root:
            refuse(errno.EINVAL)
        group.numbers[name] = pages

    return write


def _ignore_kmem(group: Group, text: str) -> None:
    """Deprecated in 5.16: 6.1 and 6.18 accept the write and keep the old value."""
    parse_pages(text, "-1")
    if group.parent is None:
        refuse(errno.EINVAL)


def _swappiness(group: Group) -> int:
    return group.machine.numbers[_VM_SWAPPINESS][0] if group.parent is None else group.numbers[SWAPPINESS]


def _write_swappiness(group: Group, text: str) -> None:
    """0…200, before 5.8 and on ANCK 5.10 0…100 (ANCK 4.19: -1 at the root); the root's file is vm.swappiness."""
    spec = group.machine.spec
    old = spec.anck and not since(spec, 5, 10)
    value = parse_s64(text) if old else parse_u64(text)
    low = -1 if old and group.parent is None else 0
    if not low <= value <= (200 if since(spec, 5, 15) or (since(spec, 5, 8) and not spec.anck) else 100):
        refuse(errno.EINVAL)
    if group.parent is None:
        group.machine.numbers[_VM_SWAPPINESS] = [value]
    else:
        group.numbers[SWAPPINESS] = value


def _show_oom_control(group: Group) -> str:
    return f"oom_kill_disable {group.numbers[OOM_KILL_DISABLE]}\nunder_oom 0\noom_kill 0\n"


def _write_oom_control(group: Group, text: str) -> None:
    value = parse_u64(text)
    if group.parent is None or value > 1:
        refuse(errno.EINVAL)
    group.numbers[OOM_KILL_DISABLE] = value


def _write_hierarchy(group: Group, text: str) -> None:
    """mem_cgroup_hierarchy_write: always 1 since 5.11; before, free only below a parent without it and childless."""
    value = parse_u64(text)
    if value == group.numbers[HIERARCHY]:
        return
    parent = group.parent
    if since(group.machine.spec, 5, 11) or value > 1 or (parent is not None and parent.numbers[HIERARCHY]):
        refuse(errno.EINVAL)
    if group.children:
        refuse(errno.EBUSY)
    group.numbers[HIERARCHY] = value


def _force_empty(group: Group, _text: str) -> None:
    """Reclaims what it can, which is nothing here; EINVAL at the root."""
    if group.parent is None:
        refuse(errno.EINVAL)


def _refuse_event(_group: Group, _text: str) -> None:
    """cgroup.event_control wants eventfd numbers of the writer, which a text alone cannot name."""
    refuse(errno.EBADF)


def _show_peak(group: Group) -> str:
    return f"{group.numbers[PEAK]}\n"


def _reset_peak(group: Group, _text: str) -> None:
    """mem_cgroup_reset: the watermark becomes the present usage, not 0, whatever was written."""
    group.numbers[PEAK] = usage(group)


def _show_stat(group: Group) -> str:
    own, total = group.numbers[USAGE], usage(group)
    limits = [min(g.numbers[name] for g in (group, *group.ancestors())) * PAGE for name in (LIMIT, MEMSW)]

    def value(key: str, size: int) -> int:
        return size if key in ("rss", "active_anon") else 0

    lines = [f"{key} {value(key, own)}" for key in _STAT]
    lines += [f"hierarchical_memory_limit {limits[0]}", f"hierarchical_memsw_limit {limits[1]}"]
    lines += [f"total_{key} {value(key, total)}" for key in _STAT]
    return "\n".join(lines) + "\n"


def _show_numa(group: Group) -> str:
    pages = group.numbers[USAGE] // PAGE
    nodes = " ".join(f"N{i}={pages if i == 0 else 0}" for i in range(len(group.machine.spec.nodes)))
    return f"total={pages} {nodes}\nfile=0\nanon={pages} {nodes}\nunevictable=0\n"
