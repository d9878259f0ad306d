"""Building a simulated host: its controllers, its defaults, and what runs on it after boot."""

from __future__ import annotations

import difflib

from cotune.errors import UsageError
from cotune.sim import (
    blkio,
    core,
    core_v2,
    cpu,
    cpu_v2,
    cpuset,
    cpuset_v2,
    hugetlb_v2,
    io_v2,
    memory,
    memory_v2,
)
from cotune.sim.files import Controller
from cotune.sim.hosts import HOSTS, KERNELS, GroupSpec, HostSpec
from cotune.sim.machine import USER_HZ, Machine
from cotune.sim.modules import MODULES
from cotune.sim.vendor import extended

#: Directories of ordinary file systems every host has.
_DIRECTORIES = ("/run", "/tmp", "/var", "/var/lib", "/dev", "/etc", "/sys/fs/cgroup")
_CONTROLLERS = {
    "core": core.core,
    "core.v2": core_v2.core_v2,
    "cpu.v2": cpu_v2.cpu_v2,
    "cpuset.v2": cpuset_v2.cpuset_v2,
    "io.v2": io_v2.io_v2,
    "memory.v2": memory_v2.memory_v2,
    "hugetlb.v2": hugetlb_v2.hugetlb_v2,
    "pids.v2": core.pids_v2,
    "pids": core.pids,
    "cpu": cpu.cpu,
    "cpuacct": cpu.cpuacct,
    "cpuset": cpuset.cpuset,
    "memory": memory.memory,
    "blkio": blkio.blkio,
}


def host_spec(kernel: str) -> HostSpec:
    """The host with this kernel name; UsageError for an unknown one."""
    if kernel not in HOSTS:
        close = difflib.get_close_matches(kernel, KERNELS, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"unknown simulated kernel {kernel!r}", f"{hint}known: {', '.join(KERNELS)}")
    return HOSTS[kernel]


def bare_machine(spec: HostSpec) -> Machine:
    """A host with defaults everywhere, without groups and processes."""
    controllers: dict[str, Controller] = {name: extended(name, make(spec), spec) for name, make in _CONTROLLERS.items()}
    machine = Machine(spec, controllers)
    machine.plain.update(dict.fromkeys(_DIRECTORIES))
    for module in MODULES:
        module.boot(machine)
    return machine


def booted_machine(spec: HostSpec) -> Machine:
    """A host as it is after boot, with its services running."""
    machine = bare_machine(spec)
    for group in spec.groups:
        _make_group(machine, group)
    for process in spec.processes:
        machine.start(
            process.pid, process.comm, process.command, ppid=process.ppid, start=process.start * USER_HZ,
            threads=process.threads, kernel=process.kernel,
        )  # fmt: skip
        for hierarchy in machine.hierarchies:
            found = hierarchy.find(process.group)
            if found is not None:
                hierarchy.attach(found, machine.threads(process.pid))
    return machine


def _make_group(machine: Machine, spec: GroupSpec) -> None:
    parent, _, name = spec.path.rpartition("/")
    for controller in spec.controllers:
        hierarchy = machine.hierarchy(controller)
        above = hierarchy.find(parent)
        if above is None:
            raise LookupError(f"{spec.path}: the parent comes later in the table")
        group = hierarchy.mkdir(above, name) if name else above
        files = group.files()
        for file, text in spec.writes:
            write = files[file].write if file in files else None
            if write is not None:
                write(group, text)
        if "memory" in group.available():
            memory.set_usage(group, spec.usage, spec.cache)
