"""ANCK additions to the cpu controller beside group identity: initial buffers, hyper-thread quota, cpu.priority.

Source: kernel/sched/core.c of ANCK 5.10 and 6.6, read and not run.
"""

from __future__ import annotations

import errno

from cotune.sim.cpu import parse_burst_anck
from cotune.sim.files import CgroupFile, Controller, Where, parse_s64, parse_u64, refuse
from cotune.sim.hosts.specs import HostSpec
from cotune.sim.identity import BVT_FILE, IDENTITY_FILES, inherit_identity
from cotune.sim.machine import Group
from cotune.sim.release import since

INIT_BUFFER, INIT_BUFFER_V2 = "cpu.cfs_init_buffer_us", "cpu.max.init_buffer"
HT_RATIO, PRIORITY = "cpu.ht_ratio", "cpu.priority"


def additions(name: str, spec: HostSpec) -> Controller | None:
    """The ANCK files of a cpu controller, of either cgroup version."""
    if not spec.anck or name not in ("cpu", "cpu.v2"):
        return None
    files: list[CgroupFile] = []
    newest = since(spec, 6, 6)
    if name == "cpu.v2":
        # Assumed by Koordinator for newer builds and in no source read: confidence "agent".
        files.append(BVT_FILE._replace(where=Where.CHILD))
    elif newest:
        # 6.6 has this instead of the bvt interface; that other numbers are EINVAL is unverified.
        files.append(CgroupFile(PRIORITY, lambda group: f"{group.numbers[PRIORITY]}\n", _write_priority))
    else:
        files += IDENTITY_FILES
    if since(spec, 5, 10):
        file = INIT_BUFFER if name == "cpu" else INIT_BUFFER_V2
        files.append(CgroupFile(file, lambda group: f"{group.numbers[INIT_BUFFER]}\n", _write_init_buffer))
    if newest:
        files.append(CgroupFile(HT_RATIO, lambda group: f"{group.numbers[HT_RATIO]}\n", _write_ht_ratio))

    def created(group: Group) -> None:
        inherit_identity(group)
        group.numbers.update({INIT_BUFFER: 0, HT_RATIO: 100, PRIORITY: 0})

    return Controller("cpu", tuple(files), created)


def _write_init_buffer(group: Group, text: str) -> None:
    """The rules of cpu.cfs_burst_us."""
    group.numbers[INIT_BUFFER] = parse_burst_anck(group, text)


def _write_ht_ratio(group: Group, text: str) -> None:
    """Percent of a core that one of two busy siblings is charged; a bare -1, which is EPERM, for everything bad."""
    value = parse_u64(text)
    if group.parent is None or not 100 <= value <= 200:
        refuse(errno.EPERM)
    group.numbers[HT_RATIO] = value


def _write_priority(group: Group, text: str) -> None:
    value = parse_s64(text)
    if group.parent is None or not -1 <= value <= 1:
        refuse(errno.EINVAL)
    group.numbers[PRIORITY] = value
