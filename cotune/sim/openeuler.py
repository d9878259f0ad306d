"""openEuler 5.10 and 6.6 on cgroup v1: quality-of-service levels, smart grid affinity, soft quota, writeback.

Read in kernel/sched/core.c (4.19 and 5.10) and in the file table of mm/memcontrol.c (5.10); the memory rules and those
of 6.6 are from documents. Where the errno of a refusal is not known it is EINVAL.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from cotune.sim.cpuset import CPUS
from cotune.sim.files import (
    PAGE,
    PAGES_UNLIMITED,
    CgroupFile,
    Controller,
    Where,
    format_ids,
    number_file,
    parse_ids,
    parse_pages,
    parse_s64,
    parse_u64,
    refuse,
    report_file,
)
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.iocost import MODEL, QOS, WEIGHT, iocost_files
from cotune.sim.machine import Group
from cotune.sim.release import since

SOFT_QUOTA = "cpu.soft_quota"
QOS_CPU, QOS_MEMORY, ASYNC_RATIO = "cpu.qos_level", "memory.qos_level", "memory.high_async_ratio"
AFFINITY, AFFINITY_PERIOD, PREFERRED = "cpu.dynamic_affinity_mode", "cpu.affinity_period_ms", "cpuset.preferred_cpus"
WRITEBACK = "memory.wb_blkio_ino"
_INODE, _NEXT_INODE = "inode", "openeuler.inode"
_MIN, _LOW, _HIGH = "memory.min", "memory.low", "memory.high"
_MEMORY_GATE = "/proc/sys/vm/memcg_qos_enable"
#: HIGH_ASYNC_RATIO_GAP + 1: documents say 11…100, and reclaim stops 10 percent below where it starts.
_LOWEST_RATIO = 11
_FIRST_INODE = 100
_OFFLINE, _ONLINE = -1, 0
#: Levels of 6.6, which is built with QOS_SCHED_MULTILEVEL.
_LOWEST_LEVEL, _HIGHEST_LEVEL = -2, 2


def additions(name: str, spec: HostSpec) -> Controller | None:
    """The files of one controller of cgroup v1."""
    if "openeuler" not in spec.features:
        return None
    make = {"core": _core, "cpu": _cpu, "cpuset": _cpuset, "memory": _memory, "blkio": _blkio}.get(name)
    return make(spec) if make is not None else None


def _show(name: str) -> Callable[[Group], str]:
    return lambda group: f"{group.numbers[name]}\n"


def _core(_spec: HostSpec) -> Controller:
    """Taken over from v2 on every hierarchy."""
    return Controller("core", (CgroupFile("cgroup.kill", None, _kill, Where.CHILD),), lambda _group: None)


def _kill(group: Group, text: str) -> None:
    """1 ends every process of the group and below, anything else is ERANGE."""
    if parse_u64(text.strip()) != 1:
        refuse(errno.ERANGE)
    for member in group.walk():
        for task in member.tasks():
            group.machine.exit(task.tgid)


# --- cpu ------------------------------------------------------------------------------------------------------------


def _cpu(spec: HostSpec) -> Controller:
    level = CgroupFile(QOS_CPU, _show(QOS_CPU), _write_cpu_level)
    files, numbers = _soft_quota() if since(spec, 6, 6) else _smart_grid()

    def created(group: Group) -> None:
        """The level is the parent's at mkdir."""
        inherited = group.parent.numbers[QOS_CPU] if group.parent is not None else _ONLINE
        group.numbers.update({QOS_CPU: inherited, **numbers})

    return Controller("cpu", (level, *files), created)


def _smart_grid() -> tuple[tuple[CgroupFile, ...], dict[str, int]]:
    """Files of 4.19 and 5.10, and their first values."""
    files = (
        CgroupFile(AFFINITY, _show_affinity(AFFINITY), _write_affinity),
        CgroupFile(AFFINITY_PERIOD, _show_affinity(AFFINITY_PERIOD), _write_period),
        report_file("cpu.affinity_stat", "periods 0\n", Where.CHILD),
    )
    return files, {AFFINITY: 0, AFFINITY_PERIOD: 100}


def _soft_quota() -> tuple[tuple[CgroupFile, ...], dict[str, int]]:
    """The file of 6.6, and its first value."""
    return (number_file(SOFT_QUOTA, 0, 1, where=Where.CHILD),), {SOFT_QUOTA: 0}


def _write_cpu_level(group: Group, text: str) -> None:
    """cpu_qos_write: 0 is online and -1 offline, for the whole subtree, and there is no way back from -1 (EINVAL).

    6.6 has levels from -2 to 2, from each of them to every other. Writing the present level changes nothing, below
    either.
    """
    level = parse_s64(text)
    several = since(group.machine.spec, 6, 6)
    lowest, highest = (_LOWEST_LEVEL, _HIGHEST_LEVEL) if several else (_OFFLINE, _ONLINE)
    if group.parent is None or not lowest <= level <= highest:
        refuse(errno.EINVAL)
    if level == group.numbers[QOS_CPU]:
        return
    if group.numbers[QOS_CPU] == _OFFLINE and not several:
        refuse(errno.EINVAL)
    for member in group.walk():
        member.numbers[QOS_CPU] = level


def _show_affinity(name: str) -> Callable[[Group], str]:
    """The root's reader returns -EPERM through an unsigned number."""
    return lambda group: f"{group.numbers[name] if group.parent is not None else 2**64 - errno.EPERM}\n"


def _write_affinity(group: Group, text: str) -> None:
    value = parse_u64(text)
    if group.parent is None:
        refuse(errno.EPERM)
    if value > 1:
        refuse(errno.EINVAL)
    group.numbers[AFFINITY] = value


def _write_period(group: Group, text: str) -> None:
    value = parse_u64(text)
    if group.parent is None:
        refuse(errno.EPERM)
    if value == 0:
        refuse(errno.EINVAL)
    group.numbers[AFFINITY_PERIOD] = value


def _cpuset(spec: HostSpec) -> Controller | None:
    """With the boot word ``dynamic_affinity=enable`` only."""
    if "dynamic_affinity=enable" not in spec.command_line.split():
        return None
    file = CgroupFile(PREFERRED, lambda group: f"{format_ids(group.lists[PREFERRED])}\n", _write_preferred)
    return Controller("cpuset", (file,), lambda group: group.lists.update({PREFERRED: []}))


def _write_preferred(group: Group, text: str) -> None:
    """set_prefer_cpus: CPUs of the group itself, or none."""
    cpus = parse_ids(text, group.machine.spec.cpus, words=False)
    if not set(cpus) <= set(group.lists[CPUS]):
        refuse(errno.EINVAL)
    group.lists[PREFERRED] = cpus


# --- memory ---------------------------------------------------------------------------------------------------------


def _memory(spec: HostSpec) -> Controller:
    child = Where.CHILD
    files = [
        CgroupFile(QOS_MEMORY, _show(QOS_MEMORY), _write_memory_level, child),
        number_file(ASYNC_RATIO, _LOWEST_RATIO, 100, where=child),
        *(CgroupFile(name, _show_pages(name), _write_pages(name), child) for name in (_MIN, _LOW, _HIGH)),
        report_file("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n", child),
        report_file("memory.events.local", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n", child),
        CgroupFile("memory.reclaim", None, _reclaim),
    ]
    if "cgroup1_writeback" in spec.command_line.split():
        files.append(CgroupFile(WRITEBACK, _show_writeback, _write_writeback, child))

    def created(group: Group) -> None:
        level = group.parent.numbers[QOS_MEMORY] if group.parent is not None else 0
        group.numbers.update({QOS_MEMORY: level, ASYNC_RATIO: 100, _MIN: 0, _LOW: 0, _HIGH: PAGES_UNLIMITED})

    return Controller("memory", tuple(files), created)


def _write_memory_level(group: Group, text: str) -> None:
    """Refused while vm.memcg_qos_enable is 0; a write covers the whole subtree."""
    level = parse_s64(text)
    if level not in (-1, 0) or not group.machine.numbers[_MEMORY_GATE][0]:
        refuse(errno.EINVAL)
    for member in group.walk():
        member.numbers[QOS_MEMORY] = level


def _show_pages(name: str) -> Callable[[Group], str]:
    def show(group: Group) -> str:
        pages = group.numbers[name]
        return "max\n" if pages == PAGES_UNLIMITED else f"{pages * PAGE}\n"

    return show


def _write_pages(name: str) -> Callable[[Group, str], None]:
    def write(group: Group, text: str) -> None:
        group.numbers[name] = parse_pages(text, "max")

    return write


def _reclaim(_group: Group, text: str) -> None:
    """What is charged on v1 cannot be reclaimed here: EAGAIN for more than nothing. There is no word for everything."""
    if parse_pages(text, "\0"):
        refuse(errno.EAGAIN)


# --- blkio ----------------------------------------------------------------------------------------------------------


def _blkio(_spec: HostSpec) -> Controller:
    """iocost on v1, and a number for each directory, which memory.wb_blkio_ino names it by."""

    def created(group: Group) -> None:
        extra = group.machine.extra
        extra[_NEXT_INODE] = int(extra.get(_NEXT_INODE, _FIRST_INODE)) + 1
        group.numbers[_INODE] = extra[_NEXT_INODE]

    return Controller("blkio", tuple(iocost_files(WEIGHT, QOS, MODEL)), created)


def _show_writeback(group: Group) -> str:
    """Two lines, the number written and the path it belongs to; empty values for none."""
    number = group.numbers.get(WRITEBACK, 0)
    found = next((g.path for g in _blkio_root(group).walk() if g.numbers[_INODE] == number), "")
    return f"wb_blkio_path:{found}\nwb_blkio_ino:{number if found else 0}\n"


def _write_writeback(group: Group, text: str) -> None:
    number = parse_u64(text)
    if all(member.numbers[_INODE] != number for member in _blkio_root(group).walk()):
        refuse(errno.EINVAL)
    group.numbers[WRITEBACK] = number


def _blkio_root(group: Group) -> Group:
    return group.machine.hierarchy("blkio").root
