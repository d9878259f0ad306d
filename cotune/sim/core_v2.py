"""Files every cgroup of v2 has, and which processes and controllers may be in which group.

Source: kernel/cgroup/cgroup.c; observed on 6.1.
"""

from __future__ import annotations

import errno

from cotune.sim.core import movable, show_processes, show_tasks
from cotune.sim.files import INT_MAX, CgroupFile, Controller, Where, number_file, parse_s32, refuse, report_file
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import THREADED, THREADED_CONTROLLERS, Group, enabled
from cotune.sim.psi import PRESSURE, pressure_files

DEPTH, DESCENDANTS, FREEZE = "cgroup.max.depth", "cgroup.max.descendants", "cgroup.freeze"
#: Names a kernel knows, whether or not a hierarchy has them.
_CONTROLLERS = frozenset(("cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc"))
_USAGE = "usage_usec 0\nuser_usec 0\nsystem_usec 0\n"
_THROTTLING = "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\nburst_usec 0\n"


def core_v2(spec: HostSpec) -> Controller:
    """The files of cgroup v2 itself."""
    files = [
        CgroupFile("cgroup.type", lambda group: f"{_type(group)}\n", _write_type, Where.CHILD),
        CgroupFile("cgroup.procs", _show_procs, lambda group, text: _attach(group, text, whole=True)),
        CgroupFile("cgroup.threads", show_tasks, lambda group, text: _attach(group, text, whole=False)),
        report_file("cgroup.controllers", lambda group: _words(group.available())),
        CgroupFile("cgroup.subtree_control", lambda group: _words(_subtree(group)), _write_subtree_control),
        report_file("cgroup.events", _show_events, Where.CHILD),
        report_file("cgroup.stat", _show_stat),
        _limit_file(DEPTH),
        _limit_file(DESCENDANTS),
        number_file(FREEZE, 0, 1, parse=parse_s32, bad=errno.ERANGE, where=Where.CHILD),
        CgroupFile("cgroup.kill", None, _kill, Where.CHILD),
        report_file("cpu.stat", lambda group: _USAGE + (_THROTTLING if "cpu" in group.available() else "")),
    ]
    if "psi" in spec.features:
        files += [number_file(PRESSURE, 0, 1, parse=parse_s32, bad=errno.ERANGE), *pressure_files(spec)]

    def created(group: Group) -> None:
        group.numbers.update({DEPTH: INT_MAX, DESCENDANTS: INT_MAX, FREEZE: 0, PRESSURE: 1, THREADED: 0})
        group.numbers.update({enabled(name): 0 for name in group.hierarchy.names})

    return Controller("core", tuple(files), created, _vet_destination, _vet_new_group)


def _words(names: list[str]) -> str:
    return " ".join(names) + "\n" if names else ""


def _subtree(group: Group) -> list[str]:
    return [name for name in group.hierarchy.names if group.numbers[enabled(name)]]


def _populated(group: Group) -> bool:
    return any(member.tasks() for member in group.walk())


# --- thread mode ----------------------------------------------------------------------------------------------------


def _domain_controllers(group: Group) -> bool:
    return any(name not in THREADED_CONTROLLERS for name in _subtree(group))


def _can_be_thread_root(group: Group) -> bool:
    """cgroup_can_be_thread_root. The root group mixes processes and children freely."""
    if group.parent is None:
        return True
    children = group.children.values()
    return not (
        group.numbers[THREADED]
        or any(_populated(child) and not child.numbers[THREADED] for child in children)
        or _domain_controllers(group)
    )


def _is_thread_root(group: Group) -> bool:
    if group.numbers[THREADED]:
        return False
    children = group.children.values()
    return any(child.numbers[THREADED] for child in children) or bool(group.tasks() and _subtree(group))


def _is_valid_domain(group: Group) -> bool:
    if group.numbers[THREADED]:
        return False
    above = [ancestor for ancestor in group.ancestors() if ancestor.parent is not None]
    return not any(_is_thread_root(ancestor) or ancestor.numbers[THREADED] for ancestor in above)


def _domain(group: Group) -> Group:
    """The group whose resource domain a group is in: itself unless it is threaded."""
    while group.numbers[THREADED] and group.parent is not None:
        group = group.parent
    return group


def _type(group: Group) -> str:
    if group.numbers[THREADED]:
        return "threaded"
    if not _is_valid_domain(group):
        return "domain invalid"
    return "domain threaded" if _is_thread_root(group) else "domain"


def _write_type(group: Group, text: str) -> None:
    """cgroup_enable_threaded: one way, and only without processes and domain controllers."""
    if text.strip() != "threaded":
        refuse(errno.EINVAL)
    if group.numbers[THREADED] or group.parent is None:
        return
    above = _domain(group.parent)
    if _populated(group) or _domain_controllers(group) or not _is_valid_domain(above) or not _can_be_thread_root(above):
        refuse(errno.EOPNOTSUPP)
    group.numbers[THREADED] = 1


# --- processes ------------------------------------------------------------------------------------------------------


def _show_procs(group: Group) -> str:
    if group.numbers[THREADED]:
        refuse(errno.EOPNOTSUPP)
    return show_processes(group)


def _attach(group: Group, text: str, whole: bool) -> None:
    """__cgroup_procs_write. Single threads stay inside their resource domain."""
    tasks = movable(group, text, whole)
    key = group.hierarchy.key
    if not whole and any(_domain(task.groups[key]) is not _domain(group) for task in tasks):
        refuse(errno.EOPNOTSUPP)
    group.hierarchy.attach(group, tasks)


def _vet_destination(group: Group) -> None:
    """cgroup_migrate_vet_dst: no processes beside enabled controllers, except in thread mode and in the root."""
    if not _is_valid_domain(_domain(group)):
        refuse(errno.EOPNOTSUPP)
    if _can_be_thread_root(group) or group.numbers[THREADED]:
        return
    if _subtree(group):
        refuse(errno.EBUSY)


def _kill(group: Group, text: str) -> None:
    """cgroup.kill: 1 ends every process of the subtree."""
    if parse_s32(text) != 1:
        refuse(errno.ERANGE)
    if group.numbers[THREADED]:
        refuse(errno.EOPNOTSUPP)
    for member in group.walk():
        for task in member.tasks():
            group.machine.exit(task.tgid)


# --- controllers ----------------------------------------------------------------------------------------------------


def _write_subtree_control(group: Group, text: str) -> None:
    """cgroup_subtree_control_write: all of the words or none; the last sign of a name wins.

    A controller that comes to the children, or leaves them, starts there from its defaults.
    """
    wanted = _parse_signs(text)
    changes = {name: on for name, on in wanted.items() if on != group.numbers.get(enabled(name), 0)}
    # In the kernel's order: what is refused first decides the errno.
    for name in (*group.hierarchy.names, *(n for n in changes if n not in group.hierarchy.names)):
        if changes.get(name) and name not in group.available():
            refuse(errno.ENOENT)
        if changes.get(name) == 0 and any(child.numbers[enabled(name)] for child in group.children.values()):
            refuse(errno.EBUSY)
    _vet_enabling(group, [name for name, on in changes.items() if on])
    names = group.hierarchy.names
    for name, on in changes.items():
        group.numbers[enabled(name)] = on
        controller = group.hierarchy.controllers[1 + names.index(name)]
        for child in group.children.values():
            controller.created(child)


def _parse_signs(text: str) -> dict[str, int]:
    """``+NAME`` and ``-NAME`` separated by blanks, as 1 and 0. Commas, unknown names and bare names are EINVAL."""
    wanted: dict[str, int] = {}
    for word in filter(None, text.strip().split(" ")):
        if word[0] not in "+-" or word[1:] not in _CONTROLLERS:
            refuse(errno.EINVAL)
        wanted[word[1:]] = int(word[0] == "+")
    return wanted


def _vet_enabling(group: Group, names: list[str]) -> None:
    """cgroup_vet_subtree_control_enable: the other side of the rule against processes in inner groups."""
    if not names:
        return
    if not _is_valid_domain(_domain(group)):
        refuse(errno.EOPNOTSUPP)
    if group.parent is None:
        return
    threaded = bool(group.numbers[THREADED])
    if any(name not in THREADED_CONTROLLERS for name in names):
        if threaded or _is_thread_root(group):
            refuse(errno.EOPNOTSUPP)
    elif threaded or _can_be_thread_root(group):
        return
    if group.tasks():
        refuse(errno.EBUSY)


# --- limits, freezer, reports ---------------------------------------------------------------------------------------


def _vet_new_group(parent: Group) -> None:
    """cgroup_check_hierarchy_limits: EAGAIN past the number or the depth that the parent or one above allows."""
    for level, group in enumerate((parent, *parent.ancestors()), 1):
        below = sum(1 for _ in group.walk()) - 1
        if below >= group.numbers[DESCENDANTS] or level > group.numbers[DEPTH]:
            refuse(errno.EAGAIN)


def _limit_file(name: str) -> CgroupFile:
    """``max`` or a number that is not negative (ERANGE)."""

    def show(group: Group) -> str:
        value = group.numbers[name]
        return "max\n" if value == INT_MAX else f"{value}\n"

    def write(group: Group, text: str) -> None:
        value = INT_MAX if text.strip() == "max" else parse_s32(text)
        if value < 0:
            refuse(errno.ERANGE)
        group.numbers[name] = value

    return CgroupFile(name, show, write)


def _show_events(group: Group) -> str:
    frozen = any(g.numbers[FREEZE] for g in (group, *group.ancestors()))
    return f"populated {int(_populated(group))}\nfrozen {int(frozen)}\n"


def _show_stat(group: Group) -> str:
    return f"nr_descendants {sum(1 for _ in group.walk()) - 1}\nnr_dying_descendants 0\n"
