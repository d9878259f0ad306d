"""Probes of cgroup v1: memory and blkio. Observed on 6.1 and 6.18 unless a step says otherwise."""

from __future__ import annotations

from cotune.selftest.steps import Family, File, makes, reads, refuses, removes, takes, triggers

_MEM = "mm/memcontrol-v1.c"

MEMORY = Family(
    "memory v1",
    "memory",
    (1,),
    (
        File(
            "memory.limit_in_bytes",
            f"{_MEM} mem_cgroup_write, mm/page_counter.c page_counter_memparse",
            (
                reads("default", "{unlimited}"),
                takes("typical", "104857600"),
                takes("suffix M", "100M", "104857600"),
                takes("suffix k", "256k", "262144"),
                takes("not whole pages: rounded down", "104857601", "104857600"),
                takes("hexadecimal", "0x6400000", "104857600"),
                takes("blanks around", " 104857600 ", "104857600"),
                takes("nothing", "", "104857600"),
                refuses("fraction", "1.5G"),
                refuses("suffix MB", "100MB"),
                refuses("the word max", "max"),
                refuses("below the lower bound", "-2"),
                refuses("text", "abc"),
                takes("less than a page", "{page-1}", "0"),
                takes("zero", "0"),
                takes("largest u64", "18446744073709551615", "{unlimited}"),
                takes("parent limited", "104857600"),
                makes("b"),
                reads("child: not inherited", "{unlimited}", group="b"),
                takes("child above the parent", "209715200", group="b"),
                removes("b"),
                takes("unlimited", "-1", "{unlimited}"),
            ),
        ),
        File(
            "memory.memsw.limit_in_bytes",
            f"{_MEM} mem_cgroup_resize_max",
            (
                reads("default", "{unlimited}"),
                refuses("below the memory limit", "209715200"),
                takes("memory limit", "209715200", file="memory.limit_in_bytes"),
                takes("equal to it", "209715200"),
                refuses("memory limit above it", "314572800", file="memory.limit_in_bytes"),
                refuses("memory unlimited above it", "-1", file="memory.limit_in_bytes"),
                takes("raised first", "314572800"),
                takes("then the memory limit", "314572800", file="memory.limit_in_bytes"),
                refuses("text", "abc"),
                takes("unlimited", "-1", "{unlimited}"),
                takes("memory unlimited", "-1", "{unlimited}", file="memory.limit_in_bytes"),
            ),
        ),
        File(
            "memory.soft_limit_in_bytes",
            f"{_MEM} mem_cgroup_write",
            (
                reads("default", "{unlimited}"),
                takes("typical", "104857600"),
                takes("not whole pages: rounded down", "104857601", "104857600"),
                takes("zero", "0"),
                refuses("text", "abc"),
                takes("unlimited", "-1", "{unlimited}"),
            ),
        ),
        File(
            "memory.swappiness",
            f"{_MEM} mem_cgroup_swappiness_write",
            (
                reads("default: the parent's", "{parent:memory.swappiness}"),
                takes("zero", "0"),
                takes("typical", "60"),
                takes("upper bound of old kernels", "100"),
                takes("upper bound", "200", other={"anck <5.15": "EINVAL", "<5.8": "EINVAL", "<5.15": ""}),
                refuses("above the upper bound", "201"),
                refuses("negative", "-1"),
                refuses("text", "abc"),
                refuses("blank before", " 60"),
                takes("hexadecimal", "0x30", "48"),
                makes("b"),
                reads("child: inherited at mkdir", "48", group="b"),
                takes("parent", "60"),
                reads("child: not followed later", "48", group="b"),
                removes("b"),
            ),
        ),
        File(
            "memory.oom_control",
            f"{_MEM} mem_cgroup_oom_control_write",
            (
                reads("default", "oom_kill_disable 0\nunder_oom 0\noom_kill 0"),
                takes("upper bound", "1", "oom_kill_disable 1\nunder_oom 0\noom_kill 0"),
                refuses("above the upper bound", "2"),
                refuses("negative", "-1"),
                makes("b"),
                reads("child: inherited at mkdir", "oom_kill_disable 1\nunder_oom 0\noom_kill 0", group="b"),
                removes("b"),
                takes("zero", "0", "oom_kill_disable 0\nunder_oom 0\noom_kill 0"),
            ),
        ),
        File(
            "memory.use_hierarchy",
            f"{_MEM} mem_cgroup_hierarchy_write",
            (
                reads("default", "1", other={"<5.11": ""}),
                refuses("zero", "0", other={"<5.11": ""}),
                takes("upper bound", "1", other={"<5.11": ""}),
            ),
        ),
        File(
            "memory.move_charge_at_immigrate",
            f"{_MEM} mem_cgroup_move_charge_write",
            (
                reads("default", "0"),
                refuses("one", "1", other={"<6.13": "OK 1"}),
                refuses("above the upper bound", "4"),
                takes("zero", "0"),
            ),
        ),
        File(
            "memory.kmem.limit_in_bytes",
            f"{_MEM} mem_cgroup_write: deprecated, taken and ignored",
            (
                reads("default", "{unlimited}"),
                takes("typical", "104857600", "{unlimited}", other={"<5.16": "OK 104857600", "<6.1": ""}),
                refuses("text", "abc", other={"<6.1": ""}),
                triggers("unlimited", "-1", other={"<6.1": ""}),
            ),
        ),
        File(
            "memory.force_empty",
            f"{_MEM} mem_cgroup_force_empty_write",
            (triggers("a trigger", "0"),),
        ),
        File("memory.failcnt", f"{_MEM} mem_cgroup_reset", (reads("default", "0"), takes("zero resets", "0"))),
        File("memory.pressure_level", "no write handler", (refuses("a write to an event source", "low"),)),
    ),
)

_ROWS = "block/blk-throttle.c tg_set_conf"

BLKIO = Family(
    "blkio v1",
    "blkio",
    (1,),
    (
        File(
            "blkio.throttle.read_bps_device",
            _ROWS,
            (
                reads("default", ""),
                takes("typical", "{disk} 10485760"),
                takes("zero removes the row", "{disk} 0", ""),
                takes("lower bound", "{disk} 1"),
                takes("largest u64 is unlimited", "{disk} 18446744073709551615", ""),
                takes("blanks between", "{disk}  1048577\n", "{disk} 1048577"),
                takes("suffix is ignored", "{disk} 10M", "{disk} 10"),
                takes("zero removes the row", "{disk} 0", ""),
                refuses("negative", "{disk} -1"),
                refuses("the word max", "{disk} max"),
                refuses("no number", "{disk}"),
                refuses("no such device", "4000:99 1000", "ENODEV"),
                refuses("partition", "{partition} 1000", "ENODEV"),
                refuses("device by its path", "/dev/null 1000"),
            ),
        ),
        File(
            "blkio.throttle.write_bps_device",
            _ROWS,
            (
                takes("typical", "{disk} 8192"),
                takes("two lines: only the first counts", "{disk} 6000\n{disk} 7000\n", "{disk} 6000"),
                makes("b"),
                reads("child: not inherited", "", group="b"),
                takes("child above the parent", "{disk} 99999999", group="b"),
                removes("b"),
                takes("zero removes the row", "{disk} 0", ""),
            ),
        ),
        File(
            "blkio.throttle.read_iops_device",
            _ROWS,
            (
                reads("default", ""),
                takes("typical", "{disk} 100"),
                takes("upper bound", "{disk} 4294967294"),
                takes("largest u32 is unlimited", "{disk} 4294967295", ""),
                takes("above 32 bits: cut off", "{disk} 4294967296", "{disk} 0"),
                takes("zero removes the row", "{disk} 0", ""),
                refuses("text", "{disk} abc"),
            ),
        ),
        File(
            "blkio.bfq.weight",
            "block/bfq-cgroup.c bfq_io_set_weight_legacy",
            (
                reads("default", "100"),
                takes("lower bound", "1"),
                refuses("zero", "0", "ERANGE"),
                takes("upper bound", "1000"),
                refuses("above the upper bound", "1001", "ERANGE"),
                refuses("the word default", "default 300"),
                refuses("text", "abc"),
                takes("typical", "100"),
            ),
        ),
    ),
)
