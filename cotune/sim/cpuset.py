"""Controller ``cpuset`` of cgroup v1 (kernel/cgroup/cpuset.c, cpuset-v1.c). CPU hotplug is not simulated."""

from __future__ import annotations

import errno

from cotune.sim.files import (
    U32_MAX,
    CgroupFile,
    Controller,
    Where,
    bool_file,
    format_ids,
    number_file,
    parse_ids,
    parse_s64,
    parse_u64,
    refuse,
    report_file,
)
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group
from cotune.sim.release import since

CPUS, MEMS = "cpuset.cpus", "cpuset.mems"
CPU_EXCLUSIVE, MEM_EXCLUSIVE = "cpuset.cpu_exclusive", "cpuset.mem_exclusive"
_CLONE = "cgroup.clone_children"
_SPREAD = ("cpuset.memory_spread_page", "cpuset.memory_spread_slab")
#: cpuset_update_flag takes an int, so only the low 32 bits of a written number decide.
_FLAGS = ("cpuset.mem_hardwall", "cpuset.memory_migrate", *_SPREAD)
_BALANCE, _RELAX = "cpuset.sched_load_balance", "cpuset.sched_relax_domain_level"
_PRESSURE = "cpuset.memory_pressure_enabled"
#: MAX_NUMNODES of the usual x86 configuration (CONFIG_NODES_SHIFT=10).
MAX_NODES = 1024


def cpuset(spec: HostSpec) -> Controller:
    """The cpuset controller of a host."""
    files = (
        CgroupFile(CPUS, lambda group: format_ids(group.lists[CPUS]) + "\n", _write_cpus),
        CgroupFile(MEMS, lambda group: format_ids(group.lists[MEMS]) + "\n", _write_mems),
        # On v1 and without hotplug, what is in force is what was configured.
        report_file("cpuset.effective_cpus", lambda group: format_ids(group.lists[CPUS]) + "\n"),
        report_file("cpuset.effective_mems", lambda group: format_ids(group.lists[MEMS]) + "\n"),
        _exclusive_file(CPU_EXCLUSIVE),
        _exclusive_file(MEM_EXCLUSIVE),
        *(bool_file(name, mask=U32_MAX) for name in (*_FLAGS, _BALANCE)),
        # The upper bound is the number of scheduling domain levels.
        number_file(_RELAX, -1, 5, parse=parse_s64),
        report_file("cpuset.memory_pressure", "0\n"),
        bool_file(_PRESSURE, Where.ROOT),
    )

    def created(group: Group) -> None:
        group.numbers.update(dict.fromkeys((CPU_EXCLUSIVE, MEM_EXCLUSIVE, _PRESSURE, *_FLAGS), 0))
        group.numbers.update({_BALANCE: 1, _RELAX: -1})
        group.lists.update({CPUS: [], MEMS: []})
        if group.parent is None:
            group.numbers.update({CPU_EXCLUSIVE: 1, MEM_EXCLUSIVE: 1})
            group.lists.update({CPUS: list(range(spec.cpus)), MEMS: list(range(len(spec.nodes)))})
        else:
            _inherit(group, group.parent)

    return Controller("cpuset", files, created, _can_attach)


def _inherit(group: Group, parent: Group) -> None:
    """cpuset_css_online: spread flags always; CPUs and nodes with clone_children, unless a sibling is exclusive."""
    for name in _SPREAD:
        group.numbers[name] = parent.numbers[name]
    siblings = parent.children.values()
    if parent.numbers[_CLONE] and not any(s.numbers[CPU_EXCLUSIVE] or s.numbers[MEM_EXCLUSIVE] for s in siblings):
        group.lists = {CPUS: list(parent.lists[CPUS]), MEMS: list(parent.lists[MEMS])}


def _can_attach(group: Group) -> None:
    """cpuset_can_attach: no task may enter a cpuset without CPUs or without nodes."""
    if not group.lists[CPUS] or not group.lists[MEMS]:
        refuse(errno.ENOSPC)


def _write_cpus(group: Group, text: str) -> None:
    """update_cpumask: ERANGE past nr_cpu_ids; EACCES at the root; a lone newline empties the set."""
    spec = group.machine.spec
    if group.parent is None:
        refuse(errno.EACCES)
    _change(group, CPUS, parse_ids(text, spec.cpus, words=since(spec, 5, 12)))


def _write_mems(group: Group, text: str) -> None:
    """update_nodemask: a node without memory is EINVAL."""
    spec = group.machine.spec
    if group.parent is None:
        refuse(errno.EACCES)
    nodes = parse_ids(text, MAX_NODES, words=since(spec, 5, 12))
    if any(node >= len(spec.nodes) for node in nodes):
        refuse(errno.EINVAL)
    _change(group, MEMS, nodes)


def _change(group: Group, name: str, ids: list[int]) -> None:
    if ids == group.lists[name]:
        return
    trial = _Trial(group)
    trial.lists[name] = ids
    _validate(group, trial)
    group.lists[name] = ids


def _exclusive_file(name: str) -> CgroupFile:
    def write(group: Group, text: str) -> None:
        trial = _Trial(group)
        trial.numbers[name] = int(parse_u64(text) & U32_MAX != 0)
        _validate(group, trial)
        group.numbers[name] = trial.numbers[name]

    return CgroupFile(name, lambda group: f"{group.numbers[name]}\n", write)


class _Trial:
    """A cpuset as it would be after the change under validation."""

    def __init__(self, group: Group) -> None:
        self.lists = dict(group.lists)
        self.numbers = dict(group.numbers)


def _subset(inner: Group | _Trial, outer: Group | _Trial) -> bool:
    """is_cpuset_subset: CPUs, nodes and both exclusive flags."""
    return all(set(inner.lists[name]) <= set(outer.lists[name]) for name in (CPUS, MEMS)) and all(
        inner.numbers[name] <= outer.numbers[name] for name in (CPU_EXCLUSIVE, MEM_EXCLUSIVE)
    )


def _validate(group: Group, trial: _Trial) -> None:
    """validate_change, in the kernel's order: children, parent, exclusive siblings, tasks."""
    if not all(_subset(child, trial) for child in group.children.values()):
        refuse(errno.EBUSY)
    if group.parent is None:
        return
    if not _subset(trial, group.parent):
        refuse(errno.EACCES)
    for sibling in group.parent.children.values():
        if sibling is not group and _collides(trial, sibling):
            refuse(errno.EINVAL)
    # A cpuset counts as populated by the tasks of its descendants too.
    populated = any(member.tasks() for member in group.walk())
    if populated and any(group.lists[name] and not trial.lists[name] for name in (CPUS, MEMS)):
        refuse(errno.ENOSPC)
    if trial.numbers[CPU_EXCLUSIVE] and not trial.lists[CPUS] and group.lists[CPUS] and not group.machine.spec.anck:
        # Seen on 6.18; probably cpuset_cpumask_can_shrink, as no CPU is left to carry the deadline servers.
        refuse(errno.EBUSY)


def _collides(trial: _Trial, sibling: Group) -> bool:
    return any(
        (trial.numbers[flag] or sibling.numbers[flag]) and set(trial.lists[name]) & set(sibling.lists[name])
        for name, flag in ((CPUS, CPU_EXCLUSIVE), (MEMS, MEM_EXCLUSIVE))
    )
