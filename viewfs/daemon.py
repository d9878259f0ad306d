"""The file system operations: who may look where, and what a file shows to whom.

``cgroup/`` and ``pid/`` answer callers in the host's pid namespace, and a caller inside the very container named:
runc's init binds the files after it has entered its pid namespace, its own or another container's, and cgroup. Nobody
else finds or lists anything there. The check is made when a name is looked up; a file bound into a container may be
opened by whoever sees it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, time_ns
from typing import NamedTuple

import pyfuse3

from cotune.fuse import Loop, guarded
from cotune.fuse_device import FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, Attributes
from viewfs.callers import Caller, Callers, NotFoundYet
from viewfs.container import Groups
from viewfs.habits import HabitBook
from viewfs.handles import File, Habits, Handles
from viewfs.processes import SURE, Gone, Process, search, start_time
from viewfs.subjects import ContainerSubject, HostSubject, Subjects
from viewfs.tree import CALLER, CPUS, GROUPS, PROCESSES, Node, Scope, Tree, join

#: Seconds the kernel may keep names that are the same for everybody, and attributes.
_KEEP, _ATTRIBUTES = 1000, 1
#: Size of a file before anybody asks: sendfile(2) reads no further than that, and stops at the true end (Linux 6.5).
_UNKNOWN = 1 << 20
_LANES = 1024
#: The entries of the root directory beside those of the caller tree.
_TOP = {"cgroup": GROUPS, "pid": PROCESSES}


class _Listing(NamedTuple):
    """An open directory."""

    node: Node
    names: list[str]


class _Lane(NamedTuple):
    """A file, whose figures it shows to a thread, and the habits of that, all of which is sure until a moment later."""

    file: File
    subject: HostSubject | ContainerSubject
    habits: Habits
    until: float


class ViewFs(pyfuse3.Operations):
    """See the top of this module."""

    def __init__(
        self, loop: Loop, tree: Tree, groups: Groups, callers: Callers, subjects: Subjects, window: float
    ) -> None:
        """``window`` is the freshness window of the handle policy in seconds."""
        super().__init__()
        self._loop = loop
        self._tree = tree
        self._groups = groups
        self._callers = callers
        self._subjects = subjects
        self._habits = HabitBook(callers)
        self._publisher = ThreadPoolExecutor(1, "publish")
        self._handles = Handles(window, monotonic, self._invalidate, self._publisher.submit)
        # for cotune.fuse_device, like what ends in _now below: none of it waits
        self.read_now, self.release_now = self._handles.read, self._handles.release
        self._lanes: dict[tuple[int, int], _Lane] = {}
        self._listings: dict[int, _Listing] = {}
        self._last_listing = 0
        self._born = time_ns()

    # ---- who asks -------------------------------------------------------------------------------------------------

    async def _init(self, caller: Caller) -> Process | None:
        """The first process of the caller's container, None for the host. Raises Gone."""
        try:
            return self._callers.init(caller)
        except NotFoundYet as missing:
            return await self._search(missing.space)

    async def _search(self, space: int) -> Process:
        return self._callers.learn(space, await self._loop.in_thread(search, space))

    def _subject_now(self, scope: Scope, tid: int) -> HostSubject | ContainerSubject:
        """Whose figures a part of the mount shows to a thread that asks. Raises OSError, and NotFoundYet."""
        if scope.kind == "cgroup":
            return self._subjects.of_group(scope.group)
        if scope is CALLER:
            process = self._callers.init_of(tid)
        else:
            member = self._callers.caller(scope.pid)
            if member.starttime != scope.starttime:
                raise Gone(f"process {scope.pid} is another one now")
            process = self._callers.init(member)
        return self._subjects.host if process is None else self._subjects.of_process(process)

    async def _subject(self, scope: Scope, tid: int) -> HostSubject | ContainerSubject:
        """Likewise, with the search for a first process. Raises OSError."""
        try:
            return self._subject_now(scope, tid)
        except NotFoundYet as missing:
            process = await self._search(missing.space)
        return self._subjects.of_process(process)

    async def _may_enter(self, scope: Scope, caller: Caller, through: bool) -> bool:
        """Whether a caller may see a container's part of the mount; ``through``: or pass it on the way to its own."""
        process = await self._init(caller)
        if process is None or scope is CALLER:
            return True
        if scope in (GROUPS, PROCESSES):
            return False
        if scope.kind == "pid":
            other = await self._init(self._callers.caller(scope.pid))
            return other is not None and other.pid == process.pid and start_time(scope.pid) == scope.starttime
        # a container that shares the pid namespace of another one is known by its own group
        paths = self._groups.paths(self._subjects.of_process(process).container) | self._own_paths(caller)
        return scope.group in paths or (through and any(path.startswith(scope.group + "/") for path in paths))

    def _own_paths(self, caller: Caller) -> set[str]:
        """The groups a caller is in itself. Raises Gone."""
        process = Process(caller.tgid)
        try:
            return self._groups.paths(self._groups.of_process(process))
        finally:
            process.close()

    # ---- names ----------------------------------------------------------------------------------------------------

    async def _find(self, parent: Node, name: str, caller: Caller) -> Node:
        """The node of a name for this caller. Raises OSError, ENOENT also for what it may not see."""
        scope, path = self._place(parent, name)
        if not parent.path and scope is not CALLER:
            await self._check(scope, path, caller)
        node = self._tree.at(scope, path)
        if node is None or not await self._has_cpu(node, caller):
            raise FileNotFoundError(errno.ENOENT, name)
        return node

    def _place(self, parent: Node, name: str) -> tuple[Scope, str]:
        """Where a name in a directory leads, whether or not there is something. Raises Gone."""
        scope, path = parent.scope, parent.path
        if parent is self._tree.root and name in _TOP:
            return _TOP[name], ""
        if path or scope is CALLER or (scope.kind == "pid" and scope is not PROCESSES):
            return scope, join(path, name)
        if scope is PROCESSES:
            if not name.isdecimal() or len(name) > 9 or name != str(int(name)):
                raise FileNotFoundError(errno.ENOENT, name)
            return Scope("pid", pid=int(name), starttime=start_time(int(name))), ""
        if scope is not GROUPS and name in ("proc", "sys"):
            return scope, name
        return Scope("cgroup", join(scope.group, name)), ""

    async def _check(self, scope: Scope, path: str, caller: Caller) -> None:
        """Raises FileNotFoundError for a group that is not there, or is not the caller's to see."""
        if scope in (GROUPS, PROCESSES):
            return
        if scope.kind == "cgroup" and not self._groups.exists(scope.group):
            raise FileNotFoundError(errno.ENOENT, scope.group)
        if not await self._may_enter(scope, caller, through=not path):
            raise FileNotFoundError(errno.ENOENT, path)

    async def _has_cpu(self, node: Node, caller: Caller) -> bool:
        """Whether a cpuN directory is there for those who hide CPUs; true for everything else."""
        number = node.path.removeprefix(f"{CPUS}/cpu")
        if number == node.path or not number.isdecimal():
            return True
        subject = await self._subject(node.scope, caller.tid)
        return isinstance(subject, HostSubject) or int(number) in subject.cpu_directories()

    async def _names(self, node: Node, caller: Caller) -> list[str]:
        """What a caller finds in a directory."""
        if node is self._tree.root:
            return [*self._tree.names(""), *_TOP]
        if node.path or node.scope is CALLER:
            return self._tree.names(node.path)
        if not await self._may_enter(node.scope, caller, through=False):
            return []
        if node.scope is PROCESSES:
            return [name for name in os.listdir("/proc") if name.isdecimal()]
        if node.scope.kind == "pid":
            return self._tree.names("")
        children = sorted(self._groups.children(node.scope.group))
        return children if node.scope is GROUPS else [*self._tree.names(""), *children]

    # ---- attributes -----------------------------------------------------------------------------------------------

    def _attributes(self, node: Node, size: int, keep: int = _ATTRIBUTES) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = pyfuse3.InodeT(node.inode)
        entry.st_mode = pyfuse3.ModeT(node.mode)
        entry.st_nlink = 2 if node.is_dir else 1
        entry.st_size = size
        entry.st_blksize = 4096
        entry.st_atime_ns = entry.st_ctime_ns = entry.st_mtime_ns = self._born
        entry.attr_timeout = keep
        entry.entry_timeout = _KEEP if self._same_for_all(node) else 0
        return entry

    def _same_for_all(self, node: Node) -> bool:
        """Whether the kernel may remember a name: not where each caller has to be checked, or sees other CPUs."""
        if node.scope is CALLER:
            return not node.path.startswith(f"{CPUS}/cpu")
        return "/" in node.path or node.scope in (GROUPS, PROCESSES)

    def _entry(self, node: Node) -> pyfuse3.EntryAttributes:
        """Attributes for a name. Nothing is rendered for it: the size is asked for when somebody wants it."""
        node.lookups += 1
        if node.is_dir:
            return self._attributes(node, 0)
        cached = node.file.cached
        return self._attributes(node, len(cached.data) if cached else _UNKNOWN, keep=0)

    def getattr_now(self, inode: int, thread: int) -> Attributes | None:
        """The attributes of a file that is a view; None for everything else. Raises OSError."""
        node = self._tree.node(inode)
        if node.host or not stat.S_ISREG(node.mode):
            return None
        try:
            size = self._handles.size(node.file, self._subject_now(node.scope, thread))
        except NotFoundYet:
            return None
        return Attributes(node.mode, size, self._born, _ATTRIBUTES)

    @guarded
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Attributes; the size is that of the caller's view."""
        node = self._tree.node(inode)
        if not stat.S_ISREG(node.mode):
            return self._attributes(node, 0)
        subject = self._subjects.host if node.host else await self._subject(node.scope, ctx.pid)
        try:
            size = self._handles.size(node.file, subject)
        except PermissionError:
            size = 0  # a host file nobody can read still has attributes
        return self._attributes(node, size)

    @guarded
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """The entry of a name."""
        caller = self._callers.caller(ctx.pid)
        return self._entry(await self._find(self._tree.node(parent_inode), os.fsdecode(name), caller))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel forgets inodes."""
        for inode, lookups in inode_list:
            self._tree.forget(inode, lookups)

    @guarded
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """The target of a link of the host's CPU directories."""
        return os.fsencode(os.readlink(self._tree.host_path(self._tree.node(inode).path)))

    @guarded
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """A file system without blocks, as procfs."""
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_namemax = 255
        return data

    # ---- directories ----------------------------------------------------------------------------------------------

    @guarded
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """Open a directory: its names for this caller."""
        node = self._tree.node(inode)
        caller = self._callers.caller(ctx.pid)
        names = await self._names(node, caller)
        if node.path == CPUS:
            names = await self._seen_cpus(node, names, caller)
        self._last_listing += 1
        self._listings[self._last_listing] = _Listing(node, names)
        return self._last_listing

    async def _seen_cpus(self, node: Node, names: list[str], caller: Caller) -> list[str]:
        subject = await self._subject(node.scope, caller.tid)
        if isinstance(subject, HostSubject):
            return names
        seen = subject.cpu_directories()
        numbers = {name: name.removeprefix("cpu") for name in names}
        return [name for name in names if not numbers[name].isdecimal() or int(numbers[name]) in seen]

    @guarded
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Names from ``start_id`` on."""
        parent, names = self._listings[fh]
        for number, name in enumerate(names[start_id:], start_id + 1):
            try:
                node = self._tree.at(*self._place(parent, name))
            except OSError:
                continue
            if node is None:
                continue
            entry = self._entry(node)
            if not pyfuse3.readdir_reply(token, os.fsencode(name), entry, number):
                self._tree.forget(node.inode, 1)
                break

    @guarded
    async def releasedir(self, fh: int) -> None:
        """Close a directory."""
        del self._listings[fh]

    # ---- files ----------------------------------------------------------------------------------------------------

    def open_now(self, inode: int, flags: int, thread: int) -> tuple[int, int] | None:
        """Open a file for reading; None when that takes longer. Raises OSError."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "read-only")
        lane = self._lanes.get((inode, thread))
        try:
            if lane is None or monotonic() >= lane.until:
                lane = self._lane(inode, thread)
            number, direct = self._handles.open(lane.file, lane.subject, lane.habits)
        except NotFoundYet:
            return None
        return number, _open_flags(lane.file) if direct else FOPEN_KEEP_CACHE

    def _lane(self, inode: int, thread: int) -> _Lane:
        """What is needed to open a file. Raises OSError, and NotFoundYet."""
        if len(self._lanes) >= _LANES:
            self._lanes.clear()
        node = self._tree.node(inode)
        subject = self._subjects.host if node.host else self._subject_now(node.scope, thread)
        lane = _Lane(node.file, subject, self._habits.of(thread), monotonic() + SURE)
        self._lanes[inode, thread] = lane
        return lane

    @guarded
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Open a file for reading."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise pyfuse3.FUSEError(errno.EROFS)
        node = self._tree.node(inode)
        subject = self._subjects.host if node.host else await self._subject(node.scope, ctx.pid)
        number, direct = self._handles.open(node.file, subject, self._habits.of(ctx.pid))
        keep = not direct or bool(_open_flags(node.file) & FOPEN_KEEP_CACHE)
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(number), direct_io=direct, keep_cache=keep)

    @guarded
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Part of a file; see :mod:`viewfs.handles`."""
        return self._handles.read(fh, off, size)

    @guarded
    async def release(self, fh: int) -> None:
        """Close a file."""
        self._handles.release(fh)

    def _invalidate(self, inode: int) -> None:
        # the kernel may have no such inode in its cache: nothing to invalidate then
        with suppress(FileNotFoundError):
            self._loop.invalidate(inode)


def _open_flags(file: File) -> int:
    """FOPEN_* of a direct handle."""
    # sendfile(2) goes through the page cache in any case; what an earlier one left there is of another time
    return FOPEN_DIRECT_IO | (FOPEN_KEEP_CACHE if file.cached_handles else 0)
