"""Which family of kernels this one belongs to, concluded from its files and never from its release alone.

Distributions add and drop files within one release, and people boot kernels of one family under the name of another.
"""

from __future__ import annotations

from typing import NamedTuple

from cotune.host.facts import Host
from cotune.host.support import sample_file


class Dialect(NamedTuple):
    """``name`` of the family and the observations it was concluded from."""

    name: str
    clues: tuple[str, ...]


#: Family → controller and a file that only it has. They come first: RUE has memory.use_priority_oom in common with
#: ANCK, and TencentOS 5.4 has memory.pagecache.max_ratio without RUE.
_OWN_FILES = (
    ("tencentos-rue", "cpu", "cpu.bt_suppress_percent"),
    ("tencentos-rue", "memory", "memory.priority_wmark_ratio"),
    ("tencentos", "memory", "memory.pagecache.max_ratio"),
    ("tencentos", "cpu", "cpu.bt_shares"),
    ("openeuler", "cpu", "cpu.qos_level"),
    ("openeuler", "memory", "memory.qos_level"),
)
#: The same for files of the whole host, which show where no group exists that could have the others.
_OWN_PATHS = (
    ("tencentos-rue", "/proc/sys/kernel/cpu_qos"),
    ("tencentos-rue", "/proc/sys/vm/memory_qos"),
    ("tencentos", "/proc/sys/vm/pagecache_limit_global"),
    ("openeuler", "/proc/sys/vm/memcg_qos_enable"),
)
#: Controller → files that of the other families only ANCK kernels have.
_ANCK = (
    ("memory", ("memory.wmark_min_adj", "memory.exstat", "memory.use_priority_oom", "memory.wmark_ratio")),
    ("cpu", ("cpu.bvt_warp_ns", "cpu.identity", "cpu.priority", "cpu.ht_ratio")),
    ("cpuacct", ("cpuacct.proc_stat",)),
)
_ANCK_PATHS = ("/sys/kernel/mm/memcg_reaper", "/proc/sys/kernel/sched_group_identity_enabled", "/proc/cpusli")
#: Files that only ANCK 6.6 has; cpu.priority takes the place of cpu.bvt_warp_ns on cgroup v1.
_NEWEST = ("cpu.ht_ratio", "cpu.priority")
_SEED = "memory.dirty_bytes"


def find_dialect(host: Host) -> Dialect:
    """Probe for files that only one family has. Never writes."""
    for name, controller, file in _OWN_FILES:
        if _has(host, controller, file):
            return Dialect(name, (f"{file} exists",))
    for name, path in _OWN_PATHS:
        if host.kernel.exists(path):
            return Dialect(name, (f"{path} exists",))
    anck = [file for controller, files in _ANCK for file in files if _has(host, controller, file)]
    anck += [path for path in _ANCK_PATHS if host.kernel.exists(path)]
    return _anck(host, anck) if anck else _mainline(host)


def _has(host: Host, controller: str, file: str) -> bool:
    hierarchy = host.layout.controllers.get(controller)
    return bool(hierarchy and sample_file(host, hierarchy, file))


def _anck(host: Host, found: list[str]) -> Dialect:
    clues = [f"{', '.join(found[:4])}{' and more' if len(found) > 4 else ''} exist"]
    memory = host.layout.controllers.get("memory")
    if _has(host, "memory", _SEED):
        return Dialect("anck-seed", (*clues, f"{_SEED} exists: per-memcg dirty limits"))
    newest = [file for file in _NEWEST if _has(host, "cpu", file)]
    if newest or (memory and memory.version == 2):
        return Dialect("anck-6.6", (*clues, f"{newest[0]} exists" if newest else "ANCK files on cgroup v2"))
    if memory and "wmark_min_throttled_ms" in host.text(f"{memory.point}/memory.exstat"):
        return Dialect("anck-4.19", (*clues, "memory.exstat counts wmark_min_throttled_ms, which 5.10 dropped"))
    return Dialect("anck-5.10", (*clues, "memory.exstat lacks the wmark_min_throttled_ms of 4.19"))


def _mainline(host: Host) -> Dialect:
    clue = "no file that only ANCK, TencentOS or openEuler has"
    where = {name: host.layout.controllers.get(name) for name in ("cpu", "memory", "io", "blkio")}
    versions: dict[int, list[str]] = {}
    for name, hierarchy in where.items():
        if hierarchy is not None:
            versions.setdefault(hierarchy.version, []).append(name)
    if not versions:
        return Dialect("unknown", ("none of the controllers cpu, memory and io is mounted",))
    if len(versions) == 2:
        split = f"{', '.join(versions[1])} on cgroup v1, {', '.join(versions[2])} on v2"
        return Dialect("mainline-hybrid", (clue, split))
    (version,) = versions
    return Dialect(f"mainline-v{version}", (clue, f"the cpu and memory controllers are on cgroup v{version}"))
