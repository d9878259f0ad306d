"""/proc/stat: the CPU times of a container on the CPUs it sees."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from viewfs.views.cputime import Clock, Slot
from viewfs.views.records import TICKS, HostStat

#: In ticks: what sums of fractions may lack to a whole one.
_ROUNDING = 1e-4


class Tasks(NamedTuple):
    """Runnable and blocked tasks of a container; None where nobody counts them."""

    running: int | None = None
    blocked: int | None = None


def parse(data: bytes) -> HostStat:
    """/proc/stat of the host."""
    cpus: dict[int, tuple[int, ...]] = {}
    others: dict[bytes, bytes] = {}
    for line in data.splitlines(keepends=True):
        word, _, rest = line.partition(b" ")
        if not word.startswith(b"cpu"):
            others[word] = line
        elif number := word[3:]:
            cpus[int(number)] = tuple(map(int, rest.split()))
    return HostStat(cpus, others)


def render(clock: Clock, host: HostStat, boot_offset: int, tasks: Tasks) -> bytes:
    """The container's CPU lines, then the host's other lines.

    ``boot_offset`` is the boot time offset of the container's time namespace in seconds (0 without one), which the
    kernel takes from btime too (fs/proc/stat.c). Times the kernel does not keep by group (iowait, irq, softirq, steal,
    guest) are 0. Blocked tasks are 0 where nobody counts them: the host's would be other containers'.
    """
    lines = [_cpu(b"cpu ", clock.total)]
    lines += [_cpu(b"cpu%d" % cpu, clock.slots[cpu]) for cpu in clock.shown]
    return b"".join(lines) + _rest(host, boot_offset, tasks)


def render_host(host: HostStat, shown: Collection[int], boot_offset: int, tasks: Tasks) -> bytes:
    """Without accounting by group: the host's times of the CPUs ``shown``."""
    rows = {cpu: values for cpu, values in host.cpus.items() if cpu in shown}
    lines = [b"cpu  %s\n" % _numbers(map(sum, zip(*rows.values(), strict=False)))]
    lines += [b"cpu%d %s\n" % (cpu, _numbers(values)) for cpu, values in rows.items()]
    return b"".join(lines) + _rest(host, boot_offset, tasks)


def _numbers(values: Collection[int] | map[int]) -> bytes:
    return b" ".join(b"%d" % value for value in values)


def _cpu(name: bytes, slot: Slot) -> bytes:
    user, nice, system, idle = (int(seconds * TICKS + _ROUNDING) for seconds in (*slot.busy, slot.idle))
    return b"%s %d %d %d %d 0 0 0 0 0 0\n" % (name, user, nice, system, idle)


def _rest(host: HostStat, boot_offset: int, tasks: Tasks) -> bytes:
    lines = dict(host.others)
    if boot_offset and b"btime" in lines:
        lines[b"btime"] = b"btime %d\n" % (int(lines[b"btime"].split()[1]) - boot_offset)
    if tasks.running is not None and b"procs_running" in lines:
        # the task that reads this file runs
        lines[b"procs_running"] = b"procs_running %d\n" % max(1, tasks.running)
    if b"procs_blocked" in lines:
        lines[b"procs_blocked"] = b"procs_blocked %d\n" % (tasks.blocked or 0)
    return b"".join(lines.values())
