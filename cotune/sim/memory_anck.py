"""ANCK additions to the memory controller: watermarks, protections on v1, OOM priorities, latencies, idle pages.

Source: mm/memcontrol.c of ANCK 4.19, 5.10 and 6.6, read and not run. What differs by release is what the three file
tables, and a listing of a 5.10 node, show.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import pairwise

from cotune.sim.ancksys import SCAN_PERIOD
from cotune.sim.files import (
    INT_MAX,
    PAGE,
    PAGES_UNLIMITED,
    U64_MAX,
    CgroupFile,
    Controller,
    Where,
    number_file,
    parse_pages,
    parse_s32,
    parse_sysctl,
    parse_u64,
    refuse,
    report_file,
    reset_file,
)
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Group
from cotune.sim.memory_anck_extra import extra_files, inherit_extra
from cotune.sim.release import since

MIN_ADJ, RATIO, SCALE = "memory.wmark_min_adj", "memory.wmark_ratio", "memory.wmark_scale_factor"
WMARK_HIGH, WMARK_LOW = "memory.wmark_high", "memory.wmark_low"
#: Not a file: the value in force, which is what reading memory.wmark_min_adj returns.
MIN_ADJ_EFFECTIVE = "wmark_min_adj.effective"
MIN, LOW, HIGH, SWAP_HIGH = "memory.min", "memory.low", "memory.high", "memory.swap.high"
PRIORITY, USE_PRIORITY, OOM_GROUP = "memory.priority", "memory.use_priority_oom", "memory.oom.group"
BUCKETS = "memory.idle_page_stats"
#: NUM_KIDLED_BUCKETS; the number and the default list are our reading of mm/kidled.c, nothing depends on them.
_MAX_BUCKETS = 8
_DEFAULT_BUCKETS = [1, 2, 5, 15, 30, 60, 120, 240]
_LATENCIES = (
    "direct_reclaim_global_latency", "direct_reclaim_memcg_latency", "direct_compact_latency",
    "direct_swapout_global_latency", "direct_swapout_memcg_latency", "direct_swapin_latency",
)  # fmt: skip
_LATENCY_REPORT = "".join(f"{b}: \t0\n" for b in ("0-1ms", "1-5ms", "5-10ms", "10-100ms", "100-500ms", ">=500ms"))
_EVENTS = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"


def additions(name: str, spec: HostSpec) -> Controller | None:
    """The ANCK files of a memory controller, of either cgroup version."""
    if not spec.anck or name not in ("memory", "memory.v2"):
        return None
    files = _shared_files(spec) + (_v1_files(spec) if name == "memory" else []) + extra_files(name, spec)
    if spec.seed:
        files += seed_files()

    def created(group: Group) -> None:
        _inherit(group)
        if name == "memory":
            group.numbers.update({MIN: 0, LOW: 0, HIGH: PAGES_UNLIMITED, SWAP_HIGH: PAGES_UNLIMITED, OOM_GROUP: 0})
        inherit_extra(group)
        if spec.seed:
            group.numbers.update(dict.fromkeys((DIRTY_BYTES, DIRTY_RATIO, BACKGROUND_BYTES, BACKGROUND_RATIO), 0))

    return Controller("memory", tuple(files), created)


def _shared_files(spec: HostSpec) -> list[CgroupFile]:
    """In both tables of 6.6, and in the v1 tables before; 5.10 counts no throttling of the minimum watermark."""
    child = Where.CHILD
    throttled = "" if since(spec, 5, 10) else "wmark_min_throttled_ms 0\n"
    latencies = _LATENCIES if since(spec, 5, 10) else (*_LATENCIES, "dirty_throttle_latency")
    return [
        CgroupFile(MIN_ADJ, lambda group: f"{group.numbers[MIN_ADJ_EFFECTIVE]}\n", _write_min_adj, child),
        CgroupFile(RATIO, _show(RATIO), _write_number(RATIO, 0, 100), child),
        CgroupFile(SCALE, _show(SCALE), _write_number(SCALE, 1, 1000), child),
        report_file(WMARK_HIGH, lambda group: _show_watermark(group, _watermarks(group)[0]), child),
        report_file(WMARK_LOW, lambda group: _show_watermark(group, _watermarks(group)[1]), child),
        number_file(PRIORITY, 0, 12, where=child),
        number_file(USE_PRIORITY, 0, 1),
        report_file("memory.exstat", f"{throttled}wmark_reclaim_work_ms 0\n"),
        *(reset_file(f"memory.{latency}", _LATENCY_REPORT) for latency in latencies),
        CgroupFile(BUCKETS, _show_idle_pages, _write_buckets),
    ]


def _v1_files(spec: HostSpec) -> list[CgroupFile]:
    """What cgroup v2 has anyway. min, low and high are on v1 in 4.19, on a 5.10 node, and gone in 6.6."""
    child = Where.CHILD
    files = [number_file(OOM_GROUP, 0, 1, parse=parse_s32, where=child)]
    if not since(spec, 6, 6):
        files += [CgroupFile(name, _show_max(name), _write_max(name), child) for name in (MIN, LOW, HIGH, SWAP_HIGH)]
        files.append(report_file("memory.swap.events", "high 0\nmax 0\nfail 0\n", child))
    if not since(spec, 5, 10):
        files += [report_file(f"memory.{name}", _EVENTS, child) for name in ("events", "events.local")]
    else:
        files.append(report_file(f"{BUCKETS}.local", _show_idle_pages))
    return files


def _inherit(group: Group) -> None:
    """What mkdir copies: watermark knobs and idle-page buckets; priorities start at their defaults.

    Children of the root get the scale factor's default, as the root has no such file.
    """
    parent = group.parent
    group.numbers.update({PRIORITY: 0, USE_PRIORITY: 0, MIN_ADJ: 0, MIN_ADJ_EFFECTIVE: 0, RATIO: 0, SCALE: 50})
    group.lists[BUCKETS] = list(_DEFAULT_BUCKETS)
    if parent is not None:
        group.lists[BUCKETS] = list(parent.lists[BUCKETS])
        if parent.parent is not None:
            for name in (MIN_ADJ, MIN_ADJ_EFFECTIVE, RATIO, SCALE):
                group.numbers[name] = parent.numbers[name]


def _show(name: str) -> Callable[[Group], str]:
    return lambda group: f"{group.numbers[name]}\n"


# --- watermarks -----------------------------------------------------------------------------------------------------


def _write_min_adj(group: Group, text: str) -> None:
    value = parse_s32(text)
    if not -25 <= value <= 50:
        refuse(errno.EINVAL)
    group.numbers[MIN_ADJ] = value
    for member in group.walk():
        member.numbers[MIN_ADJ_EFFECTIVE] = _effective_min_adj(member)


def _effective_min_adj(group: Group) -> int:
    """The own value, unless the parent's effective one is larger; a parent at 0 has no opinion."""
    own = group.numbers[MIN_ADJ]
    above = group.parent.numbers[MIN_ADJ_EFFECTIVE] if group.parent is not None else 0
    return above if above and above > own else own


def _write_number(name: str, low: int, high: int) -> Callable[[Group, str], None]:
    def write(group: Group, text: str) -> None:
        value = parse_s32(text)
        if not low <= value <= high:
            refuse(errno.EINVAL)
        group.numbers[name] = value

    return write


def _watermarks(group: Group) -> tuple[int, int]:
    """setup_memcg_wmark: high = min(high, max)·ratio/100, low = high - base·scale/10000, in pages.

    A ratio of 0 is off and reads as unlimited. The subtraction is unsigned: a scale beyond the ratio wraps around.
    """
    numbers = group.numbers
    limit = numbers["memory.max" if group.hierarchy.version == 2 else "memory.limit_in_bytes"]
    base, ratio = min(numbers[HIGH], limit), numbers[RATIO]
    if not ratio:
        return PAGES_UNLIMITED, PAGES_UNLIMITED
    high = base * ratio // 100
    return high, high - base * numbers[SCALE] // 10000


def _show_watermark(group: Group, pages: int) -> str:
    if pages == PAGES_UNLIMITED and group.hierarchy.version == 2:
        return "max\n"
    return f"{pages * PAGE & U64_MAX}\n"


# --- protections ----------------------------------------------------------------------------------------------------


def _show_max(name: str) -> Callable[[Group], str]:
    def show(group: Group) -> str:
        pages = group.numbers[name]
        return "max\n" if pages == PAGES_UNLIMITED else f"{pages * PAGE}\n"

    return show


def _write_max(name: str) -> Callable[[Group, str], None]:
    """The v2-style byte files: ``max``, no -1, no check against usage (high reclaims and then throttles)."""

    def write(group: Group, text: str) -> None:
        group.numbers[name] = parse_pages(text, "max")

    return write


# --- idle pages -----------------------------------------------------------------------------------------------------


def _show_idle_pages(group: Group) -> str:
    period = group.machine.numbers[SCAN_PERIOD][0]
    buckets = ",".join(map(str, group.lists[BUCKETS]))
    return f"# version: 1.0\n# scans: 0\n# scan_period_in_seconds: {period}\n# use_hierarchy: 0\n# buckets: {buckets}\n"


def _write_buckets(group: Group, text: str) -> None:
    """An ascending list: E2BIG for too many numbers, EINVAL when one does not increase."""
    buckets = [parse_u64(word) for word in text.replace(",", " ").split()]
    if len(buckets) > _MAX_BUCKETS:
        refuse(errno.E2BIG)
    if not buckets or any(a >= b for a, b in pairwise(buckets)):
        refuse(errno.EINVAL)
    group.lists[BUCKETS] = buckets


# --- per-memcg dirty limits (anck-seed) -----------------------------------------------------------------------------
#
# Known from a 2020 talk only; no public source tree has them (confidence "talk"). Our assumption: they behave as the
# vm.dirty_* sysctls (mm/page-writeback.c) per memcg, exist below the root only, are not inherited, and 0 in both
# halves of a pair, the default, means "inherit the global threshold".

DIRTY_BYTES, DIRTY_RATIO = "memory.dirty_bytes", "memory.dirty_ratio"
BACKGROUND_BYTES, BACKGROUND_RATIO = "memory.dirty_background_bytes", "memory.dirty_background_ratio"


def seed_files() -> list[CgroupFile]:
    """The four per-memcg dirty limits."""
    return [
        _dirty_file(DIRTY_BYTES, 2 * PAGE, U64_MAX, DIRTY_RATIO, always=False),
        _dirty_file(DIRTY_RATIO, 0, 100, DIRTY_BYTES, always=False),
        _dirty_file(BACKGROUND_BYTES, 1, U64_MAX, BACKGROUND_RATIO, always=True),
        _dirty_file(BACKGROUND_RATIO, 0, 100, BACKGROUND_BYTES, always=True),
    ]


def _dirty_file(name: str, low: int, high: int, other: str, always: bool) -> CgroupFile:
    """One half of a pair; a write zeroes the other half, always or only when it changes the number."""

    def write(group: Group, text: str) -> None:
        value = parse_sysctl(text, 1)[0]
        if value < 0 and high > INT_MAX:
            return  # proc_doulongvec_minmax skips a negative number and reports success
        if not low <= value <= high:
            refuse(errno.EINVAL)
        if always or value != group.numbers[name]:
            group.numbers[other] = 0
        group.numbers[name] = value

    return CgroupFile(name, _show(name), write, Where.CHILD)
