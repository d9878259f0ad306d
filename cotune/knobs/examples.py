"""One value for every knob, for ``cotune explain`` and the documentation: realistic, and valid as it stands."""

from __future__ import annotations

from typing import Any

from cotune.knobs.base import Knob

#: Sections whose knobs stand in a list below ``io``.
IO_SECTIONS = ("throttle", "weight", "latency")
#: Key → value as it is written in a profile.
EXAMPLES: dict[str, Any] = {
    "cpu.shares": 4096,
    "cpu.idle": True,
    "cpu.quota": 4,
    "cpu.period": "100ms",
    "cpu.burst": "50%",
    "cpu.cpus": "0-7",
    "cpu.mems": "all",
    "cpu.identity": "low",
    "cpu.smt_expeller": True,
    "cpu.weight": 200,
    "cpu.partition": "root",
    "cpu.uclamp.min": 20,
    "cpu.uclamp.max": 60,
    "cpu.init_buffer": "10ms",
    "cpu.ht_ratio": 150,
    "cpu.qos_level": -1,
    "cpu.soft_quota": True,
    "cpu.dynamic_affinity_mode": True,
    "cpu.preferred_cpus": "0-3",
    "cpu.rue_priority": 7,
    "cpu.offline": True,
    "cpu.bt_shares": 512,
    "cpu.bt_suppress_percent": 30,
    "cpu.ht_sensi_type": True,
    "host.sched.group_identity": True,
    "host.sched.features.ID_IDLE_AVG": True,
    "host.sched.features.ID_RESCUE_EXPELLEE": True,
    "host.sched.features.ID_EXPELLEE_NEVER_HOT": True,
    "host.sched.features.ID_LAST_HIGHCLASS_STAY": True,
    "host.sched.features.ID_LOOSE_EXPEL": False,
    "host.sched.features.ID_ABSOLUTE_EXPEL": True,
    "host.sched.features.ID_EXPELLER_SHARE_CORE": True,
    "host.sched.features.SCHED_CORE_HT_AWARE_QUOTA": True,
    "kernel.sched_core": 0,
    "kernel.sched_bvt_place_epsilon": 2000000,
    "kernel.sched_expel_idle_balance_delay": 5,
    "kernel.sched_idle_saver_wmark": 500000,
    "kernel.sched_expel_update_interval": 20,
    "kernel.sched_cfs_bw_burst_enabled": 1,
    "kernel.sched_cfs_bw_burst_onset_percent": 50,
    "kernel.cpu_qos": 1,
    "kernel.sched_prio_load_balance_enabled": 1,
    "kernel.sched_soft_runtime_ratio": 20,
    "vm.memory_qos": 1,
    "vm.memcg_qos_enable": 1,
    "vm.memcg_high_extra_delay_ms": 10,
    "vm.pagecache_limit_global": 0,
    "vm.pagecache_limit_ratio": 30,
    "vm.pagecache_limit_reclaim_ratio": 40,
    "vm.pagecache_limit_async": 1,
    "vm.pagecache_limit_retry_times": 10,
    "memory.max": "8GiB",
    "memory.high": "6GiB",
    "memory.low": "4GiB",
    "memory.min": "2GiB",
    "memory.swap_max": "1GiB",
    "memory.swap_high": "512MiB",
    "memory.oom_group": True,
    "memory.wmark_scale_factor": 100,
    "memory.reap_background": True,
    "memory.pagecache_limit.enable": True,
    "memory.pagecache_limit.size": "2GiB",
    "memory.pagecache_limit.sync": False,
    "memory.pagecache_limit.reclaim_bytes": "64MiB",
    "memory.pagecache_limit.reclaim_interval": "100ms",
    "memory.pagecache_max_ratio": 50,
    "memory.pagecache_reclaim_ratio": 10,
    "memory.rue_priority": 7,
    "memory.priority_wmark_ratio": 50,
    "memory.async_ratio": 80,
    "memory.async_distance_factor": 1000,
    "memory.qos_level": -1,
    "memory.high_async_ratio": 80,
    "host.memory.reaper.scan_interval": 10,
    "host.memory.reaper.pages_scan": 262144,
    "host.memory.reaper.verbose": False,
    "host.memory.reaper.reap_background": True,
    "host.memory.kidled.scan_period": 120,
    "host.memory.kidled.use_hierarchy": True,
    "host.memory.kidled.scan_target": "all",
    "host.memory.pagecache_limit": True,
    "memory.limit": "8GiB",
    "memory.memsw": "10GiB",
    "memory.soft_limit": "4GiB",
    "memory.swappiness": 10,
    "memory.oom_kill_disable": False,
    "memory.wmark_min_adj": 50,
    "memory.wmark_ratio": 80,
    "memory.priority": 0,
    "memory.use_priority_oom": True,
    "memory.dirty_bytes": "256MiB",
    "memory.dirty_ratio": 10,
    "memory.dirty_background_bytes": "64MiB",
    "memory.dirty_background_ratio": 5,
    "host.memory.use_priority_oom": True,
    "io.throttle.read_bps": "200MiB",
    "io.throttle.write_bps": "100MiB",
    "io.throttle.read_iops": 2000,
    "io.throttle.write_iops": 2000,
    "io.throttle.readwrite_bps": "200MiB",
    "io.throttle.readwrite_iops": 4000,
    "io.weight": 200,
    "io.weight.weight": 50,
    "io.bfq_weight": 200,
    "io.bfq_ioprio_class": "idle",
    "io.latency.target": "10ms",
    "pids.max": 16384,
    "vm.min_free_kbytes": "min(4GiB, 1%)",
    "vm.watermark_scale_factor": 150,
    "vm.watermark_boost_factor": 0,
    "vm.swappiness": 10,
    "vm.dirty_ratio": 10,
    "vm.dirty_bytes": "2GiB",
    "vm.dirty_background_ratio": 5,
    "vm.dirty_background_bytes": "512MiB",
    "vm.overcommit_ratio": 80,
    "vm.overcommit_kbytes": "80%",
    "vm.dirty_expire_centisecs": 1500,
    "vm.dirty_writeback_centisecs": 300,
    "block.scheduler": "mq-deadline",
    "block.nr_requests": 128,
    "block.wbt_lat_usec": 2000,
    "block.read_ahead_kb": 256,
    "block.rq_affinity": 2,
    "block.nomerges": 1,
    "block.max_sectors_kb": 512,
    "block.iostats": 1,
    "block.add_random": 0,
    "block.iosched.read_expire": 100,
    "block.iosched.write_expire": 5000,
    "block.iosched.writes_starved": 4,
    "block.iosched.front_merges": 0,
    "block.iosched.fifo_batch": 8,
    "block.iosched.low_latency": 1,
    "block.iosched.slice_idle": 0,
    "block.iosched.strict_guarantees": 1,
    "block.iosched.read_lat_nsec": 2000000,
    "block.iosched.write_lat_nsec": 10000000,
    "block.iocost.enable": True,
    "block.iocost.ctrl": "user",
    "block.iocost.rpct": 95,
    "block.iocost.rlat": "5ms",
    "block.iocost.wpct": 95,
    "block.iocost.wlat": "10ms",
    "block.iocost.min": 50,
    "block.iocost.max": 150,
    "block.iocost.model.ctrl": "user",
    "block.iocost.model.rbps": "2GiB",
    "block.iocost.model.rseqiops": 100000,
    "block.iocost.model.rrandiops": 80000,
    "block.iocost.model.wbps": "1GiB",
    "block.iocost.model.wseqiops": 80000,
    "block.iocost.model.wrandiops": 60000,
    "mount.barrier": True,
    "mount.lazytime": True,
    "mount.delalloc": True,
    "mount.discard": False,
    "mount.auto_da_alloc": True,
    "mount.dioread_nolock": True,
    "mount.atime": "noatime",
    "mount.diratime": False,
    "mount.commit": 30,
    "mount.max_batch_time": 15000,
    "mount.min_batch_time": 0,
    "mount.errors": "remount-ro",
    "mount.journal_ioprio": 2,
    "mount.stripe": 64,
    "mount.inode_readahead_blks": 64,
    "mount.init_itable": 20,
    "mount.block_validity": True,
    "mount.max_dir_size_kb": 65536,
    "mount.resuid": 0,
    "mount.resgid": 0,
    "mount.grpid": False,
    "mount.prjquota": True,
    "mount.data": "ordered",
    "mount.journal_checksum": True,
    "mount.journal_async_commit": False,
    "mount.mbcache": True,
    "mount.dax": False,
    "mount.acl": True,
    "mount.user_xattr": True,
    "mount.jbd2.stall_thresh": 1000,
    "mount.jbd2.force_copy": 1,
    "mount.features.fast_commit": True,
    "mount.features.project": True,
    "mount.features.quota": True,
    "mount.quota.project.id": 101,
    "mount.quota.project.hard": "20GiB",
    "mount.quota.project.soft": "18GiB",
    "mount.quota.project.inodes_hard": 1000000,
    "mount.quota.project.inodes_soft": 900000,
    "resctrl.l3": "0-30%",
    "resctrl.l3code": "bits 0-3",
    "resctrl.l3data": "0xf0",
    "resctrl.l2": "50%",
    "resctrl.l2code": "bits 0-3",
    "resctrl.l2data": "0xf0",
    "resctrl.mb": "20%",
    "resctrl.mode": "exclusive",
    "resctrl.cpus": "0-3",
}
#: Key → further keys beside it without which the example would be refused or pointless.
_BESIDE: dict[str, dict[str, Any]] = {
    "cpu.burst": {"quota": 4},
    "cpu.period": {"quota": 4},
    "cpu.smt_expeller": {"identity": "high"},
    "cpu.cpus": {"mems": "all"},
    "cpu.mems": {"cpus": "0-7"},
    "memory.memsw": {"limit": "8GiB"},
    "memory.high_async_ratio": {"high": "6GiB"},
    "memory.pagecache_max_ratio": {"limit": "8GiB"},
    "cpu.partition": {"cpus": "0-7"},
    "cpu.preferred_cpus": {"cpus": "0-7"},
    "cpu.soft_quota": {"quota": 4},
}


def example(knob: Knob) -> dict[str, Any]:
    """The part of a profile that sets a knob to its example value."""
    return placed(knob, EXAMPLES[knob.key])


def placed(knob: Knob, value: Any) -> dict[str, Any]:
    """The part of a profile that sets a knob to ``value``: for the cgroup ``offline``, or the disk of /data."""
    family, _, key = knob.key.partition(".")
    if knob.section == "sysctl":
        return {"host": {"sysctl": {knob.key: value}}}
    if knob.section == "host":
        return _nest(knob.key.split("."), value)
    if knob.section == "block":
        return {"host": {"block": [{"match": {"mountpoint": "/data"}, **_nest(key.split("."), value)}]}}
    if knob.section == "mount":
        return _mount({"options": {key: value}})
    if knob.section in ("jbd2", "feature"):
        return _mount(_nest(key.split("."), value))
    if knob.section == "quota":
        limits = {"id": EXAMPLES["mount.quota.project.id"], knob.part: value}
        return _mount({"quota": {"project": {"/data/c1": limits}}})
    if knob.section == "resctrl":
        return {"host": {"resctrl": {"classes": {"offline": {key: value}}}}}
    group: dict[str, Any] = {"match": {"cgroup": "offline"}}
    if knob.section in IO_SECTIONS:
        entry = {"device": {"mountpoint": "/data"}, knob.key.rpartition(".")[2]: value}
        return {"groups": {"offline": {**group, "io": {knob.section: [entry]}}}}
    beside = _BESIDE.get(knob.key, {})
    return {"groups": {"offline": {**group, family: {**beside, **_nest(key.split("."), value)}}}}


def _mount(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry for /data."""
    return {"host": {"mounts": [{"match": {"mountpoint": "/data"}, **entry}]}}


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    """``value`` below the keys, one mapping inside the other."""
    for key in reversed(keys):
        value = {key: value}
    result: dict[str, Any] = value
    return result
