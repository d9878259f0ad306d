"""ANCK files outside the cgroup trees and /proc/sys: memcg reaper, kidled, cpusli, sched_features.

Read from source (mm/memcg_zombie_reaper.c, mm/kidled.c, kernel/sched/cpuacct.c, kernel/sched/features.h), not run.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cotune.sim.files import U32_MAX, HostFile, Refusal, parse_u64, refuse
from cotune.sim.machine import Machine

_REAPER, _KIDLED = "/sys/kernel/mm/memcg_reaper/", "/sys/kernel/mm/kidled/"
#: path -> default, lowest, highest
_NUMBERS = {
    f"{_REAPER}scan_interval": (5, 1, U32_MAX),
    f"{_REAPER}pages_scan": (1310720, 0, U32_MAX),
    f"{_REAPER}verbose": (0, 0, 1),
    f"{_REAPER}reap_background": (0, 0, 1),
    f"{_KIDLED}scan_period_in_seconds": (0, 0, 65535),
    f"{_KIDLED}use_hierarchy": (0, 0, 1),
}
_FEATURES = "/sys/kernel/debug/sched_features"
_DEFAULT_FEATURES = (
    "GENTLE_FAIR_SLEEPERS START_DEBIT NO_NEXT_BUDDY LAST_BUDDY CACHE_HOT_BUDDY WAKEUP_PREEMPTION NO_HRTICK "
    "NO_DOUBLE_TICK NONTASK_CAPACITY TTWU_QUEUE NO_SIS_AVG_CPU SIS_PROP NO_WARN_DOUBLE_CLOCK RT_PUSH_IPI "
    "RT_RUNTIME_SHARE NO_LB_MIN ATTACH_AGE_LOAD WA_IDLE WA_WEIGHT WA_BIAS UTIL_EST ID_IDLE_AVG ID_RESCUE_EXPELLEE "
    "NO_ID_EXPELLEE_NEVER_HOT NO_ID_LAST_HIGHCLASS_STAY NO_ID_LOOSE_EXPEL"
)
_CPUSLI = ("/proc/cpusli/sched_lat_enabled", "/proc/cpusli/async_load_calc")


def boot(machine: Machine) -> None:
    """Defaults."""
    if machine.spec.anck:
        machine.numbers.update({path: [default] for path, (default, _, _) in _NUMBERS.items()})
        machine.numbers.update({path: [0] for path in _CPUSLI})
        machine.texts[_FEATURES] = _DEFAULT_FEATURES


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The files; none on other kernels."""
    if not machine.spec.anck:
        return
    for path, (_, low, high) in _NUMBERS.items():
        yield path, _number(machine, path, low, high)
    yield f"{_REAPER}reap", HostFile(lambda: "0\n", _reap)
    for path in _CPUSLI:
        yield path, _switch(machine, path)
    yield _FEATURES, HostFile(lambda: f"{machine.texts[_FEATURES]} \n", lambda text: _set_feature(machine, text))


def _number(machine: Machine, path: str, low: int, high: int) -> HostFile:
    def write(text: str) -> None:
        try:
            value = parse_u64(text, 10)
        except Refusal:
            refuse(errno.EINVAL)
        if not low <= value <= high:
            refuse(errno.EINVAL)
        machine.numbers[path] = [value]

    return HostFile(lambda: f"{machine.numbers[path][0]}\n", write)


def _reap(text: str) -> None:
    """Only 1, which reaps at once; the file always reads 0."""
    if parse_u64(text, 10) != 1:
        refuse(errno.EINVAL)


def _switch(machine: Machine, path: str) -> HostFile:
    """Only the first character counts, and it must be 0 or 1."""

    def write(text: str) -> None:
        if text[0] not in "01":
            refuse(errno.EINVAL)
        machine.numbers[path] = [int(text[0])]

    return HostFile(lambda: f"{machine.numbers[path][0]}\n", write, 0o600)


def _set_feature(machine: Machine, text: str) -> None:
    """sched_feat_set: NAME or NO_NAME of a feature the kernel has."""
    word = text.strip()
    words = machine.texts[_FEATURES].split()
    names = [w.removeprefix("NO_") for w in words]
    if word.removeprefix("NO_") not in names:
        refuse(errno.EINVAL)
    words[names.index(word.removeprefix("NO_"))] = word
    machine.texts[_FEATURES] = " ".join(words)
