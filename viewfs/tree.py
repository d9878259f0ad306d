"""The inodes of the mount: three trees over one set of views.

``proc`` and ``sys`` show the view of whoever reads (:data:`CALLER`); ``cgroup/PATH`` and ``pid/PID`` hold the same two
for one container. An inode exists as long as the kernel remembers it (forget), so their number is the kernel's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from viewfs.handles import File

ROOT = 1
CPUS = "sys/devices/system/cpu"


class Scope(NamedTuple):
    """Whose view a part of the mount shows.

    ``kind`` is ``caller``, ``cgroup`` (``group`` is its path) or ``pid`` (``pid`` and ``starttime``, in clock ticks).
    """

    kind: str
    group: str = ""
    pid: int = 0
    starttime: int = 0


CALLER = Scope("caller")
#: Their directories; every group and every process is a scope of its own, at path "".
GROUPS, PROCESSES = Scope("cgroup"), Scope("pid")


class Node:
    """An inode: a file, directory or symbolic link at ``path`` (no slash at the ends) of a scope.

    ``host`` says that its content is the host's, not a view.
    """

    __slots__ = ("file", "host", "inode", "lookups", "mode", "path", "scope")

    def __init__(self, inode: int, scope: Scope, path: str, mode: int, host: bool) -> None:
        self.inode = inode
        self.scope = scope
        self.path = path
        self.mode = mode
        self.host = host
        self.lookups = 0
        self.file = File(inode, path)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)


_DIRECTORY, _FILE = stat.S_IFDIR | 0o555, stat.S_IFREG | 0o444


class Tree:
    """Nodes by inode and by place."""

    def __init__(self, views: Iterable[str], is_view: Callable[[str], bool], root: str = "/") -> None:
        """``views`` are paths below ``proc`` and ``sys``; those the host itself has not are left out.

        ``is_view`` knows those below ``cpuN``, too. ``root`` is where the host's own files are.
        """
        self._host_root = root.rstrip("/")
        self._is_view = is_view
        self._views = frozenset(path for path in views if os.path.exists(self.host_path(path)))
        self._children: dict[str, set[str]] = {"": set()}
        for path in self._views:
            while path:
                path, _, name = path.rpartition("/")
                self._children.setdefault(path, set()).add(name)
        self._nodes: dict[int, Node] = {}
        #: The node of an inode the kernel knows. Raises KeyError.
        self.node: Callable[[int], Node] = self._nodes.__getitem__
        self._places: dict[tuple[Scope, str], Node] = {}
        self._last = ROOT - 1
        self.root = self._make(CALLER, "", _DIRECTORY, False)

    def at(self, scope: Scope, path: str) -> Node | None:
        """The node at a place, made when needed; None when there is none."""
        known = self._places.get((scope, path))
        if known is not None:
            return known
        if path in self._children:
            return self._make(scope, path, _DIRECTORY, False)
        if path in self._views:
            return self._make(scope, path, _FILE, False)
        if not path.startswith(CPUS + "/"):
            return None
        try:
            mode = os.lstat(self.host_path(path)).st_mode
        except OSError:
            return None
        # a symbolic link's mode means nothing; what is not readable on the host is not here
        if not stat.S_ISLNK(mode):
            mode = stat.S_IFMT(mode) | (mode & 0o555)
        return self._make(scope, path, mode, not self._is_view(path))

    def names(self, path: str) -> list[str]:
        """The names in a directory of the views, the host's CPU entries included, sorted."""
        found = set(self._children.get(path, ()))
        if path == CPUS or path.startswith(CPUS + "/"):
            with suppress(OSError):
                found.update(os.listdir(self.host_path(path)))
        return sorted(found)

    def host_path(self, path: str) -> str:
        """The host's own file of a view."""
        return f"{self._host_root}/{path}"

    def _make(self, scope: Scope, path: str, mode: int, host: bool) -> Node:
        self._last += 1
        node = Node(self._last, scope, path, mode, host)
        self._nodes[node.inode] = self._places[scope, path] = node
        return node

    def forget(self, inode: int, lookups: int) -> None:
        """The kernel gives back ``lookups`` references."""
        node = self._nodes.get(inode)
        if node is None or node is self.root:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            del self._nodes[inode]
            del self._places[node.scope, node.path]

    def __len__(self) -> int:
        return len(self._nodes)


def join(path: str, name: str) -> str:
    """A path one name longer."""
    return f"{path}/{name}" if path else name
