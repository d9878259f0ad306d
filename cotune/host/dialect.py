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


#: Controller → files that only ANCK kernels have.
_ANCK = (
    ("memory", ("memory.wmark_min_adj", "memory.exstat", "memory.use_priority_oom", "memory.wmark_ratio")),
    ("cpu", ("cpu.bvt_warp_ns", "cpu.identity", "cpu.ht_ratio")),
    ("cpuacct", ("cpuacct.proc_stat",)),
)
_ANCK_PATHS = ("/sys/kernel/mm/memcg_reaper", "/proc/sys/kernel/sched_group_identity_enabled", "/proc/cpusli")
#: Family → controller and a file that only it has.
_OTHERS = (
    ("tencentos", "memory", "memory.pagecache.max_ratio"),
    ("tencentos", "cpu", "cpu.bt_shares"),
    ("openeuler", "cpu", "cpu.qos_level"),
    ("openeuler", "memory", "memory.qos_level"),
)
_SEED = "memory.dirty_bytes"


def find_dialect(host: Host) -> Dialect:
    """Probe for files that only one family has. Never writes."""
    anck = [file for controller, files in _ANCK for file in files if _has(host, controller, file)]
    anck += [path for path in _ANCK_PATHS if host.kernel.exists(path)]
    if anck:
        return _anck(host, anck)
    for name, controller, file in _OTHERS:
        if _has(host, controller, file):
            return Dialect(name, (f"{file} exists",))
    return _mainline(host)


def _has(host: Host, controller: str, file: str) -> bool:
    hierarchy = host.layout.controllers.get(controller)
    return bool(hierarchy and sample_file(host, hierarchy, file))


def _anck(host: Host, found: list[str]) -> Dialect:
    clues = [f"{', '.join(found[:4])}{' and more' if len(found) > 4 else ''} exist"]
    memory = host.layout.controllers.get("memory")
    if _has(host, "memory", _SEED):
        return Dialect("anck-seed", (*clues, f"{_SEED} exists: per-memcg dirty limits"))
    if memory and "wmark_min_throttled_ms" in host.text(f"{memory.point}/memory.exstat"):
        return Dialect("anck-4.19", (*clues, "memory.exstat counts wmark_min_throttled_ms, which 5.10 dropped"))
    if _has(host, "cpu", "cpu.ht_ratio") or (memory and memory.version == 2):
        newest = "cpu.ht_ratio exists" if _has(host, "cpu", "cpu.ht_ratio") else "ANCK files on cgroup v2"
        return Dialect("anck-6.6", (*clues, newest))
    return Dialect("anck-5.10", (*clues, "memory.exstat lacks the wmark_min_throttled_ms of 4.19"))


def _mainline(host: Host) -> Dialect:
    clue = "no file that only ANCK, TencentOS or openEuler has"
    versions = {host.layout.controllers[name].version for name in ("cpu", "memory") if name in host.layout.controllers}
    if not versions:
        return Dialect("unknown", ("neither the cpu nor the memory controller is mounted",))
    if len(versions) == 2:
        return Dialect("mainline-hybrid", (clue, "the cpu and memory controllers are on different cgroup versions"))
    version = versions.pop()
    return Dialect(f"mainline-v{version}", (clue, f"the cpu and memory controllers are on cgroup v{version}"))
