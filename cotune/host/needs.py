"""What a kernel or machine has to have before a knob is there: one record per knob, or per family of knobs.

Sources: the knobs' own (``Knob.source``), init/Kconfig, mm/Kconfig and block/Kconfig of Linux 6.12, and
Documentation/admin-guide/kernel-parameters.txt for the boot words.
"""

from __future__ import annotations

from typing import NamedTuple

from cotune.knobs import BY_KEY


class Need(NamedTuple):
    """``kernel`` is the kernel (family, version, build option) or device that has the knob, as the end of "needs …".

    ``instead`` is the knob that comes nearest where this one is missing, and ``remark`` says how near.
    ``appears_with`` is a word of the kernel command line without which the file is missing, ``works_with`` one
    without which it has no effect.
    """

    kernel: str
    instead: str = ""
    remark: str = ""
    appears_with: str = ""
    works_with: str = ""


_ANCK = "an ANCK kernel (Alibaba Cloud Linux or Anolis: 4.19, 5.10 or 6.6)"
_ANCK_510 = "an ANCK kernel, 5.10 or 6.6"
_IDENTITY = "an ANCK kernel with group identity (4.19.91-24 or 5.10.46-7 and later)"
_ANCK_66 = "an ANCK 6.6 kernel (CONFIG_GROUP_IDENTITY)"
_ANCK_66_ONLY = "an ANCK 6.6 kernel"
_HT_AWARE = "an ANCK 6.6 kernel (CONFIG_SCHED_CORE, CONFIG_CFS_BANDWIDTH)"
_PAGECACHE = "an ANCK kernel, 5.10.134-14 or later, or 6.6"
_TALK = "an ANCK 4.19 build with per-memcg dirty limits (known from a talk of 2020, not in the public source)"
_DIRTY = Need(
    _TALK, "vm.dirty_bytes", "and its kin, for the whole host; io.throttle with cgroup writeback bounds a group"
)
_OPENEULER = "an openEuler or HCE kernel"
_SMART_GRID = "an openEuler or HCE kernel, 4.19 or 5.10, booted with dynamic_affinity=enable"
_TENCENT = "a TencentOS kernel, 5.4 (tlinux4)"
_RUE = "a TencentOS or OpenCloudOS kernel with RUE"
_BT = "a TencentOS kernel with the BT scheduler (3.10, 4.14, or one with RUE)"
_COST = (
    "on cgroup v1 an ANCK or openEuler kernel (blkio.cost.*); on v2 Linux 5.4 or later built with "
    "CONFIG_BLK_CGROUP_IOCOST"
)
_WORDS_V1 = "the memory controller on cgroup v2, or on v1 an ANCK 4.19 or 5.10, openEuler or TencentOS 5.4 kernel"
_MEMCG_V1 = "a kernel built with CONFIG_MEMCG, from Linux 6.11 on also CONFIG_MEMCG_V1"
_SWAP = "a kernel built with CONFIG_SWAP, before Linux 6.1 also CONFIG_MEMCG_SWAP"
_CPUSETS = "a kernel built with CONFIG_CPUSETS, for cgroup v1 from Linux 6.12 on also CONFIG_CPUSETS_V1"
_BANDWIDTH = "a kernel built with CONFIG_CFS_BANDWIDTH"
_WEIGHT = "a kernel built with CONFIG_FAIR_GROUP_SCHED"
_THROTTLE = "a kernel built with CONFIG_BLK_DEV_THROTTLING"
_PIDS = "a kernel built with CONFIG_CGROUP_PIDS"
_QUEUE = "a disk with a request queue and a scheduler (zram and device mapper targets have none)"
_VM = "Linux 2.6.29 or later"

#: Key of a knob, or what several begin with → what they need.
NEEDS: dict[str, Need] = {
    "cpu.shares": Need(_WEIGHT, "cpu.weight"),
    "cpu.weight": Need(_WEIGHT, "cpu.shares"),
    "cpu.idle": Need("Linux 5.15 or later"),
    "cpu.quota": Need(_BANDWIDTH),
    "cpu.period": Need(_BANDWIDTH),
    "cpu.burst": Need("Linux 5.14 or later, or an ANCK kernel (4.19, 5.10 or 6.6), built with CONFIG_CFS_BANDWIDTH"),
    "cpu.cpus": Need(_CPUSETS),
    "cpu.mems": Need(_CPUSETS),
    "cpu.partition": Need("Linux 5.0 or later (isolated: 6.1), built with CONFIG_CPUSETS"),
    "cpu.uclamp.min": Need("Linux 5.4 or later built with CONFIG_UCLAMP_TASK_GROUP"),
    "cpu.uclamp.max": Need("Linux 5.4 or later built with CONFIG_UCLAMP_TASK_GROUP"),
    "cpu.init_buffer": Need(_ANCK_510 + " (CONFIG_CFS_BANDWIDTH)"),
    "cpu.ht_ratio": Need(_HT_AWARE),
    "cpu.identity": Need(_IDENTITY),
    "cpu.smt_expeller": Need(_IDENTITY),
    "cpu.qos_level": Need(f"{_OPENEULER} built with CONFIG_QOS_SCHED", "cpu.idle"),
    "cpu.soft_quota": Need("an openEuler 6.6 kernel", "cpu.burst"),
    "cpu.dynamic_affinity_mode": Need(_SMART_GRID, works_with="dynamic_affinity=enable"),
    "cpu.preferred_cpus": Need(_SMART_GRID, "cpu.cpus", works_with="dynamic_affinity=enable"),
    "cpu.rue_priority": Need(_RUE, "cpu.weight"),
    "cpu.offline": Need(_BT, "cpu.idle"),
    "cpu.bt_shares": Need(_BT, "cpu.weight"),
    "cpu.bt_suppress_percent": Need(_RUE),
    "cpu.ht_sensi_type": Need(_RUE),
    "memory.limit": Need(_MEMCG_V1),
    "memory.max": Need(_MEMCG_V1),
    "memory.high": Need(_WORDS_V1),
    "memory.low": Need(_WORDS_V1),
    "memory.min": Need(_WORDS_V1 + "; on v2 Linux 4.18 or later"),
    "memory.swap_max": Need(_SWAP, "memory.memsw", "the limit and the swap together", "swapaccount=1"),
    "memory.swap_high": Need(
        "the memory controller on cgroup v2 with Linux 5.8 or later and CONFIG_SWAP, or on v1 an ANCK kernel",
    ),
    "memory.oom_group": Need(
        "the memory controller on cgroup v2 with Linux 4.19 or later, or on v1 an ANCK kernel or one with RUE"
    ),
    "memory.memsw": Need(_SWAP, "memory.swap_max", "the swap alone: memsw less the limit", "swapaccount=1"),
    "memory.soft_limit": Need(_MEMCG_V1, "memory.high"),
    "memory.swappiness": Need(_MEMCG_V1, "vm.swappiness", "for the whole host"),
    "memory.oom_kill_disable": Need(_MEMCG_V1),
    "memory.wmark_min_adj": Need(_ANCK),
    "memory.wmark_ratio": Need(_ANCK),
    "memory.wmark_scale_factor": Need(_ANCK),
    "memory.priority": Need(_ANCK),
    "memory.use_priority_oom": Need(_ANCK + ", or " + _RUE),
    "memory.dirty_bytes": _DIRTY,
    "memory.dirty_ratio": _DIRTY,
    "memory.dirty_background_bytes": _DIRTY,
    "memory.dirty_background_ratio": _DIRTY,
    "memory.reap_background": Need(_ANCK_510),
    "memory.pagecache_limit.enable": Need(_PAGECACHE),
    "memory.pagecache_limit.size": Need(_PAGECACHE),
    "memory.pagecache_limit.sync": Need(_PAGECACHE),
    "memory.pagecache_limit.reclaim_bytes": Need(_ANCK_66_ONLY),
    "memory.pagecache_limit.reclaim_interval": Need(_ANCK_66_ONLY),
    "memory.qos_level": Need(_OPENEULER),
    "memory.high_async_ratio": Need(_OPENEULER),
    "memory.pagecache_max_ratio": Need(_TENCENT),
    "memory.pagecache_reclaim_ratio": Need(_TENCENT),
    "memory.rue_priority": Need(_RUE),
    "memory.priority_wmark_ratio": Need(_RUE),
    "memory.async_ratio": Need(_RUE),
    "memory.async_distance_factor": Need(_RUE),
    "io.throttle.read_bps": Need(_THROTTLE),
    "io.throttle.write_bps": Need(_THROTTLE),
    "io.throttle.read_iops": Need(_THROTTLE),
    "io.throttle.write_iops": Need(_THROTTLE),
    "io.throttle.readwrite_bps": Need(_RUE, "io.throttle.read_bps", "and write_bps"),
    "io.throttle.readwrite_iops": Need(_RUE, "io.throttle.read_iops", "and write_iops"),
    "io.weight": Need(_COST),
    "io.weight.weight": Need(_COST),
    "io.bfq_weight": Need("bfq: modprobe bfq (CONFIG_IOSCHED_BFQ, CONFIG_BFQ_GROUP_IOSCHED), then scheduler: bfq"),
    "io.bfq_ioprio_class": Need(_RUE, "io.bfq_weight"),
    "io.latency.target": Need(
        "Linux 4.19 or later built with CONFIG_BLK_CGROUP_IOLATENCY",
        "io.throttle.read_iops",
        "for the groups in its way",
    ),
    "block.iocost": Need(_COST),
    "pids.max": Need(_PIDS),
    "host.sched.group_identity": Need(
        "an ANCK kernel where group identity has a switch (4.19.91-26.4 or 5.10.134-13 and later)"
    ),
    "host.sched.features": Need(_IDENTITY),
    "host.sched.features.ID_ABSOLUTE_EXPEL": Need(_ANCK_66),
    "host.sched.features.ID_EXPELLER_SHARE_CORE": Need(_ANCK_66),
    "host.sched.features.SCHED_CORE_HT_AWARE_QUOTA": Need(_HT_AWARE),
    "host.memory.use_priority_oom": Need(_ANCK + ", or " + _RUE),
    "host.memory.reaper": Need(_ANCK),
    "host.memory.kidled": Need(_ANCK),
    "host.memory.kidled.use_hierarchy": Need("an ANCK 4.19 kernel (later ones have scan_target in its place)"),
    "host.memory.kidled.scan_target": Need("an ANCK kernel, 5.10 or 6.6 (4.19 has use_hierarchy in its place)"),
    "host.memory.pagecache_limit": Need(_PAGECACHE),
    "kernel.sched_core": Need("an Anolis kernel, 5.10 or later, built with CONFIG_SCHED_CORE"),
    "kernel.sched_bvt_place_epsilon": Need(_IDENTITY),
    "kernel.sched_expel_idle_balance_delay": Need(_IDENTITY),
    "kernel.sched_idle_saver_wmark": Need(_IDENTITY),
    "kernel.sched_expel_update_interval": Need(_IDENTITY),
    "kernel.sched_cfs_bw_burst_enabled": Need(_ANCK + "; elsewhere bursts are always on"),
    "kernel.sched_cfs_bw_burst_onset_percent": Need(_ANCK),
    "kernel.sched_prio_load_balance_enabled": Need(f"{_OPENEULER} built with CONFIG_QOS_SCHED_PRIO_LB"),
    "kernel.sched_soft_runtime_ratio": Need("an openEuler 6.6 kernel"),
    "kernel.cpu_qos": Need(_RUE),
    "vm.memory_qos": Need(_RUE),
    "vm.memcg_qos_enable": Need(_OPENEULER),
    "vm.memcg_high_extra_delay_ms": Need(_ANCK),
    "vm.pagecache_limit": Need(_TENCENT),
    "vm.min_free_kbytes": Need(_VM),
    "vm.watermark_scale_factor": Need("Linux 4.6 or later"),
    "vm.watermark_boost_factor": Need("Linux 5.0 or later"),
    "vm.swappiness": Need(_VM),
    "vm.dirty": Need(_VM),
    "vm.overcommit": Need("Linux 3.14 or later"),
    "block": Need("a disk whose driver has this file"),
    "block.scheduler": Need(_QUEUE),
    "block.nr_requests": Need(_QUEUE),
    "block.wbt_lat_usec": Need(
        "a disk with a request queue, and a kernel built with CONFIG_BLK_WBT and CONFIG_BLK_WBT_MQ"
    ),
}

#: What nearly every kernel has: not worth a word where something else is missing.
COMMON = frozenset((_WEIGHT, _BANDWIDTH, _CPUSETS, _MEMCG_V1, _SWAP, _THROTTLE, _PIDS))
#: Scheduler → the build option it comes with.
SCHEDULERS = {
    "mq-deadline": "CONFIG_MQ_IOSCHED_DEADLINE",
    "bfq": "CONFIG_IOSCHED_BFQ",
    "kyber": "CONFIG_MQ_IOSCHED_KYBER",
}
#: Controller → the build option it comes with.
CONTROLLERS = {
    "cpu": "CONFIG_CGROUP_SCHED",
    "cpuset": "CONFIG_CPUSETS",
    "memory": "CONFIG_MEMCG",
    "blkio": "CONFIG_BLK_CGROUP",
    "io": "CONFIG_BLK_CGROUP",
    "pids": "CONFIG_CGROUP_PIDS",
}
#: The name a controller has on the other cgroup version.
OTHER_NAME = {"io": "blkio", "blkio": "io"}
_UNKNOWN = Need("a kernel that has it: sysctl -a lists those of this one")


def need_of(key: str) -> Need:
    """What a knob needs: its own record, or that of the longest prefix that has one.

    Prefixes end at a dot or an underscore, as ``vm.dirty`` is one of ``vm.dirty_bytes``. A sysctl that is no knob is
    whatever its profile says: nothing is known of it.
    """
    name = key if key in BY_KEY else ""
    while name:
        if name in NEEDS:
            return NEEDS[name]
        name = name[: max(name.rfind("."), name.rfind("_"), 0)]
    return _UNKNOWN
