"""openEuler and HCE: qos levels and what rubik sets."""

from __future__ import annotations

from cotune.knobs.base import Knob
from cotune.knobs.types import Boolean, CpuList, Integer

_CORE = "kernel/sched/core.c (openEuler 4.19 and 5.10)"

KNOBS = (
    Knob(
        "cpu.qos_level",
        "group",
        "CPU quality of service",
        Integer(-2, 2),
        "cpu.qos_level",
        "qos_level",
        "-1 makes the group and everything below it offline (SCHED_IDLE); 0 is online. 4.19 and 5.10 have no way back "
        "from -1, so apply wants --allow-irreversible. 6.x knows -2 to 2. The kernel writes every descendant itself.",
        _CORE,
        "source",
    ),
    Knob(
        "memory.qos_level",
        "group",
        "Memory quality of service",
        Integer(-1024, 1023),
        "memory.qos_level",
        "qos_level",
        "The lower, the earlier the group is killed when memory runs out; -1 is offline. Needs vm.memcg_qos_enable, "
        "which cotune sets, and vm.panic_on_oom 0.",
        "openEuler rubik documentation; HCE hce_02_0071",
        "docs",
    ),
    Knob(
        "memory.high_async_ratio",
        "group",
        "Start of background reclaim",
        Integer(0, 100),
        "memory.high_async_ratio",
        "high_async_ratio",
        "Percentage of memory.high above which the group is reclaimed in the background, down to ten percent less; 100 "
        "is off.",
        "HCE hce_02_0073; rubik",
        "docs",
        "%",
    ),
    Knob(
        "cpu.soft_quota",
        "group",
        "Soft quota",
        Boolean(),
        "cpu.soft_quota",
        "soft_quota",
        "Lets the group exceed its quota while the machine is idle; set kernel.sched_soft_runtime_ratio first.",
        "openEuler tuning guide",
        "docs",
    ),
    Knob(
        "cpu.dynamic_affinity_mode",
        "group",
        "Smart grid",
        Boolean(),
        "cpu.dynamic_affinity_mode",
        "dynamic_affinity_mode",
        "Widens the CPUs of the group as its load grows.",
        _CORE,
        "source",
    ),
    Knob(
        "cpu.preferred_cpus",
        "group",
        "CPUs to prefer",
        CpuList(),
        "cpuset.preferred",
        "preferred_cpus",
        "CPUs inside cpu.cpus that are used first. Needs the boot words dynamic_affinity=enable.",
        "HCE hce_02_0090; kernel/sched/core.c set_prefer_cpus (openEuler 4.19)",
        "source",
    ),
    Knob(
        "vm.memcg_qos_enable",
        "sysctl",
        "Global switch of memory.qos_level",
        Integer(0, 2),
        "sysctl",
        "vm.memcg_qos_enable",
        "Set by itself when a group uses memory.qos_level. 2 (by process) is known to HCE only.",
        "openEuler rubik documentation; HCE hce_02_0071",
        "docs",
    ),
    Knob(
        "kernel.sched_prio_load_balance_enabled",
        "sysctl",
        "Load balancing by quality of service",
        Integer(0, 1),
        "sysctl",
        "kernel.sched_prio_load_balance_enabled",
        "Moves offline tasks first when CPUs are balanced.",
        "volcano agent",
        "docs",
    ),
    Knob(
        "kernel.sched_soft_runtime_ratio",
        "sysctl",
        "Idle share that soft quotas may use",
        Integer(0, 100),
        "sysctl",
        "kernel.sched_soft_runtime_ratio",
        "Percentage of idle CPU time.",
        "openEuler tuning guide",
        "docs",
        "%",
    ),
)
