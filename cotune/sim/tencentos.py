"""TencentOS: page-cache limits and container views of the 5.4 tree, what the RUE kernels add, and the BT of 4.14.

The 5.4 tree was read (mm/memcontrol.c, mm/vmscan.c, kernel/sysctl.c, kernel/cgroup/cpuset.c, block/blk-cgroup.c). RUE
and the BT scheduler are known from documents alone: every errno there, mostly EINVAL, and where files exist is our
assumption. The 5.4 tree has none of them, so they are three hosts.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cotune.sim.blkio import throttle_file
from cotune.sim.files import (
    PAGE,
    PAGES_UNLIMITED,
    CgroupFile,
    Controller,
    HostFile,
    Where,
    number_file,
    parse_pages,
    parse_s32,
    parse_s64,
    parse_sysctl,
    parse_u64,
    refuse,
    report_file,
)
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.machine import Group, Machine

MAX_RATIO, RECLAIM_RATIO = "memory.pagecache.max_ratio", "memory.pagecache.reclaim_ratio"
_RECURSIVE, _HIGH = "memory.meminfo_recursive", "memory.high"
_HIGH_GATE = "/proc/sys/vm/wujing_enable"
_DISKSTATS = "blkio.diskstats"
PRIORITY = "cgroup.priority"
OFFLINE = "cpu.offline"
BT_SHARES, SUPPRESS, HT_SENSITIVE = "cpu.bt_shares", "cpu.bt_suppress_percent", "cpu.ht_sensi_type"
_WMARK, _OOM, _OOM_GROUP = "memory.priority_wmark_ratio", "memory.use_priority_oom", "memory.oom.group"
_ASYNC, _DISTANCE, _BIND = "memory.async_ratio", "memory.async_distance_factor", "memcg.bind_blkio"
_IOPRIO = "blkio.bfq.ioprio_class"
_SYSCTL = "/proc/sys/vm/pagecache_limit_"
_OFFLINE_CPU = "/proc/offline/cpu"


def additions(name: str, spec: HostSpec) -> Controller | None:
    """The files of one controller of cgroup v1."""
    tables: dict[str, Callable[[], Controller]] = {}
    if "tencentos" in spec.features:
        tables = {"memory": _memory, "cpuset": _cpuset, "cpuacct": _cpuacct, "blkio": _blkio}
    elif "rue" in spec.features:
        tables = {"core": _rue_core, "cpu": _rue_cpu, "memory": _rue_memory, "blkio": _rue_blkio}
    elif "bt" in spec.features:
        tables = {"cpu": _bt_cpu, "cpuacct": _bt_cpuacct}
    make = tables.get(name)
    return make() if make is not None else None


def _starting(name: str, files: tuple[CgroupFile, ...], numbers: dict[str, int]) -> Controller:
    return Controller(name, files, lambda group: group.numbers.update(numbers))


# --- the 5.4 tree ---------------------------------------------------------------------------------------------------


def _memory() -> Controller:
    files = (
        CgroupFile(MAX_RATIO, lambda group: f"{group.numbers[MAX_RATIO]}\n", _write_max_ratio, Where.CHILD),
        CgroupFile(RECLAIM_RATIO, lambda group: f"{group.numbers[RECLAIM_RATIO]}\n", _write_reclaim, Where.CHILD),
        report_file("memory.pagecache.current", "0\n", Where.CHILD),
        report_file("memory.meminfo", "MemTotal:       0 kB\nMemFree:        0 kB\n"),
        report_file("memory.vmstat", "nr_free_pages 0\nnr_file_pages 0\n"),
        number_file(_RECURSIVE, 0, 1),
        CgroupFile(_HIGH, _show_high, _write_high, Where.CHILD),
    )
    return _starting("memory", files, {MAX_RATIO: 100, RECLAIM_RATIO: 5, _RECURSIVE: 0, _HIGH: PAGES_UNLIMITED})


def _show_high(group: Group) -> str:
    pages = group.numbers[_HIGH]
    return "max\n" if pages == PAGES_UNLIMITED else f"{pages * PAGE}\n"


def _write_high(group: Group, text: str) -> None:
    """5.4.241 shows the file on v1 and refuses every write (EINVAL) while vm.wujing_enable is 0 (seen on nodes)."""
    pages = parse_pages(text, "max")
    if not group.machine.numbers[_HIGH_GATE][0]:
        refuse(errno.EINVAL)
    group.numbers[_HIGH] = pages


def _write_max_ratio(group: Group, text: str) -> None:
    """Percent of the memory limit, 5…100; EPERM in a group without one."""
    value = parse_s64(text, 10)
    if not 5 <= value <= 100:
        refuse(errno.EINVAL)
    if group.numbers["memory.limit_in_bytes"] == PAGES_UNLIMITED:
        refuse(errno.EPERM)
    group.numbers[MAX_RATIO] = value


def _write_reclaim(group: Group, text: str) -> None:
    """1…99; 100 reclaims everything once and is not kept."""
    value = parse_s64(text, 10)
    if not 1 <= value <= 100:
        refuse(errno.EINVAL)
    if value < 100:
        group.numbers[RECLAIM_RATIO] = value


def _cpuset() -> Controller:
    """Views for containers, bound over /proc by the runtime."""
    reports = {"stat": "cpu  0 0 0 0 0 0 0 0 0 0\n", "cpuinfo": "processor\t: 0\n", "loadavg": "0.00 0.00 0.00 1/1 1\n"}
    return _starting("cpuset", tuple(report_file(f"cpuset.{name}", text) for name, text in reports.items()), {})


def _cpuacct() -> Controller:
    return _starting("cpuacct", (report_file("cpuacct.uptime", "100000.00 100000.00\n"),), {})


def _blkio() -> Controller:
    """A switch that is written as a number and read as a table: empty while it is off."""

    def show(group: Group) -> str:
        zeros = " 0" * 19
        disks = group.machine.spec.disks
        return "".join(f"{d.number.replace(':', ' ')} {d.name}{zeros}\n" for d in disks if group.numbers[_DISKSTATS])

    def write(group: Group, text: str) -> None:
        group.numbers[_DISKSTATS] = int(parse_u64(text) != 0)

    return _starting("blkio", (CgroupFile(_DISKSTATS, show, write),), {_DISKSTATS: 0})


def files(machine: Machine) -> Iterator[tuple[str, HostFile]]:
    """The three sysctls of the page-cache limit that depend on one another, which replace the plain ones.

    Where the BT scheduler is, the share of each CPU that is left to offline tasks.
    """
    if "bt" in machine.spec.features:
        for cpu in range(machine.spec.cpus):
            yield f"{_OFFLINE_CPU}{cpu}", _offline_cpu(machine, f"{_OFFLINE_CPU}{cpu}")
    if "tencentos" not in machine.spec.features:
        return
    for name, write in (("ratio", _write_limit), ("reclaim_ratio", _write_reclaim_limit), ("async", _write_async)):
        path = f"{_SYSCTL}{name}"
        yield path, HostFile(_reader(machine, path), _writer(machine, write))


def _reader(machine: Machine, path: str) -> Callable[[], str]:
    return lambda: f"{machine.numbers[path][0]}\n"


def _writer(machine: Machine, write: Callable[[Machine, int], None]) -> Callable[[str], None]:
    return lambda text: write(machine, parse_sysctl(text, 1)[0])


def _write_limit(machine: Machine, value: int) -> None:
    """0…100 percent of memory; sets the reclaim ratio two above it, or to 0 with it."""
    if not 0 <= value <= 100:
        refuse(errno.EINVAL)
    machine.numbers[f"{_SYSCTL}ratio"] = [value]
    machine.numbers[f"{_SYSCTL}reclaim_ratio"] = [min(value + 2, 100) if value else 0]


def _write_reclaim_limit(machine: Machine, value: int) -> None:
    """EINVAL less than two above the limit. Without a limit EINVAL too, yet the number is kept."""
    limit = machine.numbers[f"{_SYSCTL}ratio"][0]
    if not 0 <= value <= 100 or (limit and value < limit + 2):
        refuse(errno.EINVAL)
    machine.numbers[f"{_SYSCTL}reclaim_ratio"] = [value]
    if not limit:
        refuse(errno.EINVAL)


def _write_async(machine: Machine, value: int) -> None:
    """Without a limit EINVAL, yet the number is kept."""
    if value < 0:
        refuse(errno.EINVAL)
    machine.numbers[f"{_SYSCTL}async"] = [value]
    if not machine.numbers[f"{_SYSCTL}ratio"][0]:
        refuse(errno.EINVAL)


# --- RUE ------------------------------------------------------------------------------------------------------------


def _rue_core() -> Controller:
    """One priority per hierarchy that has controllers, 0 the highest; not inherited."""
    file = number_file(PRIORITY, 0, 7, where=Where.CHILD)
    with_controllers = file._replace(shown=lambda group: not group.hierarchy.key.startswith("name="))
    return _starting("core", (with_controllers,), {PRIORITY: 0})


def _rue_cpu() -> Controller:
    child = Where.CHILD
    files = (
        _bt_shares(),
        number_file(SUPPRESS, 0, 100, where=child),
        number_file(HT_SENSITIVE, 0, 1, where=child),
    )
    return _starting("cpu", files, {BT_SHARES: 1024, SUPPRESS: 100, HT_SENSITIVE: 0})


def _rue_memory() -> Controller:
    child = Where.CHILD
    files = (
        number_file(_WMARK, -75, 75, parse=parse_s32, where=child),
        number_file(_OOM, 0, 1),
        number_file(_OOM_GROUP, 0, 1, parse=parse_s32, where=child),
        number_file(_ASYNC, 0, 100, where=child),
        number_file(_DISTANCE, 0, 150000, where=child),
        CgroupFile(_BIND, lambda group: f"{next(iter(group.rows[_BIND]), '')}\n", _write_bind, child),
    )

    def created(group: Group) -> None:
        group.numbers.update({_WMARK: 0, _OOM: 0, _OOM_GROUP: 0, _ASYNC: 0, _DISTANCE: 0})
        group.rows[_BIND] = {}

    return Controller("memory", files, created)


def _write_bind(group: Group, text: str) -> None:
    """The absolute path of the blkio group that buffered writes are charged to."""
    path = text.strip()
    blkio = group.machine.hierarchy("blkio")
    if not path.startswith(blkio.point) or blkio.find(path[len(blkio.point) :]) is None:
        refuse(errno.EINVAL)
    group.rows[_BIND] = {path: 1}


def _rue_blkio() -> Controller:
    rows = {f"blkio.throttle.readwrite_{unit}_device": unit for unit in ("bps", "iops")}
    files = (
        *(throttle_file(name, unit) for name, unit in rows.items()),
        number_file(_IOPRIO, 1, 3, where=Where.CHILD),
    )

    def created(group: Group) -> None:
        group.rows.update({name: {} for name in rows})
        group.numbers[_IOPRIO] = 2

    return Controller("blkio", files, created)


# --- the BT scheduler -----------------------------------------------------------------------------------------------


def _bt_shares() -> CgroupFile:
    """Clamped as cpu.shares are."""

    def write(group: Group, text: str) -> None:
        group.numbers[BT_SHARES] = min(max(parse_u64(text), 2), 262144)

    return CgroupFile(BT_SHARES, lambda group: f"{group.numbers[BT_SHARES]}\n", write, Where.CHILD)


def _bt_cpu() -> Controller:
    """cpu.offline is not passed on to groups below, neither by a write nor at mkdir: crane writes each of them."""
    files = (number_file(OFFLINE, 0, 1, where=Where.CHILD), _bt_shares())
    return _starting("cpu", files, {OFFLINE: 0, BT_SHARES: 1024})


def _bt_cpuacct() -> Controller:
    """What offline tasks used, in the formats of the files without ``bt_``."""
    names = ("usage", "usage_sys", "usage_user")
    reports = [report_file(f"cpuacct.bt_{name}", "0\n") for name in names]
    return _starting("cpuacct", (*reports, report_file("cpuacct.bt_stat", "user 0\nsystem 0\n")), {})


def _offline_cpu(machine: Machine, path: str) -> HostFile:
    """0…100 percent. The kernel drops the last character of what is written, whatever it is (crane)."""

    def write(text: str) -> None:
        percent = parse_sysctl(text[:-1], 1)
        if not 0 <= percent[0] <= 100:
            refuse(errno.EINVAL)
        machine.numbers[path] = percent

    return HostFile(lambda: f"{machine.numbers.get(path, [100])[0]}\n", write)
