"""CPU knobs of a group."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, Burst, CpuList, CpuTime, Duration, Integer, NodeList, Words

KNOBS = (
    Knob(
        "cpu.shares",
        "group",
        "CPU shares",
        Integer(2, 262144),
        "cpu.weight",
        "shares",
        "Relative CPU time against sibling groups when CPUs are busy. 1024 is the default; 2 is the least. "
        "While cpu.idle is true the kernel ignores and hides the shares.",
        "kernel/sched/fair.c sched_group_set_shares",
    ),
    Knob(
        "cpu.idle",
        "group",
        "Idle scheduling class for the group",
        Boolean(),
        "cpu.weight",
        "idle",
        "Gives the whole group the least weight and lets any normal task preempt it (cgroup form of SCHED_IDLE). "
        "Leaving it resets cpu.shares to 1024, so cotune restores the shares as well.",
        "kernel/sched/fair.c sched_group_set_idle, Linux 5.15",
    ),
    Knob(
        "cpu.quota",
        "group",
        "CPU time per period",
        CpuTime(),
        "cpu.bandwidth",
        "quota",
        "Upper bound on CPU time: a number of CPUs (2.5), a duration per period (50ms) or max. A child may not have "
        "a larger share of its period than its nearest limited ancestor.",
        "kernel/sched/core.c tg_set_cfs_bandwidth",
    ),
    Knob(
        "cpu.period",
        "group",
        "Period of the quota",
        Duration(1000, 1000000),
        "cpu.bandwidth",
        "period",
        "Length of the period the quota is counted over, 1ms to 1s; the kernel's default is 100ms.",
        "kernel/sched/core.c tg_set_cfs_bandwidth",
    ),
    Knob(
        "cpu.burst",
        "group",
        "CPU time that may be saved up",
        Burst(),
        "cpu.bandwidth",
        "burst",
        "Unused quota a group may carry over and spend above its quota: a percentage of the quota or a duration. "
        "Mainline refuses more than the quota; ANCK does not.",
        "kernel/sched/core.c tg_set_cfs_bandwidth, Linux 5.14",
    ),
    Knob(
        "cpu.cpus",
        "group",
        "CPUs the group may run on",
        CpuList(),
        "cpuset",
        "cpus",
        "A CPU list, a percentage of the online CPUs, node:N or all. Must lie inside the parent's CPUs on cgroup v1.",
        "kernel/cgroup/cpuset.c",
    ),
    Knob(
        "cpu.mems",
        "group",
        "NUMA nodes the group may allocate from",
        NodeList(),
        "cpuset",
        "mems",
        "A list of NUMA nodes or all. A v1 cpuset takes no task before both its CPUs and its nodes are set.",
        "kernel/cgroup/cpuset.c",
    ),
    Knob(
        "cpu.identity",
        "group",
        "Group identity",
        Words({"high": 1, "normal": 0, "low": -1}),
        "cpu.identity",
        "bvt",
        "ANCK group identity: high wakes ahead of everything else, low yields to it. Copied to children only when "
        "they are created, so cotune writes every descendant that no more specific group matches.",
        "kernel/sched/core.c (ANCK), Alibaba Cloud help 338407",
        "source",
    ),
    Knob(
        "cpu.smt_expeller",
        "group",
        "Keep low groups off the SMT sibling",
        Boolean(),
        "cpu.identity",
        "expeller",
        "With identity high: while the group runs on a hardware thread, low groups are expelled from its sibling "
        "(bvt value 2).",
        "kernel/sched/fair.c (ANCK)",
        "source",
    ),
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
)
