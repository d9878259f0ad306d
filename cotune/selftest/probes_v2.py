"""Probes of cgroup v2, and of pids on either version. Observed on 6.1 unless a step says otherwise."""

from __future__ import annotations

from cotune.selftest.steps import Family, File, Step, makes, reads, refuses, removes, takes, triggers

_CORE = "kernel/sched/core.c"
_MEM = "mm/memcontrol.c"
_CGROUP = "kernel/cgroup/cgroup.c"

CGROUP = Family(
    "cgroup v2",
    "",
    (2,),
    (
        File(
            "cgroup.freeze",
            f"{_CGROUP} cgroup_freeze_write",
            (
                reads("default", "0"),
                takes("upper bound", "1"),
                takes("zero", "0"),
                refuses("above the upper bound", "2", "ERANGE"),
                refuses("text", "abc"),
            ),
        ),
        File(
            "cgroup.pressure",
            f"{_CGROUP} cgroup_pressure_write",
            (
                reads("default", "1"),
                takes("zero", "0"),
                takes("upper bound", "1"),
                refuses("above the upper bound", "2", "ERANGE"),
            ),
        ),
        File(
            "cgroup.max.depth",
            f"{_CGROUP} cgroup_max_depth_write",
            (
                reads("default", "max"),
                takes("zero", "0"),
                makes("b", "EAGAIN", "a child past the depth"),
                refuses("negative", "-1", "ERANGE"),
                refuses("text", "abc"),
                takes("unlimited", "max"),
            ),
        ),
        File(
            "cgroup.max.descendants",
            f"{_CGROUP} cgroup_max_descendants_write",
            (
                reads("default", "max"),
                takes("zero", "0"),
                makes("b", "EAGAIN", "a child past the number"),
                refuses("negative", "-1", "ERANGE"),
                takes("unlimited", "max"),
            ),
        ),
        File(
            "cgroup.kill",
            f"{_CGROUP} cgroup_kill_write",
            (refuses("zero", "0", "ERANGE"), refuses("above the upper bound", "2", "ERANGE")),
        ),
        File(
            "cgroup.subtree_control",
            f"{_CGROUP} cgroup_subtree_control_write",
            (reads("default", ""), refuses("no such controller", "+bogus"), refuses("no sign", "cpu")),
        ),
        File("cgroup.type", f"{_CGROUP} cgroup_type_write", (reads("default", "domain"), refuses("domain", "domain"))),
        File(
            "cgroup.procs",
            f"{_CGROUP} cgroup_procs_write_start",
            (refuses("no such process", "999999999", "ESRCH"), refuses("text", "abc")),
        ),
    ),
)

CPU = Family(
    "cpu v2",
    "cpu",
    (2,),
    (
        File(
            "cpu.weight",
            f"{_CORE} cpu_weight_write_u64",
            (
                reads("default", "100"),
                takes("typical", "200"),
                refuses("zero", "0", "ERANGE"),
                takes("lower bound", "1"),
                takes("upper bound", "10000"),
                refuses("above the upper bound", "10001", "ERANGE"),
                refuses("negative", "-1"),
                refuses("text", "abc"),
                refuses("blanks around", " 200 "),
                takes("hexadecimal", "0x64", "100"),
                takes("leading zero (octal)", "010", "8"),
                takes("newline after", "79\n", "79"),
                makes("b"),
                reads("child: not inherited", "100", group="b"),
                removes("b"),
            ),
        ),
        File(
            "cpu.weight.nice",
            f"{_CORE} cpu_weight_nice_write_s64",
            (
                takes("lower bound", "-20"),
                reads("as weight", "8668", file="cpu.weight"),
                takes("upper bound", "19"),
                reads("as weight", "1", file="cpu.weight"),
                refuses("above the upper bound", "20", "ERANGE"),
                refuses("below the lower bound", "-21", "ERANGE"),
                takes("five", "5"),
                reads("as weight", "33", file="cpu.weight"),
                takes("zero", "0"),
            ),
        ),
        File(
            "cpu.idle",
            f"{_CORE} sched_group_set_idle",
            (
                reads("default", "0"),
                takes("weight", "300", file="cpu.weight"),
                takes("upper bound", "1"),
                reads("weight while idle", "0", file="cpu.weight"),
                refuses("weight while idle", "100", file="cpu.weight"),
                refuses("above the upper bound", "2"),
                refuses("negative", "-1"),
                makes("b"),
                reads("child: not inherited", "0", group="b"),
                removes("b"),
                takes("zero", "0"),
                reads("weight is reset", "100", file="cpu.weight"),
            ),
        ),
        File(
            "cpu.max",
            f"{_CORE} cpu_max_write",
            (
                reads("default", "max 100000"),
                takes("typical", "50000 100000"),
                takes("quota alone keeps the period", "30000", "30000 100000"),
                takes("lower bounds", "1000 1000"),
                refuses("quota below the lower bound", "999 1000"),
                refuses("period below the lower bound", "1000 999"),
                takes("longest period", "50000 1000000"),
                refuses("period above the upper bound", "50000 1000001"),
                refuses("zero", "0"),
                refuses("negative", "-1"),
                refuses("text", "abc"),
                refuses("hexadecimal", "0xC350 100000"),
                takes("blanks around", "  60000   100000\n", "60000 100000"),
                takes("leading zero is decimal", "050000 100000", "50000 100000"),
                takes("letters after the number are ignored", "50000us", "50000 100000"),
                takes("upper bound", "17592186044415 100000"),
                refuses("above the upper bound", "17592186044416 100000"),
                takes("parent limited", "50000 100000"),
                makes("b"),
                reads("child: not inherited", "max 100000", group="b"),
                takes("child above the parent", "90000 100000", group="b"),
                takes("parent below the child", "20000 100000"),
                removes("b"),
                takes("unlimited", "max", "max 100000"),
            ),
        ),
        File(
            "cpu.max.burst",
            f"{_CORE} tg_set_cfs_bandwidth",
            (
                reads("default", "0"),
                takes("quota", "50000 100000", file="cpu.max"),
                takes("upper bound: the quota", "50000"),
                refuses("above the quota", "50001", other={"anck": ""}),
                refuses("quota below the burst", "40000 100000", file="cpu.max", other={"anck": ""}),
                refuses("negative", "-1"),
                refuses("text", "max"),
                takes("unlimited quota", "max 100000", file="cpu.max"),
                reads("burst kept", "50000"),
                takes("zero", "0"),
            ),
        ),
        File(
            "cpu.uclamp.min",
            "Documentation/admin-guide/cgroup-v2.rst (not observed)",
            (
                reads("default", "0.00"),
                takes("typical", "20", "20.00"),
                takes("upper bound", "100", "max"),
                refuses("above the upper bound", "101", "ERANGE"),
                refuses("text", "abc"),
                takes("zero", "0", "0.00"),
            ),
        ),
    ),
)

CPUSET = Family(
    "cpuset v2",
    "cpuset",
    (2,),
    (
        File(
            "cpuset.cpus",
            "kernel/cgroup/cpuset.c update_cpumask",
            (
                reads("default", ""),
                takes("the parent's", "{cpus}"),
                takes("blanks around", " {cpus} ", "{cpus}"),
                takes("comma after", "{cpu},", "{cpu}"),
                refuses("above the upper bound", "100000", "ERANGE"),
                refuses("reversed range", "1-0"),
                refuses("text", "x"),
                takes("parent", "{cpu}"),
                makes("b"),
                reads("child: not inherited", "", group="b"),
                takes("child outside the parent", "{cpu2}", group="b"),
                reads("is in force with the parent's", "{cpu}", group="b", file="cpuset.cpus.effective"),
                removes("b"),
                takes("a lone newline empties", "\n", ""),
            ),
        ),
        File(
            "cpuset.mems",
            "kernel/cgroup/cpuset.c update_nodemask",
            (
                reads("default", ""),
                takes("the parent's", "{mems}"),
                refuses("no such node", "1000"),
                takes("a lone newline empties", "\n", ""),
            ),
        ),
        # "root" and "isolated" would take CPUs away from groups outside of ours
        File(
            "cpuset.cpus.partition",
            "kernel/cgroup/cpuset.c sched_partition_write",
            (reads("default", "member"), takes("member", "member"), refuses("text", "bogus")),
        ),
    ),
)


def _bytes(default: str) -> tuple[Step, ...]:
    """The steps of a size, by the rules of mm/page_counter.c page_counter_memparse."""
    return (
        reads("default", default),
        takes("typical", "104857600"),
        takes("suffix M", "100M", "104857600"),
        takes("suffix m", "100m", "104857600"),
        takes("not whole pages: rounded down", "104857601", "104857600"),
        takes("one byte above a page", "{page+1}", "{page}"),
        takes("one byte below a page", "{page-1}", "0"),
        takes("zero", "0"),
        takes("hexadecimal", "0x100000", "1048576"),
        takes("blanks around", " 1048576 ", "1048576"),
        takes("largest u64", "18446744073709551615", "max"),
        takes("typical", "1G", "1073741824"),
        refuses("fraction", "1.5G"),
        refuses("suffix MB", "100MB"),
        refuses("blank inside", "100 M"),
        refuses("negative", "-1"),
        refuses("text", "abc"),
        makes("b"),
        reads("child: not inherited", default, group="b"),
        takes("child above the parent", "2147483648", group="b"),
        removes("b"),
        takes("the default again", default),
    )


def _size(name: str, default: str) -> File:
    return File(name, f"{_MEM}, mm/page_counter.c page_counter_memparse", _bytes(default))


MEMORY = Family(
    "memory v2",
    "memory",
    (2,),
    (
        _size("memory.min", "0"),
        _size("memory.low", "0"),
        _size("memory.high", "max"),
        _size("memory.max", "max"),
        _size("memory.swap.max", "max"),
        _size("memory.swap.high", "max"),
        _size("memory.zswap.max", "max"),
        File(
            "memory.oom.group",
            f"{_MEM} memory_oom_group_write",
            (
                reads("default", "0"),
                takes("upper bound", "1"),
                refuses("above the upper bound", "2"),
                refuses("negative", "-1"),
                refuses("text", "abc"),
                takes("zero", "0"),
            ),
        ),
        File(
            "memory.reclaim",
            f"{_MEM} memory_reclaim",
            (
                triggers("zero", "0"),
                refuses("the word max", "max"),
                refuses("text", "abc"),
                refuses("negative", "-1"),
            ),
        ),
    ),
)

IO = Family(
    "io v2",
    "io",
    (2,),
    (
        File(
            "io.max",
            "block/blk-throttle.c tg_set_limit",
            (
                reads("default", ""),
                takes("one key", "{disk} rbps=1048576", "{disk} rbps=1048576 wbps=max riops=max wiops=max"),
                takes("another key keeps it", "{disk} wiops=100", "{disk} rbps=1048576 wbps=max riops=max wiops=100"),
                takes("suffix is ignored", "{disk} wbps=2M", "{disk} rbps=1048576 wbps=2 riops=max wiops=100"),
                takes("all at max remove the row", "{disk} rbps=max wbps=max riops=max wiops=max", ""),
                refuses("zero", "{disk} rbps=0", "ERANGE"),
                refuses("negative", "{disk} rbps=-1"),
                refuses("no such key", "{disk} foo=1"),
                refuses("no value", "{disk} rbps"),
                refuses("text", "{disk} rbps=abc"),
                takes("largest u32 of iops is unlimited", "{disk} riops=4294967295", ""),
                refuses("no such device", "4000:99 rbps=1000", "ENODEV"),
                refuses("partition", "{partition} rbps=1000", "ENODEV"),
                refuses("two lines", "{disk} rbps=4096\n{disk2} rbps=8192"),
            ),
        ),
        File(
            "io.weight",
            "block/blk-iocost.c ioc_weight_write",
            (
                reads("default", "default 100"),
                takes("typical", "200", "default 200"),
                takes("with the word default", "default 300"),
                takes("lower bound", "1", "default 1"),
                refuses("zero", "0"),
                takes("upper bound", "10000", "default 10000"),
                refuses("above the upper bound", "10001"),
                refuses("text", "abc"),
                refuses("no such device", "4000:99 100", "ENODEV"),
                takes("the default again", "100", "default 100"),
            ),
        ),
        File(
            "io.bfq.weight",
            "block/bfq-cgroup.c bfq_io_set_weight",
            (
                reads("default", "default 100"),
                refuses("zero", "0", "ERANGE"),
                takes("lower bound", "1", "default 1"),
                takes("upper bound", "1000", "default 1000"),
                refuses("above the upper bound", "1001", "ERANGE"),
                takes("with the word default", "default 200"),
                takes("the default again", "100", "default 100"),
            ),
        ),
        File(
            "io.prio.class",
            "Documentation/admin-guide/cgroup-v2.rst (not observed)",
            (
                reads("default", "no-change"),
                takes("typical", "idle"),
                refuses("text", "bogus"),
                takes("the default again", "no-change"),
            ),
        ),
    ),
)

_PIDS = (
    reads("default", "max"),
    takes("typical", "10"),
    takes("zero", "0"),
    takes("upper bound", "4194304"),
    refuses("above the upper bound", "4194305"),
    takes("blanks around", " 12 ", "12"),
    takes("hexadecimal", "0x10", "16"),
    takes("leading zero (octal)", "010", "8"),
    refuses("suffix", "1k"),
    refuses("negative", "-1"),
    refuses("text", "abc"),
    makes("b"),
    reads("child: not inherited", "max", group="b"),
    takes("child above the parent", "50", group="b"),
    removes("b"),
    takes("unlimited", "max"),
)
PIDS = Family("pids", "pids", (1, 2), (File("pids.max", "kernel/cgroup/pids.c pids_max_write", _PIDS),))
