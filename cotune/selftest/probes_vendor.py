"""Probes of files that only vendors' kernels have: Alibaba's ANCK, TencentOS and openEuler.

Their rules were read in sources and documents and not observed; differences are therefore the more worth telling.
"""

from __future__ import annotations

from cotune.selftest.steps import Family, File, Step, makes, reads, refuses, removes, takes

_ANCK_MEM = "mm/memcontrol.c of ANCK"
_GATE_SHUT = {"kernel.sched_group_identity_enabled=0": "EINVAL"}
#: With the gate shut nothing was written before, so what is read is the default.
_SHUT_READS = {"kernel.sched_group_identity_enabled=0": "OK 0"}

ANCK_CPU = Family(
    "cpu of ANCK",
    "cpu",
    (1, 2),
    (
        File(
            "cpu.bvt_warp_ns",
            "kernel/sched/core.c of ANCK 5.10, group identity",
            (
                reads("default: the parent's", "{parent:cpu.bvt_warp_ns}"),
                takes("typical", "2", other=_GATE_SHUT),
                makes("b"),
                reads("child: inherited at mkdir", "2", group="b", other=_SHUT_READS),
                removes("b"),
                takes("upper bound of documents", "1", other=_GATE_SHUT),
                takes("lower bound of documents", "-1", other=_GATE_SHUT),
                takes("lower bound", "-2", other=_GATE_SHUT),
                refuses("below the lower bound", "-3", "ERANGE", other=_GATE_SHUT),
                refuses("above the upper bound", "3", "ERANGE", other=_GATE_SHUT),
                refuses("text", "abc"),
                refuses("blank before", " 1"),
                takes("zero", "0", other=_GATE_SHUT),
            ),
        ),
        File(
            "cpu.identity",
            "kernel/sched/core.c of ANCK 5.10, group identity",
            (
                takes("zero", "0", other=_GATE_SHUT),
                takes("high class", "18", other=_GATE_SHUT),
                takes("under class", "9", other=_GATE_SHUT),
                refuses("both classes", "3"),
                refuses("outside the mask", "256", "ERANGE", other=_GATE_SHUT),
                refuses("text", "abc"),
                takes("zero", "0", other=_GATE_SHUT),
            ),
        ),
        File(
            "cpu.ht_ratio",
            "kernel/sched/core.c of ANCK 6.6",
            (
                reads("default", "100"),
                takes("upper bound", "200"),
                refuses("above the upper bound", "201", "EPERM"),
                refuses("below the lower bound", "99", "EPERM"),
                takes("lower bound", "100"),
            ),
        ),
    ),
    unsafe=("<4.20 build=4.19.91-25.", "builds 4.19.91-25.* are known to crash on group identity"),
)

ANCK_CPUACCT = Family(
    "cpuacct of ANCK",
    "cpuacct",
    (1,),
    (
        File(
            "cpuacct.enable_sli",
            "kernel/sched/cpuacct.c of ANCK",
            (
                reads("default", "0"),
                takes("upper bound", "1"),
                takes("any other number", "2", "1"),
                refuses("text", "abc"),
                takes("zero", "0"),
            ),
        ),
        File(
            "cpuacct.wait_latency",
            "kernel/sched/cpuacct.c of ANCK",
            (refuses("other number", "1"), refuses("text", "abc")),
        ),
    ),
)


def _flag(name: str, source: str, inherited: bool = False) -> File:
    """A switch of 0 and 1; ``inherited`` says whether mkdir copies it."""
    child = "1" if inherited else "0"
    return File(
        name,
        source,
        (
            reads("default", "{parent:" + name + "}" if inherited else "0"),
            takes("upper bound", "1"),
            makes("b"),
            reads("child: inherited at mkdir" if inherited else "child: not inherited", child, group="b"),
            removes("b"),
            refuses("above the upper bound", "2"),
            refuses("negative", "-1"),
            refuses("text", "abc"),
            takes("zero", "0"),
        ),
    )


def _range(name: str, source: str, low: int, high: int, default: str, inherited: bool) -> File:
    """A number between two bounds, EINVAL outside; ``inherited`` says whether mkdir copies it."""
    steps: tuple[Step, ...] = (
        reads("default", default),
        takes("lower bound", f"{low}"),
        refuses("below the lower bound", f"{low - 1}"),
        takes("upper bound", f"{high}"),
        refuses("above the upper bound", f"{high + 1}"),
        refuses("text", "abc"),
        makes("b"),
        reads("child: inherited at mkdir", f"{high}", group="b")
        if inherited
        else reads("child: not inherited", default, group="b"),
        removes("b"),
    )
    return File(name, source, steps)


#: TencentOS 5.4.241 shows memory.high and refuses every write until this switch is set.
_HIGH_SHUT = {"vm.wujing_enable=0": "EINVAL"}


def _protection(name: str, default: str) -> File:
    """A v2 size on a v1 hierarchy: ``max`` and no -1."""
    shut = _HIGH_SHUT if name == "memory.high" else None
    return File(
        name,
        f"{_ANCK_MEM} 4.19; openEuler and TencentOS have the same",
        (
            reads("default", default),
            takes("suffix M", "100M", "104857600", other=shut),
            takes("not whole pages: rounded down", "104857601", "104857600", other=shut),
            refuses("negative", "-1"),
            refuses("text", "abc"),
            takes("unlimited", "max", other=shut),
            takes("the default again", default, other=shut),
        ),
    )


ANCK_MEMORY = Family(
    "memory of ANCK",
    "memory",
    (1, 2),
    (
        File(
            "memory.wmark_min_adj",
            _ANCK_MEM,
            (
                reads("default: the parent's", "{parent:memory.wmark_min_adj}"),
                takes("lower bound", "-25"),
                refuses("below the lower bound", "-26"),
                takes("upper bound", "50"),
                refuses("above the upper bound", "51"),
                refuses("text", "abc"),
                makes("b"),
                takes("child below the parent: the parent's counts", "-25", "50", group="b"),
                takes("parent at zero has no opinion", "0"),
                reads("child: its own counts again", "-25", group="b"),
                removes("b"),
            ),
        ),
        _range("memory.wmark_ratio", _ANCK_MEM, 0, 100, "{parent:memory.wmark_ratio}", inherited=True),
        _range("memory.wmark_scale_factor", _ANCK_MEM, 1, 1000, "{parent:memory.wmark_scale_factor}", inherited=True),
        File("memory.wmark_high", _ANCK_MEM, (refuses("a write to a report", "0"),)),
        _range("memory.priority", _ANCK_MEM, 0, 12, "0", inherited=False),
        _flag("memory.use_priority_oom", _ANCK_MEM),
    ),
)

ANCK_MEMORY_V1 = Family(
    "memory of ANCK on v1",
    "memory",
    (1,),
    (
        _flag("memory.oom.group", _ANCK_MEM),
        File(
            "memory.direct_reclaim_memcg_latency",
            _ANCK_MEM,
            (refuses("other number", "1"), refuses("text", "abc")),
        ),
        File(
            "memory.idle_page_stats",
            "mm/kidled.c of ANCK",
            (
                refuses("not ascending", "2,1"),
                refuses("too many", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "E2BIG"),
            ),
        ),
    ),
)

PROTECTION_V1 = Family(
    "memory of v2 on v1",
    "memory",
    (1,),
    (_protection("memory.min", "0"), _protection("memory.low", "0"), _protection("memory.high", "max")),
)

_DIRTY = "a talk of 2020: as the vm.dirty_* sysctls, per cgroup"
SEED_MEMORY = Family(
    "dirty limits per cgroup",
    "memory",
    (1,),
    (
        File(
            "memory.dirty_bytes",
            _DIRTY,
            (
                reads("default", "0"),
                takes("typical", "1048576"),
                refuses("below two pages", "{page}"),
                refuses("text", "abc"),
                takes("the other half", "20", file="memory.dirty_ratio"),
                reads("is off then", "0"),
            ),
        ),
        File(
            "memory.dirty_ratio",
            _DIRTY,
            (takes("upper bound", "100"), refuses("above the upper bound", "101"), takes("zero", "0")),
        ),
        File(
            "memory.dirty_background_ratio",
            _DIRTY,
            (reads("default", "0"), takes("upper bound", "100"), refuses("above the upper bound", "101")),
        ),
    ),
)

ANCK_BLKIO = Family(
    "blkio of ANCK",
    "blkio",
    (1,),
    (
        File(
            "blkio.cost.weight",
            "block/blk-iocost.c of ANCK",
            (
                reads("default", "default 100"),
                takes("typical", "200", "default 200"),
                takes("with the word default", "default 300"),
                refuses("zero", "0"),
                takes("upper bound", "10000", "default 10000"),
                refuses("above the upper bound", "10001"),
                refuses("text", "abc"),
                takes("the default again", "100", "default 100"),
            ),
        ),
    ),
)

TENCENT_MEMORY = Family(
    "memory of TencentOS",
    "memory",
    (1, 2),
    (
        File(
            "memory.pagecache.max_ratio",
            "mm/memcontrol.c of TencentOS 5.4",
            (reads("default", "100"), refuses("without a memory limit", "50", "EPERM")),
        ),
        File(
            "memory.pagecache.reclaim_ratio",
            "mm/memcontrol.c of TencentOS 5.4",
            (
                reads("default", "5"),
                takes("typical", "10"),
                takes("lower bound", "1"),
                refuses("zero", "0"),
                takes("upper bound", "99"),
                takes("a trigger that is not kept", "100", "99"),
                refuses("above the upper bound", "101"),
                refuses("text", "abc"),
            ),
        ),
        _flag("memory.meminfo_recursive", "mm/memcontrol.c of TencentOS 5.4"),
    ),
)

TENCENT_CPU = Family(
    "cpu of TencentOS",
    "cpu",
    (1,),
    (
        _flag("cpu.offline", "TencentOS 4.14 README; crane writes every group below (not observed)"),
        File(
            "cpu.bt_shares",
            "TencentOS 4.14 README (not observed)",
            (
                reads("default", "1024"),
                takes("below the lower bound", "1", "2"),
                takes("typical", "2048"),
                takes("above the upper bound", "262145", "262144"),
            ),
        ),
    ),
)

EULER = Family(
    "cpu of openEuler",
    "cpu",
    (1,),
    (
        File(
            "cpu.qos_level",
            "kernel/sched/core.c of openEuler: offline cannot be taken back before 6.x",
            (
                reads("default: the parent's", "{parent:cpu.qos_level}"),
                refuses("above the upper bound", "3"),
                refuses("below the lower bound", "-3"),
                refuses("text", "abc"),
                refuses("a level of 6.x", "1", other={">=6.0": "OK 1"}),
                takes("offline", "-1"),
                makes("b"),
                reads("child: inherited at mkdir", "-1", group="b"),
                removes("b"),
                refuses("online again", "0", other={">=6.0": "OK 0"}),
            ),
            irreversible=True,
        ),
        _flag("cpu.soft_quota", "openEuler tuning guide (not observed)"),
    ),
)

EULER_MEMORY = Family(
    "memory of openEuler",
    "memory",
    (1, 2),
    (
        File(
            "memory.qos_level",
            "mm/memcontrol.c of openEuler",
            (
                reads("default: the parent's", "{parent:memory.qos_level}"),
                refuses("text", "abc"),
                takes("offline", "-1", other={"vm.memcg_qos_enable=0": ""}),
            ),
            irreversible=True,
        ),
        File(
            "memory.high_async_ratio",
            "documents of Huawei HCE (not observed)",
            (
                reads("default", "100"),
                takes("typical", "80"),
                refuses("above the upper bound", "101"),
                refuses("text", "abc"),
                takes("off", "100"),
            ),
        ),
    ),
)
