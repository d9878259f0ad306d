"""Processes: who they are and which cgroup they are in."""

from __future__ import annotations

from typing import NamedTuple

from cotune.host.cgroups import CgroupLayout, Hierarchy
from cotune.kernel.port import Kernel


class Process(NamedTuple):
    """A process; ``start`` is its start time in clock ticks since boot, which with the pid names it for good.

    ``parent`` is the pid of its parent.
    """

    pid: int
    start: int
    comm: str
    parent: int


def read_process(kernel: Kernel, pid: int) -> Process | None:
    """The process, or None when it is gone (proc(5): field 2 of stat may hold blanks and parentheses)."""
    try:
        text = kernel.read(f"/proc/{pid}/stat")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Process(pid, int(fields[19]), head.partition("(")[2], int(fields[1])) if len(fields) > 19 else None


def processes_named(kernel: Kernel, names: list[str]) -> list[int]:
    """Pids whose command name (comm, at most 15 characters) is one of ``names``."""
    wanted = {name[:15] for name in names}
    pids = []
    for entry in kernel.listdir("/proc"):
        if entry.isdecimal():
            try:
                comm = kernel.read(f"/proc/{entry}/comm").rstrip("\n")
            except OSError:
                continue
            if comm in wanted:
                pids.append(int(entry))
    return sorted(pids)


def processes_in(kernel: Kernel, directory: str) -> list[int]:
    """Pids in a cgroup and all its descendants."""
    try:
        pids = {int(word) for word in kernel.read(f"{directory}/cgroup.procs").split()}
        for name in kernel.subdirs(directory):
            pids.update(processes_in(kernel, f"{directory}/{name}"))
    except OSError:
        return []
    return sorted(pids)


def group_of(kernel: Kernel, layout: CgroupLayout, pid: int, hierarchy: Hierarchy) -> str | None:
    """The cgroup directory of a process in one hierarchy (cgroups(7), /proc/PID/cgroup).

    None when the process is gone, or in a group that the mount does not show.
    """
    try:
        lines = kernel.read(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return None
    controllers = {name for name, where in layout.controllers.items() if where == hierarchy}
    for line in lines:
        _, names, path = line.split(":", 2)
        if (hierarchy.version == 2 and not names) or controllers & set(names.split(",")):
            return _inside(hierarchy, path)
    return None


def _inside(hierarchy: Hierarchy, path: str) -> str | None:
    """The directory of a group path as /proc prints it, or None when it lies outside what is mounted."""
    if ".." in path.split("/"):
        return None  # outside this cgroup namespace
    root = hierarchy.root.rstrip("/")
    if root and path != root and not path.startswith(root + "/"):
        return None
    return hierarchy.dir(path.removeprefix(root).strip("/"))
