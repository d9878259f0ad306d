"""One value for every knob, for ``cotune explain`` and the documentation: realistic, and valid as it stands."""

from __future__ import annotations

from typing import Any

from cotune.knobs.base import Knob

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
    "host.sched.group_identity": True,
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
    "mount.barrier": True,
    "mount.lazytime": True,
    "mount.delalloc": True,
    "mount.discard": False,
    "mount.auto_da_alloc": True,
    "mount.dioread_nolock": True,
    "mount.commit": 30,
    "mount.max_batch_time": 15000,
    "mount.min_batch_time": 0,
    "mount.errors": "remount-ro",
}
#: Key → further keys beside it without which the example would be refused or pointless.
_BESIDE: dict[str, dict[str, Any]] = {
    "cpu.burst": {"quota": 4},
    "cpu.period": {"quota": 4},
    "cpu.smt_expeller": {"identity": "high"},
    "cpu.cpus": {"mems": "all"},
    "cpu.mems": {"cpus": "0-7"},
    "memory.memsw": {"limit": "8GiB"},
}


def example(knob: Knob) -> dict[str, Any]:
    """The part of a profile that sets a knob to its example value."""
    value = EXAMPLES[knob.key]
    family, _, key = knob.key.partition(".")
    if knob.section == "sysctl":
        return {"host": {"sysctl": {knob.key: value}}}
    if knob.section == "host":
        _, family, key = knob.key.split(".")
        return {"host": {family: {key: value}}}
    if knob.section == "block":
        return {"host": {"block": [{"match": {"mountpoint": "/data"}, key: value}]}}
    if knob.section == "mount":
        return {"host": {"mounts": [{"match": {"mountpoint": "/data"}, "options": {key: value}}]}}
    group: dict[str, Any] = {"match": {"cgroup": "offline"}}
    if knob.section == "throttle":
        limit = {"device": {"mountpoint": "/data"}, knob.key.rpartition(".")[2]: value}
        return {"groups": {"offline": {**group, "io": {"throttle": [limit]}}}}
    return {"groups": {"offline": {**group, family: {**_BESIDE.get(knob.key, {}), key: value}}}}
