"""Who asks, and whose figures they get.

A request carries the caller's thread id in our pid namespace. Its container is that of the first process (pid 1) of
its pid namespace: all processes in there get one answer, whatever group below the container's they are in
(pid_namespaces(7), cgroups(7)). Nothing is forked for a new caller. What is known about a caller, a namespace and an
init process is kept together with a descriptor of its /proc directory, which fails with ESRCH once that very process
is gone, so a reused number is never mistaken.
"""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from cotune.host.cgroups import CgroupLayout, Hierarchy
from viewfs.types import Container, Policy

K = TypeVar("K")
V = TypeVar("V")

#: include/uapi/linux/nsfs.h, Linux 6.12: _IOR(0xb7, 0x7, int), the process of a namespace by its number in there.
_NS_GET_TGID_FROM_PIDNS = 0x8004B707
_CALLERS, _PATHS = 1024, 4096
#: Seconds in which nobody starts as many processes as it takes until a number is given out again.
SURE = 0.001
#: Last components of an init's cgroup that lie below the container's own group: systemd puts itself into init.scope,
#: podman its processes into container or libpod-payload, and the limits are above.
_BELOW = ("init.scope", "libpod-payload", "container")

PolicyOf = Callable[[str], Policy]


class Gone(ProcessLookupError):
    """The caller, or the process asked about, has ended."""


class NotFoundYet(LookupError):
    """The first process of a namespace has to be searched in all of /proc; that takes a thread."""

    def __init__(self, space: int) -> None:
        super().__init__(space)
        self.space = space


class Kept(Generic[K, V]):
    """The most recently used entries, at most ``room``; what is dropped is closed first."""

    def __init__(self, room: int, close: Callable[[V], None] = lambda value: None) -> None:
        self._entries: dict[K, V] = {}
        self._room = room
        self._close = close

    def get(self, key: K) -> V | None:
        """The entry, which becomes the youngest, or None."""
        value = self._entries.pop(key, None)
        if value is not None:
            self._entries[key] = value
        return value

    def put(self, key: K, value: V) -> V:
        """Keep an entry; the oldest one gives way."""
        self.drop(key)
        self._entries[key] = value
        if len(self._entries) > self._room:
            self.drop(next(iter(self._entries)))
        return value

    def drop(self, key: K) -> None:
        """Forget an entry."""
        if (value := self._entries.pop(key, None)) is not None:
            self._close(value)

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._entries):
            self.drop(key)


class _Checked:
    """A descriptor that fails once the very process or thread it was opened for is gone."""

    __slots__ = ("_checked", "_file")

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._checked = monotonic()

    def alive(self) -> bool:
        """Whether it is still there. After a moment's grace: the kernel uses a number again only after all others."""
        now = monotonic()
        if now - self._checked > SURE:
            try:
                os.pread(self._file, 1, 0)
            except OSError:
                return False
            self._checked = now
        return True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._file)


class Process(_Checked):
    """A process known by its number; :meth:`cgroup` and :meth:`alive` tell whether it is still that one."""

    __slots__ = ("pid", "starttime")

    def __init__(self, pid: int) -> None:
        """Raises Gone."""
        try:
            self.pid = pid
            super().__init__(f"/proc/{pid}/cgroup")
        except OSError as error:
            raise Gone(error.errno, f"process {pid} has ended") from None
        try:
            self.starttime = start_time(pid)
        except Gone:
            self.close()
            raise

    def cgroup(self) -> str:
        """The text of its /proc/PID/cgroup. Raises Gone."""
        try:
            return os.pread(self._file, 65536, 0).decode("utf-8", "surrogateescape")
        except OSError as error:
            raise Gone(error.errno, f"process {self.pid} has ended") from None


class Caller(_Checked):
    """A thread that asks, with its start time, its process, and its pid namespace (inode).

    ``token`` stands for the process among all that ever asked.
    """

    __slots__ = ("space", "starttime", "tgid", "tid", "token")

    def __init__(self, tid: int) -> None:
        """Raises OSError."""
        super().__init__(f"/proc/{tid}/comm")
        self.tid = tid
        try:
            self.tgid = int(_field(read_status(tid), "Tgid")[0])
            self.space = space_of(tid)
            self.starttime = start_time(tid)
        except BaseException:
            self.close()
            raise
        self.token = 0


class Callers:
    """Threads → callers → first processes of their pid namespaces."""

    def __init__(self) -> None:
        self.own_space = os.stat("/proc/self/ns/pid").st_ino
        self._threads: Kept[int, Caller] = Kept(file_room(32, _CALLERS), Caller.close)
        self._processes: Kept[tuple[int, int], int] = Kept(4 * _CALLERS)
        self._spaces: Kept[int, Process] = Kept(file_room(32, _CALLERS), Process.close)
        self._tokens = 0

    def known(self, tid: int) -> Caller | None:
        """The caller behind a thread id, if it has been asked for before."""
        known = self._threads.get(tid)
        if known is not None and not known.alive():
            self._threads.drop(tid)
            return None
        return known

    def caller(self, tid: int) -> Caller:
        """The caller behind a thread id. Raises Gone."""
        known = self.known(tid)
        if known is not None:
            return known
        try:
            caller = Caller(tid)
            started = caller.starttime if tid == caller.tgid else start_time(caller.tgid)
        except OSError as error:
            raise Gone(error.errno, f"thread {tid} has ended") from None
        key = (caller.tgid, started)
        token = self._processes.get(key)
        if token is None:
            self._tokens += 1
            token = self._processes.put(key, self._tokens)
        caller.token = token
        return self._threads.put(tid, caller)

    def init_of(self, tid: int) -> Process | None:
        """:meth:`init` for a thread that waits for our answer, so that its number is its own."""
        known = self.known(tid)
        space = space_of(tid) if known is None else known.space
        return None if space == self.own_space else self._first(space, tid)

    def init(self, caller: Caller) -> Process | None:
        """The first process of the caller's pid namespace; None for the host's own.

        Raises Gone, and NotFoundYet when :meth:`search` has to be called, in a thread.
        """
        return None if caller.space == self.own_space else self._first(caller.space, caller.tgid)

    def _first(self, space: int, pid: int) -> Process:
        """The first process of the namespace that ``pid`` is in."""
        known = self._spaces.get(space)
        if known is not None:
            if known.alive():
                return known
            self._spaces.drop(space)
        found = _ask_namespace(pid) or _climb(pid, space)
        if not found:
            raise NotFoundYet(space)
        return self.learn(space, found)

    def learn(self, space: int, pid: int) -> Process:
        """Keep the first process of a namespace. Raises Gone."""
        process = Process(pid)
        if space_of(pid) != space:
            process.close()
            raise Gone(0, f"process {pid} is another one now")
        return self._spaces.put(space, process)

    def close(self) -> None:
        """Close what is kept."""
        self._threads.clear()
        self._spaces.clear()


def file_room(part: int, most: int) -> int:
    """How many entries may keep files open when all of them get one ``part``-th of the limit; at most ``most``."""
    return max(16, min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // part))


def search(space: int) -> int:
    """The first process of a pid namespace, by looking at every process of the host. Raises Gone."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and _is_init(int(name), space):
            return int(name)
    raise Gone(0, "the pid namespace has no first process")


def space_of(pid: int) -> int:
    """The inode of a process's pid namespace. Raises Gone."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError as error:
        raise Gone(error.errno, f"process {pid} has ended") from None


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat, in clock ticks since boot. Raises Gone."""
    return int(_stat_fields(pid)[19])


def still_runs(pid: int, starttime: int) -> bool:
    """Whether that very process is there, and not only waits to be reaped."""
    try:
        fields = _stat_fields(pid)
    except Gone:
        return False
    return int(fields[19]) == starttime and fields[0] not in (b"Z", b"X")


def _stat_fields(pid: int) -> list[bytes]:
    """/proc/PID/stat from field 3, the state, on. The name before it may hold blanks and brackets."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def read_status(pid: int) -> list[str]:
    """The lines of /proc/PID/status. Raises Gone."""
    return _read(pid, "status").decode(errors="replace").splitlines()


def _read(pid: int, name: str) -> bytes:
    """A short file of a process. Raises Gone."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 65536)
        finally:
            os.close(fd)
    except OSError as error:
        raise Gone(error.errno, f"process {pid} has ended") from None


def _field(lines: list[str], name: str) -> list[str]:
    start = name + ":"
    for line in lines:
        if line.startswith(start):
            return line[len(start) :].split()
    return ["0"]


def _ask_namespace(tgid: int) -> int:
    """The first process of the namespace ``tgid`` is in, from the kernel itself; 0 before Linux 6.12."""
    try:
        fd = os.open(f"/proc/{tgid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return fcntl.ioctl(fd, _NS_GET_TGID_FROM_PIDNS, 1)
    except OSError:
        return 0
    finally:
        os.close(fd)


def _climb(pid: int, space: int) -> int:
    """The first process of a namespace among the ancestors of ``pid``; 0 when it is not one of them.

    A process that entered the namespace (``docker exec``, nsenter) has its parent outside.
    """
    while pid > 1:
        try:
            if space_of(pid) != space:
                return 0
            status = read_status(pid)
        except Gone:
            return 0
        if _field(status, "NSpid")[-1] == "1":
            return pid
        pid = int(_field(status, "PPid")[0])
    return 0


def _is_init(pid: int, space: int) -> bool:
    try:
        return space_of(pid) == space and _field(read_status(pid), "NSpid")[-1] == "1"
    except Gone:
        return False


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
