"""CPU knobs of a group."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, Burst, CpuList, CpuTime, Duration, Integer, NodeList, Percent, Words

KNOBS = (
    Knob(
        "cpu.shares",
        "group",
        "CPU shares",
        Integer(2, 262144),
        "cpu.weight",
        "shares",
        "Relative CPU time against sibling groups when CPUs are busy. 1024 is the default; 2 is the least. "
        "While cpu.idle is true the kernel ignores and hides the shares. cgroup v1; the form of v2 is cpu.weight.",
        "kernel/sched/fair.c sched_group_set_shares",
    ),
    Knob(
        "cpu.weight",
        "group",
        "CPU weight",
        Integer(1, 10000),
        "cpu.weight",
        "weight",
        "Relative CPU time against sibling groups when CPUs are busy. 100 is the default. While cpu.idle is true the "
        "kernel ignores and hides the weight. cgroup v2; the form of v1 is cpu.shares.",
        "kernel/sched/core.c cpu_weight_write_u64",
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
        "cpu.partition",
        "group",
        "CPU partition",
        Words({"member": "member", "root": "root", "isolated": "isolated"}),
        "cpuset",
        "partition",
        "root makes the group's CPUs a scheduling domain of its own, isolated one without load balancing. cgroup v2 "
        "only; needs cpu.cpus that no sibling has. cotune reports a partition the kernel calls invalid as a failure.",
        "kernel/cgroup/cpuset.c update_prstate; isolated since Linux 6.1",
    ),
    Knob(
        "cpu.uclamp.min",
        "group",
        "Least utilisation assumed",
        Percent(),
        "cpu.uclamp",
        "min",
        "Frequency and placement are chosen as if the group's tasks used at least this share of a CPU. Needs a kernel "
        "with CONFIG_UCLAMP_TASK_GROUP.",
        "kernel/sched/core.c cpu_uclamp_min_write; Documentation/admin-guide/cgroup-v2.rst",
        "docs",
    ),
    Knob(
        "cpu.uclamp.max",
        "group",
        "Most utilisation assumed",
        Percent(),
        "cpu.uclamp",
        "max",
        "Frequency and placement are chosen as if the group's tasks used at most this share of a CPU: keeps batch "
        "work from raising the frequency. Needs a kernel with CONFIG_UCLAMP_TASK_GROUP.",
        "kernel/sched/core.c cpu_uclamp_max_write; Documentation/admin-guide/cgroup-v2.rst",
        "docs",
    ),
    Knob(
        "cpu.init_buffer",
        "group",
        "Burst to start with",
        Duration(0, 2**44 - 1),
        "cpu.init_buffer",
        "init_buffer",
        "CPU time a group may spend above its quota before it has saved any.",
        "kernel/sched/core.c (ANCK 5.10)",
        "source",
    ),
    Knob(
        "cpu.ht_ratio",
        "group",
        "Quota charged beside a busy sibling thread",
        Integer(100, 200),
        "cpu.ht_ratio",
        "ht_ratio",
        "Percentage of its run time a group is charged while the SMT sibling is forced idle by core scheduling. Needs "
        "the scheduler feature SCHED_CORE_HT_AWARE_QUOTA.",
        "kernel/sched/core.c (ANCK 6.6)",
        "source",
        "%",
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
)
