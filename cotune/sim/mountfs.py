"""The file system operations of ``cotune sim mount``: pyfuse3's requests, answered by nodes (:mod:`cotune.sim.nodes`).

Needs the ``views`` extra; imported only when something is mounted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable, Sequence

import pyfuse3

from cotune.fuse import guarded
from cotune.sim.nodes import Change, Node, Open

#: Seconds for which the kernel may remember the status of a node: nobody changes it but through the mount.
_STATUS = 1.0


class _Inodes:
    """The nodes the kernel knows, each with the number of times it was told about it."""

    def __init__(self, root: Node) -> None:
        self._nodes: dict[int, Node] = {pyfuse3.ROOT_INODE: root}
        self._numbers: dict[Hashable, int] = {root.key: pyfuse3.ROOT_INODE}
        self._lookups: dict[int, int] = {pyfuse3.ROOT_INODE: 1}
        self._last = int(pyfuse3.ROOT_INODE)

    def __getitem__(self, inode: int) -> Node:
        return self._nodes[inode]

    def tell(self, node: Node) -> tuple[int, Node]:
        """Count that the kernel is told of a node; returns its inode and the one node that is kept for its place."""
        inode = self._numbers.get(node.key)
        if inode is None:
            self._last += 1
            inode = self._last
            self._nodes[inode], self._numbers[node.key], self._lookups[inode] = node, inode, 0
        elif self._nodes[inode] is not node:
            node.close()
        self._lookups[inode] += 1
        return inode, self._nodes[inode]

    def forget(self, inode: int, lookups: int) -> None:
        """The kernel gives back what it was told."""
        self._lookups[inode] -= lookups
        if self._lookups[inode] <= 0 and inode != pyfuse3.ROOT_INODE:
            node = self._nodes.pop(inode)
            del self._numbers[node.key], self._lookups[inode]
            node.close()


class _Directory:
    """An open directory, and what was in it when it was read from the beginning: names with inodes and nodes."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.listing: list[tuple[str, int, Node]] = []


class SimFs(pyfuse3.Operations):
    """See the top of this module."""

    def __init__(self, root: Node) -> None:
        super().__init__()
        self._inodes = _Inodes(root)
        self._files: dict[int, Open] = {}
        self._directories: dict[int, _Directory] = {}
        self._last = 0

    # ---- names and status -----------------------------------------------------------------------------------------

    def _entry(self, node: Node) -> pyfuse3.EntryAttributes:
        inode, kept = self._inodes.tell(node)
        return _attributes(inode, kept)

    @guarded
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The entry of a name."""
        return self._entry(self._inodes[parent_inode].find(os.fsdecode(name)))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel forgets inodes."""
        for inode, lookups in inode_list:
            self._inodes.forget(inode, lookups)

    @guarded
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The status of a node."""
        return _attributes(inode, self._inodes[inode])

    @guarded
    async def setattr(
        self, inode: int, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:  # fmt: skip
        """Change the status of a node."""
        change = Change(
            mode=attr.st_mode if fields.update_mode else None,
            size=attr.st_size if fields.update_size else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            accessed=attr.st_atime_ns if fields.update_atime else None,
            modified=attr.st_mtime_ns if fields.update_mtime else None,
        )
        node = self._inodes[inode]
        node.change(change, None if fh is None else self._files.get(fh))
        return _attributes(inode, node)

    @guarded
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """The target of a symbolic link."""
        return os.fsencode(self._inodes[inode].readlink())

    @guarded
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """The room there is for ordinary files."""
        found, data = self._inodes[pyfuse3.ROOT_INODE].space(), pyfuse3.StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax"):
            setattr(data, f"f_{name}", getattr(found, f"f_{name}"))
        return data

    # ---- directories ----------------------------------------------------------------------------------------------

    @guarded
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open a directory."""
        self._last += 1
        self._directories[self._last] = _Directory(self._inodes[inode])
        return self._last

    @guarded
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Names from ``start_id`` on; they are read anew when a reader starts at the beginning."""
        directory = self._directories[fh]
        if start_id == 0:
            self._drop(directory)
            directory.listing = [(name, *self._inodes.tell(node)) for name, node in directory.node.entries()]
        for number, (name, inode, node) in enumerate(directory.listing[start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, os.fsencode(name), _attributes(inode, node), number):
                break
            self._inodes.tell(node)

    @guarded
    async def releasedir(self, fh: int) -> None:
        """Close a directory."""
        self._drop(self._directories.pop(fh))

    def _drop(self, directory: _Directory) -> None:
        """Let go of what a listing holds."""
        for _, inode, _ in directory.listing:
            self._inodes.forget(inode, 1)
        directory.listing = []

    @guarded
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """fsync(2) of a directory."""
        self._directories[fh].node.sync()

    @guarded
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Create a directory, or a cgroup."""
        return self._entry(self._inodes[parent_inode].mkdir(os.fsdecode(name), mode, ctx.pid))

    @guarded
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Devices, pipes and sockets cannot be made here."""
        raise PermissionError(errno.EPERM, os.fsdecode(name))

    @guarded
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove a directory, or a cgroup."""
        self._inodes[parent_inode].rmdir(os.fsdecode(name), ctx.pid)

    @guarded
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """Remove a name."""
        self._inodes[parent_inode].unlink(os.fsdecode(name))

    @guarded
    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:  # fmt: skip
        """Rename."""
        old, new = self._inodes[parent_inode_old], self._inodes[parent_inode_new]
        old.rename(os.fsdecode(name_old), new, os.fsdecode(name_new), flags)

    @guarded
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Create a hard link."""
        node = self._inodes[inode]
        self._inodes[new_parent_inode].link(os.fsdecode(new_name), node)
        return self._entry(node)

    @guarded
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Create a symbolic link."""
        return self._entry(self._inodes[parent_inode].symlink(os.fsdecode(name), os.fsdecode(target)))

    # ---- files ----------------------------------------------------------------------------------------------------

    def _opened(self, file: Open) -> pyfuse3.FileInfo:
        self._last += 1
        self._files[self._last] = file
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(self._last), direct_io=file.direct, keep_cache=False)

    @guarded
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file."""
        return self._opened(self._inodes[inode].open(flags, ctx.pid))

    @guarded
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Create a file and open it."""
        node, file = self._inodes[parent_inode].create(os.fsdecode(name), mode, flags)
        return self._opened(file), self._entry(node)

    @guarded
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Part of a file."""
        return self._files[fh].read(off, size)

    @guarded
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write to a file."""
        return self._files[fh].write(off, buf)

    @guarded
    async def fsync(self, fh: int, datasync: bool) -> None:
        """fsync(2)."""
        self._files[fh].sync()

    @guarded
    async def release(self, fh: int) -> None:
        """Close a file."""
        self._files.pop(fh).close()


def _attributes(inode: int, node: Node) -> pyfuse3.EntryAttributes:
    status = node.status()
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(inode)
    entry.st_mode = pyfuse3.ModeT(status.mode)
    entry.st_nlink, entry.st_uid, entry.st_gid = status.links, status.uid, status.gid
    entry.st_size, entry.st_blksize, entry.st_blocks = status.size, 4096, -(-status.size // 512)
    entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns = status.accessed, status.modified, status.changed
    entry.attr_timeout, entry.entry_timeout = _STATUS, node.keep
    return entry
