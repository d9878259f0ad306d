"""Files that are read again and again: opened once, read with pread at 0."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from functools import lru_cache

from cotune.units import parse_cpulist

#: A kernfs read delivers a whole file if it fits; few do not fit into this.
_BUFFER = 16384
#: For how long a file that is not there is not looked for again (a controller may be enabled later).
_MISSING_S = 1.0
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH)
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL)


class Vanished(Exception):
    """A cgroup or process that a view is about is gone; the reader gets ENOENT."""


class Folder:
    """A directory whose files are kept open. One that was removed and made again under its name stays gone."""

    def __init__(self, path: str, marker: str = "cgroup.procs") -> None:
        """``marker`` is a file that is there as long as the directory is. Raises Vanished."""
        self.path = path
        self._marker = marker
        self._files: dict[str, int] = {}
        self._missing: dict[str, float] = {}
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Vanished(path) from error

    def read(self, name: str) -> bytes | None:
        """The contents of a file, None where there is none or it cannot be read. Raises Vanished."""
        fd = self._files.get(name)
        if fd is None:
            fd = self._open(name)
            if fd is None:
                return None
        try:
            return pread_all(fd)
        except OSError as error:
            if error.errno in _UNREADABLE:
                return None
            if error.errno not in _GONE:
                raise
        # the group is gone, or only the controller was switched off (and perhaps on again) here
        os.close(self._files.pop(name))
        again = self._open(name)
        return None if again is None else pread_all(again)

    def number(self, name: str) -> int | None:
        """A file that is one number; None for ``max``, as for no file. Raises Vanished."""
        data = self.read(name)
        if data is None:
            return None
        try:
            return int(data)
        except ValueError:
            return None

    def close(self) -> None:
        """Close everything. The folder cannot be used any more."""
        for fd in (*self._files.values(), self._fd):
            os.close(fd)
        self._files.clear()

    def _open(self, name: str) -> int | None:
        if (until := self._missing.get(name)) is not None:
            if time.monotonic() < until:
                return None
            del self._missing[name]
        try:
            fd = self._files[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
            return fd
        except OSError as error:
            if error.errno not in (*_GONE, *_UNREADABLE):
                raise
        self._check()
        self._missing[name] = time.monotonic() + _MISSING_S
        return None

    def _check(self) -> None:
        try:
            os.stat(self._marker, dir_fd=self._fd)
        except OSError as error:
            raise Vanished(self.path) from error


def pread_all(fd: int) -> bytes:
    """The contents of a file whose reads are short only at its end, as those of kernfs are. Raises OSError."""
    data = os.pread(fd, _BUFFER, 0)
    if len(data) < _BUFFER:
        return data
    parts = [data]
    while data:
        data = os.pread(fd, _BUFFER, sum(map(len, parts)))
        parts.append(data)
    return b"".join(parts)


def ancestors(directory: str) -> Iterator[str]:
    """A cgroup directory and those above it, without the root of the hierarchy, which has no limits."""
    exists: Callable[[str], bool] = os.path.exists
    while True:
        above = os.path.dirname(directory)
        if above == directory or not exists(f"{above}/cgroup.procs"):
            return
        yield directory
        directory = above


@lru_cache(256)
def cpu_numbers(text: str) -> frozenset[int]:
    """The CPUs of a list as the kernel prints it; containers have few different ones."""
    return frozenset(parse_cpulist(text))


def pairs(data: bytes) -> dict[bytes, int]:
    """The lines ``name number`` of a statistics file."""
    words = data.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))
