"""Memory management of the whole host beyond sysctls, and of groups where it needs a switch there: ANCK."""

from __future__ import annotations

from cotune.knobs.base import Knob, ValueType
from cotune.knobs.types import Boolean, Duration, Integer, Size, Words

_U32 = 2**32 - 1
REAPER = "/sys/kernel/mm/memcg_reaper"
KIDLED = "/sys/kernel/mm/kidled"
PAGECACHE_SWITCH = "/sys/kernel/mm/pagecache_limit/enabled"
_REAPER_SOURCE = "mm/memcg_zombie_reaper.c (ANCK)"
_PAGECACHE_SOURCE = "mm/pagecache_limit.c (ANCK 6.6); Koordinator: 5.10.134-14 and later"


def _host(key: str, title: str, kind: ValueType, path: str, doc: str, source: str, unit: str = "") -> Knob:
    return Knob(f"host.memory.{key}", "host", title, kind, "file", path, doc, source, "source", unit)


def _group(key: str, title: str, kind: ValueType, control: str, doc: str, source: str) -> Knob:
    part = key.rpartition(".")[2]
    return Knob(f"memory.{key}", "group", title, kind, control, part, doc, source, "source")


KNOBS = (
    _host(
        "reaper.scan_interval",
        "Interval of the zombie reaper",
        Integer(1, _U32),
        f"{REAPER}/scan_interval",
        "Seconds between two passes over memory cgroups that were removed but still hold pages.",
        _REAPER_SOURCE,
        "s",
    ),
    _host(
        "reaper.pages_scan",
        "Pages per pass of the zombie reaper",
        Integer(0, _U32),
        f"{REAPER}/pages_scan",
        "Most pages one background pass looks at; 1310720 (5 GiB) is the default.",
        _REAPER_SOURCE,
        "pages",
    ),
    _host(
        "reaper.verbose",
        "Log what the zombie reaper does",
        Boolean(),
        f"{REAPER}/verbose",
        "Writes a line to the kernel log for every pass.",
        _REAPER_SOURCE,
    ),
    Knob(
        "host.memory.reaper.reap_background",
        "host",
        "Reap zombie memory cgroups in the background",
        Boolean(),
        "memory.reaper_switch",
        "reap_background",
        "Newer builds print a bit mask: 1 is this switch, 2 that some group asked for it.",
        _REAPER_SOURCE,
        "source",
    ),
    _group(
        "reap_background",
        "Reap this subtree in the background",
        Boolean(),
        "memory.reap_background",
        "The kernel sets it for the whole subtree at once, and children copy it when they are created.",
        _REAPER_SOURCE,
    ),
    _host(
        "kidled.scan_period",
        "Period of the idle page scan",
        Integer(0, 65535),
        f"{KIDLED}/scan_period_in_seconds",
        "Seconds; 0 is off. The kernel doubles it on its own when a scan takes longer, which then shows as drift.",
        "mm/kidled.c (ANCK)",
        "s",
    ),
    _host(
        "kidled.use_hierarchy",
        "Idle page statistics of subtrees",
        Boolean(),
        f"{KIDLED}/use_hierarchy",
        "4.19 only; newer builds have scan_target.",
        "mm/kidled.c (ANCK 4.19)",
    ),
    _host(
        "kidled.scan_target",
        "What the idle page scan looks at",
        Words({"pages": 1, "slab": 2, "all": 3}),
        f"{KIDLED}/scan_target",
        "Pages, slab objects, or both. 5.10 and 6.6, where it took the place of use_hierarchy.",
        "mm/kidled.c, include/linux/kidled.h (ANCK 5.10)",
    ),
    _host(
        "pagecache_limit",
        "Global switch of page cache limits",
        Boolean(),
        PAGECACHE_SWITCH,
        "Set by itself when a group uses memory.pagecache_limit.",
        _PAGECACHE_SOURCE,
    ),
    _group(
        "pagecache_limit.enable",
        "Limit the page cache of the group",
        Boolean(),
        "memory.pagecache_limit",
        "Switches the limit of this group on. Copied to children when they are created.",
        _PAGECACHE_SOURCE,
    ),
    _group(
        "pagecache_limit.size",
        "Page cache limit",
        Size(unlimited=False),
        "memory.pagecache_limit",
        "Most page cache the group may hold; 0 is no limit. Not above the memory limit, nor above the parent's size "
        "where that is switched on.",
        _PAGECACHE_SOURCE,
    ),
    _group(
        "pagecache_limit.sync",
        "Reclaim page cache at once",
        Boolean(),
        "memory.pagecache_limit",
        "Reclaims in the allocating task instead of in the background.",
        _PAGECACHE_SOURCE,
    ),
    _group(
        "pagecache_limit.reclaim_bytes",
        "Page cache reclaimed at a time",
        Size(unlimited=False),
        "memory.pagecache_limit",
        "How much the background takes back in one go. 6.6 only.",
        "mm/memcontrol.c (ANCK 6.6)",
    ),
    _group(
        "pagecache_limit.reclaim_interval",
        "Interval of page cache reclaim",
        Duration(0, (2**32 - 1) * 1000),
        "memory.pagecache_limit",
        "Time between two rounds of the background. Kept in ticks of the kernel's clock: a multiple of 20ms is one of "
        "every tick, others can read back rounded up, and the apply is undone. 6.6 only.",
        "mm/memcontrol.c (ANCK 6.6)",
    ),
    Knob(
        "vm.memcg_high_extra_delay_ms",
        "sysctl",
        "Extra throttling above memory.high",
        Integer(0, 2**31 - 1),
        "sysctl",
        "vm.memcg_high_extra_delay_ms",
        "Milliseconds a task is held up in addition when its group is above memory.high.",
        "kernel/sysctl.c (ANCK)",
        "source",
        "ms",
    ),
)
