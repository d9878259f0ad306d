"""What a path is to the kernel: a sysctl, a file of a disk's queue, or a file of a cgroup."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import NamedTuple

from cotune.host.cgroups import V1_CONTROLLERS

#: Where hosts mount cgroups: the present place, and those of older distributions and Android.
_ROOTS = ("/sys/fs/cgroup", "/cgroup", "/cgroups", "/dev/cgroup", "/mnt/cgroup", "/mnt/cgroups", "/run/cgroup")
_SINGLE = {"/dev/cpuset": 1, "/dev/cpuctl": 1, "/dev/memcg": 1, "/dev/blkio": 1}
#: Files that take processes.
TASK_FILES = ("/cgroup.procs", "/tasks", "/cgroup.threads")
_QUEUE = re.compile(r"/sys/(?:block|class/block)/([^/]+)/queue/(.+)")
_JOURNAL = re.compile(r"/proc/fs/jbd2/([^/]+)-\d+/([^/]+)")
_KERNEL = re.compile(r"/(?:proc|sys)(?:/|\Z)")


class Place(NamedTuple):
    """``kind`` is ``sysctl``, ``block``, ``journal`` or ``cgroup``; ``name`` the sysctl, disk or group; ``file`` the
    rest.

    ``version`` is that of the cgroup hierarchy.
    """

    kind: str
    name: str
    file: str
    version: int = 0


def clean_path(path: str) -> str:
    """An absolute path without doubled slashes and dots."""
    return posixpath.normpath("/" + path.lstrip("/"))


def is_kernel_path(path: str, mounted: Mapping[str, int]) -> bool:
    """Whether a file belongs to the kernel rather than to a disk; ``mounted`` are the script's own cgroup mounts."""
    return bool(_KERNEL.match(path)) or cgroup_of(path, mounted) is not None


def find_place(path: str, mounted: Mapping[str, int]) -> Place | None:
    """What a kernel file is, or None for a file cotune has no word for."""
    if path.startswith("/proc/sys/"):
        name = path.removeprefix("/proc/sys/").translate(str.maketrans("./", "/."))
        return Place("sysctl", name, path.rpartition("/")[2])
    if match := _QUEUE.fullmatch(path):
        return Place("block", match[1], match[2])
    if match := _JOURNAL.fullmatch(path):
        return Place("journal", match[1].replace("!", "/"), match[2])
    directory, _, file = path.rpartition("/")
    found = cgroup_of(directory, mounted)
    return Place("cgroup", found[0], file, found[1]) if found else None


def cgroup_of(path: str, mounted: Mapping[str, int]) -> tuple[str, int] | None:
    """The group a directory is and the version of its hierarchy, or None outside of cgroups."""
    for root in sorted(mounted, key=len, reverse=True):
        if _inside(path, root):
            return path[len(root) :].strip("/"), mounted[root]
    for root, version in _SINGLE.items():
        if _inside(path, root):
            return path[len(root) :].strip("/"), version
    for root in _ROOTS:
        if _inside(path, root):
            return _below(path[len(root) :].strip("/"), 2 if root == "/sys/fs/cgroup" else 1)
    return None


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


def _below(path: str, version: int) -> tuple[str, int]:
    """The group of a path below the place where hierarchies are mounted; version 2 has no controllers in its path."""
    first, _, rest = path.partition("/")
    if first == "unified":
        return rest, 2
    if first == "systemd" or (first and all(word in V1_CONTROLLERS for word in first.split(","))):
        return rest, 1
    return path, version
