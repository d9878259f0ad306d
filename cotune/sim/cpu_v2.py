"""Controller ``cpu`` of cgroup v2 (kernel/sched/core.c), observed on 6.1. Utilisation clamps are from documentation.

Weights are kept as shares, as the kernel does: 100 is 1024. Times are microseconds.
"""

from __future__ import annotations

import errno
import re

from cotune.sim.cpu import BURST, IDLE, PERIOD, QUOTA, SHARES, UNLIMITED, set_bandwidth, write_burst, write_idle
from cotune.sim.files import U64_MAX, CgroupFile, Controller, Where, parse_s64, parse_u64, refuse
from cotune.sim.hosts import HostSpec
from cotune.sim.machine import Group

#: sched_prio_to_weight (kernel/sched/core.c), nice -20…19.
_NICE_WEIGHTS = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501,
    1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
)  # fmt: skip
_LOWEST_NICE = -20
UCLAMP_MIN, UCLAMP_MAX = "cpu.uclamp.min", "cpu.uclamp.max"
#: Hundredths of a percent.
_FULL = 10000


def cpu_v2(spec: HostSpec) -> Controller:
    """The cpu controller of a host; ``cpu.stat`` belongs to the cgroup core."""
    files = [
        CgroupFile("cpu.weight", lambda group: f"{_weight(group)}\n", _write_weight, Where.CHILD),
        CgroupFile("cpu.weight.nice", lambda group: f"{_nice(group)}\n", _write_nice, Where.CHILD),
        CgroupFile("cpu.idle", lambda group: f"{group.numbers[IDLE]}\n", write_idle, Where.CHILD),
        CgroupFile("cpu.max", _show_max, _write_max, Where.CHILD),
        CgroupFile("cpu.max.burst", lambda group: f"{group.numbers[BURST]}\n", write_burst, Where.CHILD),
    ]
    if "uclamp" in spec.features:
        files += clamp_files()

    def created(group: Group) -> None:
        group.numbers.update({SHARES: 1024, QUOTA: UNLIMITED, PERIOD: 100000, BURST: 0, IDLE: 0})
        group.numbers.update(clamp_defaults())

    return Controller("cpu", tuple(files), created)


# --- weight ---------------------------------------------------------------------------------------------------------


def _weight(group: Group) -> int:
    """DIV_ROUND_CLOSEST: an idle group has 3 shares, which read 0."""
    return (group.numbers[SHARES] * 100 + 512) // 1024


def _set_shares(group: Group, shares: int) -> None:
    """sched_group_set_shares: EINVAL while the group is idle."""
    if group.numbers[IDLE]:
        refuse(errno.EINVAL)
    group.numbers[SHARES] = shares


def _write_weight(group: Group, text: str) -> None:
    weight = parse_u64(text)
    if not 1 <= weight <= 10000:
        refuse(errno.ERANGE)
    _set_shares(group, (weight * 1024 + 50) // 100)


def _nice(group: Group) -> int:
    """cpu_weight_nice_read_s64: the nearest; of two as near, the lower nice value."""
    shares = group.numbers[SHARES]
    return min(range(len(_NICE_WEIGHTS)), key=lambda i: (abs(_NICE_WEIGHTS[i] - shares), i)) + _LOWEST_NICE


def _write_nice(group: Group, text: str) -> None:
    nice = parse_s64(text)
    if not 0 <= nice - _LOWEST_NICE < len(_NICE_WEIGHTS):
        refuse(errno.ERANGE)
    _set_shares(group, _NICE_WEIGHTS[nice - _LOWEST_NICE])


# --- bandwidth ------------------------------------------------------------------------------------------------------


def _show_max(group: Group) -> str:
    quota = group.numbers[QUOTA]
    return f"{'max' if quota == UNLIMITED else quota} {group.numbers[PERIOD]}\n"


def _write_max(group: Group, text: str) -> None:
    """cpu_period_quota_parse: sscanf("%20s %llu"), so junk after the digits is ignored; one word keeps the period."""
    match = re.match(r"\s*(\S{1,20})(?:\s*(\d+))?", text)
    if match is None:
        refuse(errno.EINVAL)
    word, period = match.groups()
    digits = re.match(r"\d+", word)
    if digits is None and word != "max":
        refuse(errno.EINVAL)
    quota = UNLIMITED if digits is None else int(digits[0])
    set_bandwidth(group, quota, group.numbers[PERIOD] if period is None else int(period))


# --- utilisation clamps ---------------------------------------------------------------------------------------------


def clamp_files() -> tuple[CgroupFile, CgroupFile]:
    """The lower and the upper clamp, on either cgroup version."""
    return _clamp_file(UCLAMP_MIN), _clamp_file(UCLAMP_MAX)


def clamp_defaults() -> dict[str, int]:
    """No clamps."""
    return {UCLAMP_MIN: 0, UCLAMP_MAX: _FULL}


def _clamp_file(name: str) -> CgroupFile:
    """capacity_from_percent: a percentage with at most two decimals, or ``max``; past 100 is ERANGE."""

    def show(group: Group) -> str:
        value = group.numbers[name]
        return "max\n" if value == _FULL else f"{value // 100}.{value % 100:02}\n"

    def write(group: Group, text: str) -> None:
        word = text.strip()
        match = re.fullmatch(r"(\d+)(?:\.(\d{1,2}))?", word)
        if match is None and word != "max":
            refuse(errno.EINVAL)
        value = _FULL if match is None else min(int(match[1]), U64_MAX) * 100 + int((match[2] or "").ljust(2, "0"))
        if value > _FULL:
            refuse(errno.ERANGE)
        group.numbers[name] = value

    return CgroupFile(name, show, write, Where.CHILD)
