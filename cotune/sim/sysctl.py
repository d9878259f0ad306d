"""Sysctls below /proc/sys: types, ranges, and the pairs that zero each other (kernel/sysctl.c, mm/page-writeback.c).

Defaults are those of mainline unless the ANCK sources say otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cotune.sim.files import INT_MAX, INT_MIN, PAGE, S64_MAX, U64_MAX, HostFile, parse_sysctl, refuse
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Machine

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
    _s("kernel/threads-max", 513548, 1),
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
_MAINLINE = (
    _s("vm/swappiness", 60, 0, 200),
    _s("vm/watermark_scale_factor", 10, 1, 3000),
    _free("vm/dirty_writeback_centisecs", 500),
    _s("vm/drop_caches", 0, 1, 4, 0o200),
    _s("vm/compaction_proactiveness", 20, 0, 100),
    _s("vm/percpu_pagelist_high_fraction", 0),
    Sysctl("vm/lowmem_reserve_ratio", (256, 256, 32, 0, 0), INT_MIN),
    _s("kernel/pid_max", 32768, 301, 4194304),
    _s("kernel/numa_balancing", 0, 0, 3),
    _s("net/core/somaxconn", 4096),
)  # fmt: skip
#: 4.19: drop_caches is still readable, min_granularity and its relatives are still sysctls.
_ANCK = (
    _s("vm/swappiness", 60, -1, 200),
    _s("vm/watermark_scale_factor", 10, 1, 1000),
    _s("vm/dirty_writeback_centisecs", 500),
    _s("vm/drop_caches", 0, 1, 4),
    Sysctl("vm/lowmem_reserve_ratio", (256, 256, 32, 0), INT_MIN),
    # The default is not recorded in the sources read; 0 (no extra delay) is our assumption.
    _s("vm/memcg_high_extra_delay_ms", 0),
    _s("kernel/pid_max", 32768, 301, 4194304),
    _s("kernel/numa_balancing", 1, 0, 1),
    _s("kernel/sched_group_identity_enabled", 0, 0, 1),
    _free("kernel/sched_bvt_place_epsilon", 1000000),
    _free("kernel/sched_expel_idle_balance_delay", -1),
    _free("kernel/sched_idle_saver_wmark", 0),
    # An unsigned long driven by the int handler: two numbers on 64 bit.
    Sysctl("kernel/sched_expel_update_interval", (10, 0), INT_MIN),
    _s("kernel/sched_cfs_bw_burst_enabled", 1, 0, 1),
    _s("kernel/sched_cfs_bw_burst_onset_percent", 0, 0, 100),
    _s("kernel/sched_min_granularity_ns", 10000000, 100000, 1000000000),
    _s("kernel/sched_latency_ns", 24000000, 100000, 1000000000),
    _s("kernel/sched_wakeup_granularity_ns", 15000000, 0, 1000000000),
    _free("kernel/sched_migration_cost_ns", 500000),
    _free("kernel/sched_child_runs_first", 0),
    _s("kernel/rich_container_enable", 0, 0, 1, 0o600),
    _s("kernel/rich_container_source", 0, 0, 1, 0o600),
    _s("kernel/rich_container_cpuinfo_source", 0, 0, 2, 0o600),
    _s("kernel/rich_container_cpuinfo_sharesbase", 1024, 2, INT_MAX, 0o600),
    _s("net/core/somaxconn", 128, 0, 65535),
)  # fmt: skip


def table(spec: HostSpec) -> tuple[Sysctl, ...]:
    """All numeric sysctls of a host."""
    return _COMMON + (_ANCK if spec.anck else _MAINLINE)


def defaults(spec: HostSpec) -> dict[str, list[int]]:
    """Numbers at boot by absolute path."""
    return {ROOT + s.name: list(s.default) for s in table(spec)}


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
    yield ROOT + "kernel/hostname", _hostname(machine)


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
    if name == "net/ipv4/ip_local_port_range":
        return values == sorted(values)
    return True


def _hostname(machine: Machine) -> HostFile:
    path = ROOT + "kernel/hostname"

    def write(text: str) -> None:
        machine.texts[path] = text.split("\n")[0][:64]

    return HostFile(lambda: f"{machine.texts.get(path, machine.spec.name)}\n", write)
