"""Files of the whole host. They are read for their form and never written."""

from __future__ import annotations

from cotune.selftest.steps import HostFile

_NUMBER = r"-?\d+"
_MENU = r"(\S+ )*\[\S+\]( \S+)*"
_VM = "mm/page-writeback.c, kernel/sysctl.c"
_QUEUE = "block/blk-sysfs.c"
_PSI = "some avg10=" + r"\d+\.\d\d avg60=\d+\.\d\d avg300=\d+\.\d\d total=\d+(\nfull .*)?"

HOST_FILES = (
    *(
        HostFile(f"/proc/sys/vm/{name}", _NUMBER, _VM)
        for name in (
            "swappiness",
            "min_free_kbytes",
            "watermark_scale_factor",
            "watermark_boost_factor",
            "dirty_ratio",
            "dirty_bytes",
            "dirty_background_ratio",
            "dirty_background_bytes",
            "dirty_expire_centisecs",
            "dirty_writeback_centisecs",
        )
    ),
    HostFile("/proc/sys/vm/lowmem_reserve_ratio", r"\d+(\t\d+)+", _VM),
    HostFile("/proc/sys/kernel/sched_rt_runtime_us", _NUMBER, "kernel/sched/rt.c"),
    HostFile("/proc/sys/kernel/sched_cfs_bandwidth_slice_us", _NUMBER, "kernel/sched/fair.c"),
    HostFile("/proc/sys/kernel/sched_group_identity_enabled", "[01]", "ANCK group identity"),
    HostFile("/proc/sys/kernel/rich_container_enable", "[01]", "ANCK container view"),
    HostFile("/sys/kernel/mm/memcg_reaper/reap_background", "[0-3]", "mm/memcg_zombie_reaper.c of ANCK"),
    HostFile("/sys/kernel/mm/kidled/scan_period_in_seconds", r"\d+", "mm/kidled.c of ANCK"),
    *(HostFile(f"/proc/pressure/{name}", _PSI, "kernel/sched/psi.c psi_show") for name in ("cpu", "memory", "io")),
    HostFile("/sys/kernel/mm/transparent_hugepage/enabled", _MENU, "mm/huge_memory.c"),
    HostFile("{disk_sysfs}/queue/scheduler", _MENU + "|none", "block/elevator.c"),
    HostFile("{disk_sysfs}/queue/nr_requests", r"\d+", _QUEUE),
    HostFile("{disk_sysfs}/queue/read_ahead_kb", r"\d+", _QUEUE),
    HostFile("{disk_sysfs}/queue/rotational", "[01]", _QUEUE),
    HostFile("/sys/fs/resctrl/info/last_cmd_status", r"[^\n]*", "fs/resctrl/rdtgroup.c"),
    HostFile("/sys/fs/resctrl/schemata", r"( *\w+:\S+=.+\n?)+", "fs/resctrl/ctrlmondata.c"),
)
