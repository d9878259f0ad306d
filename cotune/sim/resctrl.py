"""resctrl on a simulated host: mounting it, and what it adds to /proc.

Rules: rdt_get_tree, rdt_parse_param and rdt_kill_sb in arch/x86/kernel/cpu/resctrl/rdtgroup.c of Linux 6.1. Older and
later kernels get its rules and messages, but for what :class:`cotune.sim.resctrl_spec.Age` names.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

from cotune.sim import procfs
from cotune.sim.files import HostFile, refuse
from cotune.sim.hosts import MountSpec
from cotune.sim.machine import Machine, MountPoint
from cotune.sim.release import since
from cotune.sim.resctrl_groups import Groups
from cotune.sim.resctrl_spec import MACHINES, Age, ResctrlSpec
from cotune.sim.resctrl_state import ROOT, Group, State, clear, free_rmid, fresh
from cotune.sim.resctrl_tree import ResctrlTree
from cotune.sim.trees import Tree

POINT = "/sys/fs/resctrl"
_KEY = "resctrl"
#: Words mount(8) turns into flags of the mount; the file system does not see them.
_FLAGS = ("rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "nodiratime")
#: In the order rdtgroup_show_options prints them.
_OPTIONS = ("cdp", "cdpl2", "mba_MBps")

_EVENT_FLAGS = {
    "llc_occupancy": "cqm_occup_llc", "mbm_total_bytes": "cqm_mbm_total", "mbm_local_bytes": "cqm_mbm_local",
}  # fmt: skip


def boot(machine: Machine) -> None:
    """Mount it where the host's table says so."""
    spec = MACHINES.get(machine.spec.name)
    if spec is None:
        return
    machine.extra[_KEY] = fresh(spec)
    if spec.mounted:
        mount(machine, ())


def trees(machine: Machine) -> Mapping[str, Tree]:
    """/sys/fs/resctrl, which exists wherever the hardware does."""
    if machine.spec.name not in MACHINES:
        return {}
    found = tree(machine)
    # Asked after every change of the machine's layout, and so after every CPU that is switched.
    found.groups.follow_cpus(machine.online())
    return {POINT: found}


def tree(machine: Machine) -> ResctrlTree:
    """The tree at /sys/fs/resctrl, mounted or not. KeyError without resctrl hardware."""
    spec = MACHINES[machine.spec.name]
    state = cast(State, machine.extra[_KEY])
    age = Age(since(machine.spec, 5, 12), since(machine.spec, 6, 6), since(machine.spec, 6, 7))
    return ResctrlTree(spec, Groups(spec, state, partial(_parents, machine), machine.spec.self_pid, age))


def _parents(machine: Machine) -> dict[int, int]:
    """Which thread each thread was cloned from: the first of its process, or the parent process."""
    return {tid: task.tgid if tid != task.tgid else task.ppid for tid, task in machine.tasks.items()}


# --- mount and unmount ----------------------------------------------------------------------------------------------


def mount(machine: Machine, options: Sequence[str]) -> None:
    """Mount it at /sys/fs/resctrl.

    ENODEV without hardware; EINVAL for an unknown option or one the hardware lacks; EBUSY when it is mounted anywhere.
    """
    spec = MACHINES.get(machine.spec.name)
    if spec is None:
        refuse(errno.ENODEV)
    own = [word for word in options if word not in _FLAGS]
    if any(word not in _OPTIONS for word in own):
        refuse(errno.EINVAL)
    state = cast(State, machine.extra[_KEY])
    clear(state)
    if state["options"] is not None:
        refuse(errno.EBUSY)
    if not set(own) <= _offered(spec):
        refuse(errno.EINVAL)
    state["options"] = shown = [word for word in _OPTIONS if word in own]
    tree(machine).groups.schemata.reset()
    access = "ro" if "ro" in options else "rw"
    flags = (access, *(word for word in _FLAGS[2:5] if word in options), "relatime")
    machine.mount_points.append(MountPoint(MountSpec(POINT, "0:99", _KEY, _KEY, flags, (access, *shown))))
    machine.layout += 1


def _offered(spec: ResctrlSpec) -> set[str]:
    """Options the hardware can do: set_cdp, and the software controller with linear bandwidth and local counters."""
    found = {word for word, cache in (("cdp", spec.l3), ("cdpl2", spec.l2)) if cache is not None and cache.cdp}
    counted = spec.monitoring is not None and "mbm_local_bytes" in spec.monitoring.events
    if spec.bandwidth is not None and spec.bandwidth.linear and counted:
        found.add("mba_MBps")
    return found


def unmount(machine: Machine) -> None:
    """rdt_kill_sb: all groups go, all tasks and CPUs return, all values are reset. EINVAL when it is not mounted."""
    spec, state = MACHINES.get(machine.spec.name), machine.extra.get(_KEY)
    if spec is None or state is None or state["options"] is None:
        refuse(errno.EINVAL)
    groups: dict[str, Group] = state["groups"]
    for group in groups.values():
        for member in (group, *group["monitors"].values()):
            if member["rmid"]:
                free_rmid(spec, state, member["rmid"])
    kept = fresh(spec)
    root = kept["groups"][ROOT]
    root["cpus"] = [cpu for cpu in root["cpus"] if cpu not in state["offline"]]
    state.update(options=None, groups=kept["groups"], controls={}, tasks={})
    machine.mount_points = [point for point in machine.mount_points if point.spec.fstype != _KEY]
    machine.layout += 1


# --- /proc ----------------------------------------------------------------------------------------------------------


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """What resctrl adds to /proc: flags in cpuinfo, the file system, and the groups of every process (since 5.6)."""
    spec = MACHINES.get(machine.spec.name)
    if spec is None:
        return
    words = "".join(f" {word}" for word in cpu_flags(spec))
    changes: dict[str, Callable[[str], str]] = {
        "/proc/cpuinfo": lambda text: text.replace("constant_tsc", f"constant_tsc{words}"),
        "/proc/filesystems": lambda text: f"nodev\tresctrl\n{text}",
    }
    for path, file in procfs.files(machine):
        if path in changes and file.read is not None:
            yield path, file._replace(read=partial(_changed, file.read, changes.pop(path)))
        if not changes:
            break
    if since(machine.spec, 5, 6):
        for tid in machine.tasks:
            show = partial(_task_groups, machine, tid)
            yield f"/proc/{tid}/cpu_resctrl_groups", HostFile(show, mode=0o444)


def _changed(read: Callable[[], str], change: Callable[[str], str]) -> str:
    return change(read())


def _task_groups(machine: Machine, tid: int) -> str:
    return tree(machine).groups.of_task(tid)


def cpu_flags(spec: ResctrlSpec) -> list[str]:
    """Flags of /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h), in the order the kernel prints them."""
    caches = [cache for cache in (spec.l3, spec.l2) if cache is not None]
    flags = [f"cat_{cache.name.lower()}" for cache in caches]
    flags += [f"cdp_{cache.name.lower()}" for cache in caches if cache.cdp]
    flags += ["mba"] if spec.bandwidth is not None else []
    if spec.monitoring is not None:
        flags += ["cqm", "rdt_a", "cqm_llc", *(_EVENT_FLAGS[event] for event in spec.monitoring.events)]
    elif flags:
        flags.append("rdt_a")
    return flags
