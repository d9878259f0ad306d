"""Whose figures: from cgroups to containers (cgroups(7))."""

from __future__ import annotations

import os
from collections.abc import Callable

from cotune.host.cgroups import CgroupLayout, Hierarchy
from viewfs.processes import Gone, Process, start_time
from viewfs.recent import Kept
from viewfs.types import Container, Policy

_PATHS = 4096
#: Last components of an init's cgroup that lie below the container's own group: systemd puts itself into init.scope,
#: podman its processes into container or libpod-payload, and the limits are above.
_BELOW = ("init.scope", "libpod-payload", "container")

PolicyOf = Callable[[str], Policy]


class Groups:
    """Cgroups → containers, on one host."""

    def __init__(self, layout: CgroupLayout, policy_of: PolicyOf) -> None:
        self._layout = layout
        self._policy_of = policy_of
        self._by_text: Kept[str, tuple[str, dict[str, str]]] = Kept(_PATHS)
        self.hierarchies = layout.hierarchies()
        if layout.unified and layout.unified not in self.hierarchies:
            self.hierarchies.append(layout.unified)
        self.version = {"v1": 1, "v2": 2, "hybrid": 0}.get(layout.mode, 1)

    def of_process(self, process: Process) -> Container:
        """The container whose first process this is. Raises Gone."""
        text = process.cgroup()
        known = self._by_text.get(text) or self._by_text.put(text, self._parse(text))
        group, cgroups = known
        return Container(group, cgroups, self.version, process.pid, process.starttime, self._policy_of(group))

    def _parse(self, text: str) -> tuple[str, dict[str, str]]:
        """A group path for people and policies, and controller → directory, of a /proc/PID/cgroup."""
        cgroups: dict[str, str] = {}
        paths: dict[str, str] = {}
        for line in text.splitlines():
            _, _, rest = line.partition(":")
            names, _, path = rest.partition(":")
            path = root_group(path)
            for name in names.split(",") if names else self._of_unified():
                hierarchy = self._layout.unified if not names else self._layout.controllers.get(name)
                if hierarchy is not None:
                    cgroups[name] = below(hierarchy, path)
                    paths[name] = path
        # a version 1 group may be another one in each hierarchy; the longest path names it best
        order = ("memory", "cpu", "cpuset", *sorted(paths))
        found = max((paths.get(name, "") for name in order), key=len, default="")
        return found, cgroups

    def _of_unified(self) -> list[str]:
        """The keys of the version 2 tree: its controllers; on a hybrid host an empty one besides."""
        names = [name for name, hierarchy in self._layout.controllers.items() if hierarchy == self._layout.unified]
        return names if self.version == 2 else [*names, ""]

    def of_path(self, path: str) -> Container | None:
        """The container whose group ``path`` is, whether or not it has processes; None when there is no such group.

        Where only some version 1 hierarchies have it, the nearest group above it counts in the others.
        """
        where = {hierarchy: nearest(hierarchy, path) for hierarchy in self.hierarchies}
        if not any(exact for _, exact in where.values()):
            return None
        cgroups = {name: where[hierarchy][0] for name, hierarchy in self._layout.controllers.items()}
        unified = self._layout.unified
        if unified is not None and self.version == 0:
            cgroups[""] = where[unified][0]
        pid, starttime = self._first_process([directory for directory, exact in where.values() if exact])
        return Container(path, cgroups, self.version, pid, starttime, self._policy_of(path))

    def _first_process(self, directories: list[str]) -> tuple[int, int]:
        """The oldest process of a group or of the first group below it that has any, and its start time."""
        for directory in directories:
            for folder, _, _ in os.walk(directory):
                found = []
                for pid in _processes(folder):
                    try:
                        found.append((start_time(pid), pid))
                    except Gone:
                        continue
                if found:
                    starttime, pid = min(found)
                    return pid, starttime
        return 0, 0

    def exists(self, path: str) -> bool:
        """Whether any hierarchy has the group."""
        return any(os.path.isdir(below(hierarchy, path)) for hierarchy in self.hierarchies)

    def children(self, path: str) -> set[str]:
        """The names of the groups directly below ``path``, in any hierarchy."""
        found: set[str] = set()
        for hierarchy in self.hierarchies:
            try:
                with os.scandir(below(hierarchy, path)) as entries:
                    found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
        return found

    def paths(self, container: Container) -> set[str]:
        """The paths of a container's groups, one or several, relative to their hierarchies."""
        found = set()
        for name, directory in container.cgroups.items():
            hierarchy = self._layout.controllers.get(name) or self._layout.unified
            if hierarchy is not None and directory.startswith(hierarchy.point + "/"):
                found.add(directory[len(hierarchy.point) + 1 :])
        return found


def root_group(path: str) -> str:
    """The container's own group, from the one its first process is in; without slashes at the ends.

    >>> root_group("/machine.slice/libpod-1.scope/container"), root_group("/docker/1/init.scope"), root_group("/")
    ('machine.slice/libpod-1.scope', 'docker/1', '')
    """
    above, _, last = path.strip("/").rpartition("/")
    if last == "init.scope" and above:
        return above
    if last in _BELOW and above.rpartition("/")[2].startswith("libpod"):
        return above
    return path.strip("/")


def below(hierarchy: Hierarchy, path: str) -> str:
    """The directory of a group; ``path`` counts from the top of the hierarchy, of which a part may be mounted."""
    root = hierarchy.root.strip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :].strip("/")
    return hierarchy.dir(path)


def nearest(hierarchy: Hierarchy, path: str) -> tuple[str, bool]:
    """The directory of a group or of the nearest one above it, and whether it is the group itself."""
    wanted = path
    while path and not os.path.isdir(below(hierarchy, path)):
        path = path.rpartition("/")[0]
    return below(hierarchy, path), path == wanted


def _processes(folder: str) -> list[int]:
    try:
        with open(f"{folder}/cgroup.procs", "rb") as file:
            return [int(line) for line in file.read().split()[:64]]
    except (OSError, ValueError):
        return []
