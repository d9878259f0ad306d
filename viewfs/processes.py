"""Processes by their numbers: whether one is still that one, and which is the first of its pid namespace.

A descriptor of a file in its /proc directory fails with ESRCH once that very process is gone, so that a reused number
is never mistaken (pid_namespaces(7)).
"""

from __future__ import annotations

import errno
import fcntl
import os
from time import monotonic

#: include/uapi/linux/nsfs.h, Linux 6.12: _IOR(0xb7, 0x7, int), the process of a namespace by its number in there.
_NS_GET_TGID_FROM_PIDNS = 0x8004B707
#: Seconds in which nobody starts as many processes as it takes until a number is given out again.
SURE = 0.001


class Gone(FileNotFoundError):
    """The caller, or the process asked about, has ended. What a view would show of it is not there: ENOENT."""

    def __init__(self, text: str) -> None:
        """``text`` says what has ended."""
        super().__init__(errno.ENOENT, text)


class Checked:
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


class Process(Checked):
    """A process known by its number; :meth:`cgroup` and :meth:`alive` tell whether it is still that one."""

    __slots__ = ("pid", "starttime")

    def __init__(self, pid: int) -> None:
        """Raises Gone."""
        try:
            self.pid = pid
            super().__init__(f"/proc/{pid}/cgroup")
        except OSError:
            raise Gone(f"process {pid} has ended") from None
        try:
            self.starttime = start_time(pid)
        except Gone:
            self.close()
            raise

    def cgroup(self) -> str:
        """The text of its /proc/PID/cgroup. Raises Gone."""
        try:
            return os.pread(self._file, 65536, 0).decode("utf-8", "surrogateescape")
        except OSError:
            raise Gone(f"process {self.pid} has ended") from None


def space_of(pid: int) -> int:
    """The inode of a process's pid namespace. Raises Gone."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        raise Gone(f"process {pid} has ended") from None


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
    except OSError:
        raise Gone(f"process {pid} has ended") from None


def field_of(lines: list[str], name: str) -> list[str]:
    start = name + ":"
    for line in lines:
        if line.startswith(start):
            return line[len(start) :].split()
    return ["0"]


def search(space: int) -> int:
    """The first process of a pid namespace, by looking at every process of the host. Raises Gone."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and _is_init(int(name), space):
            return int(name)
    raise Gone("the pid namespace has no first process")


def ask_namespace(tgid: int) -> int:
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


def climb(pid: int, space: int) -> int:
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
        if field_of(status, "NSpid")[-1] == "1":
            return pid
        pid = int(field_of(status, "PPid")[0])
    return 0


def _is_init(pid: int, space: int) -> bool:
    try:
        return space_of(pid) == space and field_of(read_status(pid), "NSpid")[-1] == "1"
    except Gone:
        return False
