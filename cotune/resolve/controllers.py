"""cgroup version 2: which controllers have to be enabled, and where, before a group has the files a profile sets."""

from __future__ import annotations

from cotune.controls import CONTROLS
from cotune.errors import Origin
from cotune.host.cgroups import Hierarchy, cgroup_resource
from cotune.host.facts import Host
from cotune.model import Enable, Refusal, Resolved
from cotune.units import count

#: Controllers that a threaded group may hand down beside its tasks (Documentation/admin-guide/cgroup-v2.rst, Threads).
_THREADED = frozenset(("cpu", "cpuset", "perf_event", "pids"))


def add_enables(host: Host, resolved: Resolved) -> None:
    """Add an enabling for every ancestor that does not hand a wanted group its controllers yet."""
    needed: dict[str, dict[str, Origin]] = {}
    for setting in resolved.settings:
        control = CONTROLS[setting.target.control]
        hierarchy = host.layout.controllers.get(control.controller) if control.scope == "cgroup" else None
        if hierarchy is None or hierarchy.version != 2:
            continue
        for directory in _above(hierarchy, setting.target.unit):
            needed.setdefault(directory, {}).setdefault(control.controller, setting.origin)
    created = {create.path for create in resolved.creates}
    for directory in sorted(needed, key=lambda path: (path.count("/"), path)):
        given = set() if directory in created else set(host.text(f"{directory}/cgroup.subtree_control").split())
        missing = {name: origin for name, origin in needed[directory].items() if name not in given}
        if missing:
            _enable(host, resolved, directory, missing, directory in created)


def _above(hierarchy: Hierarchy, unit: str) -> list[str]:
    """The directories from the hierarchy's root down to the parent of a group."""
    directories = []
    while unit.startswith(hierarchy.point + "/"):
        unit = unit.rpartition("/")[0]
        directories.append(unit)
    return directories


def _enable(host: Host, resolved: Resolved, directory: str, missing: dict[str, Origin], created: bool) -> None:
    unified = host.layout.unified
    group = directory.removeprefix(unified.point if unified else "").strip("/")
    origin = next(iter(missing.values()))
    tasks = _tasks_then(host, resolved, directory, created) if group else set()
    if tasks and not (missing.keys() <= _THREADED and _is_threaded(host, directory)):
        names = ", ".join(sorted(missing))
        resolved.refusals.append(
            Refusal(
                f"{origin}: cgroup:{group} has {count(len(tasks), 'task')} of its own, so it cannot hand {names} to "
                "child groups: a version 2 group has tasks or controlled children, not both (the kernel refuses, or "
                "makes it threaded and its children unusable); move its tasks to a child group first"
            )
        )
    if not created:
        resolved.notes.append(
            f"{cgroup_resource(group)}: {', '.join(sorted(missing))} stay enabled for its child groups after a "
            "rollback: switching a controller off would reset every child"
        )
    resolved.enables.append(Enable(cgroup_resource(group), directory, tuple(sorted(missing)), origin))


def _tasks_then(host: Host, resolved: Resolved, directory: str, created: bool) -> set[int]:
    """The processes a group will have once the plan has moved those it moves."""
    pids = set() if created else {int(pid) for pid in host.text(f"{directory}/cgroup.procs").split()}
    # moves come last: those out of the group are too late for the enabling, those into it are refused after it
    return pids | {move.pid for move in resolved.moves if move.path == directory}


def _is_threaded(host: Host, directory: str) -> bool:
    """Whether a group is threaded already, so that threaded controllers may be enabled beside its tasks."""
    return "threaded" in host.text(f"{directory}/cgroup.type").split()
