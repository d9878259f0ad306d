"""Paths of a simulated host: links, and what stands at the end of a path."""

from __future__ import annotations

import errno

from cotune.sim.files import refuse
from cotune.sim.layout import Layout
from cotune.sim.machine import Group, Hierarchy, Machine
from cotune.sim.trees import Tree

_MAX_LINKS = 40


class Namespace:
    """Looks paths up in one machine. A ``where`` is an absolute path without links; refusals carry the errno."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._layout_cache: Layout | None = None

    @property
    def layout(self) -> Layout:
        """The index of files, links and directories for the present state of the machine."""
        if self._layout_cache is None or self._layout_cache.version != self._machine.layout:
            self._layout_cache = Layout(self._machine)
        return self._layout_cache

    def resolve(self, path: str) -> str:
        """namei without permission checks: ``.``, ``..`` and links, component by component."""
        if not path.startswith("/"):
            refuse(errno.ENOENT)
        links = self.layout.links
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        done: list[str] = []
        followed = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
                continue
            target = links.get("/" + "/".join([*done, part]))
            if target is None:
                done.append(part)
                continue
            followed += 1
            if followed > _MAX_LINKS:
                refuse(errno.ELOOP)
            done = []
            todo += [p for p in reversed(target.split("/")) if p]
        return "/" + "/".join(done)

    def parent(self, path: str) -> tuple[str, str]:
        """Where the directory of a path is, and the last name of the path."""
        head, _, name = path.rstrip("/").rpartition("/")
        if not name:
            refuse(errno.EEXIST)
        return self.resolve(head or "/"), name

    def cgroup(self, where: str) -> tuple[Hierarchy, Group, str] | None:
        """Hierarchy, group and file name (empty for the directory) of a path in a cgroup tree, or None."""
        for hierarchy in self._machine.hierarchies:
            if where != hierarchy.point and not where.startswith(hierarchy.point + "/"):
                continue
            inside = where[len(hierarchy.point) :]
            group = hierarchy.find(inside)
            if group is not None:
                return hierarchy, group, ""
            directory, _, name = inside.rpartition("/")
            group = hierarchy.find(directory)
            if group is not None and name in group.files():
                return hierarchy, group, name
        return None

    def group(self, path: str) -> Group:
        """The cgroup at a path; ENOENT when there is none."""
        found = self.cgroup(self.resolve(path))
        if found is None or found[2]:
            refuse(errno.ENOENT)
        return found[1]

    def tree(self, where: str) -> tuple[Tree, str] | None:
        """The tree a path belongs to, whether or not it exists there, and the path below the tree's top."""
        for top, tree in self.layout.trees.items():
            if where == top or where.startswith(f"{top}/"):
                return tree, where[len(top) + 1 :]
        return None

    def need_tree_file(self, where: str, tree: Tree, path: str) -> None:
        """Refuse unless there is a file in the tree."""
        if not tree.exists(path) or tree.isdir(path):
            refuse(self.no_file(where))

    def existing(self, path: str) -> str:
        """Where a file or directory is that must exist."""
        where = self.resolve(path)
        if not self.is_file(where) and not self.is_directory(where):
            refuse(self.missing(where))
        return where

    def is_file(self, where: str) -> bool:
        """Whether a file is there."""
        found = self.cgroup(where)
        if found is not None:
            return bool(found[2])
        tree = self.tree(where)
        if tree is not None:
            return tree[0].exists(tree[1]) and not tree[0].isdir(tree[1])
        return where in self.layout.files or self._machine.plain.get(where) is not None

    def is_directory(self, where: str) -> bool:
        """Whether a directory is there."""
        found = self.cgroup(where)
        if found is not None:
            return not found[2]
        tree = self.tree(where)
        if tree is not None:
            return tree[0].isdir(tree[1])
        if where in self.layout.directories:
            # A hierarchy's own directories come and go without the index.
            return True
        return where in self._machine.plain and self._machine.plain[where] is None

    def need_directory(self, where: str) -> None:
        """Refuse unless a directory is there: ENOTDIR for a file, else ENOENT."""
        if not self.is_directory(where):
            refuse(errno.ENOTDIR if self.is_file(where) else self.missing(where))

    def need_ordinary(self, where: str) -> None:
        """Directories and files can be made on ordinary file systems only; kernel trees answer as they do."""
        if where in self._machine.plain:
            return
        if where == "/proc" or where.startswith("/proc/"):
            refuse(errno.ENOENT)
        if where == "/sys" or where.startswith("/sys/"):
            refuse(errno.EPERM)

    def no_file(self, where: str) -> int:
        """Errno for using what is at a path as a file."""
        return errno.EISDIR if self.is_directory(where) else self.missing(where)

    def missing(self, where: str) -> int:
        """ENOENT, or ENOTDIR for a path that goes through a file."""
        parent = where.rpartition("/")[0]
        while parent:
            if self.is_file(parent):
                return errno.ENOTDIR
            parent = parent.rpartition("/")[0]
        return errno.ENOENT

    def plain_names(self, where: str) -> set[str]:
        """Names in a directory of an ordinary file system."""
        prefix = where.rstrip("/") + "/"
        return {p[len(prefix) :].split("/")[0] for p in self._machine.plain if p.startswith(prefix)}
