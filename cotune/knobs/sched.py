"""Scheduler switches and tuning of the whole host."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, Integer

_INT = 2**31 - 1
_ANCK = "kernel/sched/fair.c, kernel/sysctl.c (ANCK)"


def _feature(name: str, title: str, doc: str, source: str = "kernel/sched/features.h (ANCK 5.10)") -> Knob:
    key = f"host.sched.features.{name}"
    return Knob(key, "host", title, Boolean(), "sched.feature", name, doc, source, "source")


def _sysctl(name: str, title: str, kind: Integer | Boolean, doc: str, source: str = _ANCK, unit: str = "") -> Knob:
    return Knob(name, "sysctl", title, kind, "sysctl", name, doc, source, "source", unit)


KNOBS = (
    Knob(
        "host.sched.group_identity",
        "host",
        "Global switch of group identity",
        Boolean(),
        "sysctl",
        "kernel.sched_group_identity_enabled",
        "kernel.sched_group_identity_enabled. Set by itself when a group uses cpu.identity; builds that lack the "
        "sysctl have the feature always on.",
        "Alibaba Cloud help 338407; koordinator pull request 687",
        "docs",
    ),
    _feature("ID_IDLE_AVG", "Idle time counts for identity", "Takes low groups for idle when searching an idle CPU."),
    _feature("ID_RESCUE_EXPELLEE", "Rescue expelled tasks", "Moves low tasks that an expeller keeps from running."),
    _feature("ID_EXPELLEE_NEVER_HOT", "Expelled tasks are never cache hot", "Lets expelled tasks be moved at once."),
    _feature("ID_LAST_HIGHCLASS_STAY", "Last high task stays", "Keeps the last high task of a CPU from being moved."),
    _feature("ID_LOOSE_EXPEL", "Loose expelling", "Expels less eagerly, for throughput of the low groups."),
    _feature(
        "ID_ABSOLUTE_EXPEL",
        "Absolute expelling",
        "Never runs low groups beside an expeller. Newer builds only.",
        "koordinator tests; kernel/sched/features.h (ANCK 6.6)",
    ),
    _feature(
        "ID_EXPELLER_SHARE_CORE",
        "Expellers share a core",
        "Lets two expellers run on one core. Newer builds only.",
        "koordinator tests; kernel/sched/features.h (ANCK 6.6)",
    ),
    _feature(
        "SCHED_CORE_HT_AWARE_QUOTA",
        "Quota aware of hyper-threads",
        "Switch of cpu.ht_ratio.",
        "kernel/sched/core.c (ANCK 6.6)",
    ),
    _sysctl(
        "kernel.sched_core",
        "Core scheduling",
        Integer(0, 1),
        "Global switch of core scheduling on Anolis kernels. Excludes group identity: cotune refuses both at once.",
        "koordinator pull requests 687 and 1829",
    ),
    _sysctl(
        "kernel.sched_bvt_place_epsilon",
        "Placement advantage of identities",
        Integer(-_INT, _INT),
        "Distance in ns by which groups of different identity are placed apart; 1000000 is the default.",
        unit="ns",
    ),
    _sysctl(
        "kernel.sched_expel_idle_balance_delay",
        "Delay of idle balancing after expelling",
        Integer(-_INT, _INT),
        "Milliseconds; -1, the default, is off. Kernels with SMT only.",
        unit="ms",
    ),
    _sysctl(
        "kernel.sched_idle_saver_wmark",
        "Idle time kept for high groups",
        Integer(-_INT, _INT),
        "Average idle time in ns below which low groups leave idle CPUs alone; 0, the default, is off.",
        unit="ns",
    ),
    _sysctl(
        "kernel.sched_expel_update_interval",
        "Interval of expelling decisions",
        Integer(1, _INT),
        "Jiffies; 10 is the default. The kernel prints two numbers, of which the first counts.",
        unit="jiffies",
    ),
    _sysctl(
        "kernel.sched_cfs_bw_burst_enabled",
        "Global switch of bursts",
        Integer(0, 1),
        "At 0 no cpu.burst has an effect. Set by itself when a group uses cpu.burst.",
        "kernel/sysctl.c (ANCK)",
    ),
    _sysctl(
        "kernel.sched_cfs_bw_burst_onset_percent",
        "Burst a group starts with",
        Integer(0, 100),
        "Percentage of its burst that a group may use at once.",
        "kernel/sysctl.c (ANCK)",
        "%",
    ),
)
