"""Controllers ``cpu`` and ``cpuacct`` of cgroup v1.

Rules: kernel/sched/core.c (shares, bandwidth, idle), kernel/sched/rt.c (realtime budgets), kernel/sched/cpuacct.c. The
mainline ones were observed on 6.1 and 6.18, the ANCK ones are read from source. Times are microseconds unless a name
says otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from cotune.sim.files import (
    U64_MAX,
    CgroupFile,
    Controller,
    bool_file,
    parse_s64,
    parse_u64,
    refuse,
    report_file,
    reset_file,
)
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group
from cotune.sim.release import since

SHARES, QUOTA, PERIOD, BURST = "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us"
IDLE, RT_RUNTIME, RT_PERIOD = "cpu.idle", "cpu.rt_runtime_us", "cpu.rt_period_us"
UNLIMITED = -1
#: max_cfs_runtime: (1 << 44) - 1 µs, the largest bandwidth the fixed-point ratios can hold.
_MAX_RUNTIME = 2**44 - 1
_RATIO_SHIFT = 20
#: WEIGHT_IDLEPRIO, what cpu.shares reads while cpu.idle is 1.
_IDLE_SHARES = 3


def cpu(spec: HostSpec) -> Controller:
    """The cpu controller of a host. Bursts came with 5.14 and were taken over by openEuler, ``cpu.idle`` with 5.15."""
    files = [
        CgroupFile(SHARES, _show(SHARES), _write_shares),
        CgroupFile(QUOTA, _show(QUOTA), _write_quota),
        CgroupFile(PERIOD, _show(PERIOD), _write_period),
        report_file("cpu.stat", _stat(spec)),
    ]
    if spec.anck:
        files.append(CgroupFile(BURST, _show(BURST), _write_burst_anck))
    elif _has_burst(spec):
        files.append(CgroupFile(BURST, _show(BURST), write_burst))
    if since(spec, 5, 15):
        files.append(CgroupFile(IDLE, _show(IDLE), write_idle))
    if "rt-group" in spec.features:
        files.append(CgroupFile(RT_RUNTIME, _show(RT_RUNTIME), _write_rt_runtime))
        files.append(CgroupFile(RT_PERIOD, _show(RT_PERIOD), _write_rt_period))
    if since(spec, 6, 18):
        files.append(report_file("cpu.stat.local", "throttled_time 0\n"))

    def created(group: Group) -> None:
        group.numbers.update({SHARES: 1024, QUOTA: UNLIMITED, PERIOD: 100000, BURST: 0, IDLE: 0})
        runtime = 950000 if group.parent is None else 0
        group.numbers.update({RT_RUNTIME: runtime, RT_PERIOD: 1000000})

    return Controller("cpu", tuple(files), created)


def _has_burst(spec: HostSpec) -> bool:
    return since(spec, 5, 14) or "openeuler" in spec.features


def _stat(spec: HostSpec) -> str:
    """cpu.stat: times in nanoseconds. ANCK has its own burst, with its own keys."""
    bursts = "nr_bursts 0\nburst_time 0\n" if _has_burst(spec) else ""
    if spec.anck:
        bursts = "current_bw 0\nnr_burst 0\nburst_time 0\n"
    return f"nr_periods 0\nnr_throttled 0\nthrottled_time 0\n{bursts}"


def _show(name: str) -> Callable[[Group], str]:
    return lambda group: f"{group.numbers[name]}\n"


def _not_root(group: Group) -> None:
    if group.parent is None:
        refuse(errno.EINVAL)


# --- shares and idle ------------------------------------------------------------------------------------------------


def _write_shares(group: Group, text: str) -> None:
    """sched_group_set_shares: silently clamped to 2…262144; EINVAL at the root and while the group is idle."""
    shares = parse_u64(text)
    _not_root(group)
    if group.numbers.get(IDLE):
        refuse(errno.EINVAL)
    group.numbers[SHARES] = min(max(shares, 2), 262144)


def write_idle(group: Group, text: str) -> None:
    """sched_group_set_idle: entering makes shares read 3, leaving resets them to 1024, repeating changes nothing."""
    idle = parse_s64(text)
    _not_root(group)
    if idle not in (0, 1):
        refuse(errno.EINVAL)
    if idle != group.numbers[IDLE]:
        group.numbers[IDLE] = idle
        group.numbers[SHARES] = _IDLE_SHARES if idle else 1024


# --- bandwidth ------------------------------------------------------------------------------------------------------


def _write_quota(group: Group, text: str) -> None:
    quota = parse_s64(text)
    set_bandwidth(group, UNLIMITED if quota < 0 else quota, group.numbers[PERIOD])


def _write_period(group: Group, text: str) -> None:
    set_bandwidth(group, group.numbers[QUOTA], parse_u64(text))


def set_bandwidth(group: Group, quota: int, period: int) -> None:
    """tg_set_cfs_bandwidth: the bounds of quota and period, burst within quota (mainline), ratios in the tree.

    On cgroup v2 the ratios are not compared: the smallest on the way up counts.
    """
    _not_root(group)
    if not 1000 <= period <= 1000000:
        refuse(errno.EINVAL)
    if quota != UNLIMITED:
        if not 1000 <= quota <= _MAX_RUNTIME:
            refuse(errno.EINVAL)
        if not group.machine.spec.anck:
            _check_burst(quota, group.numbers[BURST])
    root = group.hierarchy.root
    if group.hierarchy.version == 1 and not _schedulable(root, None, group, _ratio(quota, period)):
        refuse(errno.EINVAL)
    group.numbers.update({QUOTA: quota, PERIOD: period})


def _check_burst(quota: int, burst: int) -> None:
    """Mainline: a burst is at most a finite quota, and both together stay below the bandwidth maximum."""
    if burst > quota or quota + burst > _MAX_RUNTIME:
        refuse(errno.EINVAL)


def _ratio(quota: int, period: int) -> int | None:
    """to_ratio: CPUs as a fixed-point number, None for unlimited."""
    return None if quota == UNLIMITED else (quota << _RATIO_SHIFT) // period


def _schedulable(group: Group, inherited: int | None, changed: Group, trial: int | None) -> bool:
    """tg_cfs_schedulable_down: no group may exceed its nearest limited ancestor; unlimited ones pass theirs on.

    ``trial`` is the ratio tried for the group ``changed``.
    """
    ratio = trial if group is changed else _ratio(group.numbers[QUOTA], group.numbers[PERIOD])
    if ratio is None:
        ratio = inherited
    elif inherited is not None and ratio > inherited:
        return False
    return all(_schedulable(child, ratio, changed, trial) for child in group.children.values())


def write_burst(group: Group, text: str) -> None:
    """tg_set_cfs_bandwidth: EINVAL past a finite quota."""
    burst = parse_u64(text)
    _not_root(group)
    if burst > U64_MAX // 1000:
        refuse(errno.EINVAL)
    if group.numbers[QUOTA] != UNLIMITED:
        _check_burst(group.numbers[QUOTA], burst)
    group.numbers[BURST] = burst


def _write_burst_anck(group: Group, text: str) -> None:
    group.numbers[BURST] = parse_burst_anck(group, text)


def parse_burst_anck(group: Group, text: str) -> int:
    """ANCK: signed, up to the bandwidth maximum, whatever the quota is."""
    burst = parse_s64(text)
    _not_root(group)
    if not 0 <= burst <= _MAX_RUNTIME:
        refuse(errno.EINVAL)
    return burst


# --- realtime budgets (CONFIG_RT_GROUP_SCHED) -----------------------------------------------------------------------


def _write_rt_runtime(group: Group, text: str) -> None:
    _set_rt(group, parse_s64(text), group.numbers[RT_PERIOD])


def _write_rt_period(group: Group, text: str) -> None:
    _set_rt(group, group.numbers[RT_RUNTIME], parse_u64(text))


def _set_rt(group: Group, runtime: int, period: int) -> None:
    """tg_set_rt_bandwidth: runtime within the period, the global budget, the parent's, and over the children's sum."""
    if not 0 < period <= U64_MAX // 1000 or (group.parent is None and runtime == 0):
        refuse(errno.EINVAL)
    sysctls = group.machine.numbers
    limit = _rt_ratio(
        sysctls["/proc/sys/kernel/sched_rt_runtime_us"][0], sysctls["/proc/sys/kernel/sched_rt_period_us"][0]
    )
    total = _rt_ratio(runtime, period)
    if runtime > period or total > limit:
        refuse(errno.EINVAL)
    if sum(_own_rt_ratio(c) for c in group.children.values()) > total:
        refuse(errno.EINVAL)
    parent = group.parent
    if parent is not None:
        siblings = sum(_own_rt_ratio(c) for c in parent.children.values() if c is not group)
        if siblings + total > _own_rt_ratio(parent):
            refuse(errno.EINVAL)
    group.numbers.update({RT_RUNTIME: runtime, RT_PERIOD: period})


def _rt_ratio(runtime: int, period: int) -> int:
    """A negative runtime is unlimited and counts as one whole CPU."""
    return 1 << _RATIO_SHIFT if runtime < 0 else (runtime << _RATIO_SHIFT) // period


def _own_rt_ratio(group: Group) -> int:
    return _rt_ratio(group.numbers[RT_RUNTIME], group.numbers[RT_PERIOD])


# --- cpuacct --------------------------------------------------------------------------------------------------------

#: The buckets of the ANCK latency histograms are our reading of the documented examples; the report is never parsed.
LATENCY = "".join(f"{bucket}: \t0\n" for bucket in ("0-1ms", "1-4ms", "4-7ms", "7-10ms", "10-100ms", ">=100ms"))
_PROC_STAT = (
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice", "nr_running",
    "nr_uninterruptible", "nr_migrations",
)  # fmt: skip


def cpuacct(spec: HostSpec) -> Controller:
    """The cpuacct controller: usage in nanoseconds (only 0 may be written), and the ANCK service level indicators."""
    per_cpu = "0 " * spec.cpus + "\n"
    files = [
        CgroupFile("cpuacct.usage", lambda _group: "0\n", _reset_usage),
        report_file("cpuacct.usage_percpu", per_cpu),
        report_file("cpuacct.usage_percpu_user", per_cpu),
        report_file("cpuacct.usage_percpu_sys", per_cpu),
        report_file("cpuacct.usage_user", "0\n"),
        report_file("cpuacct.usage_sys", "0\n"),
        report_file("cpuacct.stat", "user 0\nsystem 0\n"),
    ]
    if spec.anck:
        files += [
            bool_file("cpuacct.enable_sli"),
            report_file("cpuacct.proc_stat", "".join(f"{key} 0\n" for key in _PROC_STAT)),
            report_file("cpuacct.sched_cfs_statistics", "0 0 0 0 0\n"),
            *(
                reset_file(f"cpuacct.{name}", LATENCY)
                for name in ("wait_latency", "cgroup_wait_latency", "block_latency", "ioblock_latency")
            ),
        ]
    return Controller("cpuacct", tuple(files), lambda group: group.numbers.update({"cpuacct.enable_sli": 0}))


def _reset_usage(_group: Group, text: str) -> None:
    if parse_u64(text) != 0:
        refuse(errno.EINVAL)
