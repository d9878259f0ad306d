"""SimKernel: a host in memory behind the Kernel port, without root and without touching the running kernel."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cotune.kernel.port import Mount, Project, Quota
from cotune.sim import ext4_admin, memory, mounts, resctrl, state
from cotune.sim.boot import booted_machine, host_spec
from cotune.sim.files import HostFile, Refusal, refuse
from cotune.sim.hosts import KERNELS
from cotune.sim.machine import USER_HZ, Group, Hierarchy
from cotune.sim.namespace import Namespace

__all__ = ["KERNELS", "SimKernel"]

_DIRECTORY = stat.S_IFDIR | 0o755


class SimKernel:
    """A simulated host. ``name`` is ``sim:KERNEL``; see :data:`KERNELS` for the kernels."""

    def __init__(self, kernel: str) -> None:
        self._machine = booted_machine(host_spec(kernel))
        self._names = Namespace(self._machine)

    @classmethod
    def load(cls, kernel: str, path: str | os.PathLike[str]) -> SimKernel:
        """The host saved at ``path``; a fresh one when the file does not exist. UsageError when it is no good."""
        sim = cls.__new__(cls)
        sim._machine = state.load(kernel, Path(path))
        sim._names = Namespace(sim._machine)
        return sim

    def save(self, path: str | os.PathLike[str], sync: bool = True) -> None:
        """Write the whole state to ``path``, atomically and with mode 0600; ``sync``: to outlast a power cut."""
        state.save(self._machine, Path(path), sync)

    # --- the Kernel port --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """``sim:KERNEL``."""
        return f"sim:{self._machine.spec.name}"

    def read(self, path: str) -> str:
        """The whole text of a file."""
        with _naming(path):
            where = self._names.resolve(path)
            found = self._names.cgroup(where)
            if found is not None:
                return _read_cgroup(*found)
            tree = self._names.tree(where)
            if tree is not None:
                self._names.need_tree_file(where, *tree)
                return tree[0].read(tree[1])
            file = self._names.layout.files.get(where)
            if file is not None:
                return file.read() if file.read is not None else refuse(errno.EACCES)
            text = self._machine.plain.get(where)
            return text if text is not None else refuse(self._names.no_file(where))

    def write(self, path: str, text: str) -> None:
        """One write(2). Writing nothing opens the file and changes nothing."""
        with _naming(path):
            where = self._names.resolve(path)
            found = self._names.cgroup(where)
            if found is not None:
                _write_cgroup(*found, text)
                return
            tree = self._names.tree(where)
            if tree is not None:
                self._names.need_tree_file(where, *tree)
                if text:
                    tree[0].write(tree[1], text)
                return
            file = self._names.layout.files.get(where)
            if file is not None:
                _write_host_file(file, text)
                return
            old = self._machine.plain.get(where)
            if old is None:
                refuse(self._names.no_file(where))
            # Neither truncated nor appended to: the bytes at the start are replaced.
            self._machine.plain[where] = text + old[len(text) :]

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, sorted."""
        with _naming(path):
            where = self._names.resolve(path)
            self._names.need_directory(where)
            found = self._names.cgroup(where)
            if found is not None:
                group = found[1]
                return sorted([*group.children, *group.files()])
            tree = self._names.tree(where)
            if tree is not None:
                return sorted(tree[0].listdir(tree[1]))
            return sorted(self._names.layout.directories.get(where, set()) | self._names.plain_names(where))

    def subdirs(self, path: str) -> list[str]:
        """Names of the directories in a directory, sorted, without symbolic links."""
        with _naming(path):
            where = self._names.resolve(path)
            self._names.need_directory(where)
            base = where.rstrip("/")
            paths = [(name, f"{base}/{name}") for name in self.listdir(where)]
            links = self._names.layout.links
            return [name for name, inner in paths if inner not in links and self._names.is_directory(inner)]

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there, links followed."""
        try:
            where = self._names.resolve(path)
        except Refusal:
            return False
        return self._names.is_file(where) or self._names.is_directory(where)

    def writable(self, path: str) -> bool:
        """Whether it exists: the simulated caller is root, whom no mode bits stop."""
        return self.exists(path)

    def mkdir(self, path: str) -> None:
        """Create one cgroup, or one directory of an ordinary file system."""
        with _naming(path):
            parent, name = self._names.parent(path)
            where = self._place(path)
            if self._names.is_file(where) or self._names.is_directory(where):
                refuse(errno.EEXIST)
            self._names.need_directory(parent)
            found = self._names.cgroup(parent)
            if found is not None:
                found[0].mkdir(found[1], name)
                return
            tree = self._names.tree(where)
            if tree is not None:
                tree[0].mkdir(tree[1])
                return
            self._names.need_ordinary(parent)
            self._create(where, None)

    def rmdir(self, path: str) -> None:
        """Remove one cgroup without tasks and children, or one empty directory of an ordinary file system."""
        with _naming(path):
            where = self._names.resolve(path)
            self._names.need_directory(where)
            found = self._names.cgroup(where)
            if found is not None:
                found[0].rmdir(found[1])
                return
            tree = self._names.tree(where)
            if tree is not None:
                tree[0].rmdir(tree[1])
                return
            if where not in self._machine.plain:
                refuse(errno.EPERM)
            if self.listdir(where):
                refuse(errno.ENOTEMPTY)
            del self._machine.plain[where]
            ext4_admin.removed(self._machine, where)

    def realpath(self, path: str) -> str:
        """The path with every symbolic link resolved; what does not exist is kept as it is."""
        with _naming(path):
            return self._names.resolve(path)

    def mounts(self) -> list[Mount]:
        """Mounted file systems, in mount order."""
        return mounts.mounts(self._machine)

    def remount(self, point: str, options: Sequence[str]) -> None:
        """Change the given option words of the file system at ``point``; all others stay, and one bad word changes
        nothing."""
        with _naming(point):
            mounts.remount(self._machine, point, options)

    def mount(self, fstype: str, source: str, point: str, options: Sequence[str]) -> None:
        """Mount a file system at an existing directory."""
        with _naming(point):
            where = self._names.resolve(point)
            self._names.need_directory(where)
            if fstype == "resctrl":
                resctrl.mount(self._machine, options)
            else:
                mounts.mount(self._machine, fstype, source, where, options)

    def unmount(self, point: str) -> None:
        """Unmount what is mounted at ``point``; EINVAL when nothing is."""
        with _naming(point):
            where = self._names.resolve(point)
            found = [mount for mount in self.mounts() if mount.point == where]
            if not found:
                refuse(errno.EINVAL)
            if found[-1].fstype == "resctrl":
                resctrl.unmount(self._machine)
            else:
                mounts.unmount(self._machine, where)

    def tool(self, name: str, arguments: Sequence[str]) -> str:
        """Run a program of the system; returns its standard output."""
        with _naming(name):
            return ext4_admin.tool(self._machine, name, arguments)

    def project(self, path: str) -> Project:
        """The project of a file or directory."""
        with _naming(path):
            return ext4_admin.project(self._machine, self._names.existing(path))

    def set_project(self, path: str, project: Project) -> None:
        """Give a file or directory a project."""
        with _naming(path):
            ext4_admin.set_project(self._machine, self._names.existing(path), project)

    def quota(self, point: str, project: int) -> Quota:
        """The limits of a project on the file system mounted at ``point``."""
        with _naming(point):
            return ext4_admin.quota(self._machine, self._names.existing(point), project)

    def set_quota(self, point: str, project: int, quota: Quota) -> None:
        """Set the limits of a project on the file system mounted at ``point``."""
        with _naming(point):
            ext4_admin.set_quota(self._machine, self._names.existing(point), project, quota)

    def quota_enforced(self, point: str) -> bool:
        """Whether limits of projects bind on the file system mounted at ``point``."""
        with _naming(point):
            return ext4_admin.quota_enforced(self._machine, self._names.existing(point))

    # --- what the port does not offer -------------------------------------------------------------------------------

    def mode(self, path: str) -> int:
        """Permission bits, as stat(2) shows them."""
        with _naming(path):
            return self._mode(self._names.resolve(path))

    def _mode(self, where: str) -> int:
        found = self._names.cgroup(where)
        if found is not None and found[2]:
            return found[1].files()[found[2]].mode
        tree = self._names.tree(where)
        if tree is not None and tree[0].exists(tree[1]):
            return tree[0].mode(tree[1])
        file = self._names.layout.files.get(where)
        if file is not None:
            return file.mode
        if not self._names.is_file(where) and not self._names.is_directory(where):
            refuse(self._names.missing(where))
        return 0o644 if self._names.is_file(where) else 0o755

    def lstat(self, path: str) -> int:
        """File type and permission bits, as lstat(2) shows them in st_mode."""
        with _naming(path):
            return self._lstat(self._place(path))

    def entries(self, path: str) -> dict[str, int]:
        """The names in a directory, each with what lstat(2) shows in st_mode."""
        with _naming(path):
            where = self._names.resolve(path)
            found = self._names.cgroup(where)
            if found is not None and not found[2]:
                files = {name: stat.S_IFREG | file.mode for name, file in found[1].files().items()}
                return files | dict.fromkeys(found[1].children, _DIRECTORY)
            return {name: self._lstat(f"{where.rstrip('/')}/{name}") for name in self.listdir(where)}

    def _lstat(self, where: str) -> int:
        if where in self._names.layout.links:
            return stat.S_IFLNK | 0o777
        found = self._names.cgroup(where)
        if found is not None and not found[2]:
            return _DIRECTORY
        return (stat.S_IFDIR if self._names.is_directory(where) else stat.S_IFREG) | self._mode(where)

    def readlink(self, path: str) -> str:
        """The target of a symbolic link, relative to its directory as the kernel's own are; EINVAL for no link."""
        with _naming(path):
            where = self._place(path)
            target = self._names.layout.links.get(where)
            if target is None:
                refuse(errno.EINVAL)
            return posixpath.relpath(target, posixpath.dirname(where))

    def ordinary(self) -> dict[str, str | None]:
        """Files (their text) and directories (None) outside /proc and /sys, parents first."""
        found = dict.fromkeys(self._names.layout.directories) | self._machine.plain
        outside = [path for path in sorted(found) if path != "/" and not path.startswith(("/proc", "/sys"))]
        return {path: found[path] for path in outside}

    def _place(self, path: str) -> str:
        """Where a path leads when a link at its end is not followed."""
        parent, name = self._names.parent(path)
        return f"{parent.rstrip('/')}/{name}"

    def spawn(
        self, pid: int, comm: str, cgroups: Mapping[str, str] | None = None, *, command: str = "", ppid: int = 1,
        start: float = 500.0, threads: int = 1,
    ) -> None:  # fmt: skip
        """Start a process ``start`` seconds after boot, in ``cgroups`` (controller -> path in its hierarchy).

        Its further threads get the ids after ``pid``. ValueError when an id is taken.
        """
        machine = self._machine
        if any(tid in machine.tasks for tid in range(pid, pid + threads)):
            raise ValueError(f"pid {pid} (or a thread after it) exists already")
        wanted = {}
        for controller, path in (cgroups or {}).items():
            group = machine.hierarchy(controller).find(path)
            if group is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            wanted[controller] = group
        ticks = int(start * USER_HZ)
        machine.start(pid, comm, command or comm, ppid=ppid, start=ticks, threads=threads, kernel=False)
        for group in wanted.values():
            group.hierarchy.attach(group, machine.threads(pid))

    def kill(self, pid: int) -> None:
        """End a process and all its threads; the memory its cgroup was charged stays as set."""
        self._machine.exit(pid)

    def pids(self) -> list[int]:
        """Processes, by id."""
        return sorted({task.tgid for task in self._machine.tasks.values()})

    def set_usage(self, cgroup: str, size: int, reclaimable: int = 0) -> None:
        """Charge a memory cgroup itself (not its descendants) ``size`` bytes.

        ``reclaimable`` of them are freed when a limit of cgroup v2 falls below the usage; v1 limits are refused then.
        """
        with _naming(cgroup):
            memory.set_usage(self._names.group(cgroup), size, reclaimable)

    def vanish(self, cgroup: str) -> None:
        """Remove a cgroup with all below it, as the end of a container does: its processes exit."""
        with _naming(cgroup):
            group = self._names.group(cgroup)
            for member in list(group.walk()):
                for task in member.tasks():
                    self._machine.exit(task.tgid)
            if group.parent is not None:
                del group.parent.children[group.name]

    def poke(self, path: str, raw: str) -> None:
        """A third party's write: the same rules as :meth:`write`."""
        self.write(path, raw)

    def put(self, path: str, text: str) -> None:
        """Create or replace a plain file (a pid file, an OCI config) on an ordinary file system, with its parents."""
        with _naming(path):
            parent, name = self._names.parent(path)
            missing = []
            while not self._names.is_directory(parent):
                missing.append(parent)
                parent = parent.rpartition("/")[0] or "/"
            self._names.need_ordinary(parent)
            for directory in reversed(missing):
                self._create(directory, None)
            self._create(f"{(missing[0] if missing else parent).rstrip('/')}/{name}", text)

    def _create(self, where: str, text: str | None) -> None:
        """A plain file, or a directory for None. What replaces a file keeps the file's project."""
        new = where not in self._machine.plain
        self._machine.plain[where] = text
        if new:
            ext4_admin.created(self._machine, where)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turn a rule's refusal into the OSError a caller of the real kernel would see."""
    try:
        yield
    except Refusal as refusal:
        raise OSError(refusal.errno, os.strerror(refusal.errno), path) from None


def _read_cgroup(_hierarchy: Hierarchy, group: Group, name: str) -> str:
    if not name:
        refuse(errno.EISDIR)
    read: Callable[[Group], str] | None = group.files()[name].read
    return read(group) if read is not None else refuse(errno.EINVAL)


def _write_cgroup(_hierarchy: Hierarchy, group: Group, name: str, text: str) -> None:
    """cgroup_file_write: nothing to write is success, also for a read-only file."""
    if not name:
        refuse(errno.EISDIR)
    write = group.files()[name].write
    if not text:
        return
    if write is None:
        refuse(errno.EINVAL)
    write(group, text)


def _write_host_file(file: HostFile, text: str) -> None:
    if file.write is None:
        refuse(file.no_write)
    if text:
        file.write(text)
