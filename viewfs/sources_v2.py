"""A container's figures from cgroup version 2 (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from viewfs.kept import Folder, ancestors, cpu_numbers, pairs
from viewfs.views.records import Busy, Disk, DiskSum, GroupTimes, Memory, MemoryLevel, Swap, SwapLevel

_US = 1e6  # in a second


class GroupV2:
    """Reads one group; its own folder first, then those above it without the root. Every method raises Vanished."""

    def __init__(self, directory: str) -> None:
        self._levels = [Folder(path) for path in ancestors(directory)] if directory else []

    def cpuset(self) -> tuple[frozenset[int] | None, str]:
        """The CPUs in force, and the text of the nearest non-empty ``cpuset.cpus``."""
        inforce = None
        for level in self._levels:
            data = level.read("cpuset.cpus.effective")
            if inforce is None and data is not None:
                inforce = cpu_numbers(data.decode())
            for text in (level.read("cpuset.cpus"), data):
                if text and text.strip():
                    return inforce, text.decode().strip()
        return inforce, ""

    def quotas(self) -> list[tuple[int, int] | None]:
        """(quota, period) in µs of each level, None for no limit."""
        return [_quota(level.read("cpu.max")) for level in self._levels]

    def times(self) -> GroupTimes | None:
        """CPU time. The kernel does not say by which CPU."""
        if not self._levels:
            return None
        data = self._levels[0].read("cpu.stat")
        if data is None:
            return None
        stat = pairs(data)
        nice = stat.get(b"nice_usec", 0)  # Linux 6.12
        user = max(0, stat.get(b"user_usec", 0) - nice)
        return GroupTimes({}, Busy(user / _US, nice / _US, stat.get(b"system_usec", 0) / _US))

    def usage(self) -> float:
        """What lxcfs takes for the CPU time: 0, because there is no file of that name."""
        return 0.0

    def memory(self) -> Memory | None:
        """Memory, None for the root or without the controller."""
        stat = self._levels[0].read("memory.stat") if self._levels else None
        if stat is None:
            return None
        own = pairs(stat)
        limits = [(folder, folder.number("memory.max")) for folder in self._levels]
        return Memory(memory_levels(limits, "memory.current", own, pairs), own)

    def swap(self, stat: Mapping[bytes, int]) -> Swap | None:
        """Swap, None where it is not counted. ``stat`` is the group's memory.stat."""
        used = self._levels[0].number("memory.swap.current") if self._levels else None
        if used is None:
            return None
        limits = [(folder, folder.number("memory.swap.max")) for folder in self._levels]
        levels = [
            SwapLevel(limit, folder.number("memory.swap.current") or 0) for folder, limit in limits if limit is not None
        ]
        return Swap(tuple(levels), used, False, self._levels[0].number("memory.swappiness"))

    def disks(self) -> dict[bytes, Disk] | None:
        """Requests by ``major:minor``, None without the controller."""
        data = self._levels[0].read("io.stat") if self._levels else None
        if data is None:
            return None
        return {words[0]: _disk(words[1:]) for line in data.splitlines() if (words := line.split())}

    def disks_of_cfq(self) -> None:
        """What lxcfs looks for exists only in version 1."""

    def pressure(self, kind: str) -> bytes | None:
        """Pressure of ``cpu``, ``memory`` or ``io``."""
        return self._levels[0].read(f"{kind}.pressure") if self._levels else None

    def load(self) -> bytes | None:
        """A load average of the kernel's own: there is none."""
        return None

    def close(self) -> None:
        """Close the files."""
        for folder in self._levels:
            folder.close()


def _quota(data: bytes | None) -> tuple[int, int] | None:
    words = (data or b"max").split()
    return None if words[0] == b"max" else (int(words[0]), int(words[1]))


def memory_levels(
    limits: list[tuple[Folder, int | None]],
    usage: str,
    own: dict[bytes, int],
    parse: Callable[[bytes], dict[bytes, int]],
) -> tuple[MemoryLevel, ...]:
    """The group, whose statistics are ``own``, and those above it that have limits; ``usage`` is the file's name.

    Statistics are the dearest file of all, so those of an ancestor are read only where it has less room than the group
    could make.
    """
    folder, limit = limits[0]
    levels = [MemoryLevel(limit, folder.number(usage) or 0, _reclaimable(own))]
    enough = None if limit is None else limit - levels[0].usage + levels[0].reclaimable
    for folder, limit in limits[1:]:
        if limit is not None:
            used = folder.number(usage) or 0
            scarce = enough is None or limit - used < enough
            cache = _reclaimable(parse(folder.read("memory.stat") or b"")) if scarce else 0
            levels.append(MemoryLevel(limit, used, cache))
    return tuple(levels)


def _reclaimable(stat: dict[bytes, int]) -> int:
    return stat.get(b"active_file", 0) + stat.get(b"inactive_file", 0) + stat.get(b"slab_reclaimable", 0)


def _disk(words: list[bytes]) -> Disk:
    figures = {key: int(value) for key, _, value in (word.partition(b"=") for word in words) if value.isdigit()}
    read, write, discard = (
        DiskSum(figures.get(kind + b"ios", 0), 0, figures.get(kind + b"bytes", 0)) for kind in (b"r", b"w", b"d")
    )
    return Disk(read, write, discard)
