"""CPUs that are switched on and off through sysfs (drivers/base/cpu.c, kernel/cpu.c). The first cannot be.

Only on hosts whose cpusets are on cgroup v2, where the effective lists follow; those of v1 are not simulated. No
simulated host has SMT.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cotune.sim.files import HostFile, format_ids, refuse
from cotune.sim.machine import OFFLINE, Machine

_CPU = "/sys/devices/system/cpu"


def boot(machine: Machine) -> None:
    """Everything is on."""
    machine.numbers[OFFLINE] = []


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The switches, and the lists of CPUs that are on and off."""
    yield f"{_CPU}/smt/control", HostFile(lambda: "notsupported\n", _write_smt)
    yield f"{_CPU}/smt/active", HostFile(lambda: "0\n", mode=0o444)
    if not any(h.version == 2 and "cpuset" in h.names for h in machine.hierarchies):
        return
    offline = machine.numbers[OFFLINE]
    for cpu in range(1, machine.spec.cpus):
        yield f"{_CPU}/cpu{cpu}/online", _switch(machine, cpu)
    yield f"{_CPU}/online", HostFile(lambda: f"{format_ids(machine.online())}\n", mode=0o444)
    possible = range(machine.spec.possible_cpus or machine.spec.cpus)
    yield f"{_CPU}/possible", HostFile(lambda: f"{format_ids(possible)}\n", mode=0o444)
    off = [cpu for cpu in possible if cpu in offline or cpu >= machine.spec.cpus]
    yield f"{_CPU}/offline", HostFile(lambda: f"{format_ids(off)}\n", mode=0o444)


def _write_smt(text: str) -> None:
    """control_store: a known word first, then ENODEV without SMT."""
    refuse(errno.ENODEV if text.removesuffix("\n") in ("on", "off", "forceoff") else errno.EINVAL)


def _switch(machine: Machine, cpu: int) -> HostFile:
    def write(text: str) -> None:
        """online_store: kstrtobool looks at the first letters only."""
        word = text.strip().lower()
        on = word[:1] in ("1", "y", "t") or word[:2] == "on"
        if not on and word[:1] not in ("0", "n", "f") and word[:2] != "of":
            refuse(errno.EINVAL)
        offline = set(machine.numbers[OFFLINE]) - {cpu}
        machine.numbers[OFFLINE] = sorted(offline if on else offline | {cpu})
        machine.layout += 1

    return HostFile(lambda: f"{int(cpu in machine.online())}\n", write)
