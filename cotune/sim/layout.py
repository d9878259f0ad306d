"""The index of everything outside the cgroup trees: kernel files, symbolic links and directories."""

from __future__ import annotations

from cotune.sim import ancksys, block, mounts, procfs, sysctl
from cotune.sim.files import HostFile
from cotune.sim.machine import Machine


class Layout:
    """Which files, links and directories exist outside the cgroup trees, for one state of ``Machine.layout``."""

    def __init__(self, machine: Machine) -> None:
        self.version = machine.layout
        self.files: dict[str, HostFile] = {}
        for module in (sysctl, block, mounts, ancksys, procfs):
            self.files.update(module.files(machine))
        self.links = dict([*block.links(machine), *procfs.links(machine)])
        for spec in machine.spec.hierarchies:
            self.links.update({f"/sys/fs/cgroup/{name}": f"/sys/fs/cgroup/{spec.directory}" for name in spec.links})
        #: directory -> names in it
        self.directories: dict[str, set[str]] = {"/": set()}
        for path in [*self.files, *self.links, *(h.point for h in machine.hierarchies)]:
            self._add_parents(path)
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
