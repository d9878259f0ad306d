"""What ``cotune sim mount`` shows: the nodes of its file system, and those of the simulated kernel among them.

A :class:`Node` is a file, directory or symbolic link, as :mod:`cotune.sim.mountfs` serves it. The simulated kernel's
own (:class:`KernelNode`) are below ``/proc`` and ``/sys``; everything else is on disk (:mod:`cotune.sim.disk`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from cotune.kernel.port import Kernel
from cotune.sim.faults import Fault, FaultyKernel
from cotune.sim.kernel import SimKernel

#: What sysfs gives its files: as no file of the kernel is larger, programs that trust sizes read enough.
_SIZE = 4096
#: Seconds for which the kernel may remember names in :attr:`Simulated.stable` places.
_KEEP = 1.0
#: Where kernel files do not come and go, but for the tunables of a scheduler.
_STABLE, _TUNABLES = ("/proc/sys/", "/sys/kernel/", "/sys/devices/"), "/iosched"


class Status(NamedTuple):
    """What stat(2) shows of a node. Times are in nanoseconds, ``size`` in bytes."""

    mode: int
    size: int
    links: int
    uid: int
    gid: int
    accessed: int
    modified: int
    changed: int


class Change(NamedTuple):
    """What a program wants to set of a node's status; None leaves it as it is."""

    mode: int | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    accessed: int | None = None
    modified: int | None = None


class Open:
    """An open file. ``direct`` keeps the page cache out: every read(2) and write(2) arrives here.

    All operations raise OSError; so do those of a node.
    """

    direct = False

    def read(self, offset: int, size: int) -> bytes:
        """Part of the file, less than ``size`` only at its end."""
        raise _refused(errno.EBADF)

    def write(self, offset: int, data: bytes) -> int:
        """Write; returns how many bytes were taken."""
        raise _refused(errno.EBADF)

    def sync(self) -> None:
        """fsync(2)."""

    def close(self) -> None:
        """The last descriptor was closed."""


class Node:
    """A place in the file system. What a kind of node does not do is refused as by a file system without it."""

    #: Tells nodes apart: the same place has the same key.
    key: Hashable = None
    #: Seconds for which the kernel may remember a name that leads here.
    keep = 0.0

    def status(self) -> Status:
        """What stat(2) shows."""
        raise _refused(errno.ENOSYS)

    def change(self, change: Change, opened: Open | None) -> None:
        """chmod(2), chown(2), truncate(2) and utimensat(2), through an open file where there is one."""
        raise _refused(errno.EPERM)

    def find(self, name: str) -> Node:
        """The node of a name in this directory."""
        raise _refused(errno.ENOTDIR)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """The names in this directory with their nodes, without ``.`` and ``..``."""
        raise _refused(errno.ENOTDIR)

    def readlink(self) -> str:
        """The target of a symbolic link."""
        raise _refused(errno.EINVAL)

    def open(self, flags: int, pid: int) -> Open:
        """open(2) by a thread ``pid``."""
        raise _refused(errno.EISDIR)

    def create(self, name: str, mode: int, flags: int) -> tuple[Node, Open]:
        """Create a file in this directory and open it."""
        raise _refused(errno.EACCES)

    def mkdir(self, name: str, mode: int, pid: int) -> Node:
        """Create a directory in this one."""
        raise _refused(errno.EPERM)

    def rmdir(self, name: str, pid: int) -> None:
        """Remove an empty directory."""
        raise _refused(errno.EPERM)

    def unlink(self, name: str) -> None:
        """Remove a name."""
        raise _refused(errno.EPERM)

    def symlink(self, name: str, target: str) -> Node:
        """Create a symbolic link."""
        raise _refused(errno.EPERM)

    def link(self, name: str, node: Node) -> None:
        """Give a node another name in this directory."""
        raise _refused(errno.EPERM)

    def rename(self, name: str, directory: Node, new: str, flags: int) -> None:
        """Move a name to another directory; ``flags`` as for renameat2(2)."""
        raise _refused(errno.EPERM)

    def sync(self) -> None:
        """fsync(2) of a directory."""

    def space(self) -> os.statvfs_result:
        """What statvfs(3) shows of the file system."""
        raise _refused(errno.ENOSYS)

    def close(self) -> None:
        """The kernel has forgotten the node."""


class Simulated:
    """A simulated kernel as its nodes use it.

    ``kernel`` is ``sim`` itself, or what lets ``faults`` strike on the way to it. ``save`` is called after every
    operation that may have changed something, before its caller hears of it. ``pid`` is the thread that asks.
    """

    def __init__(self, sim: SimKernel, faults: Sequence[Fault], save: Callable[[], None]) -> None:
        self.sim = sim
        self.kernel: Kernel = FaultyKernel(sim, faults, lambda: self.pid) if faults else sim
        self.save = save
        self.pid = 0
        self.born = time.time_ns()
        self.owner = os.getuid(), os.getgid()
        # a name that a write made vanish (a controller switched off) may be seen for that long, and not be opened;
        # cgroups vanish by rmdir, which the kernel that serves the mount sees itself, unless a fault takes them
        groups = [mount.point for mount in sim.mounts() if mount.fstype in ("cgroup", "cgroup2")]
        vanishing = any(fault.vanish for fault in faults)
        self.stable = _STABLE if vanishing else (*_STABLE, *(f"{point}/" for point in groups))

    def doing(self, operation: Callable[[], None], pid: int) -> None:
        """Carry out an operation that changes something; what it changed is kept also when it fails."""
        self.pid = pid
        try:
            operation()
        finally:
            self.save()


class KernelNode(Node):
    """A place in ``/proc`` or ``/sys``."""

    def __init__(self, host: Simulated, path: str, mode: int | None = None) -> None:
        """``mode`` is what lstat(2) shows, where that is known already."""
        self._host = host
        self.path = path
        self._mode = host.sim.lstat(path) if mode is None else mode
        self.keep = _KEEP if path.startswith(host.stable) and _TUNABLES not in path else 0.0
        # a name that becomes something else is another node
        self.key = (path, stat.S_IFMT(self._mode))

    def status(self) -> Status:
        size = _SIZE if stat.S_ISREG(self._mode) else 0
        links = 2 if stat.S_ISDIR(self._mode) else 1
        return Status(self._mode, size, links, *self._host.owner, *[self._host.born] * 3)

    def change(self, change: Change, opened: Open | None) -> None:
        """Truncating is taken and does nothing, as with kernel files; all else is refused."""
        if any(value is not None for value in (change.mode, change.uid, change.gid)):
            raise _refused(errno.EPERM)

    def find(self, name: str) -> Node:
        return KernelNode(self._host, self._inside(name))

    def entries(self) -> Iterator[tuple[str, Node]]:
        known = self._host.sim.entries(self.path)
        for name in self._host.kernel.listdir(self.path):
            if name in known:  # a fault may have made it vanish
                yield name, KernelNode(self._host, self._inside(name), known[name])

    def readlink(self) -> str:
        return self._host.sim.readlink(self.path)

    def open(self, flags: int, pid: int) -> Open:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._host.sim.write(self.path, "")  # refused where the kernel refuses to open for writing
        elif not self._host.sim.exists(self.path):
            raise _refused(errno.ENOENT)
        return KernelFile(self._host, self.path, pid)

    def create(self, name: str, mode: int, flags: int) -> tuple[Node, Open]:
        """procfs looks names up only (ENOENT); kernfs and sysctl directories know no creation (EACCES)."""
        raise _refused(errno.ENOENT if self.path.startswith("/proc") else errno.EACCES)

    def mkdir(self, name: str, mode: int, pid: int) -> Node:
        path = self._inside(name)
        self._host.doing(lambda: self._host.kernel.mkdir(path), pid)
        return KernelNode(self._host, path)

    def rmdir(self, name: str, pid: int) -> None:
        path = self._inside(name)
        self._host.doing(lambda: self._host.kernel.rmdir(path), pid)

    def _inside(self, name: str) -> str:
        return f"{self.path}/{name}"


class KernelFile(Open):
    """An open file of the simulated kernel: its text is made when it is read from the beginning."""

    direct = True

    def __init__(self, host: Simulated, path: str, pid: int) -> None:
        self._host = host
        self._path = path
        self._pid = pid
        self._data: bytes | None = None

    def read(self, offset: int, size: int) -> bytes:
        if offset == 0 or self._data is None:
            self._host.pid = self._pid
            self._data = self._host.kernel.read(self._path).encode("utf-8", "surrogateescape")
        return self._data[offset : offset + size]

    def write(self, offset: int, data: bytes) -> int:
        text = data.decode("utf-8", "surrogateescape")
        self._host.doing(lambda: self._host.kernel.write(self._path, text), self._pid)
        return len(data)


def _refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))
