"""The ordinary files of a mounted simulated host: real ones in a directory of the state directory.

Nodes are descriptors opened with O_PATH, so that they stay what they are when something is renamed. No symbolic link
is ever followed here: the kernel of whoever reads does that, by reading the link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cotune.sim.nodes import Change, KernelNode, Node, Open, Simulated, Status

_PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
#: Seconds. Nobody but the mount changes these files.
_KEEP = 1.0
#: The directories of the kernel in the root directory.
_KERNEL = ("proc", "sys")

#: (device, inode) of a directory → the directory that stands in its place.
Binds = dict[tuple[int, int], Path]


def open_root(directory: Path, host: Simulated, binds: Binds) -> Node:
    """The root directory of a mount: the ordinary files in ``directory``, with the kernel's ``proc`` and ``sys``."""
    return _Root(os.open(directory, _PATH_FLAGS), host, binds)


class DiskNode(Node):
    """A file, directory or symbolic link on disk. ``fd`` belongs to it."""

    keep = _KEEP

    def __init__(self, fd: int, binds: Binds) -> None:
        self.fd = fd
        self._binds = binds
        found = os.fstat(fd)
        self.key = self._place = found.st_dev, found.st_ino

    def status(self) -> Status:
        s = os.fstat(self.fd)
        return Status(s.st_mode, s.st_size, s.st_nlink, s.st_uid, s.st_gid, s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)

    def change(self, change: Change, opened: Open | None) -> None:
        if change.size is not None:
            os.truncate(opened.fd if isinstance(opened, DiskFile) else self._again, change.size)
        if change.uid is not None or change.gid is not None:
            os.chown(self._again, _or(change.uid, -1), _or(change.gid, -1))
        if change.mode is not None:
            os.chmod(self._again, stat.S_IMODE(change.mode))
        if change.accessed is not None or change.modified is not None:
            old = os.fstat(self.fd)
            times = _or(change.accessed, old.st_atime_ns), _or(change.modified, old.st_mtime_ns)
            os.utime(self._again, ns=times)

    def find(self, name: str) -> Node:
        node = DiskNode(os.open(name, _PATH_FLAGS, dir_fd=self.fd), self._binds)
        bound = self._binds.get(node._place)
        if bound is None:
            return node
        node.close()
        return DiskNode(os.open(bound, _PATH_FLAGS), self._binds)

    def entries(self) -> Iterator[tuple[str, Node]]:
        for name in sorted(os.listdir(self._again)):
            with suppress(FileNotFoundError):
                yield name, self.find(name)

    def readlink(self) -> str:
        return os.readlink("", dir_fd=self.fd)

    def open(self, flags: int, pid: int) -> Open:
        # the name was resolved already, and O_TRUNC is all that is left of creating it
        return DiskFile(os.open(self._again, flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) | os.O_CLOEXEC))

    def create(self, name: str, mode: int, flags: int) -> tuple[Node, Open]:
        flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = DiskFile(os.open(name, flags, mode, dir_fd=self.fd))
        return self.find(name), opened

    def mkdir(self, name: str, mode: int, pid: int) -> Node:
        os.mkdir(name, mode, dir_fd=self.fd)
        return self.find(name)

    def rmdir(self, name: str, pid: int) -> None:
        self._need_movable(name)
        os.rmdir(name, dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.fd)

    def symlink(self, name: str, target: str) -> Node:
        os.symlink(target, name, dir_fd=self.fd)
        return self.find(name)

    def link(self, name: str, node: Node) -> None:
        if not isinstance(node, DiskNode):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.link(node._again, name, dst_dir_fd=self.fd, follow_symlinks=True)

    def rename(self, name: str, directory: Node, new: str, flags: int) -> None:
        if not isinstance(directory, DiskNode):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if flags & ~_RENAME_NOREPLACE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if flags and new in os.listdir(directory._again):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._need_movable(name)
        directory._need_movable(new)
        os.rename(name, new, src_dir_fd=self.fd, dst_dir_fd=directory.fd)

    def sync(self) -> None:
        fd = os.open(self._again, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def space(self) -> os.statvfs_result:
        return os.fstatvfs(self.fd)

    def close(self) -> None:
        os.close(self.fd)

    @property
    def _again(self) -> str:
        """A path that leads to the very same file, for calls that take no O_PATH descriptor."""
        return f"/proc/self/fd/{self.fd}"

    def _need_movable(self, name: str) -> None:
        """EBUSY for a directory in whose place another one stands, as for a mount point."""
        try:
            found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) in self._binds:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


class _Root(DiskNode):
    def __init__(self, fd: int, host: Simulated, binds: Binds) -> None:
        super().__init__(fd, binds)
        self._host = host

    def find(self, name: str) -> Node:
        return KernelNode(self._host, f"/{name}") if name in _KERNEL else super().find(name)

    def entries(self) -> Iterator[tuple[str, Node]]:
        yield from super().entries()
        for name in _KERNEL:
            yield name, self.find(name)


class DiskFile(Open):
    """An open file on disk. ``fd`` belongs to it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def write(self, offset: int, data: bytes) -> int:
        return os.pwrite(self.fd, data, offset)

    def sync(self) -> None:
        os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)


def _or(value: int | None, other: int) -> int:
    return other if value is None else value
