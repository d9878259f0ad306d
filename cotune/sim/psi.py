"""Pressure stall information (kernel/sched/psi.c): the reports, and what a write that asks for a trigger must be.

A trigger lives as long as the file descriptor it was written to, so nothing of it is kept.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from cotune.sim.files import U32_MAX, CgroupFile, HostFile, refuse
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group, Machine

#: cgroup.pressure, a switch of its group: 0 makes the other files disappear.
PRESSURE = "cgroup.pressure"
_RESOURCES = ("io", "memory", "cpu")
_REPORT = "".join(f"{kind} avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" for kind in ("some", "full"))
#: WINDOW_MIN_US, WINDOW_MAX_US, and the multiple an unprivileged writer has to keep to (6.5).
_SHORTEST, _LONGEST, _UNPRIVILEGED = 500000, 10000000, 2000000
_TRIGGER = re.compile(r"(?:some|full)\s*(\d+)\s*(\d+)")


def check_trigger(spec: HostSpec, text: str) -> None:
    """psi_trigger_create: ``some|full STALL WINDOW`` in µs; anything else, or a bad window or stall, is EINVAL."""
    match = _TRIGGER.match(text)
    if match is None:
        refuse(errno.EINVAL)
    stall, window = (int(word) & U32_MAX for word in match.groups())
    if not _SHORTEST <= window <= _LONGEST or not 0 < stall <= window:
        refuse(errno.EINVAL)
    if "psi-unprivileged" in spec.features and window % _UNPRIVILEGED:
        refuse(errno.EINVAL)


def pressure_files(spec: HostSpec) -> tuple[CgroupFile, ...]:
    """The files of a cgroup2 group, with ``irq.pressure`` where interrupt time is accounted."""
    resources = (*_RESOURCES, "irq") if "psi-irq" in spec.features else _RESOURCES

    def write(group: Group, text: str) -> None:
        check_trigger(group.machine.spec, text)

    def shown(group: Group) -> bool:
        return bool(group.numbers[PRESSURE])

    return tuple(CgroupFile(f"{name}.pressure", lambda _group: _REPORT, write, shown=shown) for name in resources)


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """/proc/pressure, where the last byte of a write is lost: psi_write puts the terminating NUL there."""
    if "psi" in machine.spec.features:
        for name in _RESOURCES:
            write = HostFile(lambda: _REPORT, lambda text: check_trigger(machine.spec, text[:-1]), 0o666)
            yield f"/proc/pressure/{name}", write
