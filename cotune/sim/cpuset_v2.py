"""Controller ``cpuset`` of cgroup v2 (kernel/cgroup/cpuset.c), observed on 6.1.

What is in force is computed whenever it is read: from the group's own lists, its ancestors, the CPUs switched on, and
the partitions around it. ``cpuset.cpus.exclusive`` (6.7) is from documentation.
"""

from __future__ import annotations

import errno

from cotune.sim.cpuset import CPUS, MAX_NODES, MEMS
from cotune.sim.files import CgroupFile, Controller, Where, format_ids, parse_ids, refuse, report_file
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group

EXCLUSIVE = "cpuset.cpus.exclusive"
PARTITION = "cpuset.cpus.partition"
_TYPES = ("member", "root", "isolated")
_MEMBER = 0


def cpuset_v2(spec: HostSpec) -> Controller:
    """The cpuset controller of a host."""
    files = [
        CgroupFile(CPUS, lambda group: _ids(group.lists[CPUS]), _write_cpus, Where.CHILD),
        CgroupFile(MEMS, lambda group: _ids(group.lists[MEMS]), _write_mems, Where.CHILD),
        report_file("cpuset.cpus.effective", lambda group: _ids(effective_cpus(group))),
        report_file("cpuset.mems.effective", lambda group: _ids(effective_mems(group))),
        CgroupFile(PARTITION, _show_partition, _write_partition, Where.CHILD),
    ]
    if "cpuset-exclusive" in spec.features:
        files += [
            CgroupFile(EXCLUSIVE, lambda group: _ids(group.lists[EXCLUSIVE]), _write_exclusive, Where.CHILD),
            report_file(f"{EXCLUSIVE}.effective", lambda group: _ids(_exclusive(group)), Where.CHILD),
            report_file("cpuset.cpus.isolated", lambda group: _ids(_isolated(group)), Where.ROOT),
        ]

    def created(group: Group) -> None:
        group.numbers[PARTITION] = _MEMBER
        group.lists.update({CPUS: [], MEMS: [], EXCLUSIVE: []})

    return Controller("cpuset", tuple(files), created)


def _ids(ids: list[int] | set[int]) -> str:
    return format_ids(ids) + "\n"


# --- what is in force -----------------------------------------------------------------------------------------------


def effective_cpus(group: Group) -> set[int]:
    """CPUs the tasks of a group may run on. A list without any CPU the parent has falls back to the parent's."""
    given = _given_cpus(group)
    return given - {cpu for child in group.children.values() for cpu in _taken(child)}


def _given_cpus(group: Group) -> set[int]:
    """As :func:`effective_cpus`, before the group's own partitions take theirs."""
    online = set(group.machine.online())
    if group.parent is None:
        return online
    own = set(group.lists[CPUS])
    if group.numbers[PARTITION] != _MEMBER and not _flaw(group):
        return own & online
    above = effective_cpus(group.parent)
    return own & above or above


def _taken(group: Group) -> set[int]:
    """CPUs a valid partition takes away from its parent."""
    return _given_cpus(group) if group.numbers[PARTITION] != _MEMBER and not _flaw(group) else set()


def effective_mems(group: Group) -> set[int]:
    """Nodes the tasks of a group may use memory of."""
    if group.parent is None:
        return set(range(len(group.machine.spec.nodes)))
    above = effective_mems(group.parent)
    return set(group.lists[MEMS]) & above or above


# --- partitions -----------------------------------------------------------------------------------------------------


def _flaw(group: Group) -> str:
    """Why a partition is invalid, in the kernel's words (perr_strings); empty for a valid one."""
    parent, own = group.parent, set(group.lists[CPUS])
    if parent is None:
        return ""
    if parent.parent is not None and parent.numbers[PARTITION] == _MEMBER:
        return "Parent is not a partition root"
    if parent.parent is not None and _flaw(parent):
        return "Parent is an invalid partition root"
    if not own:
        return "cpuset.cpus is empty"
    siblings = [sibling for sibling in parent.children.values() if sibling is not group]
    if any(own & set(sibling.lists[CPUS]) for sibling in siblings):
        return "Cpu list in cpuset.cpus not exclusive"
    above = _given_cpus(parent)
    if not own & above:
        return "No cpu available due to hotplug" if parent.parent is None else "Invalid cpu list in cpuset.cpus"
    partitions = [group, *(sibling for sibling in siblings if sibling.numbers[PARTITION] != _MEMBER)]
    if above <= {cpu for partition in partitions for cpu in partition.lists[CPUS]} and _needs_cpus(parent):
        return "Parent unable to distribute cpu downstream"
    return ""


def _needs_cpus(group: Group) -> bool:
    """partition_is_populated: tasks in the group itself, or below it outside its partitions."""
    members = [child for child in group.children.values() if child.numbers[PARTITION] == _MEMBER]
    return bool(group.tasks()) or any(member.tasks() for child in members for member in child.walk())


def _show_partition(group: Group) -> str:
    kind, flaw = _TYPES[group.numbers[PARTITION]], _flaw(group)
    return f"{kind} invalid ({flaw})\n" if flaw and kind != "member" else f"{kind}\n"


def _write_partition(group: Group, text: str) -> None:
    """sched_partition_write: a partition that cannot be valid now is accepted and shown as invalid."""
    word = text.strip()
    if word not in _TYPES:
        refuse(errno.EINVAL)
    group.numbers[PARTITION] = _TYPES.index(word)


# --- lists ----------------------------------------------------------------------------------------------------------


def _parse_cpus(group: Group, text: str) -> list[int]:
    """CPUs that are possible, online or not; ERANGE past them."""
    spec = group.machine.spec
    return parse_ids(text, spec.possible_cpus or spec.cpus, words=True)


def _write_cpus(group: Group, text: str) -> None:
    """update_cpumask: any list is accepted, whatever the parent has. A lone newline empties it."""
    _change(group, CPUS, _parse_cpus(group, text))


def _write_mems(group: Group, text: str) -> None:
    """update_nodemask: a node without memory is EINVAL."""
    nodes = parse_ids(text, MAX_NODES, words=True)
    if any(node >= len(group.machine.spec.nodes) for node in nodes):
        refuse(errno.EINVAL)
    _change(group, MEMS, nodes)


def _change(group: Group, name: str, ids: list[int]) -> None:
    """validate_change: a list that was set is not emptied while there are tasks (ENOSPC)."""
    if group.lists[name] and not ids and any(member.tasks() for member in group.walk()):
        refuse(errno.ENOSPC)
    group.lists[name] = ids


def _write_exclusive(group: Group, text: str) -> None:
    """EINVAL when a sibling has one of the CPUs exclusively, or when they hold all CPUs of a sibling."""
    cpus = _parse_cpus(group, text)
    parent = group.parent
    for sibling in parent.children.values() if parent is not None else ():
        own = set(sibling.lists[CPUS])
        if sibling is not group and (set(cpus) & set(sibling.lists[EXCLUSIVE]) or (own and own <= set(cpus))):
            refuse(errno.EINVAL)
    group.lists[EXCLUSIVE] = cpus


def _exclusive(group: Group) -> set[int]:
    if group.parent is None:
        return set(group.machine.online())
    own = set(group.lists[EXCLUSIVE]) or _taken(group)
    return own & _exclusive(group.parent)


def _isolated(group: Group) -> set[int]:
    kind = _TYPES.index("isolated")
    return {cpu for member in group.walk() if member.numbers[PARTITION] == kind for cpu in _taken(member)}
