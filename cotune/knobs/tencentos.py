"""TencentOS: page cache limits of the 5.4 tree, and what the RUE and BT scheduler guides describe."""

from __future__ import annotations

from cotune.knobs.base import Knob, ValueType
from cotune.knobs.types import Boolean, Integer

_TREE = "mm/memcontrol.c, kernel/sysctl.c (TencentOS 5.4)"
_RUE = "OpenCloudOS RUE QoS guide"
_BT = "TencentOS 4.14 README; crane"


def _group(key: str, title: str, kind: ValueType, control: str, doc: str, source: str, unit: str = "") -> Knob:
    confidence = "source" if source == _TREE else "docs"
    return Knob(key, "group", title, kind, control, key.partition(".")[2], doc, source, confidence, unit)


def _sysctl(
    name: str, title: str, kind: ValueType, doc: str, source: str, control: str = "sysctl", part: str = ""
) -> Knob:
    confidence = "source" if source == _TREE else "docs"
    return Knob(name, "sysctl", title, kind, control, part or name, doc, source, confidence)


KNOBS = (
    _group(
        "memory.pagecache_max_ratio",
        "Page cache limit in percent",
        Integer(5, 100),
        "memory.limit",
        "Most of the group's memory limit that may be page cache; 100 is no limit. Needs a memory limit, and counts "
        "only with vm.pagecache_limit_global 0, which cotune sets.",
        _TREE,
        "%",
    ),
    _group(
        "memory.pagecache_reclaim_ratio",
        "Page cache reclaimed at the limit",
        Integer(1, 99),
        "memory.pagecache_reclaim_ratio",
        "Percentage that is reclaimed when the group reaches its page cache limit; 5 is the default. 100 would be a "
        "one-time order to reclaim everything and is not kept, so it is not accepted.",
        _TREE,
        "%",
    ),
    _sysctl(
        "vm.pagecache_limit_global",
        "Page cache limit of the whole host",
        Integer(0, 1),
        "1: the limit is the host's and those of groups do not count; 0: those of groups do.",
        _TREE,
    ),
    _sysctl(
        "vm.pagecache_limit_ratio",
        "Page cache limit of the host in percent",
        Integer(0, 100),
        "0 is off. Setting it sets vm.pagecache_limit_reclaim_ratio to two more, unless that is set as well.",
        _TREE,
        "vm.pagecache_limit",
        "ratio",
    ),
    _sysctl(
        "vm.pagecache_limit_reclaim_ratio",
        "Where reclaim of the host's page cache ends",
        Integer(0, 100),
        "At least two more than vm.pagecache_limit_ratio.",
        _TREE,
        "vm.pagecache_limit",
        "reclaim_ratio",
    ),
    _sysctl(
        "vm.pagecache_limit_async",
        "Reclaim the host's page cache in the background",
        Integer(0, 1),
        "Starts kpclimitd; needs vm.pagecache_limit_ratio.",
        _TREE,
        "vm.pagecache_limit",
        "async",
    ),
    _sysctl(
        "vm.pagecache_limit_retry_times",
        "Attempts before the host runs out of memory",
        Integer(0, 100),
        "0 tries for ever.",
        _TREE,
    ),
    _sysctl("kernel.cpu_qos", "RUE switch of CPU", Integer(0, 1), "Switch of cpu.rue_priority.", _RUE),
    _sysctl("vm.memory_qos", "RUE switch of memory", Integer(0, 1), "Switch of the RUE memory knobs.", _RUE),
    _group(
        "cpu.rue_priority",
        "RUE priority",
        Integer(0, 7),
        "cpu.rue_priority",
        "cgroup.priority in the cpu hierarchy: 0 is the most important, 7 makes the group offline.",
        _RUE,
    ),
    _group(
        "memory.rue_priority",
        "RUE priority for reclaim",
        Integer(0, 7),
        "memory.rue_priority",
        "cgroup.priority in the memory hierarchy: 0 is the most important.",
        _RUE,
    ),
    _group(
        "cpu.offline",
        "Offline class of the BT scheduler",
        Boolean(),
        "cpu.offline",
        "Runs the group only when nothing else wants the CPU. Written to every descendant, since it is not known "
        "whether the kernel passes it on.",
        _BT,
    ),
    _group(
        "cpu.bt_shares",
        "Shares among offline groups",
        Integer(2, 262144),
        "cpu.bt_shares",
        "As cpu.shares, among offline groups.",
        _BT,
    ),
    _group(
        "cpu.bt_suppress_percent",
        "Share of the quota left to offline children",
        Integer(0, 100),
        "cpu.bt_suppress_percent",
        "Set on the parent, which has a quota: its offline children get this percentage of it.",
        _RUE,
        "%",
    ),
    _group(
        "cpu.ht_sensi_type",
        "Expel the SMT sibling",
        Boolean(),
        "cpu.ht_sensi_type",
        "Keeps offline groups off the sibling of a hardware thread this group runs on.",
        _RUE,
    ),
    _group(
        "memory.priority_wmark_ratio",
        "Shift of the watermarks",
        Integer(-75, 75),
        "memory.priority_wmark_ratio",
        "Negative for online groups (reclaimed later), positive for offline ones.",
        _RUE,
        "%",
    ),
    _group(
        "memory.async_ratio",
        "Start of background reclaim",
        Integer(0, 100),
        "memory.async_ratio",
        "Percentage of the limit above which the group is reclaimed in the background.",
        _RUE,
        "%",
    ),
    _group(
        "memory.async_distance_factor",
        "Length of background reclaim",
        Integer(0, 150000),
        "memory.async_distance_factor",
        "How far background reclaim goes below its start.",
        _RUE,
    ),
)
