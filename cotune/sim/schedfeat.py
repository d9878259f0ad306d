"""Scheduler features in debugfs (kernel/sched/features.h, kernel/sched/debug.c): one file, one word per write."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cotune.sim.files import HostFile, refuse
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Machine
from cotune.sim.release import since

_DEBUG = "/sys/kernel/debug"
_KEY = "sched_features"
_CLASSIC = (
    "GENTLE_FAIR_SLEEPERS START_DEBIT NO_NEXT_BUDDY LAST_BUDDY CACHE_HOT_BUDDY WAKEUP_PREEMPTION NO_HRTICK "
    "NO_DOUBLE_TICK NONTASK_CAPACITY TTWU_QUEUE NO_SIS_AVG_CPU SIS_PROP NO_WARN_DOUBLE_CLOCK RT_PUSH_IPI "
    "RT_RUNTIME_SHARE NO_LB_MIN ATTACH_AGE_LOAD WA_IDLE WA_WEIGHT WA_BIAS UTIL_EST"
)
#: As observed on 6.1.
_LAST_CLASSIC = (
    "GENTLE_FAIR_SLEEPERS START_DEBIT NO_NEXT_BUDDY LAST_BUDDY CACHE_HOT_BUDDY WAKEUP_PREEMPTION NO_HRTICK "
    "NO_HRTICK_DL NO_DOUBLE_TICK NONTASK_CAPACITY TTWU_QUEUE NO_SIS_PROP SIS_UTIL NO_WARN_DOUBLE_CLOCK "
    "NO_RT_PUSH_IPI NO_RT_RUNTIME_SHARE NO_LB_MIN ATTACH_AGE_LOAD WA_IDLE WA_WEIGHT WA_BIAS UTIL_EST "
    "UTIL_EST_FASTUP NO_LATENCY_WARN NI_RANDOM ALT_PERIOD BASE_SLICE"
)
_EEVDF = (
    "PLACE_LAG PLACE_DEADLINE_INITIAL RUN_TO_PARITY NO_NEXT_BUDDY CACHE_HOT_BUDDY WAKEUP_PREEMPTION NO_HRTICK "
    "NO_HRTICK_DL NO_DOUBLE_TICK NONTASK_CAPACITY TTWU_QUEUE SIS_UTIL NO_WARN_DOUBLE_CLOCK RT_PUSH_IPI "
    "NO_RT_RUNTIME_SHARE NO_LB_MIN ATTACH_AGE_LOAD WA_IDLE WA_WEIGHT WA_BIAS UTIL_EST NO_LATENCY_WARN"
)
#: Group identity, with the defaults of 5.10; then what newer builds add, whose defaults are our assumption.
_IDENTITY = "ID_IDLE_AVG ID_RESCUE_EXPELLEE NO_ID_EXPELLEE_NEVER_HOT NO_ID_LAST_HIGHCLASS_STAY NO_ID_LOOSE_EXPEL"
_IDENTITY_66 = "NO_ID_ABSOLUTE_EXPEL NO_ID_EXPELLER_SHARE_CORE NO_SCHED_CORE_HT_AWARE_QUOTA"


def _defaults(spec: HostSpec) -> str:
    words = [_EEVDF if since(spec, 6, 6) else _LAST_CLASSIC if since(spec, 6, 0) else _CLASSIC]
    if spec.anck:
        words.append(_IDENTITY)
        if since(spec, 6, 6):
            words.append(_IDENTITY_66)
    return " ".join(words)


def _path(spec: HostSpec) -> str:
    """Moved into a directory of its own by 5.13."""
    return f"{_DEBUG}/sched/features" if since(spec, 5, 13) else f"{_DEBUG}/sched_features"


def boot(machine: Machine) -> None:
    """Defaults."""
    machine.texts[_KEY] = _defaults(machine.spec)


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The file, where debugfs is mounted."""
    if any(mount.spec.point == _DEBUG for mount in machine.mount_points):
        show = HostFile(lambda: f"{machine.texts[_KEY]} \n", lambda text: _set(machine, text))
        yield _path(machine.spec), show


def _set(machine: Machine, text: str) -> None:
    """sched_feat_set: NAME or NO_NAME of a feature the kernel has, else EINVAL."""
    word = text.strip()
    words = machine.texts[_KEY].split()
    names = [w.removeprefix("NO_") for w in words]
    if word.removeprefix("NO_") not in names:
        refuse(errno.EINVAL)
    words[names.index(word.removeprefix("NO_"))] = word
    machine.texts[_KEY] = " ".join(words)
