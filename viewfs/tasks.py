"""How many threads a container has, and how many of them count for the load.

A container is a cgroup and all groups below it. On version 1 the kernel counts the threads of each group by state
(:mod:`viewfs.taskstats`); elsewhere, and where that answer does not account for every thread, the state of each thread
is read. Nothing is counted again in a group that has used no CPU time since, with threads in the same states.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from viewfs.taskstats import GroupStats, Taskstats

#: What list of threads a group has: version 1, version 2.
_LISTS = ("tasks", "cgroup.threads")
#: CPU time of a group and those below it in ns: version 1, controller cpuacct.
_USAGE = "cpuacct.usage"
#: errno of reading a group or thread that is gone.
_GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH)
#: Bytes of a stat file that hold the state: the name before it is of 15 bytes, 63 for a kernel worker.
_STAT = 128
#: A kernfs directory without directories below it: itself and its name (fs/kernfs/inode.c kernfs_refresh_inode).
_LEAF_LINKS = 2


class Counts(NamedTuple):
    """The threads of a container: ``running``, ``active`` (running or in an uninterruptible wait), all of them.

    ``newest`` is the highest thread id in the daemon's numbers, 0 without threads.
    """

    running: int
    active: int
    total: int
    newest: int


class Tally(Protocol):
    """Counts the threads of one container. Not for two callers at a time."""

    def count(self) -> Counts:
        """Count the threads of the group and all groups below it. Raises FileNotFoundError when the group is gone."""

    def close(self) -> None:
        """Give back what is held open."""


class Counter(Protocol):
    """Where the sampler gets its numbers from."""

    def open(self, directory: str) -> Tally:
        """A tally of the container whose cgroup directory is given."""

    def inner_pid(self, thread: int) -> int:
        """The number of a thread in its own pid namespace; 0 when the thread is gone."""

    def close(self) -> None:
        """Give back what is held open."""


class TaskCounter:
    """The :class:`Counter` of the running kernel.

    ``taskstats=False`` never asks the kernel for counts and reads states only. ``room`` is how many files of threads
    may stay open, by default a sixteenth of those this process may have: reading a kept one costs half as much.
    """

    def __init__(self, taskstats: bool = True, room: int | None = None) -> None:
        self.room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16 if room is None else room
        self._taskstats: Taskstats | None = None
        if taskstats:
            with contextlib.suppress(OSError):
                self._taskstats = Taskstats()

    def close(self) -> None:
        """Close the socket."""
        if self._taskstats is not None:
            self._taskstats.close()
            self._taskstats = None

    def open(self, directory: str) -> TaskTally:
        """A tally of the container whose cgroup directory is given."""
        return TaskTally(self, directory)

    def inner_pid(self, thread: int) -> int:
        """A thread's id in its own pid namespace: the last number of NSpid (proc_pid_status(5))."""
        _, found, rest = (_read(f"/proc/{thread}/status", 4096) or b"").partition(b"\nNSpid:")
        words = rest.split(b"\n", 1)[0].split()
        return int(words[-1]) if found and words else 0

    @property
    def asks(self) -> bool:
        """Whether the kernel is asked for counts."""
        return self._taskstats is not None

    def ask(self, group: int) -> GroupStats | None:
        """The kernel's counts of the group an open directory is, None where it gives none."""
        if self._taskstats is None:
            return None
        try:
            return self._taskstats.read(group)
        except OSError as error:
            # EINVAL is a version 2 group and ENOENT one that just went; anything else will not get better
            if error.errno not in (errno.EINVAL, *_GONE, errno.EAGAIN):
                self.close()
            return None


class TaskTally:
    """The :class:`Tally` of a container on the running kernel."""

    def __init__(self, counter: TaskCounter, directory: str) -> None:
        self._counter = counter
        self._directory = directory
        self._kept: dict[bytes, int] = {}
        #: descriptors of the group and its CPU time; what was seen with the counts
        self._glanced: list[int] = []
        self._seen: tuple[bytes, GroupStats] | None = None
        self._counts = Counts(0, 0, 0, 0)

    def close(self) -> None:
        """Close the kept files."""
        self._forget(list(self._kept))
        while self._glanced:
            os.close(self._glanced.pop())

    def count(self) -> Counts:
        """Count the threads of the group and all groups below it. Raises FileNotFoundError when the group is gone."""
        seen = self._glance()
        if seen is None or seen != self._seen:
            # a group without others below is open already
            groups = _subtree(self._directory) if seen is None else [(self._directory, self._glanced[0])]
            self._counts, self._seen = self._count(groups, None if seen is None else seen[1]), seen
        return self._counts

    def _glance(self) -> tuple[bytes, GroupStats] | None:
        """What does not change while no thread runs, comes or goes; None where the kernel has no such figures.

        Threads that nobody lets run count as well, so the CPU time alone does not tell.
        """
        if not self._counter.asks:
            return None
        try:
            if not self._glanced:
                self._glanced.append(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                self._glanced.append(os.open(_USAGE, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._glanced[0]))
            group, usage = self._glanced
            if os.fstat(group).st_nlink != _LEAF_LINKS:
                return None
            stats = self._counter.ask(group)
            return None if stats is None else (os.pread(usage, 64, 0), stats)
        except (OSError, ValueError):
            return None

    def _count(self, groups: Iterable[tuple[str, int]], stats_of_all: GroupStats | None) -> Counts:
        running = active = total = newest = 0
        read: set[bytes] = set()
        for group, fd in groups:
            threads = _threads(fd)
            if threads is None and group == self._directory:
                raise FileNotFoundError(errno.ENOENT, "the cgroup is gone", group)
            if not threads:
                continue
            stats = stats_of_all or self._counter.ask(fd)
            # threads the kernel's five numbers leave out may be in killable waits, which count
            if stats is not None and sum(stats) >= len(threads):
                running += stats.running
                active += stats.active
            else:
                states = [self._state(thread) for thread in threads]
                running += states.count(b"R")
                active += states.count(b"R") + states.count(b"D")
                read.update(threads)
            total += len(threads)
            newest = max(newest, max(map(int, threads)))
        self._forget(self._kept.keys() - read)
        return Counts(running, active, total, newest)

    def _state(self, thread: bytes) -> bytes:
        """The letter of a thread's state (fs/proc/array.c task_state_array); empty when the thread is gone.

        The file below task/ is the cheap one: the other sums the CPU time of all threads of the process.
        """
        fd = self._kept.get(thread)
        if fd is not None:
            try:
                return _letter(os.pread(fd, _STAT, 0))
            except OSError:
                # this thread has ended; its number may be another's by now
                self._forget([thread])
        try:
            fd = os.open(b"/proc/%b/task/%b/stat" % (thread, thread), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        self._kept[thread] = fd
        self._counter.room -= 1
        try:
            return _letter(os.pread(fd, _STAT, 0))
        except OSError:
            return b""
        finally:
            if self._counter.room < 0:
                self._forget([thread])

    def _forget(self, threads: Iterable[bytes]) -> None:
        for thread in threads:
            os.close(self._kept.pop(thread))
            self._counter.room += 1


def _letter(stat: bytes) -> bytes:
    """The state in a stat line: the letter after the name, which may itself hold brackets."""
    close = stat.rfind(b") ")
    return stat[close + 2 : close + 3] if close >= 0 else b""


def _subtree(directory: str) -> Iterator[tuple[str, int]]:
    """A cgroup and all below it, each with an open directory descriptor that is closed when the next one is asked for.

    Groups that vanish meanwhile are left out. Raises FileNotFoundError when the first is gone.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    waiting = [directory]
    first = True
    while waiting:
        path = waiting.pop()
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            if first:
                raise
            continue
        finally:
            first = False
        try:
            if os.fstat(fd).st_nlink != _LEAF_LINKS:
                waiting += [f"{path}/{entry.name}" for entry in _entries(path) if entry.is_dir(follow_symlinks=False)]
            yield path, fd
        finally:
            os.close(fd)


def _entries(path: str) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:
        return ()


def _threads(group: int) -> list[bytes] | None:
    """The thread ids in a group, in the daemon's numbers; None when the group is gone."""
    for name in _LISTS:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=group)
        except OSError as error:
            if error.errno == errno.ENOENT:
                continue
            if error.errno in _GONE:
                return None
            raise
        try:
            pieces = []
            while piece := os.read(fd, 65536):
                pieces.append(piece)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        finally:
            os.close(fd)
        # version 2 lists processes of pid namespaces out of sight as 0
        return [thread for thread in b"".join(pieces).split() if thread != b"0"]
    return None


def _read(path: str, size: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, size)
    except OSError:
        return None
    finally:
        os.close(fd)
