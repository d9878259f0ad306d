"""The Kernel port: the narrow set of operations through which all kernel I/O goes.

Paths are absolute as the host spells them (``/sys/fs/cgroup/cpu/online/cpu.shares``), whatever directory or simulated
tree stands behind them. Every operation raises :class:`OSError` with the kernel's errno.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Mount(NamedTuple):
    """One line of ``/proc/PID/mountinfo`` (proc(5)).

    ``device`` is ``MAJ:MIN``; ``root`` the part of the file system that is mounted; ``options`` the flags of this
    mount, ``super_options`` those of the file system, in the kernel's order; ``shared`` the peer group it exchanges
    mounts with, 0 for none.
    """

    point: str
    device: str
    root: str
    source: str
    fstype: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]
    shared: int = 0


class Project(NamedTuple):
    """Project of a file or directory (FS_IOC_FSGETXATTR): its id, and whether new files below inherit it."""

    id: int
    inherit: bool


class Quota(NamedTuple):
    """Limits of one project on one file system: bytes and inodes; 0 is no limit (quotactl(2), struct dqblk).

    The kernel keeps byte limits in whole KiB.
    """

    hard: int = 0
    soft: int = 0
    inodes_hard: int = 0
    inodes_soft: int = 0


class Kernel(Protocol):
    """What a host offers. Implementations: RealKernel, SimKernel, and FaultyKernel around either."""

    @property
    def name(self) -> str:
        """``/`` for the running host, the directory for another root, ``sim:NAME`` for a simulated kernel."""

    def read(self, path: str) -> str:
        """The whole text of a file."""

    def write(self, path: str, text: str) -> None:
        """Write ``text`` in one write(2) to an existing file; never creates or truncates one."""

    def listdir(self, path: str) -> list[str]:
        """Names in a directory, sorted."""

    def subdirs(self, path: str) -> list[str]:
        """Names of the directories in a directory, sorted; symbolic links are not followed or listed."""

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there (a symbolic link counts as what it points to)."""

    def writable(self, path: str) -> bool:
        """Whether the caller's privileges allow opening the file for writing (false when it does not exist)."""

    def mkdir(self, path: str) -> None:
        """Create one directory, mode 0755."""

    def rmdir(self, path: str) -> None:
        """Remove one empty directory (for a cgroup: one without tasks and child groups)."""

    def realpath(self, path: str) -> str:
        """The path with every symbolic link resolved inside this host's root."""

    def mounts(self) -> list[Mount]:
        """Mounted file systems, in mount order."""

    def remount(self, point: str, options: Sequence[str]) -> None:
        """Change the given mount option words of the file system mounted at ``point`` and keep all others.

        ``prjquota`` also begins to enforce the limits, which a remount alone does not (seen on Linux 6.1).
        """

    def mount(self, fstype: str, source: str, point: str, options: Sequence[str]) -> None:
        """Mount a file system at an existing directory."""

    def unmount(self, point: str) -> None:
        """Unmount what is mounted at ``point``."""

    def tool(self, name: str, arguments: Sequence[str]) -> str:
        """Run a program of the system (tune2fs) without a shell; returns its standard output.

        Raises OSError: ENOENT when it is not installed, EIO with the last line of its complaint when it fails.
        """

    def project(self, path: str) -> Project:
        """The project of a file or directory. ENOTTY or EOPNOTSUPP where the file system has none."""

    def set_project(self, path: str, project: Project) -> None:
        """Give a file or directory a project (the inherit flag is for directories only)."""

    def quota(self, point: str, project: int) -> Quota:
        """The limits of a project on the file system mounted at ``point``. ESRCH without project quota."""

    def set_quota(self, point: str, project: int, quota: Quota) -> None:
        """Set the limits of a project on the file system mounted at ``point``. ESRCH without project quota."""

    def quota_enforced(self, point: str) -> bool:
        """Whether limits of projects bind on the file system mounted at ``point``. ESRCH without project quota."""
