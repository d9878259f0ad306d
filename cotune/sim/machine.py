"""The state of one simulated host: cgroup trees, tasks, sysctls, queues, file systems and plain files.

Everything that changes at run time lives here as plain numbers, lists and strings, so that state.py can save it; the
rules live in the modules of the kernel's subsystems.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from cotune.sim.files import CgroupFile, Controller, Where, refuse
from cotune.sim.hosts import Disk, Ext4, HierarchySpec, HostSpec, MountSpec, Partition

USER_HZ = 100
#: Not a file: CPUs switched off since boot.
OFFLINE = "offline"
#: Not a file: whether a cgroup2 group is threaded.
THREADED = "threaded"
#: Controllers that can tell threads of one process apart.
THREADED_CONTROLLERS = ("cpu", "cpuset", "pids", "perf_event")


def enabled(controller: str) -> str:
    """Key of the number that says whether cgroup.subtree_control of a group holds a controller."""
    return f"subtree_control:{controller}"


class Group:
    """One cgroup of one hierarchy."""

    __slots__ = ("children", "hierarchy", "lists", "name", "numbers", "parent", "rows")

    def __init__(self, hierarchy: Hierarchy, name: str, parent: Group | None) -> None:
        self.hierarchy = hierarchy
        self.name = name
        self.parent = parent
        self.children: dict[str, Group] = {}
        self.numbers: dict[str, int] = {}
        self.lists: dict[str, list[int]] = {}
        #: Per-device tables: file name -> "MAJ:MIN" -> value.
        self.rows: dict[str, dict[str, int]] = {}

    @property
    def machine(self) -> Machine:
        """The host this group is on."""
        return self.hierarchy.machine

    @property
    def path(self) -> str:
        """Path inside the hierarchy as /proc/PID/cgroup spells it: ``/`` for the root."""
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    def walk(self) -> Iterator[Group]:
        """This group and all descendants, parents first."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def ancestors(self) -> Iterator[Group]:
        """This group's parents, nearest first, up to the root."""
        group = self.parent
        while group is not None:
            yield group
            group = group.parent

    def tasks(self) -> list[Task]:
        """Threads in this very group, by thread id."""
        key = self.hierarchy.key
        return [task for _, task in sorted(self.machine.tasks.items()) if task.groups[key] is self]

    def files(self) -> dict[str, CgroupFile]:
        """Control files of this group by name."""
        hidden = Where.CHILD if self.parent is None else Where.ROOT
        return {f.name: f for c in self.controllers() for f in c.files if f.where is not hidden and f.shown(self)}

    def available(self) -> list[str]:
        """Names of the controllers that act on this group (cgroup_control in kernel/cgroup/cgroup.c).

        On cgroup2 the parent enables them; a threaded group is left with those that can tell threads apart.
        """
        names, parent = self.hierarchy.names, self.parent
        if self.hierarchy.version == 1 or parent is None:
            return list(names)
        threaded = self.numbers[THREADED]
        return [n for n in names if parent.numbers[enabled(n)] and (not threaded or n in THREADED_CONTROLLERS)]

    def controllers(self) -> list[Controller]:
        """The cgroup core and the available controllers."""
        core, *rest = self.hierarchy.controllers
        if self.hierarchy.version == 1:
            return [core, *rest]
        names = self.available()
        return [core, *(c for name, c in zip(self.hierarchy.names, rest, strict=True) if name in names)]


class Hierarchy:
    """One mounted cgroup tree. ``key`` is what /proc/PID/cgroup prints between the colons."""

    def __init__(self, machine: Machine, spec: HierarchySpec, number: int, controllers: list[Controller]) -> None:
        self.machine = machine
        self.key = spec.key
        self.version = spec.version
        #: Controllers by name, in the kernel's order.
        self.names = spec.names
        self.number = number
        self.point = spec.point
        self.controllers = controllers
        self.root = Group(self, "", None)
        for controller in controllers:
            controller.created(self.root)

    def find(self, path: str) -> Group | None:
        """The group at a path inside this hierarchy."""
        group = self.root
        for name in filter(None, path.split("/")):
            child = group.children.get(name)
            if child is None:
                return None
            group = child
        return group

    def mkdir(self, parent: Group, name: str) -> Group:
        """cgroup_mkdir (kernel/cgroup/cgroup.c): EEXIST for a taken name, EINVAL for a newline in it."""
        if name in parent.children or name in parent.files():
            refuse(errno.EEXIST)
        if "\n" in name:
            refuse(errno.EINVAL)
        for controller in self.controllers:
            controller.mkdir(parent)
        group = Group(self, name, parent)
        for controller in self.controllers:
            controller.created(group)
        parent.children[name] = group
        return group

    def rmdir(self, group: Group) -> None:
        """cgroup_rmdir: EBUSY with tasks or child groups, or on the mount point itself."""
        if group.parent is None or group.children or group.tasks():
            refuse(errno.EBUSY)
        del group.parent.children[group.name]

    def attach(self, group: Group, tasks: list[Task]) -> None:
        """Move threads into ``group`` after every controller has agreed."""
        for controller in group.controllers():
            controller.attach(group)
        for task in tasks:
            task.groups[self.key] = group
        for seen in self.machine.on_attach:
            seen(tasks)


class Task:
    """One thread. ``start`` is field 22 of /proc/PID/stat, in clock ticks after boot."""

    __slots__ = ("comm", "command", "groups", "kernel_thread", "pid", "ppid", "start", "tgid")

    def __init__(self, pid: int, tgid: int, ppid: int, comm: str, command: str, start: int, kernel: bool) -> None:
        self.pid = pid
        self.tgid = tgid
        self.ppid = ppid
        self.comm = comm
        self.command = command
        self.start = start
        self.kernel_thread = kernel
        self.groups: dict[str, Group] = {}


class FileSystem:
    """A mounted ext4 superblock: several mount points of one device share it."""

    def __init__(self, spec: Ext4) -> None:
        self.spec = spec
        self.read_only = False
        self.lazytime = False
        self.numbers: dict[str, int] = dict(spec.numbers)
        self.words: dict[str, str] = dict(spec.words)


class MountPoint:
    """A mount: its description, and the flags in force that belong to the mount, not to the file system."""

    def __init__(self, spec: MountSpec) -> None:
        self.spec = spec
        self.options = list(spec.options)


class Machine:
    """A host. Built fresh from its :class:`HostSpec`; state.py replaces the mutable parts when one is loaded."""

    def __init__(self, spec: HostSpec, controllers: dict[str, Controller]) -> None:
        self.spec = spec
        #: /proc/sys/kernel/random/boot_id: one per simulated boot, that is per saved state.
        self.boot_id = str(uuid.uuid4())
        #: Host numbers by absolute path (sysctls and sysfs files) and host texts likewise.
        self.numbers: dict[str, list[int]] = {}
        self.texts: dict[str, str] = {}
        self.queues: dict[str, dict[str, int]] = {}
        self.schedulers: dict[str, str] = {}
        self.filesystems = {m.device: FileSystem(m.ext4) for m in spec.mounts if m.ext4 is not None}
        self.mount_points = [MountPoint(m) for m in spec.mounts]
        #: Files and directories (None) of ordinary file systems: /run, /var/lib, the cgroup tmpfs.
        self.plain: dict[str, str | None] = {}
        self.tasks: dict[int, Task] = {}
        #: State of modules that keep their own, by a key of their choice; anything JSON can hold.
        self.extra: dict[str, Any] = {}
        #: Counts changes of which files exist outside the cgroup trees; SimKernel's file index depends on it.
        self.layout = 0
        #: Called with the threads that have moved to another group.
        self.on_attach: list[Callable[[list[Task]], None]] = []
        self.hierarchies = [
            Hierarchy(self, h, len(spec.hierarchies) - i, [controllers[c] for c in h.parts])
            for i, h in enumerate(spec.hierarchies)
        ]

    def online(self) -> list[int]:
        """CPUs that are switched on."""
        offline = self.numbers.get(OFFLINE, [])
        return [cpu for cpu in range(self.spec.cpus) if cpu not in offline]

    def hierarchy(self, controller: str) -> Hierarchy:
        """The hierarchy a controller (or ``name=systemd``) is mounted in; KeyError when there is none."""
        for hierarchy in self.hierarchies:
            if controller in (hierarchy.key, *hierarchy.names):
                return hierarchy
        raise KeyError(controller)

    def start(self, pid: int, comm: str, command: str, *, ppid: int, start: int, threads: int, kernel: bool) -> None:
        """Start a process in the root groups; its further threads get the ids after ``pid``."""
        for tid in range(pid, pid + threads):
            task = Task(tid, pid, ppid, comm, command, start, kernel)
            task.groups = {h.key: h.root for h in self.hierarchies}
            self.tasks[tid] = task
        self.layout += 1

    def exit(self, pid: int) -> None:
        """End a process with all its threads."""
        for tid in [t for t, task in self.tasks.items() if task.tgid == pid]:
            del self.tasks[tid]
        self.layout += 1

    def threads(self, pid: int) -> list[Task]:
        """All threads of the process that thread ``pid`` belongs to; ESRCH when there is none."""
        task = self.tasks.get(pid)
        if task is None:
            refuse(errno.ESRCH)
        return [t for _, t in sorted(self.tasks.items()) if t.tgid == task.tgid]

    def device(self, number: str) -> Disk | Partition | None:
        """The block device with a ``MAJ:MIN``."""
        for disk in self.spec.disks:
            if disk.number == number:
                return disk
            for partition in disk.partitions:
                if partition.number == number:
                    return partition
        return None
