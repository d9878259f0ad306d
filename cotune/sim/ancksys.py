"""ANCK files outside the cgroup trees and /proc/sys: memcg reaper, kidled, page-cache limit, cpusli.

Read from source (mm/memcg_zombie_reaper.c, mm/kidled.c, mm/pagecache_limit.c, kernel/sched/cpuacct.c), not run.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cotune.sim.files import U32_MAX, HostFile, Refusal, parse_u64, refuse
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Machine
from cotune.sim.release import since

_REAPER, _KIDLED = "/sys/kernel/mm/memcg_reaper/", "/sys/kernel/mm/kidled/"
REAP_BACKGROUND = f"{_REAPER}reap_background"
SCAN_PERIOD = f"{_KIDLED}scan_period_in_seconds"
PAGECACHE_ENABLED = "/sys/kernel/mm/pagecache_limit/enabled"
#: Bits of reap_background since the switch per memory cgroup exists: asked for globally, asked for by some cgroup.
_GLOBAL, SOME_MEMCG = 1, 2
#: All bits of kidled's scan_target (pages, slab); the number of bits is our reading, only its bound matters here.
_ALL_TARGETS = 3
_CPUSLI = ("/proc/cpusli/sched_lat_enabled", "/proc/cpusli/async_load_calc")


def _numbers(spec: HostSpec) -> dict[str, tuple[int, int, int]]:
    """path -> default, lowest, highest"""
    numbers = {
        f"{_REAPER}scan_interval": (5, 1, U32_MAX),
        f"{_REAPER}pages_scan": (1310720, 0, U32_MAX),
        f"{_REAPER}verbose": (0, 0, 1),
        REAP_BACKGROUND: (0, 0, 1),
        SCAN_PERIOD: (0, 0, 65535),
    }
    if since(spec, 5, 10):
        return numbers | {f"{_KIDLED}scan_target": (1, 1, _ALL_TARGETS)}
    return numbers | {f"{_KIDLED}use_hierarchy": (0, 0, 1)}


def boot(machine: Machine) -> None:
    """Defaults; the boot word ``pagecache_limit=1`` opens that gate."""
    if machine.spec.anck:
        machine.numbers.update({path: [default] for path, (default, _, _) in _numbers(machine.spec).items()})
        machine.numbers.update({path: [0] for path in _CPUSLI})
        machine.numbers[PAGECACHE_ENABLED] = [int("pagecache_limit=1" in machine.spec.command_line.split())]


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The files; none on other kernels."""
    if not machine.spec.anck:
        return
    newer = since(machine.spec, 5, 10)
    for path, (_, low, high) in _numbers(machine.spec).items():
        yield path, _number(machine, path, low, high, _set_global if newer and path == REAP_BACKGROUND else _set)
    yield f"{_REAPER}reap", HostFile(lambda: "0\n", _reap)
    for path in _CPUSLI:
        yield path, _switch(machine, path, 0o600)
    if newer:
        yield PAGECACHE_ENABLED, _switch(machine, PAGECACHE_ENABLED, 0o644)


def _set(machine: Machine, path: str, value: int) -> None:
    machine.numbers[path] = [value]


def _set_global(machine: Machine, path: str, value: int) -> None:
    """Newer kernels keep a mask: a 0 may read 2 and a 1 may read 3, as long as some memory cgroup wants it."""
    machine.numbers[path] = [machine.numbers[path][0] & ~_GLOBAL | value]


def _number(machine: Machine, path: str, low: int, high: int, store: Callable[[Machine, str, int], None]) -> HostFile:
    def write(text: str) -> None:
        try:
            value = parse_u64(text, 10)
        except Refusal:
            refuse(errno.EINVAL)
        if not low <= value <= high:
            refuse(errno.EINVAL)
        store(machine, path, value)

    return HostFile(lambda: f"{machine.numbers[path][0]}\n", write)


def _reap(text: str) -> None:
    """Only 1, which reaps at once; the file always reads 0."""
    if parse_u64(text, 10) != 1:
        refuse(errno.EINVAL)


def _switch(machine: Machine, path: str, mode: int) -> HostFile:
    """Only the first character counts, and it must be 0 or 1."""

    def write(text: str) -> None:
        if text[0] not in "01":
            refuse(errno.EINVAL)
        machine.numbers[path] = [int(text[0])]

    return HostFile(lambda: f"{machine.numbers[path][0]}\n", write, mode)
