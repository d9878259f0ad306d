"""Files of the host that all containers share: read at most once in a freshness window, parsed once per read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar

from cotune.units import parse_cpulist
from viewfs.kept import pread_all
from viewfs.views import cpuinfo, meminfo, stat
from viewfs.views.records import HostMeminfo, HostStat

T = TypeVar("T")

#: Seconds a host file is used again. Counters of several containers in one window then start from the same figures.
FRESH = 0.05
#: cpuinfo asks every CPU for its frequency, and only that changes.
_FRESH_CPUINFO = 2.0
_FRESH_PRESENT = 5.0
_CHUNK = 65536
_CPU = "sys/devices/system/cpu"


class Host:
    """The host below ``root``. Not for several threads at once."""

    def __init__(self, root: str = "/", fresh: float = FRESH) -> None:
        self.root = root
        self.fresh = fresh
        #: kept here for :mod:`viewfs.sources`, by container
        self.counters: dict[Hashable, Any] = {}
        #: one entry per file and way to parse it
        self._cache: dict[tuple[str, Callable[[bytes], Any]], tuple[float, Any]] = {}
        self._files: dict[str, int] = {}

    def text(self, name: str) -> bytes:
        """The file ``name`` (such as ``proc/diskstats``) as it is. Raises FileNotFoundError."""
        return self._cached(name, _same, self.fresh)

    def meminfo(self) -> HostMeminfo:
        """/proc/meminfo."""
        return self._cached("proc/meminfo", meminfo.parse, self.fresh)

    def stat(self) -> HostStat:
        """/proc/stat."""
        return self._cached("proc/stat", stat.parse, self.fresh)

    def cpuinfo(self) -> tuple[cpuinfo.Entry, ...]:
        """/proc/cpuinfo."""
        return self._cached("proc/cpuinfo", cpuinfo.parse, _FRESH_CPUINFO)

    def online(self) -> tuple[int, ...]:
        """The CPUs that are online."""
        return self._cached(f"{_CPU}/online", _numbers, self.fresh)

    def present(self) -> tuple[int, ...]:
        """The CPUs that are plugged in, which takes hands, or a hypervisor."""
        return self._cached(f"{_CPU}/present", _numbers, _FRESH_PRESENT)

    def kernel_view(self) -> bool:
        """Whether the kernel has container views of its own and they are on (ANCK: kernel.rich_container_enable)."""
        try:
            return self._cached("proc/sys/kernel/rich_container_enable", _same, _FRESH_CPUINFO).strip() == b"1"
        except OSError:
            return False

    def boottime(self) -> float:
        """Seconds since boot, with time asleep."""
        if self.root == "/":
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return float(self.text("proc/uptime").split()[0])

    def close(self) -> None:
        """Close the files. They are opened again when needed."""
        while self._files:
            os.close(self._files.popitem()[1])
        self._cache.clear()

    def _cached(self, name: str, parse: Callable[[bytes], T], fresh: float) -> T:
        now = time.monotonic()
        entry = self._cache.get((name, parse))
        if entry is not None and now < entry[0]:
            value: T = entry[1]
            return value
        value = parse(self._read(name))
        self._cache[name, parse] = (now + fresh, value)
        return value

    def _read(self, name: str) -> bytes:
        fd = self._files.get(name)
        if fd is None:
            fd = self._files[name] = os.open(os.path.join(self.root, name), os.O_RDONLY | os.O_CLOEXEC)
        if name.startswith("sys/"):
            return pread_all(fd)
        parts: list[bytes] = []
        offset = 0
        # long files of /proc come in pages, so only an empty read is the end
        while data := os.pread(fd, _CHUNK, offset):
            parts.append(data)
            offset += len(data)
        return b"".join(parts)


def _same(data: bytes) -> bytes:
    return data


@lru_cache(64)
def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(sorted(parse_cpulist(data.decode())))
