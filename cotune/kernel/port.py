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
    mount, ``super_options`` those of the file system, in the kernel's order.
    """

    point: str
    device: str
    root: str
    source: str
    fstype: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]


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
        """Change the given mount option words of the file system mounted at ``point`` and keep all others."""
