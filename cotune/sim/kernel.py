"""SimKernel: a host in memory behind the Kernel port, without root and without touching the running kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cotune.kernel.port import Mount
from cotune.sim import memory, mounts, state
from cotune.sim.boot import booted_machine, host_spec
from cotune.sim.files import HostFile, Refusal, refuse
from cotune.sim.hosts import KERNELS
from cotune.sim.layout import Layout
from cotune.sim.machine import USER_HZ, Group, Hierarchy

__all__ = ["KERNELS", "SimKernel"]

_MAX_LINKS = 40


class SimKernel:
    """A simulated host. ``name`` is ``sim:KERNEL``; see :data:`KERNELS` for the kernels."""

    def __init__(self, kernel: str) -> None:
        self._machine = booted_machine(host_spec(kernel))
        self._layout_cache: Layout | None = None

    @classmethod
    def load(cls, kernel: str, path: str | os.PathLike[str]) -> SimKernel:
        """The host saved at ``path``; a fresh one when the file does not exist. UsageError when it is no good."""
        sim = cls.__new__(cls)
        sim._machine = state.load(kernel, Path(path))
        sim._layout_cache = None
        return sim

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole state to ``path``, atomically and with mode 0600."""
        state.save(self._machine, Path(path))

    # --- the Kernel port --------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """``sim:KERNEL``."""
        return f"sim:{self._machine.spec.name}"

    def read(self, path: str) -> str:
        """The whole text of a file."""
        with _naming(path):
            where = self._resolve(path)
            found = self._cgroup(where)
            if found is not None:
                return _read_cgroup(*found)
            file = self._layout.files.get(where)
            if file is not None:
                return file.read() if file.read is not None else refuse(errno.EACCES)
            text = self._machine.plain.get(where)
            return text if text is not None else refuse(self._no_file(where))

    def write(self, path: str, text: str) -> None:
        """One write(2). Writing nothing opens the file and changes nothing."""
        with _naming(path):
            where = self._resolve(path)
            found = self._cgroup(where)
            if found is not None:
                _write_cgroup(*found, text)
                return
            file = self._layout.files.get(where)
            if file is not None:
                _write_host_file(file, text)
                return
            old = self._machine.plain.get(where)
            if old is None:
                refuse(self._no_file(where))
            # Neither truncated nor appended to: the bytes at the start are replaced.
            self._machine.plain[where] = text + old[len(text) :]

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, sorted."""
        with _naming(path):
            where = self._resolve(path)
            self._need_directory(where)
            found = self._cgroup(where)
            if found is not None:
                group = found[1]
                return sorted([*group.children, *group.files()])
            return sorted(self._layout.directories.get(where, set()) | self._plain_names(where))

    def subdirs(self, path: str) -> list[str]:
        """Names of the directories in a directory, sorted, without symbolic links."""
        with _naming(path):
            where = self._resolve(path)
            self._need_directory(where)
            base = where.rstrip("/")
            names = self.listdir(where)
            return [n for n in names if f"{base}/{n}" not in self._layout.links and self._is_directory(f"{base}/{n}")]

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there, links followed."""
        try:
            where = self._resolve(path)
        except Refusal:
            return False
        return self._is_file(where) or self._is_directory(where)

    def writable(self, path: str) -> bool:
        """Whether it exists: the simulated caller is root, whom no mode bits stop."""
        return self.exists(path)

    def mkdir(self, path: str) -> None:
        """Create one cgroup, or one directory of an ordinary file system."""
        with _naming(path):
            parent, name = self._parent(path)
            where = f"{parent.rstrip('/')}/{name}"
            if self._is_file(where) or self._is_directory(where):
                refuse(errno.EEXIST)
            self._need_directory(parent)
            found = self._cgroup(parent)
            if found is not None:
                found[0].mkdir(found[1], name)
            else:
                self._need_ordinary(parent)
                self._machine.plain[where] = None

    def rmdir(self, path: str) -> None:
        """Remove one cgroup without tasks and children, or one empty directory of an ordinary file system."""
        with _naming(path):
            where = self._resolve(path)
            self._need_directory(where)
            found = self._cgroup(where)
            if found is not None:
                found[0].rmdir(found[1])
                return
            if where not in self._machine.plain:
                refuse(errno.EPERM)
            if self.listdir(where):
                refuse(errno.ENOTEMPTY)
            del self._machine.plain[where]

    def realpath(self, path: str) -> str:
        """The path with every symbolic link resolved; what does not exist is kept as it is."""
        with _naming(path):
            return self._resolve(path)

    def mounts(self) -> list[Mount]:
        """Mounted file systems, in mount order."""
        return mounts.mounts(self._machine)

    def remount(self, point: str, options: Sequence[str]) -> None:
        """Change the given option words of the file system at ``point``; all others stay, and one bad word changes
        nothing."""
        with _naming(point):
            mounts.remount(self._machine, point, options)

    # --- what the port does not offer -------------------------------------------------------------------------------

    def mode(self, path: str) -> int:
        """Permission bits, as stat(2) shows them."""
        with _naming(path):
            where = self._resolve(path)
            found = self._cgroup(where)
            if found is not None and found[2]:
                return found[1].files()[found[2]].mode
            file = self._layout.files.get(where)
            if file is not None:
                return file.mode
            if not self._is_file(where) and not self._is_directory(where):
                refuse(self._missing(where))
            return 0o644 if self._is_file(where) else 0o755

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

    def set_usage(self, cgroup: str, size: int) -> None:
        """Charge a memory cgroup itself (not its descendants) ``size`` bytes that cannot be reclaimed."""
        with _naming(cgroup):
            memory.set_usage(self._group(cgroup), size)

    def vanish(self, cgroup: str) -> None:
        """Remove a cgroup with all below it, as the end of a container does: its processes exit."""
        with _naming(cgroup):
            group = self._group(cgroup)
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
            parent, name = self._parent(path)
            missing = []
            while not self._is_directory(parent):
                missing.append(parent)
                parent = parent.rpartition("/")[0] or "/"
            self._need_ordinary(parent)
            for directory in reversed(missing):
                self._machine.plain[directory] = None
            self._machine.plain[f"{(missing[0] if missing else parent).rstrip('/')}/{name}"] = text

    # --- paths ------------------------------------------------------------------------------------------------------

    @property
    def _layout(self) -> Layout:
        if self._layout_cache is None or self._layout_cache.version != self._machine.layout:
            self._layout_cache = Layout(self._machine)
        return self._layout_cache

    def _resolve(self, path: str) -> str:
        """namei without permission checks: ``.``, ``..`` and links, component by component."""
        if not path.startswith("/"):
            refuse(errno.ENOENT)
        links = self._layout.links
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

    def _parent(self, path: str) -> tuple[str, str]:
        head, _, name = path.rstrip("/").rpartition("/")
        if not name:
            refuse(errno.EEXIST)
        return self._resolve(head or "/"), name

    def _cgroup(self, where: str) -> tuple[Hierarchy, Group, str] | None:
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

    def _group(self, path: str) -> Group:
        found = self._cgroup(self._resolve(path))
        if found is None or found[2]:
            refuse(errno.ENOENT)
        return found[1]

    def _is_file(self, where: str) -> bool:
        found = self._cgroup(where)
        if found is not None:
            return bool(found[2])
        return where in self._layout.files or self._machine.plain.get(where) is not None

    def _is_directory(self, where: str) -> bool:
        found = self._cgroup(where)
        if found is not None:
            return not found[2]
        if where in self._layout.directories:
            # A hierarchy's own directories come and go without the index.
            return True
        return where in self._machine.plain and self._machine.plain[where] is None

    def _need_directory(self, where: str) -> None:
        if not self._is_directory(where):
            refuse(errno.ENOTDIR if self._is_file(where) else self._missing(where))

    def _need_ordinary(self, where: str) -> None:
        """Directories and files can be made on ordinary file systems only; kernel trees answer as they do."""
        if where in self._machine.plain:
            return
        if where == "/proc" or where.startswith("/proc/"):
            refuse(errno.ENOENT)
        if where == "/sys" or where.startswith("/sys/"):
            refuse(errno.EPERM)

    def _no_file(self, where: str) -> int:
        return errno.EISDIR if self._is_directory(where) else self._missing(where)

    def _missing(self, where: str) -> int:
        """ENOENT, or ENOTDIR for a path that goes through a file."""
        parent = where.rpartition("/")[0]
        while parent:
            if self._is_file(parent):
                return errno.ENOTDIR
            parent = parent.rpartition("/")[0]
        return errno.ENOENT

    def _plain_names(self, where: str) -> set[str]:
        prefix = where.rstrip("/") + "/"
        return {p[len(prefix) :].split("/")[0] for p in self._machine.plain if p.startswith(prefix)}


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
