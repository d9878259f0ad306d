"""/proc/meminfo: the memory of a container as that of a host."""

from __future__ import annotations

import re
from collections.abc import Mapping

from viewfs.views.records import HostMeminfo, Memory

#: A line, its key and its value.
_ROW = re.compile(rb"(([^:\n]+):\s*(\d+).*\n)")
#: Lines that are one figure of memory.stat, which both kernels count in the same place (mm/memcontrol.c).
_STAT = {
    b"SwapCached": b"swapcached",
    b"Active(anon)": b"active_anon",
    b"Inactive(anon)": b"inactive_anon",
    b"Active(file)": b"active_file",
    b"Inactive(file)": b"inactive_file",
    b"Unevictable": b"unevictable",
    b"Zswap": b"zswap",
    b"Zswapped": b"zswapped",
    b"Dirty": b"file_dirty",
    b"Writeback": b"file_writeback",
    b"AnonPages": b"anon",
    b"Mapped": b"file_mapped",
    b"Shmem": b"shmem",
    b"KReclaimable": b"slab_reclaimable",
    b"Slab": b"slab",
    b"SReclaimable": b"slab_reclaimable",
    b"SUnreclaim": b"slab_unreclaimable",
    b"KernelStack": b"kernel_stack",
    b"PageTables": b"pagetables",
    b"SecPageTables": b"sec_pagetables",
    b"Percpu": b"percpu",
    b"AnonHugePages": b"anon_thp",
    b"ShmemHugePages": b"shmem_thp",
    b"FileHugePages": b"file_thp",
}
#: No kernel counts these by group, and the host's are other containers'.
_NONE = (b"Buffers", b"ShmemPmdMapped", b"FilePmdMapped", b"NFS_Unstable", b"Bounce", b"WritebackTmp")


def parse(data: bytes) -> HostMeminfo:
    """/proc/meminfo of the host."""
    rows = _ROW.findall(data)
    return HostMeminfo(tuple((key, line) for line, key, _ in rows), {key: int(value) for _, key, value in rows})


def render(host: HostMeminfo, figures: Mapping[bytes, int]) -> bytes:
    """The host's lines with the kB of ``figures`` in the place of their own (fs/proc/meminfo.c show_val_kb)."""
    get = figures.get
    return b"".join(
        [line if (value := get(key)) is None else b"%-16s%8d kB\n" % (key + b":", value) for key, line in host.lines]
    )


def memory_size(host: Mapping[bytes, int], memory: Memory) -> int:
    """MemTotal in kB: the smallest limit on the way up, never more than the host has and never 0."""
    limits = [level.limit >> 10 for level in memory.levels if level.limit is not None]
    return max(1, min([host[b"MemTotal"], *limits]))


def swap_figures(total: int, free: int) -> dict[bytes, int]:
    """The lines about swap, in kB."""
    return {b"SwapTotal": total, b"SwapFree": free}


def memory_figures(host: Mapping[bytes, int], memory: Memory) -> dict[bytes, int]:
    """The lines about memory by their keys, in kB. ``host`` are the values of the host's /proc/meminfo."""
    stat = memory.stat
    figures = {key: stat.get(name, 0) >> 10 for key, name in _STAT.items()}
    figures.update(dict.fromkeys(_NONE, 0))
    total = memory_size(host, memory)
    free, available = _free(total, host, memory)
    figures[b"MemTotal"] = total
    figures[b"MemFree"] = free
    figures[b"MemAvailable"] = available
    figures[b"Cached"] = max(0, stat.get(b"file", 0) - stat.get(b"swapcached", 0)) >> 10
    figures[b"Active"] = figures[b"Active(anon)"] + figures[b"Active(file)"]
    figures[b"Inactive"] = figures[b"Inactive(anon)"] + figures[b"Inactive(file)"]
    # locked pages are unevictable, and groups do not count them apart
    figures[b"Mlocked"] = min(host.get(b"Mlocked", 0), figures[b"Unevictable"])
    return figures


def _free(total: int, host: Mapping[bytes, int], memory: Memory) -> tuple[int, int]:
    """MemFree and MemAvailable in kB: the least room of all levels, whoever filled it.

    The host is the level above all. Its free memory counts only where no group has a limit: elsewhere it may be small
    because the page cache of others is large, and that gives way.
    """
    limited = [level for level in memory.levels if level.limit is not None and level.limit >> 10 < host[b"MemTotal"]]
    rooms = [(level.limit or 0) - level.usage for level in limited]
    free = min(rooms) >> 10 if rooms else host[b"MemFree"]
    reclaimable = [(room + level.reclaimable) >> 10 for room, level in zip(rooms, limited, strict=True)]
    available = min([host.get(b"MemAvailable", total), *reclaimable])
    return max(0, min(free, total)), max(0, min(available, total))
