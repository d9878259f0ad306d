"""Sysctls below /proc/sys: types, ranges, and the pairs that zero each other (kernel/sysctl.c, mm/page-writeback.c).

Defaults are those of mainline unless the ANCK sources say otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cotune.sim.files import INT_MAX, INT_MIN, PAGE, S64_MAX, U64_MAX, HostFile, parse_sysctl, refuse
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Machine
from cotune.sim.release import since

ROOT = "/proc/sys/"


class Sysctl(NamedTuple):
    """One sysctl: dotted name without the group, default fields, range of each, mode.

    ``unsigned`` marks proc_doulongvec_minmax, which skips a negative number and reports success.
    """

    name: str
    default: tuple[int, ...]
    low: int = 0
    high: int = INT_MAX
    mode: int = 0o644
    unsigned: bool = False


def _s(name: str, default: int, low: int = 0, high: int = INT_MAX, mode: int = 0o644) -> Sysctl:
    return Sysctl(name, (default,), low, high, mode)


def _free(name: str, default: int) -> Sysctl:
    """proc_dointvec: any int."""
    return Sysctl(name, (default,), INT_MIN)


def _ulong(name: str, default: int, low: int = 0, high: int = U64_MAX) -> Sysctl:
    return Sysctl(name, (default,), low, high, unsigned=True)


DIRTY_BYTES, DIRTY_RATIO = "vm/dirty_bytes", "vm/dirty_ratio"
BACKGROUND_BYTES, BACKGROUND_RATIO = "vm/dirty_background_bytes", "vm/dirty_background_ratio"
#: name -> (the half it zeroes, whether every write does so or only one that changes the number)
_PAIRS = {
    DIRTY_BYTES: (DIRTY_RATIO, False),
    DIRTY_RATIO: (DIRTY_BYTES, False),
    BACKGROUND_BYTES: (BACKGROUND_RATIO, True),
    BACKGROUND_RATIO: (BACKGROUND_BYTES, True),
    # mm/util.c overcommit_ratio_handler, overcommit_kbytes_handler
    "vm/overcommit_ratio": ("vm/overcommit_kbytes", True),
    "vm/overcommit_kbytes": ("vm/overcommit_ratio", True),
}

_COMMON = (
    _ulong(DIRTY_BYTES, 0, 2 * PAGE),
    _s(DIRTY_RATIO, 20, 0, 100),
    _ulong(BACKGROUND_BYTES, 0, 1),
    _s(BACKGROUND_RATIO, 10, 0, 100),
    _s("vm/dirty_expire_centisecs", 3000),
    _free("vm/dirty_writeback_centisecs", 500),
    _s("vm/min_free_kbytes", 90112),
    _s("vm/watermark_boost_factor", 15000),
    _s("vm/overcommit_memory", 0, 0, 2),
    _free("vm/overcommit_ratio", 50),
    _ulong("vm/overcommit_kbytes", 0),
    _s("vm/panic_on_oom", 0, 0, 2),
    _free("vm/oom_kill_allocating_task", 0),
    _s("vm/vfs_cache_pressure", 100),
    _free("vm/zone_reclaim_mode", 0),
    _s("vm/max_map_count", 65530),
    _s("vm/nr_hugepages", 0),
    _s("vm/min_slab_ratio", 5, 0, 100),
    _s("vm/extfrag_threshold", 500, 0, 1000),
    _free("vm/stat_interval", 1),
    _s("vm/dirtytime_expire_seconds", 43200),
    _s("vm/numa_stat", 1, 0, 1),
    _free("vm/laptop_mode", 0),
    # init_user_reserve: 3 % of the free memory, at most 128 MiB.
    _ulong("vm/user_reserve_kbytes", 131072),
    _s("kernel/sched_autogroup_enabled", 0, 0, 1),
    _s("kernel/threads-max", 513548, 1),
    _s("kernel/pid_max", 32768, 301, 4194304),
    _free("kernel/panic", 0),
    _s("kernel/sched_rt_period_us", 1000000, 1),
    _s("kernel/sched_rt_runtime_us", 950000, -1),
    _s("kernel/sched_cfs_bandwidth_slice_us", 5000, 1),
    _s("kernel/sched_schedstats", 0, 0, 1),
    _free("kernel/perf_event_paranoid", 2),
    _ulong("fs/file-max", S64_MAX // 1024),
    _s("fs/nr_open", 1048576, 8),
    _s("fs/inotify/max_user_instances", 128),
    _s("fs/inotify/max_user_watches", 65536),
    _ulong("fs/aio-max-nr", 65536),
    _free("net/core/netdev_max_backlog", 1000),
    _s("net/core/rmem_max", 212992, 2304),
    _s("net/core/wmem_max", 212992, 4608),
    _free("net/ipv4/tcp_max_syn_backlog", 2048),
    _s("net/ipv4/tcp_fin_timeout", 60),
    _s("net/ipv4/tcp_tw_reuse", 2, 0, 2),
    _s("net/ipv4/tcp_syncookies", 1, 0, 2),
    _s("net/ipv4/tcp_slow_start_after_idle", 1),
    Sysctl("net/ipv4/ip_local_port_range", (32768, 60999), 1, 65535),
    Sysctl("net/ipv4/tcp_rmem", (4096, 131072, 6291456), 1),
    Sysctl("net/ipv4/tcp_wmem", (4096, 16384, 4194304), 1),
)  # fmt: skip
#: Sysctls and ranges that came with a release: the last row whose release is not later than the kernel's counts.
_BY_RELEASE: tuple[tuple[int, int, Sysctl], ...] = (
    (0, 0, _s("vm/swappiness", 60, 0, 100)),
    (5, 8, _s("vm/swappiness", 60, 0, 200)),
    (0, 0, _s("vm/watermark_scale_factor", 10, 1, 1000)),
    (5, 18, _s("vm/watermark_scale_factor", 10, 1, 3000)),
    (0, 0, _s("vm/drop_caches", 0, 1, 4)),
    (5, 10, _s("vm/drop_caches", 0, 1, 4, 0o200)),
    (0, 0, Sysctl("vm/lowmem_reserve_ratio", (256, 256, 32, 0), INT_MIN)),
    (5, 10, Sysctl("vm/lowmem_reserve_ratio", (256, 256, 32, 0, 0), INT_MIN)),
    (5, 9, _s("vm/compaction_proactiveness", 20, 0, 100)),
    (5, 9, _s("vm/page_lock_unfairness", 5)),
    (5, 14, _s("vm/percpu_pagelist_high_fraction", 0)),
    (0, 0, _s("kernel/numa_balancing", 1, 0, 1)),
    (5, 18, _s("kernel/numa_balancing", 0, 0, 3)),
    (0, 0, _s("net/core/somaxconn", 128, 0, 65535)),
    (5, 4, _s("net/core/somaxconn", 4096, 0, 65535)),
    (6, 0, _s("net/core/somaxconn", 4096)),
)
#: Scheduler tunables that 5.13 moved to debugfs.
_SCHEDULER = (
    _s("kernel/sched_min_granularity_ns", 10000000, 100000, 1000000000),
    _s("kernel/sched_latency_ns", 24000000, 100000, 1000000000),
    _s("kernel/sched_wakeup_granularity_ns", 15000000, 0, 1000000000),
    _free("kernel/sched_migration_cost_ns", 500000),
)
#: Removed in 6.6, with the old scheduler.
_BEFORE_EEVDF = (_free("kernel/sched_child_runs_first", 0),)
_ANCK = (
    # The default is not recorded in the sources read; 0 (no extra delay) is our assumption.
    _s("vm/memcg_high_extra_delay_ms", 0),
    _s("kernel/sched_group_identity_enabled", 0, 0, 1),
    _free("kernel/sched_bvt_place_epsilon", 1000000),
    _free("kernel/sched_expel_idle_balance_delay", -1),
    _free("kernel/sched_idle_saver_wmark", 0),
    # An unsigned long driven by the int handler: two numbers on 64 bit.
    Sysctl("kernel/sched_expel_update_interval", (10, 0), INT_MIN),
    _s("kernel/sched_cfs_bw_burst_enabled", 1, 0, 1),
    _s("kernel/sched_cfs_bw_burst_onset_percent", 0, 0, 100),
    _s("kernel/rich_container_enable", 0, 0, 1, 0o600),
    _s("kernel/rich_container_source", 0, 0, 1, 0o600),
    _s("kernel/rich_container_cpuinfo_source", 0, 0, 2, 0o600),
    _s("kernel/rich_container_cpuinfo_sharesbase", 1024, 2, INT_MAX, 0o600),
)
#: From 5.10 on. EINVAL outside 0…1 is unverified for sched_core.
_ANCK_510 = (
    _s("kernel/sched_core", 0, 0, 1),
    _s("fs/hardlink_cross_projid", 0, 0, 1, 0o600),
)
_TENCENTOS = (
    _s("vm/pagecache_limit_ratio", 0, 0, 100),
    _s("vm/pagecache_limit_reclaim_ratio", 0, 0, 100),
    _s("vm/pagecache_limit_async", 0),
    _free("vm/pagecache_limit_ignore_dirty", 1),
    _free("vm/pagecache_limit_ignore_slab", 1),
    _s("vm/pagecache_limit_global", 1, 0, 1),
    _s("vm/pagecache_limit_retry_times", 0, 0, 100),
    # Reported by operators of 5.4.241; the range is our assumption.
    _s("vm/wujing_enable", 0, 0, 1),
    _free("kernel/cpuset_cpuinfo_show_realinfo", 0),
    _free("kernel/watch_host_pid", 0),
    _s("kernel/isolate_max_map_count", 0, 0, 1),
    _s("kernel/rps_using_pvipi", 0, 0, 1),
)
#: Known from documents only; EINVAL outside the range is our assumption, and so are defaults.
_RUE = (
    _s("kernel/cpu_qos", 0, 0, 1),
    _s("net/core/net_qos", 0, 0, 1),
    _s("vm/memory_qos", 0, 0, 1),
    _s("vm/qos_prio_reclaim", 0, 0, 1),
    _s("vm/qos_highest_reclaim_prio", 7, 1, 7),
    _s("vm/qos_prio_reclaim_ratio", 20, 1, 20),
)
#: The scheduler for offline groups: TencentOS 4.14 README, as a range our assumption.
_BT = (
    _s("kernel/sched_bt_period_us", 1000000, 1),
    _s("kernel/sched_bt_runtime_us", -1, -1),
)
_OPENEULER = (
    _s("vm/memcg_qos_enable", 0, 0, 1),
    _s("vm/memcg_swap_qos_enable", 0, 0, 2),
    _s("kernel/sched_prio_load_balance_enabled", 0, 0, 1),
)
#: The smart grid of 4.19 and 5.10, and the soft quota of 6.6.
_OPENEULER_OLD = (_s("kernel/sched_util_low_pct", 85, 0, 100),)
_OPENEULER_66 = (_s("kernel/sched_soft_runtime_ratio", 0, 0, 100),)


def table(spec: HostSpec) -> tuple[Sysctl, ...]:
    """All numeric sysctls of a host."""
    found = {s.name: s for s in _COMMON}
    found.update({s.name: s for major, minor, s in _BY_RELEASE if since(spec, major, minor)})
    vendor: list[Sysctl] = [] if since(spec, 5, 13) else list(_SCHEDULER)
    vendor += () if since(spec, 6, 6) else _BEFORE_EEVDF
    if spec.anck:
        vendor += _anck(spec)
    openeuler = (*_OPENEULER, *(_OPENEULER_66 if since(spec, 6, 6) else _OPENEULER_OLD))
    for word, rows in (("tencentos", _TENCENTOS), ("rue", (*_RUE, *_BT)), ("bt", _BT), ("openeuler", openeuler)):
        vendor += rows if word in spec.features else ()
    return tuple((found | {s.name: s for s in vendor}).values())


def _anck(spec: HostSpec) -> list[Sysctl]:
    """ANCK keeps the range of the periodic flusher from 0; 4.19 takes a swappiness of -1."""
    rows = [*_ANCK, _s("vm/dirty_writeback_centisecs", 500)]
    if since(spec, 5, 10):
        return rows + list(_ANCK_510)
    return [*rows, _s("vm/swappiness", 60, -1, 200)]


def boot(machine: Machine) -> None:
    """Defaults."""
    machine.numbers.update({ROOT + s.name: list(s.default) for s in table(machine.spec)})


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """Every file below /proc/sys."""
    spec = machine.spec
    for sysctl in table(spec):
        path = ROOT + sysctl.name
        readable = bool(sysctl.mode & 0o444)
        yield path, HostFile(_reader(machine, path) if readable else None, _writer(machine, sysctl), sysctl.mode)
    boot_id = f"{machine.boot_id}\n"
    constants = {
        "kernel/osrelease": f"{spec.release}\n",
        "kernel/ostype": "Linux\n",
        "kernel/version": f"{spec.version}\n",
        "kernel/random/boot_id": boot_id,
        "fs/file-nr": "2048\t0\t9223372036854775\n",
    }
    for name, text in constants.items():
        yield ROOT + name, HostFile(lambda text=text: text, mode=0o444)  # type: ignore[misc]
    yield ROOT + "kernel/hostname", _text(machine, "kernel/hostname", spec.name, 64)
    yield ROOT + "kernel/core_pattern", _text(machine, "kernel/core_pattern", "core", 127)


def _reader(machine: Machine, path: str) -> Callable[[], str]:
    """Fields are separated by tabs."""
    return lambda: "\t".join(map(str, machine.numbers[path])) + "\n"


def _writer(machine: Machine, sysctl: Sysctl) -> Callable[[str], None]:
    path = ROOT + sysctl.name

    def write(text: str) -> None:
        values = parse_sysctl(text, len(sysctl.default))
        if sysctl.unsigned and values[0] < 0:
            return
        if not all(sysctl.low <= value <= sysctl.high for value in values):
            refuse(errno.EINVAL)
        if not _allowed(machine, sysctl.name, values):
            refuse(errno.EINVAL)
        old = machine.numbers[path]
        new = values + old[len(values) :]
        if sysctl.name in _PAIRS:
            other, always = _PAIRS[sysctl.name]
            if always or new != old:
                machine.numbers[ROOT + other] = [0]
        machine.numbers[path] = new

    return write


def _allowed(machine: Machine, name: str, values: list[int]) -> bool:
    """Checks that a plain range cannot express."""
    if name == "kernel/sched_rt_runtime_us":
        return values[0] <= machine.numbers[ROOT + "kernel/sched_rt_period_us"][0]
    if name == "vm/percpu_pagelist_high_fraction":
        return values[0] == 0 or values[0] >= 8
    if name == "vm/memcg_swap_qos_enable":  # openEuler: from one mode to another by way of 0
        return values[0] == 0 or machine.numbers[ROOT + name][0] in (0, values[0])
    if name == "net/ipv4/ip_local_port_range":
        return values == sorted(values)
    return True


def _text(machine: Machine, name: str, default: str, longest: int) -> HostFile:
    """proc_dostring: the first line, cut to what the kernel has room for."""
    path = ROOT + name

    def write(text: str) -> None:
        machine.texts[path] = text.split("\n")[0][:longest]

    return HostFile(lambda: f"{machine.texts.get(path, default)}\n", write)
