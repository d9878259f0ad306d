"""/proc/uptime: since when the container runs, and how long its CPUs were idle."""

from __future__ import annotations

from viewfs.views.records import TICKS


def age(boottime: float, starttime: int, policy: str, boot_offset: int) -> float:
    """Uptime of a container in seconds. ``boottime`` is CLOCK_BOOTTIME, ``starttime`` in clock ticks since boot.

    In a time namespace (``boot_offset`` not 0) the kernel's own answer counts, as in fs/proc/uptime.c: `ps` computes
    with start times that the kernel shifts alike.
    """
    if boot_offset or policy == "host":
        return max(0.0, boottime + boot_offset)
    return max(0.0, boottime - starttime / TICKS)


def boot_offset(timens_offsets: bytes) -> int:
    """The boot time offset of /proc/PID/timens_offsets in whole seconds, rounded down; 0 where there is none."""
    for line in timens_offsets.splitlines():
        name, *values = line.split()
        if name in (b"boottime", b"7"):
            return int(values[0])
    return 0


def render(age: float, idle: float) -> bytes:
    """Uptime, and the idle time of all CPUs together, which is what /proc/stat says."""
    return b"%.2f %.2f\n" % (age, idle)
