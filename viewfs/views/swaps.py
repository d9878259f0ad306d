"""/proc/swaps, and the swap lines of /proc/meminfo, which agree with it."""

from __future__ import annotations

from collections.abc import Mapping

from viewfs.views.records import Swap

HEADER = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def swap_size(swap: Swap, host: Mapping[bytes, int], memory_total: int) -> tuple[int, int]:
    """SwapTotal and SwapFree of a container in kB. ``host`` are the values of the host's /proc/meminfo.

    Where memory and swap are limited together, SwapTotal is what the limit leaves beside ``memory_total``. What is in
    use always counts: reclaim for others' sake swaps out more than that.
    """
    used = swap.used >> 10
    beside = memory_total if swap.combined else 0
    limits = [max(0, (level.limit >> 10) - beside) for level in swap.levels if level.limit is not None]
    rooms = [(level.limit - level.usage) >> 10 for level in swap.levels if level.limit is not None]
    total = min([host[b"SwapTotal"], *limits])
    if swap.swappiness == 0:
        total = min(total, used)  # the group is never swapped out (Documentation/admin-guide/cgroup-v1/memory.rst)
    total = max(total, min(used, host[b"SwapTotal"]))
    return total, max(0, min([total - used, *rooms]))


def render(total: int, free: int) -> bytes:
    """One line for all swap of the container; only the header without swap. In kB."""
    return HEADER + swap_line(total, total - free)


def swap_line(total: int, used: int) -> bytes:
    """The one line, which is lxcfs's; none without swap."""
    return b"%-40s%s\t\t%d\t%d\t0\n" % (b"none", b"virtual", total, used) if total else b""
