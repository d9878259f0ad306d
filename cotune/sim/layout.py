"""The index of everything outside the cgroup trees: kernel files, symbolic links and directories."""

from __future__ import annotations

from cotune.sim.files import HostFile
from cotune.sim.machine import Machine
from cotune.sim.modules import MODULES
from cotune.sim.trees import Tree


class Layout:
    """Which files, links and directories exist outside the cgroup trees, for one state of ``Machine.layout``."""

    def __init__(self, machine: Machine) -> None:
        self.version = machine.layout
        self.files: dict[str, HostFile] = {}
        self.links: dict[str, str] = {}
        #: Trees with a life of their own, by the path of their top.
        self.trees: dict[str, Tree] = {}
        for module in MODULES:
            self.files.update(module.files(machine))
            self.links.update(module.links(machine))
            self.trees.update(module.trees(machine))
        for spec in machine.spec.hierarchies:
            self.links.update({f"/sys/fs/cgroup/{name}": spec.point for name in spec.links})
        #: directory -> names in it
        self.directories: dict[str, set[str]] = {"/": set()}
        for path in [*self.files, *self.links, *(h.point for h in machine.hierarchies), *self.trees]:
            self._add_parents(path)
        # A thread answers as a process of its own number, which no listing shows (proc_pid_lookup).
        threads = (task for task in machine.tasks.values() if task.pid != task.tgid)
        self.links.update({f"/proc/{task.pid}": f"/proc/{task.tgid}/task/{task.pid}" for task in threads})
        for mount in machine.mount_points:
            self._add_parents(mount.spec.point)
            self.directories.setdefault(mount.spec.point, set())

    def _add_parents(self, path: str) -> None:
        while path != "/":
            parent, _, name = path.rpartition("/")
            parent = parent or "/"
            known = parent in self.directories
            self.directories.setdefault(parent, set()).add(name)
            if known:  # and so are its parents
                return
            path = parent
