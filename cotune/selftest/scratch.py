"""Scratch groups: where they may be made, what they are called, and how they go away again, also after a kill."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from cotune.host.cgroups import CgroupLayout, Hierarchy
from cotune.host.tasks import group_of, processes_in, read_process
from cotune.kernel.port import Kernel

PREFIX = "cotune-selftest-"
#: Pid and start time of the maker, which together name a process for good, and a random part.
_NAME = re.compile(re.escape(PREFIX) + r"(\d+)-(\d+)-[0-9a-f]{8}")
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Unusable(Exception):
    """A hierarchy takes no scratch group; the message says why, ``forbidden`` whether privileges are what lacks."""

    def __init__(self, message: str, forbidden: bool) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class Scratch(NamedTuple):
    """A scratch group that was made: its ``directory``, and the directory of its ``parent``."""

    directory: str
    parent: str


def own_pid(kernel: Kernel) -> int:
    """The pid of the caller in the host's own counting, which is a simulated one on a simulated host."""
    name = kernel.realpath("/proc/self").rpartition("/")[2]
    return int(name) if name.isdecimal() else os.getpid()


def new_name(kernel: Kernel) -> str:
    """The name of a scratch group of this process."""
    pid = own_pid(kernel)
    process = read_process(kernel, pid)
    return f"{PREFIX}{pid}-{process.start if process else 0}-{secrets.token_hex(4)}"


def clear_leftovers(kernel: Kernel, directory: str) -> list[str]:
    """Remove scratch groups below ``directory`` whose maker is gone and that hold no task; returns those removed."""
    try:
        names = kernel.subdirs(directory)
    except OSError:
        return []
    removed = []
    for name in names:
        match = _NAME.fullmatch(name)
        path = f"{directory}/{name}"
        if match is None or _lives(kernel, int(match[1]), int(match[2])) or processes_in(kernel, path):
            continue
        if not remove_tree(kernel, path):
            removed.append(path)
    return removed


def _lives(kernel: Kernel, pid: int, start: int) -> bool:
    process = read_process(kernel, pid)
    return process is not None and process.start == start


def remove_tree(kernel: Kernel, directory: str) -> list[str]:
    """Remove a group and all groups below it, the innermost first; returns what is left, with the reason."""
    try:
        left = [line for name in kernel.subdirs(directory) for line in remove_tree(kernel, f"{directory}/{name}")]
        if not left:
            kernel.rmdir(directory)
    except OSError as error:
        return [] if error.errno == errno.ENOENT else [f"{directory}: {error.strerror}"]
    return left


@contextmanager
def scratch_group(kernel: Kernel, candidates: Sequence[str], name: str, left: list[str]) -> Iterator[Scratch]:
    """A scratch group in the first of the ``candidates`` that takes one; it is removed at the end, whatever happens.

    What could not be removed is added to ``left``. Raises Unusable when no candidate takes one.
    """
    made: list[str] = []
    try:
        parent = _make(kernel, candidates, name, made)
        yield Scratch(made[-1], parent)
    finally:
        _remove_all(kernel, made, left)


def _make(kernel: Kernel, candidates: Sequence[str], name: str, made: list[str]) -> str:
    """Make the group, noting it in ``made`` before the call: a signal may come at any moment."""
    reasons, forbidden = [], True
    for parent in candidates:
        made.append(f"{parent}/{name}")
        try:
            kernel.mkdir(made[-1])
        except OSError as error:
            made.pop()
            reasons.append(f"{parent}: {error.strerror}")
            forbidden = forbidden and error.errno in _FORBIDDEN
            continue
        if kernel.exists(f"{made[-1]}/cgroup.procs"):
            return parent
        raise Unusable(f"{parent} is no cgroup file system", forbidden=False)
    raise Unusable("; ".join(reasons) or "no group to make one in", forbidden and bool(reasons))


def _remove_all(kernel: Kernel, made: list[str], left: list[str]) -> None:
    """Remove what was made; a signal meanwhile is heard only afterwards."""
    interrupted = False
    while True:
        try:
            left += [line for path in made for line in remove_tree(kernel, path)]
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt


def candidates(kernel: Kernel, layout: CgroupLayout, hierarchy: Hierarchy, below: str | None) -> list[str]:
    """Directories a scratch group may be made in, the preferred one first.

    ``below`` names the only one; otherwise the root of the mount, then the group this process is in.
    """
    if below is not None:
        directory = hierarchy.dir(below)
        return [directory] if kernel.exists(directory) else []
    own = group_of(kernel, layout, own_pid(kernel), hierarchy)
    return [hierarchy.point] if own in (None, hierarchy.point) else [hierarchy.point, str(own)]
